//! `PORT_FORWARDING` and all that goes with it.

use std::path::PathBuf;
use std::time::Duration;

use super::values::ShellCode;
use super::variables::Variables;
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
    pub(super) fn of(variables: &Variables) -> Self {
        Self {
            enabled: variables.port_forwarding,
            file: variables.port_file.0.clone(),
            cleanup: variables.port_file_cleanup,
            persist: variables.port_persist,
            fatal: variables.port_fatal,
            script: ShellCode::command_line(&variables.port_script),
            down_script: ShellCode::command_line(&variables.port_down_script),
            redirect: variables.port_redirect.map(|port| port.0),
            rebind_interval: variables.port_rebind_interval.0,
            ownership: Ownership {
                user: variables.puid,
                group: variables.pgid,
                mode: 0o666 & !variables.umask.0,
            },
        }
    }
}
