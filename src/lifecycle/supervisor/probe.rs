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
        self.within(self.timeout(), SCRIPT_TIMEOUT, stop)
    }

    /// For an answer; a script answers as it is at the moment, and has a limit of its own.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Ping(_, timeout) => *timeout,
            Self::Script { .. } => Duration::ZERO,
        }
    }

    /// The same for a search, with so much time for an answer to a ping.
    pub(super) fn run_in_search(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        self.within(timeout, SEARCH_SCRIPT_TIMEOUT, stop)
    }

    fn within(
        &self,
        for_answer: Duration,
        for_script: Duration,
        stop: &CancellationToken,
    ) -> Result<String, Unanswered> {
        match self {
            Self::Ping(prober, _) => prober.any_answers(for_answer, stop),
            Self::Script {
                script,
                environment,
            } => run_script(script, environment, for_script, stop),
        }
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
        .directory(Path::new(paths::WORKING_DIRECTORY));
    let script = script.display().to_string();
    let outcome = CancellationToken::within(limit, |limited| {
        let limited_too = limited.clone();
        let _guard = stop.on_cancel(move || limited_too.cancel());
        command.run(limited)
    });
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
    Err(Unanswered::Silent {
        interface: paths::INTERFACE.to_owned(),
        failures: vec![failure],
    })
}
