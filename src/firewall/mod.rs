//! The kill switch and what it lets through.
//!
//! `policy` says what may flow now, `rules` renders it whole from `templates/` into tables of
//! rules, and [`Firewall::apply`] loads them in one step a family. Nothing is ever added or removed
//! rule by rule, so there is no moment with half of it, and what is loaded is known without asking
//! the kernel. Chains of ours hold our rules; what others have in the built-in chains stays as it
//! is. It does not know who needs the network, nor why.

pub mod anchored;
mod apply;
pub mod arrivals;
mod backend;
mod backend_selection;
mod changes;
mod cleanup;
pub mod diagnose;
mod dropped;
mod earlier_rules;
mod error;
mod frames;
mod ipv6;
mod kernel_modules;
pub mod kill_switch;
mod local_access;
mod open_ranges;
mod openings;
mod owed_rules;
pub mod parsers;
mod policy;
mod private_bin;
mod programs;
mod routing_block;
mod rule;
mod rule_counters;
mod rules;
pub mod seal;
mod table;
mod tables;
mod traffic;
mod wg_quick_rule;
mod wire;

#[cfg(test)]
mod rules_tests;

pub use self::apply::{Firewall, Sealing};
pub use self::backend::Backend;
pub use self::earlier_rules::has_our_chains;
pub use self::error::FirewallError;
pub use self::local_access::{Direction, LocalAccess, parse_range};
pub use self::policy::{
    Destination, EmbeddedDns, EmbeddedDnsAskers, ForwardedPort, Gateway, GatewayDns, Policy,
    TunnelPolicy,
};
pub use self::programs::Programs;
use self::tables::Family;
pub use self::traffic::{PortRange, Protocol, TrafficKind};

/// Leaves this network no way out by other means, where no packet filter can be had; the next load
/// that succeeds takes that back. Says what is open all the same.
pub fn cut_off() {
    if !routing_block::is_there(Family::V4) {
        match routing_block::block(Family::V4) {
            Ok(()) => log::warn!("No packet filter works: a routing rule blocks all IPv4 instead"),
            Err(error) => log::error!("IPv4 is not blocked: {error}"),
        }
    }
    if let Err(why) = ipv6::shut_off() {
        log::error!("IPv6 is not blocked: {why}");
    }
}
