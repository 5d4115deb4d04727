//! A container's life, from top to bottom.
//!
//! Each step returns what the next one needs, and is repeated while its failure may pass. What
//! exists at a moment is the [`Phase`], by which the life is undone.

pub mod anchor;
mod blocked;
mod container_connector;
mod control_socket;
pub mod kept_choice;
mod lock;
mod networks;
mod shut_down;
mod status_process;
mod supervisor;
mod surroundings;

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use self::container_connector::ContainerConnector;
use self::supervisor::event::{self, Event};
use self::supervisor::renewal::RENEWAL_INTERVAL;
use self::supervisor::task::Task;
use self::supervisor::{Plan, Supervisor, SupervisorEnd};
use self::surroundings::{access_to, check_capabilities, name_servers_below, way_out};
use crate::connect::connector::Connector;
use crate::connect::location_table;
use crate::connect::register::Tried;
use crate::container::Container;
use crate::failure::{Failure, Retry};
use crate::firewall::kill_switch::{self, KillSwitch};
use crate::firewall::{self, Backend, Firewall};
use crate::hooks::Stage;
use crate::hooks::shell::Exit;
use crate::settings::{Environment, ServerChoice};
use crate::status::State;
use crate::system::cancellation::{CancellationToken, Guard};
use crate::system::command::advice_on_spawning;
use crate::system::{parallel, paths, shared_files, signals};
use crate::tunnel::{self, Tunnel};
use crate::wireguard::{leftovers, show, sysctl};

/// How a life ends.
enum End {
    /// By a stop signal, or a hook that sent its own shell one.
    Stopped,
    /// By a fatal error, with `EXIT_ON_FATAL=1`.
    Fatal,
    /// The locations were printed, as `LOC` is empty.
    Listed,
    /// By a hook that called `exit` with this status.
    ByHook(Exit),
}

/// What exists.
enum Phase {
    /// The network is as we found it.
    Open,
    /// It still is, as pre-up hooks need it; a backend to close it with is chosen.
    Hooks(KillSwitch),
    /// Nothing leaves but what the kill switch admits.
    Sealed(KillSwitch),
    /// A tunnel stands.
    Connected(Box<Supervisor>),
}

/// Lives one life and returns its exit status. Token and server list are renewed after
/// `renewal_interval`, or [`RENEWAL_INTERVAL`].
pub fn run(environment: Environment, build: &str, renewal_interval: Option<Duration>) -> ExitCode {
    if lock::is_held() {
        log::error!("Fatal error: {}", lock::HELD);
        return ExitCode::FAILURE;
    }
    let claim = lock::claim_network();
    let is_taken = claim.is_none();
    let is_claim_roots = is_taken && lock::is_claim_roots();
    if is_claim_roots && show::exists() {
        log::error!("Fatal error: {}", lock::NETWORK_HELD);
        return ExitCode::FAILURE;
    }
    let renewal_interval = renewal_interval.unwrap_or(RENEWAL_INTERVAL);
    let mut life = match Life::begin(environment, renewal_interval) {
        Ok(life) => life,
        Err(error) => {
            let advice = advice_on_spawning(&error);
            log::error!("Fatal error: signals cannot be handled: {error}{advice}");
            return ExitCode::FAILURE;
        }
    };
    log::info!("wireguard-pia {build}");
    if is_taken && !is_claim_roots {
        log::warn!("{}", lock::NAME_TAKEN);
    }
    life.container.reporter.say_how_the_last_life_ended();
    let Err(end) = life.live();
    if let Some(exit) = life.shut_down(&end) {
        return ExitCode::from(exit);
    }
    match end {
        End::Stopped => ExitCode::SUCCESS,
        End::ByHook(exit) => ExitCode::from(exit),
        End::Fatal | End::Listed => ExitCode::FAILURE,
    }
}

struct Life {
    container: Container,
    phase: Phase,
    /// Held from when it could be taken until the life is over.
    lock: Option<File>,
    post_up_hooks: Option<JoinHandle<()>>,
    /// Follows attached networks, from the seal on.
    networks: Option<Task<()>>,
    /// What tells others of this life.
    status_server: Option<Task<()>>,
    /// Takes commands, while a tunnel stands.
    control: Option<Task<()>>,
    plan: Plan,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    /// Whoever asks for the stop: a signal, or a hook.
    _on_stop: Guard,
}

impl Life {
    /// Nothing outside the process is touched: the first thing that is done is to seal the network.
    fn begin(environment: Environment, renewal_interval: Duration) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let (events, inbox) = mpsc::channel();
        let (stopped, hung_up) = (events.clone(), events.clone());
        // The other end of the channel is gone only when the life is over.
        let on_stop = stop.on_cancel(move || drop(stopped.send(Event::StopRequested)));
        let on_hangup = move || drop(hung_up.send(Event::Reconnect));
        signals::watch(&stop, || (), on_hangup)?;
        Ok(Self {
            container: Container::new(environment, stop),
            phase: Phase::Open,
            lock: None,
            post_up_hooks: None,
            networks: None,
            status_server: None,
            control: None,
            plan: Plan {
                configured: ServerChoice::Unset,
                renewal_interval,
            },
            events,
            inbox,
            _on_stop: on_stop,
        })
    }

    fn live(&mut self) -> Result<Infallible, End> {
        // Its stack is deep, and what follows lasts for weeks.
        parallel::aside(|| self.start())?;
        self.supervise()
    }

    fn start(&mut self) -> Result<(), End> {
        self.until_done(|_| check_capabilities("no tunnel can be set up"))?;
        let kill_switch = self.until_done(Self::choose_backend)?;
        self.until_done(Self::take_lock)?;
        self.container.reporter.enter(State::Starting, None);
        self.report_openings(&kill_switch);
        self.run_pre_up_hooks()?;
        let connectors = self.until_done(|life| life.seal(&kill_switch))?;
        let mut connector = self.prepare(&connectors, &kill_switch)?;
        self.clear_port_file();
        let tunnel = self.until_done(|life| life.connect(&mut connector, &kill_switch))?;
        self.hand_over(tunnel, connector, connectors);
        self.start_post_up_hooks();
        Ok(())
    }

    fn take_lock(&mut self) -> Result<(), Failure> {
        if self.lock.is_none() {
            self.lock = Some(lock::take()?);
        }
        Ok(())
    }

    /// Without a pre-up hook the kill switch closes here, before anything else is done: the choice
    /// of the backend is the first load itself.
    fn choose_backend(&mut self) -> Result<KillSwitch, Failure> {
        let settings = &self.container.settings;
        let is_wanted = settings.firewall;
        let backend = settings.nf_tables.map(Backend::from_nf_tables);
        // A file that cannot be read names none; to seal the network comes first.
        let servers = name_servers_below().unwrap_or_default();
        let access = access_to(&servers, &settings.dns);
        let first = kill_switch::first_policy(is_wanted, &access);
        let first = (!self.container.has_hook(Stage::PreUp)).then_some(&first);
        let strict = sysctl::reverse_path().strict;
        let firewall = Firewall::open(
            backend,
            Path::new(paths::PRIVATE_BIN),
            first,
            strict,
            leftovers::is_interface_ours(&self.container.stop),
            &self.container.stop,
        )
        .inspect_err(|_| {
            if is_wanted {
                firewall::cut_off();
            }
        })?;
        if firewall.private_bin_needed() {
            self.container.prefer_programs_of(paths::PRIVATE_BIN);
        }
        let kill_switch = KillSwitch::new(firewall, is_wanted, &access);
        if first.is_some() {
            self.phase = Phase::Sealed(kill_switch.clone());
            if is_wanted {
                log::info!("Kill switch closed");
            }
        } else {
            self.phase = Phase::Hooks(kill_switch.clone());
        }
        Ok(kill_switch)
    }

    /// Has the status say what is open although it should be closed, from now on.
    fn report_openings(&self, kill_switch: &KillSwitch) {
        let reporter = self.container.reporter.clone();
        kill_switch.tell_openings(move |openings| {
            let openings = openings.clone();
            reporter.update(|status| {
                status.not_blocked = openings.not_blocked;
                status.frames_pass = openings.frames_pass;
            });
        });
    }

    /// With the network open, as people install packages here.
    fn run_pre_up_hooks(&mut self) -> Result<(), End> {
        // What a life that was killed left in a file that is mounted names nobody now.
        if matches!(self.phase, Phase::Hooks(_)) && !show::exists() {
            tunnel::restore_name_servers();
        }
        if let Some(exit) = self.container.run_pre_up_hooks() {
            return Err(End::ByHook(exit));
        }
        self.container.stop.check().map_err(|_| End::Stopped)
    }

    /// From here on nothing leaves that the kill switch does not admit. What an earlier life left
    /// is removed; `PRE_UP` may have changed settings and name servers.
    fn seal(&mut self, kill_switch: &KillSwitch) -> Result<ContainerConnector, Failure> {
        let servers = name_servers_below();
        let is_wanted = self.container.settings.firewall;
        let known = servers.as_ref().cloned().unwrap_or_default();
        let access = access_to(&known, &self.container.settings.dns);
        if self.networks.is_none() {
            let (events, stop) = (self.events.clone(), &self.container.stop);
            let ipv6 = self.container.settings.opens_ipv6();
            self.networks = networks::watch(kill_switch.clone(), ipv6, events, stop);
        }
        kill_switch.restart(is_wanted, &access)?;
        if is_wanted && matches!(self.phase, Phase::Hooks(_)) {
            log::info!("Kill switch closed");
        }
        self.phase = Phase::Sealed(kill_switch.clone());
        let servers = servers?;
        if let Some((interface, address)) = way_out() {
            self.container.tell_way_out(&interface, address);
        }
        self.container.mark = tunnel::make_room()?;
        kill_switch.use_mark(self.container.mark)?;
        let mark = self.container.mark;
        Ok(ContainerConnector::new(kill_switch.clone(), servers, mark))
    }

    /// Says what the settings are; with an empty `LOC` that is all, besides the list of locations.
    fn prepare(
        &mut self,
        connectors: &ContainerConnector,
        kill_switch: &KillSwitch,
    ) -> Result<Connector, End> {
        log::info!("Settings: {}", self.container.effective_settings());
        self.plan.configured = kept_choice::apply(&mut self.container);
        self.status_server = status_process::start(&self.container, kill_switch);
        let mut connector = connectors.connector(&self.container);
        if self.container.settings.destination == ServerChoice::Unset {
            self.until_done(|life| life.print_locations(&mut connector))?;
            return Err(End::Listed);
        }
        Ok(connector)
    }

    fn print_locations(&mut self, connector: &mut Connector) -> Result<(), Failure> {
        let list = connector.server_list(&self.container.stop)?;
        log::info!("LOC is empty; set it to one of these locations (or to auto):");
        // That nobody reads it changes nothing about the end.
        let _ = std::io::stdout().write_all(location_table::objects(list).as_bytes());
        Ok(())
    }

    /// Removes the port file, if the user wants that. No tunnel depends on it.
    fn clear_port_file(&self) {
        let port_forwarding = &self.container.settings.port_forwarding;
        if port_forwarding.cleanup
            && let Err(error) = shared_files::remove(&port_forwarding.file)
        {
            log::warn!("PORT_FILE_CLEANUP: {error}");
        }
    }

    /// A server that takes the key and then carries nothing is left for the next.
    fn connect(
        &mut self,
        connector: &mut Connector,
        kill_switch: &KillSwitch,
    ) -> Result<Tunnel, Failure> {
        self.container.reporter.enter(State::Starting, None);
        // After a refusal only the user comes back here.
        connector.account().forget_refusal();
        let mut tried = Tried::default();
        let has_another = kept_choice::has_another(&self.plan.configured, &self.container);
        connector.leave_named(has_another);
        loop {
            let joined = match connector.join(&[], &tried, None, &self.container.stop) {
                Ok(joined) => joined,
                Err(failure) => {
                    let configured = &self.plan.configured;
                    if !kept_choice::give_up(&failure, configured, &mut self.container) {
                        return Err(failure);
                    }
                    connector.choose(configured.clone());
                    continue;
                }
            };
            let (location, server) = (joined.location.clone(), joined.server.clone());
            match Tunnel::bring_up(&self.container, kill_switch.clone(), joined) {
                Err(failure) if failure.retry == Retry::NextServer => {
                    log::warn!("{location}: {failure}");
                    tried.add(&location, &server, &failure);
                }
                Err(failure) => return Err(failure),
                Ok(tunnel) => {
                    // Whoever asks once it is announced means another one.
                    self.forget_early_requests();
                    tunnel.announce(&mut self.container);
                    // From now on only whoever asks for one by its name goes there.
                    connector.leave_named(false);
                    kept_choice::note_seen(&tunnel.joined, &mut self.container, connector);
                    return Ok(tunnel);
                }
            }
        }
    }

    /// A reconnect that was asked for while there was no tunnel is done by connecting.
    fn forget_early_requests(&self) {
        if self.forget_requests() {
            log::info!("This is the connection that SIGHUP asked for");
        }
    }

    /// Whether any reconnect was asked for.
    fn forget_requests(&self) -> bool {
        let early: Vec<Event> = self.inbox.try_iter().collect();
        let (requests, others): (Vec<_>, Vec<_>) = early
            .into_iter()
            .partition(|event| matches!(event, Event::Reconnect));
        // The other end of the channel is our own.
        others
            .into_iter()
            .for_each(|event| drop(self.events.send(event)));
        !requests.is_empty()
    }

    fn hand_over(&mut self, tunnel: Tunnel, connector: Connector, connectors: ContainerConnector) {
        let (container, events) = (&self.container, self.events.clone());
        let plan = self.plan.clone();
        let mut supervisor = Supervisor::new(
            tunnel,
            connector,
            connectors,
            container,
            plan,
            events.clone(),
        );
        supervisor.start_long_tasks(container);
        self.phase = Phase::Connected(Box::new(supervisor));
        self.control = control_socket::start(events, &self.container.stop);
    }

    /// Beside everything else, for they may wait for the forwarded port, and may take their time.
    fn start_post_up_hooks(&mut self) {
        let Phase::Connected(supervisor) = &self.phase else {
            return;
        };
        let way_in = supervisor.way_in();
        self.post_up_hooks = self.container.start_hooks(
            Stage::PostUp,
            move || way_in.note_wishes(),
            event::ended_by_hook(&self.events),
        );
    }

    fn supervise(&mut self) -> Result<Infallible, End> {
        while let Phase::Connected(supervisor) = &mut self.phase {
            match supervisor.run(&mut self.container, &self.inbox) {
                SupervisorEnd::Stopped => break,
                SupervisorEnd::ByHook(exit) => return Err(End::ByHook(exit)),
                SupervisorEnd::Fatal(failure) => self.handle_fatal(&failure, None)?,
            }
        }
        Err(End::Stopped)
    }
}
