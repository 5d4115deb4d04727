//! The WireGuard interface: its keys, its configuration, wg-quick, what `wg show` says, and the
//! routes around it.

pub mod conf;
pub mod hung;
pub mod keys;
pub mod leftovers;
pub mod overhead;
pub mod parsers;
pub mod peering;
pub mod peers;
pub mod routing_rules;
pub mod set;
pub mod show;
pub mod sysctl;
pub mod wg_quick;

use std::net::Ipv4Addr;

use crate::system::command::CommandError;
use crate::system::files::FileError;
use crate::system::paths::INTERFACE;

/// The tunnel could not be set up, changed or taken down.
#[derive(Debug, thiserror::Error)]
pub enum WireGuardError {
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// `wg`, `ip` or `tc`.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The program that carries the interface takes what it is told, and is stuck.
    #[error("the program that carries {INTERFACE} does not answer")]
    Silent,
    /// The interface does not take it, or does not give it back.
    #[error("the address {address} of {INTERFACE}: {source}")]
    Address {
        address: Ipv4Addr,
        source: std::io::Error,
    },
    /// For a key.
    #[error("a new key: the kernel gives no random bytes")]
    Random,
    /// The kernel does not list them.
    #[error("routing rules: {0}")]
    RoutingRules(#[from] std::io::Error),
    /// The template could not be rendered.
    #[error("rendering {what}: {source}")]
    Template {
        what: &'static str,
        source: askama::Error,
    },
    /// Our name is taken, by what we did not make.
    #[error(
        "an interface {INTERFACE} is there that is not ours, and it is left as it is: take it down \
         or rename it, or run this in a network of its own (without `network_mode: host`)"
    )]
    ForeignInterface,
    /// wg-quick itself.
    #[error("bringing up {INTERFACE}: {source}{}", wg_quick::advice(.complaints))]
    Quick {
        source: CommandError,
        complaints: String,
    },
}
