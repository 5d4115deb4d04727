//! Environment variables → typed, validated settings.
//!
//! Known only to the story (`main`, `lifecycle`, `connect`, `supervisor`): each capability takes
//! its own small struct.

mod effective;
mod environment;
mod parse;
pub mod values;
pub mod variables;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::firewall::Gateway;
use crate::pia::retry::RetryPolicy;
use crate::system::files::Ownership;
use crate::system::secret::Secret;

pub use environment::Environment;
pub use values::Warning;

/// Which server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerChoice {
    /// `PIA_IP`, `PIA_CN` and `PIA_PORT`.
    Manual { ip: Ipv4Addr, cn: String, port: u16 },
    /// `PIA_DIP_TOKEN`.
    DedicatedIp(Secret),
    /// `LOC`, in order of preference, as typed.
    Locations(Vec<String>),
    /// `LOC=auto`.
    Nearest,
    /// Nothing was said: print the locations.
    Unset,
}

impl ServerChoice {
    /// From a list of location ids, or `auto`.
    pub fn from_locations(text: &str) -> Self {
        let ids: Vec<String> = values::list(text).map(str::to_owned).collect();
        match ids.as_slice() {
            [] => Self::Unset,
            [only] if only.eq_ignore_ascii_case("auto") => Self::Nearest,
            _ => Self::Locations(ids),
        }
    }
}

/// Where username and password are; read when they are needed.
#[derive(Debug, Clone, Default)]
pub struct CredentialSources {
    pub user: Option<Secret>,
    pub password: Option<Secret>,
    pub user_file: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
}

/// A meta server replaces the account API and the host of the server list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub ip: Ipv4Addr,
    pub cn: String,
    pub port: u16,
}

/// The container's name servers while the tunnel is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VpnDns {
    /// Those that the registration names.
    Pia,
    /// `VPNDNS=0`: leave `/etc/resolv.conf` alone.
    Unchanged,
    /// These.
    Custom(Vec<Ipv4Addr>),
}

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

/// The users' command lines, one a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookCommands {
    pub pre_up: Option<String>,
    pub post_up: Option<String>,
    pub pre_down: Option<String>,
    pub post_down: Option<String>,
    pub pre_reconnect: Option<String>,
    pub post_reconnect: Option<String>,
}

/// How the endpoint is probed, for the health check and the monitor.
#[derive(Debug, Clone)]
pub struct Probing {
    /// `ACTIVE_HEALTHCHECKS`
    pub active_healthchecks: bool,
    pub targets: Vec<String>,
    pub timeout: Duration,
}

/// `RECONNECT`, `MONITOR_INTERVAL`, `MONITOR_RETRIES`.
#[derive(Debug, Clone, Copy)]
pub struct Monitor {
    pub enabled: bool,
    pub interval: Duration,
    pub retries: u32,
}

/// Everything the user can set, as meant.
#[derive(Debug, Clone)]
pub struct Settings {
    pub destination: ServerChoice,
    pub stable_ip: bool,
    pub credentials: CredentialSources,
    pub meta: Option<Meta>,
    pub local_network: Vec<Ipv4Net>,
    pub keepalive: Option<u16>,
    pub mtu: Option<u32>,
    pub dns: VpnDns,
    pub port_forwarding: PortForwarding,
    pub firewall: bool,
    pub exit_on_fatal: bool,
    pub fatal_script: Option<String>,
    /// `FWD_IFACE`, `PF_DEST_IP`
    pub gateway: Option<Gateway>,
    pub hooks: HookCommands,
    pub probing: Probing,
    /// `NFTABLES`: `None` chooses by what works.
    pub nf_tables: Option<bool>,
    pub allow_missing_iptables_rules: bool,
    pub monitor: Monitor,
    pub qdisc: Option<String>,
    pub cycle_ports: Vec<u16>,
    pub cycle_interval: Duration,
    /// `CURL_RETRY`, `CURL_RETRY_DELAY`, `CURL_MAX_TIME`
    pub retry: RetryPolicy,
    pub pia_ca_file: PathBuf,
    pub server_list_key_file: PathBuf,
}

impl Settings {
    /// The settings of `environment`, and a warning for each value that could not be taken as it
    /// was.
    pub fn from_environment(environment: &Environment) -> (Self, Vec<Warning>) {
        parse::parse(environment)
    }

    /// The variables that are set, with the values in force, secrets masked: for the log.
    pub fn effective(environment: &Environment) -> String {
        effective::describe(environment)
    }
}
