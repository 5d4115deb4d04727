//! Whether the tunnel carries: a ping, or what the user's own health check says.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::container::Container;
use crate::hooks::own_script;
use crate::settings::MONITOR_ASKS;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError, status_in_words};
use crate::system::paths;
use crate::tunnel::Tunnel;
use crate::underlay::first_sign::Witnesses;
use crate::underlay::ping::{Prober, Unanswered};

/// For the user's own health check, as Docker gives one by default.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The same while a search waits for the answer: no server is looked for meanwhile.
const SEARCH_SCRIPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the tunnel is probed.
pub(super) enum Probe {
    /// Any of the targets of `HEALTHCHECK_PING_TARGET` has to answer within this time.
    Ping(Prober, Duration),
    /// The user's own `/scripts/healthcheck.sh` has to end with 0.
    Script {
        script: PathBuf,
        environment: Vec<(OsString, OsString)>,
        /// Where these have answered by this server, a search asks them first, for this time: the
        /// script may be content with an interface.
        witnesses: Option<(Witnesses, Duration)>,
    },
}

impl Probe {
    pub(super) fn new(tunnel: &Tunnel, container: &Container) -> Self {
        let timeout = container.settings.probing.timeout;
        let has_answered = tunnel.has_answered.load(Ordering::Relaxed);
        match own_script::find(own_script::HEALTHCHECK) {
            Some(script) => Self::Script {
                script,
                environment: container.environment(),
                witnesses: has_answered.then(|| (tunnel.witnesses(), timeout)),
            },
            None => Self::Ping(tunnel.prober(container), timeout),
        }
    }

    /// Who says that the tunnel carries.
    pub(super) fn run(&self, stop: &CancellationToken) -> Result<String, Unanswered> {
        match self {
            Self::Ping(prober, timeout) => prober.any_answers(*timeout, stop),
            Self::Script {
                script,
                environment,
                ..
            } => run_script(script, environment, SCRIPT_TIMEOUT, stop),
        }
    }

    /// For an answer from inside the tunnel in a search; a script has a limit of its own.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Ping(_, timeout) => *timeout,
            Self::Script { witnesses, .. } => {
                let timeout = witnesses.as_ref().map(|(_, timeout)| *timeout);
                timeout.unwrap_or_default()
            }
        }
    }

    /// Who says in a search that the old tunnel carries, with so much time for an answer.
    pub(super) fn run_in_search(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        match self {
            Self::Ping(prober, _) => prober.any_answers(timeout, stop),
            Self::Script {
                script,
                environment,
                witnesses,
            } => {
                if let Some((witnesses, _)) = witnesses
                    && !witnesses.any_answers(timeout, stop)?
                {
                    return Err(silent("nobody inside answers".to_owned()));
                }
                run_script(script, environment, SEARCH_SCRIPT_TIMEOUT, stop)
            }
        }
    }
}

fn silent(failure: String) -> Unanswered {
    Unanswered::Silent {
        interface: paths::INTERFACE.to_owned(),
        failures: vec![failure],
    }
}

/// Asks for a look at the tunnel and at nothing else, as the port may come later. By bash, as the
/// file may lack a `#!` line. One that takes longer than `limit` is ended, and has failed.
fn run_script(
    script: &Path,
    environment: &[(OsString, OsString)],
    limit: Duration,
    stop: &CancellationToken,
) -> Result<String, Unanswered> {
    let command = Command::new("bash", [OsStr::new("-c"), script.as_os_str()])
        .environment(environment.iter().cloned())
        .variable("ACTIVE_HEALTHCHECKS", "1")
        .variable("PORT_FORWARDING", "0")
        .variable(MONITOR_ASKS, "1")
        .directory(Path::new(paths::WORKING_DIRECTORY));
    let script = script.display().to_string();
    let outcome = stop.limited(limit, |limited| command.run(limited));
    let failure = match outcome {
        Ok(_) => return Ok(script),
        Err(CommandError::Failed { status, .. }) => {
            format!("{script}: {}", status_in_words(status))
        }
        Err(CommandError::Interrupted { .. }) => {
            format!("{script}: no end within {} s", limit.as_secs())
        }
        Err(error) => error.to_string(),
    };
    stop.check()?;
    Err(silent(failure))
}
