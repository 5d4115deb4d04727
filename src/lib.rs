//! wireguard-pia: joins Private Internet Access over WireGuard and lends its network to other
//! containers.
//!
//! # The map
//!
//! `main` sets up the log and calls [`cli`], which turns the arguments into one of these:
//!
//! - **The container**: `lifecycle`, a life from its first rule to its last, one line a step. It
//!   rests on `container` (environment, settings, hooks, status) and works with `connect` (from an
//!   account to a registration), `tunnel` (what stands on one) and `port_forward` (a port that
//!   stays bound);
//!   `lifecycle::supervisor` is its loop while a tunnel stands, and does what commands ask for.
//! - **An anchor** (`seal`): `lifecycle::anchor`, which closes a network, owns it and waits.
//! - **A command by hand**: `commands`, on the same modules.
//!
//! `failure` says of whatever failed how it is told and whether trying again helps. Below are the
//! capabilities, which do not know each other: `pia` (its API), `wireguard` (wg0.conf, wg-quick,
//! wg), `firewall` (policy, rules, backends, kill switch), `underlay` (the network below the
//! tunnel: names, sockets, HTTP, pings), `port_clients` (programs that are told the port),
//! `settings`, `hooks`, `status`, `control` (how commands reach a running life); and below them
//! `system`.
//! Arrows only point down, and no file imports one that imports it: `tests/architecture.rs` holds
//! that to account. `docs/architecture.md` draws the threads, the states and the path of a rule.
//!
//! # The rules of the code
//!
//! - **Decide, then act.** The rule set, the next server, whether a rebind is due: pure functions,
//!   time included.
//! - **Every wait takes a [`CancellationToken`](system::cancellation::CancellationToken)**: a pause
//!   ends, a child's process group gets SIGTERM, a socket is shut down, and the callers return. So
//!   a stop is obeyed within a second, whatever is under way.
//! - **The main loop alone changes the tunnel.** Long tasks report to it over one channel.
//! - **The firewall is a value**, rendered whole and loaded in one step a family; nothing adds and
//!   removes single rules.
//! - **Untunnelled traffic of ours** carries the tunnel's mark, and each rule for it names the
//!   exact destination too, as others in the same network can set the mark.

/// What the tests of the rules need, which load them into namespaces of their own. They need root,
/// so they lie with the other tests of that kind and not with the unit tests.
#[doc(hidden)]
pub mod firewall_internals {
    pub use crate::firewall::kill_switch::{KillSwitch, NameServerAccess, first_policy};
    pub use crate::firewall::seal::Seal;
    pub use crate::firewall::{
        Backend, Destination, Direction, EmbeddedDns, EmbeddedDnsAskers, Firewall, FirewallError,
        ForwardedPort, Gateway, LocalAccess, Policy, PortRange, Programs, Protocol, Sealing,
        TrafficKind, TunnelPolicy,
    };
    pub use crate::system::cancellation::CancellationToken;
}

/// Every reader of bytes from outside, for the fuzzer in `tests/fuzz`.
#[doc(hidden)]
pub mod parser_internals {
    pub use crate::commands::status_server::head as http_head;
    pub use crate::control::message as control_message;
    pub use crate::firewall::parsers as firewall;
    pub use crate::lifecycle::kept_choice;
    pub use crate::pia::parsers as pia;
    pub use crate::pia::regions::Server;
    pub use crate::port_clients::parsers as port_clients;
    pub use crate::system::netlink;
    pub use crate::system::nf_tables;
    pub use crate::system::route;
    pub use crate::system::routing_policy;
    pub use crate::system::secret::Secret;
    pub use crate::underlay::http::Response;
    pub use crate::underlay::name_servers;
    pub use crate::underlay::parsers as underlay;
    pub use crate::wireguard::conf::Conf;
    pub use crate::wireguard::parsers as wireguard;
}

pub mod cli;
mod commands;
mod connect;
mod container;
mod control;
mod failure;
mod firewall;
mod hooks;
mod lifecycle;
mod pia;
mod port_clients;
mod port_forward;
pub mod settings;
mod status;
mod system;
mod tunnel;
mod underlay;
mod wireguard;
