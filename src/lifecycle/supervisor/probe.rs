//! Whether the tunnel carries: a ping, or what the user's own health check says.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container::Container;
use crate::hooks::own_script;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError, status_in_words};
use crate::system::paths;
use crate::tunnel::Tunnel;
use crate::underlay::ping::{Prober, Unanswered};

/// How the tunnel is probed.
pub(super) enum Probe {
    /// Any of the targets of `HEALTHCHECK_PING_TARGET` has to answer within this time.
    Ping(Prober, Duration),
    /// The user's own `/scripts/healthcheck.sh` has to end with 0.
    Script {
        script: PathBuf,
        environment: Vec<(OsString, OsString)>,
    },
}

impl Probe {
    pub(super) fn new(tunnel: &Tunnel, container: &Container) -> Self {
        match own_script::find(own_script::HEALTHCHECK) {
            Some(script) => Self::Script {
                script,
                environment: container.environment(),
            },
            None => Self::Ping(tunnel.prober(container), container.settings.probing.timeout),
        }
    }

    /// Who says that the tunnel carries.
    pub(super) fn run(&self, stop: &CancellationToken) -> Result<String, Unanswered> {
        self.run_within(self.timeout(), stop)
    }

    /// For an answer; a script takes the time that it takes.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Ping(_, timeout) => *timeout,
            Self::Script { .. } => Duration::ZERO,
        }
    }

    /// The same, with so much time for an answer.
    pub(super) fn run_within(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        match self {
            Self::Ping(prober, _) => prober.any_answers(timeout, stop),
            Self::Script {
                script,
                environment,
            } => run_script(script, environment, stop),
        }
    }
}

/// Asks for a look at the tunnel and at nothing else, as the port may come later. By bash, as the
/// file may lack a `#!` line.
fn run_script(
    script: &Path,
    environment: &[(OsString, OsString)],
    stop: &CancellationToken,
) -> Result<String, Unanswered> {
    let command = Command::new("bash", [OsStr::new("-c"), script.as_os_str()])
        .environment(environment.iter().cloned())
        .variable("ACTIVE_HEALTHCHECKS", "1")
        .variable("PORT_FORWARDING", "0")
        .directory(Path::new(paths::WORKING_DIRECTORY));
    let script = script.display().to_string();
    let failure = match command.run(stop) {
        Ok(_) => return Ok(script),
        Err(CommandError::Failed { status, .. }) => {
            format!("{script}: {}", status_in_words(status))
        }
        Err(error) => error.to_string(),
    };
    stop.check()?;
    Err(Unanswered::Silent {
        interface: paths::INTERFACE.to_owned(),
        failures: vec![failure],
    })
}
