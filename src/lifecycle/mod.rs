//! The story of a container's life, from top to bottom.

mod supervisor;

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use self::supervisor::{Event, Supervisor};
use crate::connect::Connector;
use crate::container::Container;
use crate::failure::Failure;
use crate::firewall::kill_switch::{self, KillSwitch};
use crate::firewall::{Backend, Firewall};
use crate::hooks::Stage;
use crate::settings::Environment;
use crate::status::{self, State};
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;
use crate::system::capabilities::{self, Capabilities};
use crate::system::{files, paths, signals};
use crate::tunnel::{self, Tunnel};
use crate::underlay::{name_servers, resolv_conf};
use crate::wireguard::sysctl;

/// How a life ends.
enum End {
    /// By a stop signal.
    Stopped,
    /// By a fatal error, with `EXIT_ON_FATAL=1`.
    Fatal,
    /// The locations were printed, as `LOC` is empty.
    Listed,
}

/// Lives one life and returns its exit status.
pub fn run(environment: Environment, build: &str) -> ExitCode {
    let mut life = match Life::begin(environment) {
        Ok(life) => life,
        Err(what) => {
            log::error!("Fatal error: {what}");
            return ExitCode::FAILURE;
        }
    };
    log::info!("wireguard-pia {build}");
    let Err(end) = life.live();
    life.shut_down(&end);
    match end {
        End::Stopped => ExitCode::SUCCESS,
        End::Fatal | End::Listed => ExitCode::FAILURE,
    }
}

struct Life {
    container: Container,
    kill_switch: Option<KillSwitch>,
    connector: Option<Arc<Mutex<Connector>>>,
    supervisor: Option<Supervisor>,
    /// Down hooks run only if the pre-up stage was reached.
    reached_pre_up: bool,
    post_up_hooks: Option<JoinHandle<()>>,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    _lock: File,
}

impl Life {
    fn begin(environment: Environment) -> Result<Self, String> {
        let stop = CancellationToken::new();
        let (events, inbox) = mpsc::channel();
        let (stopped, hung_up) = (events.clone(), events.clone());
        // The other end of the channel is gone only when the life is over.
        signals::watch(
            &stop,
            move || drop(stopped.send(Event::StopRequested)),
            move || drop(hung_up.send(Event::Reconnect)),
        )
        .map_err(|error| format!("signals cannot be handled: {error}"))?;
        let lock = lock()?;
        Ok(Self {
            container: Container::new(environment, stop),
            kill_switch: None,
            connector: None,
            supervisor: None,
            reached_pre_up: false,
            post_up_hooks: None,
            events,
            inbox,
            _lock: lock,
        })
    }

    fn live(&mut self) -> Result<Infallible, End> {
        self.until_done(Self::check_capabilities)?;
        self.until_done(Self::choose_backend)?;
        self.run_pre_up_hooks()?;
        self.until_done(Self::close_kill_switch)?;
        self.until_done(Self::connect)?;
        self.start_long_tasks();
        self.start_post_up_hooks();
        self.supervise()
    }

    #[allow(clippy::unused_self, reason = "it is a step like the others")]
    fn check_capabilities(&mut self) -> Result<(), Failure> {
        match capabilities::from_process() {
            Capabilities::WithoutNetAdmin => Err(Failure::lasting(
                "the capability NET_ADMIN is missing, without which no tunnel can be set up: add \
                 `cap_add: [NET_ADMIN]` \
                 to the service, or `--cap-add NET_ADMIN` to docker run",
            )),
            Capabilities::All => {
                log::info!(
                    "The container has every capability (privileged?); NET_ADMIN alone is enough"
                );
                Ok(())
            }
            Capabilities::Some => Ok(()),
        }
    }

    /// Without a pre-up hook the kill switch closes here, before anything else is done: the choice
    /// of the backend is the first load itself.
    fn choose_backend(&mut self) -> Result<(), Failure> {
        let (sealed, wanted) = (
            self.container.settings.firewall,
            self.container.settings.nf_tables,
        );
        let choice = wanted.map(|wanted| {
            if wanted {
                Backend::NfTables
            } else {
                Backend::Legacy
            }
        });
        let servers = name_servers::parse(&resolv_conf_text()?);
        let first = kill_switch::first_policy(sealed, &servers);
        let first = (!self.container.has_hook(Stage::PreUp)).then_some(&first);
        let strict = sysctl::reverse_path().strict;
        let firewall = Firewall::open(choice, Path::new(paths::PRIVATE_BIN), first, strict)?;
        if firewall.private_bin_needed() {
            self.container.prefer_programs_of(paths::PRIVATE_BIN);
        }
        if sealed && first.is_some() {
            log::info!("Kill switch closed");
        }
        self.kill_switch = Some(KillSwitch::new(firewall, sealed, &servers));
        Ok(())
    }

    /// With the network open, as people install packages here.
    fn run_pre_up_hooks(&mut self) -> Result<(), End> {
        self.reached_pre_up = true;
        self.container.run_pre_up_hooks();
        self.container.stop.check().map_err(|_| End::Stopped)
    }

    fn close_kill_switch(&mut self) -> Result<(), Failure> {
        let text = resolv_conf_text()?;
        let servers = name_servers::parse(&text);
        let firewall = self.container.settings.firewall;
        if let Some(kill_switch) = &self.kill_switch {
            kill_switch.restart(firewall, &servers)?;
            if firewall && self.container.has_hook(Stage::PreUp) {
                log::info!("Kill switch closed");
            }
        }
        tunnel::remove_leftovers();
        log::info!("Settings: {}", self.container.effective_settings());
        self.connector = Some(Arc::new(Mutex::new(Connector::new(
            &self.container,
            servers,
        ))));
        Ok(())
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let port_forwarding = &self.container.settings.port_forwarding;
        if port_forwarding.cleanup {
            files::remove_if_present(&port_forwarding.file)?;
        }
        let (Some(kill_switch), Some(connector)) = (&self.kill_switch, &self.connector) else {
            return Err(Failure::lasting("the kill switch is not there"));
        };
        self.container.reporter.enter(State::Starting, None);
        let joined = connector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join(&[], kill_switch)?;
        let tunnel = Tunnel::bring_up(&self.container, kill_switch, joined)?;
        tunnel.announce(&mut self.container);
        self.supervisor = Some(Supervisor::new(
            tunnel,
            kill_switch.clone(),
            Arc::clone(connector),
            self.events.clone(),
        ));
        Ok(())
    }

    fn start_long_tasks(&mut self) {
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.start_long_tasks(&self.container);
        }
    }

    /// Beside everything else, for they may wait for the forwarded port, and may take their time.
    fn start_post_up_hooks(&mut self) {
        self.post_up_hooks = self.container.start_hooks(Stage::PostUp);
    }

    fn supervise(&mut self) -> Result<Infallible, End> {
        loop {
            let Some(supervisor) = &mut self.supervisor else {
                return Err(End::Stopped);
            };
            match supervisor.run(&mut self.container, &self.inbox) {
                supervisor::SupervisorEnd::Stopped => return Err(End::Stopped),
                supervisor::SupervisorEnd::Fatal(failure) => self.handle_fatal(&failure, None)?,
            }
        }
    }

    /// Repeats a step for as long as its failure may pass; what will not pass by itself waits for a
    /// stop or a SIGHUP.
    fn until_done(&mut self, step: impl Fn(&mut Self) -> Result<(), Failure>) -> Result<(), End> {
        let mut failures = 0;
        let mut rng = fastrand::Rng::new();
        loop {
            if self.container.stop.is_cancelled() {
                return Err(End::Stopped);
            }
            let failure = match step(self) {
                Ok(()) => return Ok(()),
                Err(Failure::Stopped) => return Err(End::Stopped),
                Err(Failure::Listed) => return Err(End::Listed),
                Err(failure) => failure,
            };
            failures += 1;
            let pause = match &failure {
                Failure::Passing { not_before, .. } => {
                    let pause = BACKOFF.pause(failures, &mut rng);
                    Some(pause.max(not_before.unwrap_or_default()))
                }
                _ => None,
            };
            if let Some(kill_switch) = &self.kill_switch
                && let Err(error) = kill_switch.close()
            {
                log::warn!("{error}");
            }
            if failures <= 1 || pause.is_none() {
                self.handle_fatal(&failure, pause)?;
            } else {
                log::warn!("{failure}");
            }
            self.wait_blocked(&failure, pause)?;
        }
    }

    /// Says what is wrong, runs `FATAL_SCRIPT`, and ends the life if the user wants it so.
    fn handle_fatal(&mut self, failure: &Failure, pause: Option<Duration>) -> Result<(), End> {
        log::error!("Fatal error: {failure}");
        log::info!("`wireguard-pia doctor` checks everything that a start needs");
        self.note_blocked(failure, pause);
        if let Some(script) = &self.container.settings.fatal_script {
            self.container.run_script("fatal-script", script);
        }
        if self.container.stop.is_cancelled() {
            return Err(End::Stopped);
        }
        if self.container.settings.exit_on_fatal {
            Err(End::Fatal)
        } else {
            Ok(())
        }
    }

    fn note_blocked(&self, failure: &Failure, pause: Option<Duration>) {
        self.container
            .reporter
            .enter(State::Blocked, failure.to_string());
        self.container.reporter.update(|status| {
            status.last_error = Some(failure.to_string());
            status.next_attempt = pause.map(|pause| status::seconds(SystemTime::now() + pause));
        });
    }

    fn wait_blocked(&mut self, failure: &Failure, pause: Option<Duration>) -> Result<(), End> {
        self.note_blocked(failure, pause);
        match pause {
            Some(pause) => log::info!("Trying again in {} s", pause.as_secs()),
            None if self.kill_switch.as_ref().is_some_and(KillSwitch::is_sealed) => {
                log::info!("Waiting, sealed, to be stopped; SIGHUP tries again");
            }
            None => log::info!("Waiting to be stopped; SIGHUP tries again"),
        }
        let event = match pause {
            Some(pause) => self.inbox.recv_timeout(pause).ok(),
            None => self.inbox.recv().ok(),
        };
        match event {
            Some(Event::StopRequested) => Err(End::Stopped),
            _ => Ok(()),
        }
    }

    /// Undoes the life in the reverse order; nothing that fails here keeps the rest from being
    /// done.
    fn shut_down(&mut self, end: &End) {
        let stopped = matches!(end, End::Stopped);
        self.container.reporter.enter(State::Stopping, None);
        // After a fatal error: the long tasks obey the same request, whoever makes it.
        self.container.stop.cancel();
        if self
            .post_up_hooks
            .take()
            .is_some_and(|hooks| hooks.join().is_err())
        {
            log::warn!("the post-up hooks ended badly");
        }
        let hooks = stopped && self.reached_pre_up;
        if hooks {
            self.container.run_down_hooks(Stage::PreDown);
        }
        log::info!("Shutting down");
        // Nobody writes it any more: that was this thread, in the loop.
        let port_forwarding = &self.container.settings.port_forwarding;
        if port_forwarding.cleanup
            && let Err(error) = files::remove_if_present(&port_forwarding.file)
        {
            log::warn!("{error}");
        }
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.shut_down(&mut self.container);
        }
        if let Some(kill_switch) = &self.kill_switch
            && let Err(error) = kill_switch.close()
        {
            log::warn!("{error}");
        }
        if hooks {
            self.container.run_down_hooks(Stage::PostDown);
        }
        // So that nobody takes the file for that of a running program.
        if let Err(error) = files::remove_if_present(Path::new(paths::STATUS)) {
            log::debug!("{error}");
        }
    }
}

/// Between attempts at a step whose failure may pass.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(5),
    ceiling: Duration::from_secs(300),
};

const MAX_LOCK_TRIES: u32 = 10;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

fn resolv_conf_text() -> Result<String, Failure> {
    Ok(resolv_conf::original(Path::new(paths::RESOLV_CONF))?)
}

/// One program a container: two would fight over the tunnel.
fn lock() -> Result<File, String> {
    files::make_directory(Path::new(paths::RUN)).map_err(|error| error.to_string())?;
    for _ in 0..MAX_LOCK_TRIES {
        match files::try_lock(Path::new(paths::LOCK)) {
            Ok(Some(lock)) => return Ok(lock),
            // A health check that looks at this moment holds it too, very shortly.
            Ok(None) => std::thread::park_timeout(LOCK_RETRY_INTERVAL),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("another wireguard-pia is running in this container".into())
}
