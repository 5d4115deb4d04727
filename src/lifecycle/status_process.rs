//! The status server's process: started beside the life, and again whenever it ends.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::supervisor::task::Task;
use crate::container::Container;
use crate::control::kept_choice;
use crate::firewall::kill_switch::KillSwitch;
use crate::port_forward::listening;
use crate::settings::Settings;
use crate::settings::values::ListenAddress;
use crate::status::{self, PortProof, Reporter};
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::secret::Secret;
use crate::system::{files, paths};
use crate::wireguard::{peers, show};

const RESTART_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(2),
    ceiling: Duration::from_secs(60),
};
/// Between two looks at what only this process can see.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

const NO_KEY: &str = "the file is empty; write a key into it";

/// Starts it, if the user wants one.
pub(super) fn start(container: &Container, kill_switch: &KillSwitch) -> Option<Task<()>> {
    let settings = &container.settings;
    let listen = settings.status_listen?;
    let key = match key(settings.status_key_file.as_deref()) {
        Ok(key) => key,
        Err(why) => {
            log::error!("There is no status server: STATUS_KEY_FILE={why}");
            return None;
        }
    };
    let server = command(listen, settings, key.as_ref())?;
    let lookout = Arc::new(Lookout {
        reporter: container.reporter.clone(),
        settings: settings.clone(),
        kill_switch: kill_switch.clone(),
        stop: container.stop.clone(),
        looked: Mutex::default(),
    });
    Task::start("status-server", &container.stop, move |stop| {
        keep_running(&server, &lookout, stop);
    })
}

/// A file without a key would open what it is to close. White space at the ends of a header's value
/// is none of it, so a key can have none there.
fn key(file: Option<&Path>) -> Result<Option<Secret>, String> {
    let Some(file) = file else {
        return Ok(None);
    };
    let path = file.display();
    match files::read_secret(file) {
        Ok(Some(key)) => match key.expose().trim() {
            "" => Err(format!("{path}: {NO_KEY}")),
            key if key.chars().any(char::is_control) => Err(format!(
                "{path}: no header can hold what is in it; write one line into it"
            )),
            key => Ok(Some(Secret::new(key))),
        },
        Ok(None) => Err(format!("{path}: {NO_KEY}")),
        Err(error) => Err(format!("{path}: cannot be read: {error}")),
    }
}

/// It gets nothing of our environment, where secrets are.
fn command(listen: ListenAddress, settings: &Settings, key: Option<&Secret>) -> Option<Command> {
    let program = std::env::current_exe()
        .inspect_err(|error| log::error!("There is no status server: {error}"))
        .ok()?;
    let listen = listen.to_string();
    let words = ["status-server", "--listen", &listen];
    let exit = settings.status_exit_address.then_some("--tell-exit");
    let command = Command::new(program, words.into_iter().chain(exit));
    let key = key.map_or("", Secret::expose);
    Some(command.environment([]).input(key))
}

fn keep_running(server: &Command, lookout: &Arc<Lookout>, stop: &CancellationToken) {
    let mut rng = fastrand::Rng::new();
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let lookout = Arc::clone(lookout);
        let is_first = failures == 0;
        let outcome = server.stream(stop, move |line| {
            if line == status::LOOK {
                lookout.look();
            } else if line.starts_with("listening") || (is_first && line == status::STAYS_ROOT) {
                log::info!("Status server: {line}");
            }
        });
        if stop.is_cancelled() {
            return;
        }
        // One that has served for a while is not what fails again and again.
        let has_served = begun.elapsed() > RESTART_BACKOFF.ceiling;
        failures = if has_served { 1 } else { failures + 1 };
        let pause = RESTART_BACKOFF.pause(failures, &mut rng);
        let why = match outcome {
            Ok(()) => "it ended".to_owned(),
            Err(error) => error.to_string(),
        };
        log::warn!(
            "Status server: {why}; starting it again in {} s",
            pause.as_secs()
        );
        if stop.pause(pause).is_err() {
            return;
        }
    }
}

/// What takes a right that the server does not have is looked at when the server asks for it, and
/// at no other time.
struct Lookout {
    reporter: Reporter,
    settings: Settings,
    kill_switch: KillSwitch,
    stop: CancellationToken,
    looked: Mutex<Option<Instant>>,
}

impl Lookout {
    /// The server is not trusted to ask rarely.
    fn look(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return;
        }
        *looked = Some(Instant::now());
        let listed = if show::exists() {
            peers::list(&self.stop).unwrap_or_default()
        } else {
            Vec::new()
        };
        let handshake = listed.iter().filter_map(|peer| peer.last_handshake).max();
        let port = self.reporter.current().port.map(|port| port.number);
        let counters = self.kill_switch.with(|firewall| firewall.rule_counters());
        let counted = counters.read(port);
        let here = port.and_then(|port| self.settings.listening_port(port));
        let listener = here.and_then(listening::listener);
        let kept_choice = kept_choice::told(Path::new(paths::KEPT_CHOICE));
        self.reporter.update(|status| {
            let now = status::seconds(SystemTime::now());
            status.looked_at = Some(now);
            status.kept_choice = kept_choice;
            status.last_handshake = handshake.map(status::seconds);
            status.dropped = counted.dropped;
            // It may be another port by now.
            if status.port.map(|port| port.number) == port {
                status.port_proof = port.map(|_| PortProof {
                    listener,
                    arrivals: counted.arrivals,
                    looked_at: now,
                });
            }
        });
    }
}
