//! How it is found out whether the tunnel still carries traffic.

use std::time::Duration;

use super::variables::Variables;

/// Set where the monitor runs a health check of the user's, for ours, which that may call.
pub const MONITOR_ASKS: &str = "WIREGUARD_PIA_MONITOR";

/// How the endpoint is probed, for the health check and the monitor.
#[derive(Debug, Clone)]
pub struct Probing {
    /// `ACTIVE_HEALTHCHECKS`
    pub active_healthchecks: bool,
    pub targets: Vec<String>,
    pub timeout: Duration,
}

impl Probing {
    pub(super) fn of(variables: &Variables) -> Self {
        let targets = variables.healthcheck_ping_target.iter();
        Self {
            active_healthchecks: variables.active_healthchecks,
            targets: targets.map(|target| target.0.clone()).collect(),
            timeout: variables.healthcheck_ping_timeout.0,
        }
    }
}

/// `RECONNECT`, `MONITOR_INTERVAL`, `MONITOR_RETRIES`.
#[derive(Debug, Clone, Copy)]
pub struct Monitor {
    pub enabled: bool,
    pub interval: Duration,
    pub retries: u32,
}

impl Monitor {
    pub(super) fn of(variables: &Variables) -> Self {
        Self {
            enabled: variables.reconnect,
            interval: variables.monitor_interval.0,
            retries: variables.monitor_retries.0,
        }
    }
}
