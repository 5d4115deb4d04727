//! `PORT_FORWARDING` and all that goes with it.

use std::path::PathBuf;
use std::time::Duration;

use super::values::ShellCode;
use super::variables::{Variables, entry};
use super::warning::Warning;
use crate::pia::lease::MAX_REFRESH_INTERVAL;
use crate::system::files::Ownership;

/// `PORT_FORWARDING` and all that goes with it.
#[derive(Debug, Clone)]
pub struct PortForwarding {
    pub enabled: bool,
    pub file: PathBuf,
    pub cleanup: bool,
    pub persist: bool,
    pub fatal: bool,
    pub script: Option<String>,
    pub down_script: Option<String>,
    pub redirect: Option<u16>,
    pub rebind_interval: Duration,
    /// Who may read and write the files under `/pia-shared`: `PUID`, `PGID`, `UMASK`.
    pub ownership: Ownership,
}

impl PortForwarding {
    pub(super) fn of(variables: &Variables, warnings: &mut Vec<Warning>) -> Self {
        Self {
            enabled: variables.port_forwarding,
            file: variables.port_file.0.clone(),
            cleanup: variables.port_file_cleanup,
            persist: variables.port_persist,
            fatal: variables.port_fatal,
            script: ShellCode::command_line(&variables.port_script),
            down_script: ShellCode::command_line(&variables.port_down_script),
            redirect: variables.port_redirect.map(|port| port.0),
            rebind_interval: rebind_interval(variables, warnings),
            ownership: Ownership {
                user: variables.puid,
                group: variables.pgid,
                mode: 0o666 & !variables.umask.0,
            },
        }
    }
}

fn rebind_interval(variables: &Variables, warnings: &mut Vec<Warning>) -> Duration {
    let wanted = variables.port_rebind_interval.0;
    let used = wanted.min(MAX_REFRESH_INTERVAL);
    if used != wanted {
        let problem = format!(
            "{} s are too long, for PIA forgets a port that was not refreshed for 20 minutes",
            wanted.as_secs()
        );
        let most = used.as_secs();
        let consequence = format!("it is refreshed every {most} s ({most} is the most)");
        warnings.push(entry::port_rebind_interval.warning(problem, consequence));
    }
    used
}
