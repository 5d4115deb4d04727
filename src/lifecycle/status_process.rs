//! The status server's process: started beside the life, and again whenever it ends.

use std::path::Path;
use std::time::{Duration, Instant};

use super::supervisor::task::Task;
use crate::container::Container;
use crate::settings::Settings;
use crate::settings::values::ListenAddress;
use crate::status::{self, Reporter};
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::files;
use crate::system::secret::Secret;
use crate::wireguard::{peers, show};

const RESTART_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(2),
    ceiling: Duration::from_secs(60),
};
/// How old what the server tells of WireGuard's handshake may be.
const HANDSHAKE_INTERVAL: Duration = Duration::from_secs(30);

/// Starts it, if the user wants one.
pub(super) fn start(container: &Container) -> Vec<Task<()>> {
    let settings = &container.settings;
    let Some(listen) = settings.status_listen else {
        return Vec::new();
    };
    let key = match key(settings.status_key_file.as_deref()) {
        Ok(key) => key,
        Err(why) => {
            log::error!("There is no status server: STATUS_KEY_FILE={why}");
            return Vec::new();
        }
    };
    let Some(server) = command(listen, settings, key.as_ref()) else {
        return Vec::new();
    };
    let serve = Task::start("status-server", &container.stop, move |stop| {
        keep_running(&server, stop);
    });
    let reporter = container.reporter.clone();
    let handshake = Task::start("handshake", &container.stop, move |stop| {
        watch_handshake(&reporter, stop);
    });
    serve.into_iter().chain(handshake).collect()
}

/// A file without a key would open what it is to close.
fn key(file: Option<&Path>) -> Result<Option<Secret>, String> {
    let Some(file) = file else {
        return Ok(None);
    };
    let path = file.display();
    match files::read_secret(file) {
        Ok(Some(key)) => Ok(Some(key)),
        Ok(None) => Err(format!("{path}: the file is empty; write a key into it")),
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
    let port = settings.port_forwarding.enabled.then_some("--wants-port");
    let exit = settings.status_exit_address.then_some("--tell-exit");
    let command = Command::new(program, words.into_iter().chain(port).chain(exit));
    let key = key.map_or("", Secret::expose);
    Some(command.environment([]).input(key))
}

fn keep_running(server: &Command, stop: &CancellationToken) {
    let mut rng = fastrand::Rng::new();
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let outcome = server.stream(stop, |line| {
            if line.starts_with("listening") {
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

/// To ask WireGuard takes a capability that the server does not have.
fn watch_handshake(reporter: &Reporter, stop: &CancellationToken) {
    while stop.pause(HANDSHAKE_INTERVAL).is_ok() {
        if !show::exists() {
            continue;
        }
        let listed = peers::list(stop).unwrap_or_default();
        let handshake = listed.iter().filter_map(|peer| peer.last_handshake).max();
        reporter.update(|status| status.last_handshake = handshake.map(status::seconds));
    }
}
