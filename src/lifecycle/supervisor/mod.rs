//! While the tunnel is up: one loop that alone changes the tunnel, and long tasks on threads of
//! their own that report to it.

mod announcement;
mod commands;
mod cycle_ports;
mod endpoint;
pub mod event;
mod exit_address;
mod exit_watch;
mod forwarded_port;
mod monitor;
mod port_clients;
mod port_file_writer;
mod probe;
pub mod renewal;
mod search;
mod short_tunnels;
mod silence;
mod steering;
pub mod task;
mod watch_kind;
mod watches;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use self::event::{Event, SearchNews};
use self::forwarded_port::{Demand, PortKeeper};
use self::probe::Probe;
use self::renewal::RenewalSchedule;
use self::search::Search;
use self::short_tunnels::ShortTunnels;
use self::steering::Steering;
use self::task::Task;
use self::watch_kind::WatchKind;
use super::container_connector::ContainerConnector;
use super::kept_choice;
use super::surroundings::way_out;
use crate::connect::account::Account;
use crate::connect::connector::Connector;
use crate::connect::register::Joined;
use crate::container::Container;
use crate::failure::{Failure, Retry};
use crate::firewall::kill_switch::KillSwitch;
use crate::hooks::Stage;
use crate::hooks::shell::Exit;
use crate::pia::regions::Server;
use crate::port_forward::Effect;
use crate::settings::ServerChoice;
use crate::status::{self, ReconnectCause, State};
use crate::system::backoff::Backoff;
use crate::system::orphans::Orphans;
use crate::system::program_text;
use crate::tunnel::{Tunnel, WayIn};

/// How long a server that did not respond is thought to be worse than others.
const AVOIDANCE_PERIOD: Duration = Duration::from_secs(600);

/// Between searches whose finds could not be used: each costs PIA a registration.
const CHANGE_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(2),
    ceiling: Duration::from_secs(300),
};

/// Between two tries to get a thread, or to follow networks that changed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Between two tries to write resolv.conf, which may be read-only for good.
const DNS_BACKOFF: Backoff = Backoff {
    first: RETRY_INTERVAL,
    ceiling: Duration::from_secs(300),
};

/// From the last event until what it took is given back.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What a life is told beside its settings.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The choice of a server by the variables, whatever a command has kept.
    pub configured: ServerChoice,
    /// Between two renewals of token and list.
    pub renewal_interval: Duration,
}

/// Why the loop ended.
pub enum SupervisorEnd {
    /// A stop was asked for.
    Stopped,
    /// A hook called `exit` with this status.
    ByHook(Exit),
    /// Something that the user called fatal.
    Fatal(Failure),
}

/// A running tunnel with its long tasks.
pub struct Supervisor {
    tunnel: Tunnel,
    connectors: ContainerConnector,
    account: Account,
    /// `None` while the search has it.
    connector: Option<Connector>,
    search: Option<Task<Option<Connector>>>,
    /// Of the latest search.
    search_number: u32,
    /// It waits between two attempts.
    is_search_waiting: Arc<AtomicBool>,
    /// No thread could be had for it.
    is_search_owed: bool,
    /// They have changed, and could not be followed.
    are_networks_owed: bool,
    /// How many finds in a row could not be used.
    failed_changes: u32,
    short_tunnels: ShortTunnels,
    events: Sender<Event>,
    /// What watches the server in use.
    watches: Vec<Task<()>>,
    /// No thread could be had for these.
    owed_watches: Vec<WatchKind>,
    /// At which it is logged that a thread is refused: what is tried again every few seconds is
    /// told of once.
    refusal_level: Level,
    /// When what is owed is tried again.
    retry_at: Option<Instant>,
    /// When resolv.conf is written again where that has failed, and how often it has.
    dns_due: Option<Instant>,
    dns_failures: u32,
    /// When what the last event took is given back.
    rest_at: Option<Instant>,
    /// Servers that did not respond, and when, the latest at the end.
    avoided: Vec<(Server, Instant)>,
    orphans: Orphans,
    /// What does not care which server it is.
    others: Vec<Task<()>>,
    /// Running post-reconnect hooks.
    hooks: Vec<JoinHandle<()>>,
    port: Option<PortKeeper>,
    /// What commands ask for.
    steering: Steering,
    renewal: RenewalSchedule,
}

impl Supervisor {
    /// Takes over a tunnel that is up; `connectors` makes another connector, should one get lost.
    pub fn new(
        tunnel: Tunnel,
        connector: Connector,
        connectors: ContainerConnector,
        container: &Container,
        plan: Plan,
        events: Sender<Event>,
    ) -> Self {
        let is_wanted = container.settings.port_forwarding.enabled;
        let account = connector.account().clone();
        Self {
            port: is_wanted.then(|| PortKeeper::new(container, &tunnel, account.clone())),
            account,
            tunnel,
            connectors,
            connector: Some(connector),
            search: None,
            search_number: 0,
            is_search_waiting: Arc::default(),
            is_search_owed: false,
            are_networks_owed: false,
            failed_changes: 0,
            short_tunnels: ShortTunnels::new(Instant::now()),
            events,
            watches: Vec::new(),
            owed_watches: Vec::new(),
            refusal_level: Level::Warn,
            retry_at: None,
            dns_due: None,
            dns_failures: 0,
            rest_at: None,
            avoided: Vec::new(),
            orphans: Orphans::default(),
            others: Vec::new(),
            hooks: Vec::new(),
            steering: Steering::new(plan.configured),
            renewal: RenewalSchedule::new(plan.renewal_interval),
        }
    }

    /// Starts what goes on beside the tunnel.
    pub fn start_long_tasks(&mut self, container: &Container) {
        self.start_watches(container);
        self.start_port_forward(container);
        let settings = &container.settings;
        if !settings.cycle_ports.is_empty() {
            let (ports, interval) = (settings.cycle_ports.clone(), settings.cycle_interval);
            let events = self.events.clone();
            let cycle = Task::start("cycle-ports", &container.stop, move |stop| {
                cycle_ports::run(&ports, interval, &events, stop);
            });
            self.others.extend(cycle);
        }
    }

    /// Has the port forwarded by the server in use.
    fn start_port_forward(&mut self, container: &Container) {
        if let Some(port) = &mut self.port {
            port.start(&self.tunnel, container, &self.events);
        }
    }

    /// Reacts to events until a stop or a fatal error.
    pub fn run(&mut self, container: &mut Container, inbox: &Receiver<Event>) -> SupervisorEnd {
        self.rest_at = Instant::now().checked_add(REST_AFTER);
        while let Some(event) = self.next_event(container, inbox) {
            self.rest_at = Instant::now().checked_add(REST_AFTER);
            // What came in before the stop is of no interest any more.
            if container.stop.is_cancelled() {
                break;
            }
            match event {
                Event::StopRequested => break,
                Event::Reconnect => self.reconnect_now(container, "SIGHUP"),
                Event::Command(call) => self.obey(*call, container),
                Event::Renewed(number, wanted, lists) if number == self.renewal.number => {
                    self.take_renewed(wanted, lists, container);
                }
                Event::Renewed(..) => {}
                Event::Unresponsive(why) => {
                    let why = format!("unresponsive endpoint: {why}");
                    self.begin_reconnect(container, ReconnectCause::Endpoint, &why);
                }
                Event::InterfaceLost(lack) => {
                    let why = format!("the interface {lack}");
                    self.begin_reconnect(container, ReconnectCause::Interface, &why);
                }
                Event::Search(number, news) if number == self.search_number => {
                    self.follow_search(news, container);
                }
                Event::Search(..) => {}
                Event::NetworksChanged => self.follow_networks(container),
                Event::WayTakes(size) => self.tunnel.fit(size, container),
                Event::ExitAddress(finding) => finding.publish(container),
                Event::ListenOn(port) => cycle_ports::listen_on(port, &container.stop),
                Event::EndedByHook(exit) => return SupervisorEnd::ByHook(exit),
                Event::PortForward(server, effect) => {
                    if let Some(failure) = self.handle_port(server, effect, container) {
                        return SupervisorEnd::Fatal(failure);
                    }
                }
            }
        }
        SupervisorEnd::Stopped
    }

    /// Meanwhile what is owed is tried again: a search, a watch or the port's worker that got no
    /// thread, rules that could not be loaded, networks that could not be followed; and
    /// the port is looked at when that is due, memory given back some time after each event, and
    /// each time children are looked for that nobody waits for.
    /// `None` when nobody reports any more.
    fn next_event(&mut self, container: &mut Container, inbox: &Receiver<Event>) -> Option<Event> {
        while let Some(due) = self.next_act() {
            let left = due.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(left) {
                Ok(event) => return Some(event),
                Err(RecvTimeoutError::Timeout) => self.act(container),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        inbox.recv().ok()
    }

    /// When something is to be done without any event.
    fn next_act(&mut self) -> Option<Instant> {
        let is_owed = self.is_search_owed
            || self.are_networks_owed
            || !self.owed_watches.is_empty()
            || self.tunnel.kill_switch().lacks_payer()
            || self.port.as_ref().is_some_and(PortKeeper::is_owed);
        // Events that come meanwhile do not put it off.
        let retry = || self.retry_at.or(Instant::now().checked_add(RETRY_INTERVAL));
        self.retry_at = is_owed.then(retry).flatten();
        let next_dns = || {
            let failures = self.dns_failures.saturating_add(1);
            let pause = DNS_BACKOFF.pause(failures, &mut fastrand::Rng::new());
            Instant::now().checked_add(pause)
        };
        let owed_dns = || self.dns_due.or_else(next_dns);
        self.dns_due = self.tunnel.owes_dns().then(owed_dns).flatten();
        let look = self.port.as_ref().and_then(PortKeeper::next_look);
        let renewal = self.renewal.due();
        let orphans = self.orphans.due();
        let acts = [
            self.retry_at,
            self.dns_due,
            self.rest_at,
            look,
            renewal,
            orphans,
        ];
        acts.into_iter().flatten().min()
    }

    fn act(&mut self, container: &mut Container) {
        if self.retry_at.is_some_and(|due| due <= Instant::now()) {
            self.retry_at = None;
            self.try_owed(container);
        }
        if self.dns_due.is_some_and(|due| due <= Instant::now()) {
            self.dns_due = None;
            self.tunnel.settle_dns(container);
            self.dns_failures = match self.tunnel.owes_dns() {
                true => self.dns_failures.saturating_add(1),
                false => 0,
            };
        }
        if self.rest_at.is_some_and(|due| due <= Instant::now()) {
            self.rest_at = None;
            self.rest();
        }
        self.orphans.look(Instant::now());
        let look = self.port.as_ref().and_then(PortKeeper::next_look);
        if let Some(port) = &mut self.port
            && look.is_some_and(|due| due <= Instant::now())
        {
            port.look(container);
        }
        if self.renewal.due().is_some_and(|due| due <= Instant::now()) {
            self.renew(container);
        }
    }

    /// Nothing has happened for a while: what was used is given back.
    fn rest(&mut self) {
        if let Some(connector) = &mut self.connector {
            connector.rest();
        }
        if let Err(error) = program_text::drop_resident_pages() {
            log::debug!("what was used of the program stays resident: {error}");
        }
    }

    fn try_owed(&mut self, container: &mut Container) {
        self.tunnel.kill_switch().pay();
        self.refusal_level = Level::Debug;
        if self.is_search_owed {
            self.start_search(container, Duration::ZERO);
        }
        if self.are_networks_owed {
            self.follow_networks(container);
        }
        self.start_owed_watches(container);
        if let Some(port) = &mut self.port {
            port.start_owed(&self.tunnel, container, &self.events);
        }
        self.refusal_level = Level::Warn;
    }

    fn follow_networks(&mut self, container: &mut Container) {
        if let Some((interface, address)) = way_out() {
            container.tell_way_out(&interface, address);
        }
        let followed = self.tunnel.follow_networks(container);
        self.are_networks_owed = followed.is_err();
        if let Err(failure) = followed {
            log::warn!("attached networks: {failure}; trying again");
        }
    }

    /// Does what an effect calls for; returns what the user called fatal.
    fn handle_port(
        &mut self,
        server: u32,
        effect: Effect,
        container: &mut Container,
    ) -> Option<Failure> {
        match self.port.as_mut()?.handle(server, effect, container)? {
            Demand::AnotherServer(why) => {
                self.begin_reconnect(container, ReconnectCause::PortForwarding, &why);
            }
            Demand::Advice(why) => self.warn_no_port_forwarding(&why),
            Demand::Fatal(failure) => return Some(failure),
        }
        None
    }

    fn warn_no_port_forwarding(&self, why: &str) {
        // While the search has the connector, the next server is being looked for anyway.
        let elsewhere = match &self.connector {
            Some(connector) => connector.locations_with_port_forwarding(),
            None => Vec::new(),
        };
        let advice = match elsewhere.as_slice() {
            [] => String::new(),
            ids => format!(" These locations have it: {}.", ids.join(", ")),
        };
        log::warn!(
            "Port forwarding: this server has none ({why}).{advice} It is tried again now and then"
        );
    }

    /// The user wants it: pauses are over, and what was refused may be sent once more.
    fn reconnect_now(&mut self, container: &mut Container, by: &str) {
        self.account.forget_refusal();
        if self.search.is_some() && self.is_search_waiting.load(Ordering::Relaxed) {
            log::info!("Trying again at once, as asked for by {by}");
            self.end_search();
            self.start_search(container, Duration::ZERO);
        } else {
            let why = format!("asked for by {by}");
            self.begin_reconnect(container, ReconnectCause::Request, &why);
        }
    }

    /// The old tunnel is kept while another server is looked for.
    fn begin_reconnect(&mut self, container: &mut Container, cause: ReconnectCause, why: &str) {
        if self.search.is_some() || self.is_search_owed {
            log::info!("A reconnect is under way already");
            return;
        }
        log::warn!("Reconnecting: {why}");
        if cause == ReconnectCause::Endpoint && self.short_tunnels.silenced(Instant::now()) {
            log::warn!("{}", short_tunnels::ADVICE);
        }
        container.reporter.count_reconnect(cause);
        container
            .reporter
            .enter(State::Reconnecting, why.to_owned());
        self.end_watches();
        // It would hold up a login that the search needs.
        self.renewal.end();
        self.avoid(self.tunnel.joined.server.clone());
        if let Some(exit) = container.run_hooks(Stage::PreReconnect) {
            event::ended_by_hook(&self.events)(exit);
            return;
        }
        self.follow_hooks(container);
        self.start_search(container, Duration::ZERO);
    }

    /// The server is chosen by the variables as hooks have left them, as where one shell ran it
    /// all; but not where a command chose.
    fn follow_hooks(&mut self, container: &mut Container) {
        let choice = container.choice_by_hooks();
        let former = &self.steering.configured;
        if choice == *former || choice == ServerChoice::Unset {
            return;
        }
        if let Some(connector) = &mut self.connector
            && let Some(why) = connector.names_nothing(&choice, &container.stop)
        {
            log::warn!("LOC as a hook left it: {why}; it stays as it was");
            return;
        }
        if container.settings.destination == *former && !self.steering.is_told_where() {
            log::info!("A hook has changed LOC or what else names the server; going by it");
            container.settings.destination = choice.clone();
        }
        self.steering.configured = choice;
    }

    /// Remembers a server as one that others are better than, for a while.
    fn avoid(&mut self, server: Server) {
        self.avoided
            .retain(|(avoided, at)| *avoided != server && at.elapsed() < AVOIDANCE_PERIOD);
        self.avoided.push((server, Instant::now()));
    }

    fn start_search(&mut self, container: &Container, delay: Duration) {
        let mut connector = match self.connector.take() {
            Some(connector) => connector,
            None => {
                let another = self.connectors.connector(container);
                self.account = another.account().clone();
                another
            }
        };
        // A search that was ended may have gone back to the former choice, and nobody been told.
        connector.choose(container.settings.destination.clone());
        self.is_search_waiting = Arc::default();
        self.search_number = self.search_number.wrapping_add(1);
        let search = Search {
            number: self.search_number,
            delay,
            is_waiting: Arc::clone(&self.is_search_waiting),
            avoid: self
                .avoided
                .iter()
                .map(|(server, _)| server.clone())
                .collect(),
            in_use: self.tunnel.joined.server.clone(),
            probe: Probe::new(&self.tunnel, container),
            way_in: self.tunnel.way_in(),
            fallback: self.steering.fallback(),
            tried: self.steering.tried(),
            retry_delay: container.settings.retry.delay,
            reporter: container.reporter.clone(),
            events: self.events.clone(),
        };
        // Handed over once there is a thread: with the work of one that cannot be had it were lost,
        // and what it learnt with it.
        let (hand_over, handed_over) = mpsc::channel();
        self.search = Task::start_at(self.refusal_level, "search", &container.stop, move |stop| {
            Some(search.run(handed_over.recv().ok()?, stop))
        });
        self.is_search_owed = self.search.is_none();
        self.connector = match self.search {
            Some(_) => hand_over.send(connector).err().map(|refused| refused.0),
            None => Some(connector),
        };
    }

    fn follow_search(&mut self, news: SearchNews, container: &mut Container) {
        match news {
            SearchNews::Found(joined) => self.reconnect_with(container, *joined),
            SearchNews::NotFound(why) => self.note_not_found(why, container),
            SearchNews::Recovered(target) => self.go_on(container, &target),
        }
    }

    fn end_search(&mut self) {
        if let Some(search) = self.search.take() {
            self.connector = search.end().flatten();
        }
    }

    fn reconnect_with(&mut self, container: &mut Container, joined: Joined) {
        self.end_search();
        let (server, location) = (joined.server.clone(), joined.location.clone());
        let former = self.tunnel.joined.server.clone();
        if let Err(failure) = self.tunnel.reconnect(container, joined) {
            self.search_again(container, &location, server, &failure);
            return;
        }
        let joined = &self.tunnel.joined;
        let said = format!(
            "Reconnected to {}: {} ({})",
            joined.location,
            joined.server.cn,
            joined.endpoint()
        );
        self.tunnel.publish(container);
        if let Some(connector) = &mut self.connector {
            kept_choice::note_seen(&self.tunnel.joined, container, connector);
        }
        self.connected_again(container, &said);
        self.answer_reconnect(&former);
    }

    /// A server that carries nothing is left for the next at once. Else it may be this machine that
    /// is the trouble: another server is taken, and the pauses grow.
    fn search_again(
        &mut self,
        container: &mut Container,
        location: &str,
        server: Server,
        failure: &Failure,
    ) {
        if failure.is_cancelled() {
            return;
        }
        self.steering.note_tried(location, &server, failure);
        let is_first_try = self.steering.fallback().is_some()
            || self.avoided.iter().all(|(avoided, _)| *avoided != server);
        if failure.retry == Retry::NextServer && is_first_try {
            log::warn!("{failure}. Trying another server");
            self.avoid(server);
            self.start_search(container, Duration::ZERO);
            return;
        }
        self.give_choice_up(container);
        container.reporter.count_failure(failure.kind.name());
        self.failed_changes = self.failed_changes.saturating_add(1);
        self.avoid(server);
        let pause = CHANGE_BACKOFF.pause(self.failed_changes, &mut fastrand::Rng::new());
        log::warn!(
            "{failure}. The search for a server goes on in {} s",
            pause.as_secs()
        );
        container.reporter.update(|status| {
            status.note_error(&failure.text);
            status.next_attempt = status::seconds_from(SystemTime::now(), pause);
        });
        self.start_search(container, pause);
    }

    fn go_on(&mut self, container: &mut Container, target: &str) {
        self.end_search();
        if let Err(error) = self.tunnel.kill_switch().settle() {
            log::warn!("{error}");
        }
        self.give_choice_up(container);
        let said = format!("{target} answers through the old tunnel again; keeping it");
        self.connected_again(container, &said);
        self.answer_not_reconnected();
    }

    fn connected_again(&mut self, container: &mut Container, said: &str) {
        self.failed_changes = 0;
        self.short_tunnels.connected(Instant::now());
        container
            .reporter
            .update(|status| status.endpoint_silent = false);
        // First, for the port may have to be bound anew.
        self.start_port_forward(container);
        // Before it is said, for those who ask for the status when they see the line.
        container.reporter.enter(State::Connected, None);
        log::info!("{said}");
        self.start_watches(container);
        let way_in = self.way_in();
        let on_end = move || way_in.note_wishes();
        let on_exit = event::ended_by_hook(&self.events);
        // Beside everything else, for they may wait for the forwarded port.
        if let Some(hooks) = container.start_hooks(Stage::PostReconnect, on_end, on_exit) {
            self.hooks.retain(|running| !running.is_finished());
            self.hooks.push(hooks);
        }
    }

    /// Of the tunnel of the moment.
    pub fn way_in(&self) -> Arc<WayIn> {
        self.tunnel.way_in()
    }

    /// Ends the long tasks and takes the tunnel down; the kill switch is left.
    pub fn shut_down(mut self, container: &mut Container) -> KillSwitch {
        self.renewal.end();
        self.end_watches();
        self.end_search();
        for task in self.others {
            task.end();
        }
        for hooks in self.hooks {
            if hooks.join().is_err() {
                log::warn!("a post-reconnect hook ended badly");
            }
        }
        if let Some(port) = self.port {
            port.shut_down(container);
        }
        self.tunnel.take_down();
        self.tunnel.kill_switch().clone()
    }
}
