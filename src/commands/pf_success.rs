//! `pf_success.sh`: opens the firewall for a forwarded port and runs `PORT_SCRIPT`, for users whose
//! own scripts call it. The container's own port needs none of this.

use std::net::Ipv4Addr;

use crate::failure::Failure;
use crate::hooks;
use crate::settings::{Environment, Settings};
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::paths::INTERFACE;

/// Open the firewall for a forwarded port and run PORT_SCRIPT, as pf_success.sh did.
///
/// FIREWALL, FWD_IFACE, PF_DEST_IP and PORT_SCRIPT are obeyed as in the container.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The forwarded port.
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

/// Adds the rules that are not there yet, then starts the script and leaves it running.
///
/// # Errors
/// When a rule or the script fails.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let (settings, _) = Settings::of_this_network(environment);
    let port = arguments.port;
    let opened = open(port, &settings, stop);
    if let Some(script) = &settings.port_forwarding.script {
        log::info!("Running PORT_SCRIPT");
        Command::new("bash", ["-c", &hooks::with_port(script, port)])
            .show_as("-c (PORT_SCRIPT)")
            .leave_running()?;
    }
    opened
}

fn open(port: u16, settings: &Settings, stop: &CancellationToken) -> Result<(), Failure> {
    if settings.firewall {
        add(&incoming(port), stop)?;
        log::info!("Allowing incoming traffic on port {port}");
    }
    if let Some(gateway) = &settings.gateway
        && let Some(destination) = gateway.destination
    {
        for interface in &gateway.interfaces {
            add(&handed_on(port, interface, destination), stop)?;
        }
        log::info!("Forwarding incoming VPN traffic on port {port} to {destination}:{port}");
    }
    Ok(())
}

/// A rule of a table and chain, in words of iptables.
struct IptablesRule {
    table: &'static str,
    chain: &'static str,
    words: String,
}

fn incoming(port: u16) -> Vec<IptablesRule> {
    let words = |protocol| format!("-p {protocol} -i {INTERFACE} --dport {port} -j ACCEPT");
    ["tcp", "udp"]
        .map(|protocol| IptablesRule {
            table: "filter",
            chain: "INPUT",
            words: words(protocol),
        })
        .into()
}

fn handed_on(port: u16, interface: &str, to: Ipv4Addr) -> Vec<IptablesRule> {
    let of = |protocol| {
        let forward =
            format!("-i {INTERFACE} -o {interface} -p {protocol} -d {to} --dport {port} -j ACCEPT");
        let hand_on = format!(
            "-i {INTERFACE} -p {protocol} --dport {port} -j DNAT --to-destination {to}:{port}"
        );
        [
            IptablesRule {
                table: "filter",
                chain: "FORWARD",
                words: forward,
            },
            IptablesRule {
                table: "nat",
                chain: "PREROUTING",
                words: hand_on,
            },
        ]
    };
    ["tcp", "udp"].into_iter().flat_map(of).collect()
}

/// Adds those that are not there yet: doing it again changes nothing.
fn add(rules: &[IptablesRule], stop: &CancellationToken) -> Result<(), Failure> {
    for IptablesRule {
        table,
        chain,
        words,
    } in rules
    {
        let iptables = |action| {
            let words = ["-w", "5", "-t", table, action, chain]
                .into_iter()
                .chain(words.split(' '));
            Command::new("iptables", words).run(stop)
        };
        if iptables("-C").is_err() {
            iptables("-A")?;
        }
    }
    Ok(())
}
