//! Environment variables → typed, validated settings.
//!
//! `variables` has an entry for each variable; the other files say what groups of them mean
//! together. The capabilities do not know this module: each takes a small struct of its own.

mod allowed_sources;
mod client_values;
mod credential_sources;
mod dns;
mod environment;
mod exposed_files;
mod gateway;
mod hook_commands;
mod local_network;
mod monitoring;
mod port_clients;
mod port_file;
mod port_forwarding;
mod quotes;
mod read;
mod server_choice;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod user_mistakes_tests;
pub mod values;
pub mod variable;
pub mod variables;
mod warning;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use self::values::{ListenAddress, ShellCode};
use self::variables::{Variables, entry};
use crate::firewall::{Gateway, LocalAccess, TrafficKind, anchored};
use crate::pia::retry::RetryPolicy;
use crate::port_clients::PortClientOptions;
use crate::system::docker::DOCKER_RESOLVER;

pub use credential_sources::CredentialSources;
pub use dns::VpnDns;
pub use environment::Environment;
pub use hook_commands::HookCommands;
pub use monitoring::{MONITOR_ASKS, Monitor, Probing};
pub use port_forwarding::PortForwarding;
pub use read::list;
pub use server_choice::{Meta, SeenServer, ServerChoice};
pub use warning::Warning;

/// Everything the user can set, as meant.
#[derive(Debug, Clone)]
pub struct Settings {
    pub destination: ServerChoice,
    pub stable_ip: bool,
    pub credentials: CredentialSources,
    pub meta: Option<Meta>,
    pub local_network: Vec<LocalAccess>,
    /// `LOCAL_PORTS`
    pub local_ports: Option<Vec<TrafficKind>>,
    pub keepalive: Option<u16>,
    pub mtu: Option<u32>,
    pub dns: VpnDns,
    pub port_forwarding: PortForwarding,
    /// `PORT_CLIENTS`
    pub port_clients: Option<PortClientOptions>,
    pub firewall: bool,
    pub exit_on_fatal: bool,
    pub fatal_script: Option<String>,
    /// `FWD_IFACE`, `FWD_SOURCES`, `FWD_DNS`, `PF_DEST_IP`
    pub gateway: Option<Gateway>,
    pub hooks: HookCommands,
    pub probing: Probing,
    pub exit_address_check: bool,
    /// `STATUS_EXIT_ADDRESS`
    pub status_exit_address: bool,
    /// `STATUS_LISTEN`
    pub status_listen: Option<ListenAddress>,
    /// `STATUS_KEY_FILE`
    pub status_key_file: Option<PathBuf>,
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
    /// As [`Self::from_environment`], for those who have to do with the kill switch of this
    /// network: it may be an anchor's.
    pub fn of_this_network(environment: &Environment) -> (Self, Vec<Warning>) {
        Self::of_network(environment, anchored::is_anchored())
    }

    /// An anchor promises that its network is closed, so a life in it has a kill switch.
    fn of_network(environment: &Environment, is_anchored: bool) -> (Self, Vec<Warning>) {
        let as_set = Self::from_environment(environment);
        if as_set.0.firewall || !is_anchored {
            return as_set;
        }
        let mut environment = environment.clone();
        environment.remove(entry::firewall.name);
        let (settings, mut warnings) = Self::from_environment(&environment);
        let problem = "it is 0, but an anchor (`wireguard-pia seal`) holds this network closed";
        warnings.push(entry::firewall.warning(problem, "there is a kill switch"));
        (settings, warnings)
    }

    /// The settings of `environment`, and a warning for each value that could not be taken as it
    /// was.
    pub fn from_environment(environment: &Environment) -> (Self, Vec<Warning>) {
        let (variables, mut warnings) = environment.variables();
        warnings.extend(exposed_files::warnings(&variables));
        let settings = Self {
            destination: ServerChoice::of(&variables, &mut warnings),
            stable_ip: variables.stable_ip,
            credentials: CredentialSources::of(&variables, environment),
            meta: Meta::of(&variables, &mut warnings),
            local_network: variables.local_network.0.clone(),
            local_ports: local_ports(&variables, &mut warnings),
            // Zero is off, as for wg.
            keepalive: variables.keepalive.filter(|seconds| *seconds > 0),
            mtu: variables.mtu.map(|mtu| mtu.0),
            dns: dns_servers(&variables, &mut warnings),
            port_forwarding: PortForwarding::of(&variables, &mut warnings),
            port_clients: port_clients::of(&variables, &mut warnings),
            firewall: variables.firewall,
            exit_on_fatal: variables.exit_on_fatal,
            fatal_script: ShellCode::text(&variables.fatal_script),
            gateway: gateway::of(&variables, &mut warnings),
            hooks: HookCommands::of(&variables),
            probing: Probing::of(&variables),
            exit_address_check: variables.exit_address_check,
            status_exit_address: variables.status_exit_address,
            status_listen: variables.status_listen,
            status_key_file: variables.status_key_file.clone(),
            nf_tables: variables.nftables,
            allow_missing_iptables_rules: variables.allow_missing_iptables_rules,
            monitor: Monitor::of(&variables),
            qdisc: variables.qdisc.clone(),
            cycle_ports: variables.cycle_ports.iter().map(|port| port.0).collect(),
            cycle_interval: variables.cycle_interval.0,
            retry: RetryPolicy {
                retries: variables.curl_retry,
                delay: variables.curl_retry_delay.0,
                max_time: variables.curl_max_time.0,
            },
            pia_ca_file: variables.pia_ca_file,
            server_list_key_file: variables.pia_serverlist_key_file,
        };
        (settings, warnings)
    }

    /// The IPv4 ranges of `LOCAL_NETWORK`, whatever of them is open: their packets do not go into
    /// the tunnel.
    pub fn local_ranges(&self) -> Vec<Ipv4Net> {
        let mut ranges = Vec::new();
        for access in &self.local_network {
            if let IpNet::V4(range) = access.range
                && !ranges.contains(&range)
            {
                ranges.push(range);
            }
        }
        ranges
    }

    /// Whether something of IPv6 is open, and attached networks with it.
    pub fn opens_ipv6(&self) -> bool {
        let mut ranges = self.local_network.iter().map(|access| access.range);
        ranges.any(|range| matches!(range, IpNet::V6(_)))
    }

    /// Where a program of this network is to listen for what comes to the forwarded port; `None`
    /// where that is another machine's.
    pub fn listening_port(&self, forwarded: u16) -> Option<u16> {
        let elsewhere = self
            .gateway
            .as_ref()
            .and_then(|gateway| gateway.destination);
        let is_here = elsewhere.is_none();
        is_here.then(|| self.port_forwarding.redirect.unwrap_or(forwarded))
    }

    /// `LOC=swiss PASS=*** PRE_UP=(12 characters)`: the variables that are set, secrets masked, for
    /// the log.
    pub fn effective(environment: &Environment) -> String {
        let set: Vec<String> = variables::ALL
            .iter()
            .filter_map(|variable| {
                let value = environment.typed(variable.name)?;
                Some(format!("{}={}", variable.name, variable.shown(value)))
            })
            .collect();
        if set.is_empty() {
            "all defaults".to_owned()
        } else {
            set.join(" ")
        }
    }
}

fn local_ports(variables: &Variables, warnings: &mut Vec<Warning>) -> Option<Vec<TrafficKind>> {
    let ports = variables.local_ports.0.clone();
    if ports.is_some() && !variables.firewall {
        let problem = format!("{} is 0", entry::firewall.name);
        warnings.push(entry::local_ports.warning(problem, "every port is reached"));
    }
    ports
}

/// A server that the kill switch shuts to everybody is none.
fn dns_servers(variables: &Variables, warnings: &mut Vec<Warning>) -> VpnDns {
    let mut dns = variables.vpndns.clone();
    if let VpnDns::Custom { servers, .. } = &mut dns
        && variables.firewall
        && servers.contains(&DOCKER_RESOLVER)
    {
        servers.retain(|server| *server != DOCKER_RESOLVER);
        let problem = format!(
            "{DOCKER_RESOLVER} is Docker's own resolver, which may ask outside the tunnel, so the \
             kill switch shuts it"
        );
        let consequence = format!(
            "it is left out ({}=0 leaves the container's DNS as it is, and Docker's resolver open)",
            entry::vpndns.name
        );
        warnings.push(entry::vpndns.warning(problem, consequence));
    }
    dns
}
