//! What can go wrong with the firewall, each with what the user can do about it.

use std::net::Ipv4Addr;

use super::backend::Backend;
use crate::system::command::CommandError;

/// The firewall could not be set as it should.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// There is nothing to set it with.
    #[error(
        "firewall: no iptables program for {wanted}: install iptables, or choose the other \
         backend with NFTABLES"
    )]
    NotInstalled { wanted: String },
    /// No backend takes even what is left without missing modules.
    #[error(
        "firewall: no rules can be set: {tried}: on the host load nf_tables and nft_compat, or \
         ip_tables and iptable_filter \
         (modprobe), and give the container `cap_add: [NET_ADMIN, NET_RAW]` (legacy wants the \
         second too)"
    )]
    Unusable { tried: String },
    /// The rules were refused; those of before stay in force.
    #[error(
        "firewall: loading rules with {backend}: {source}: the former rules stay in force; \
         DEBUG=1 shows more"
    )]
    NotLoaded {
        backend: Backend,
        source: CommandError,
    },
    /// A name that cannot stand in a rule.
    #[error("firewall: interface {name:?}: not a name that an interface can have: check FWD_IFACE")]
    Interface { name: String },
    /// A template failed.
    #[error("firewall: rendering rules: {0}")]
    NotRendered(#[from] askama::Error),
    /// A template made something else than a rule.
    #[error("firewall: rendering rules: {line:?} is no rule")]
    NotARule { line: String },
    /// The rule against spoofed packets still names the old address.
    #[error("firewall: moving wg-quick's rule to {address}: {source}: the tunnel works without it")]
    NotMoved {
        address: Ipv4Addr,
        source: CommandError,
    },
}
