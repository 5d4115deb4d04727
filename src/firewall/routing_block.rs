//! The last resort where no packet filter works: a routing rule by which a family's packets have no
//! way to go.
//!
//! Sockets that are bound to an interface do not heed it; what they send on the link looks for its
//! destination there, and finds no router. Raw frames pass, as they pass the packet filter.

use super::tables::Family;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths::RULE_PROTOCOL;
use crate::system::routing_policy::{self, AddressFamily};

/// After the rule for our own addresses, before all others.
const PRIORITY: &str = "1";

/// Drops whatever is not for this network namespace itself.
pub(super) fn block(family: Family) -> Result<(), CommandError> {
    change(family, "add", &["type", "blackhole"])
}

/// Takes the rule back, of an earlier life for one, where the packet filter works now.
pub(super) fn unblock(family: Family) -> Result<(), CommandError> {
    match is_there(family) {
        true => change(family, "delete", &[]),
        false => Ok(()),
    }
}

pub(super) fn is_there(family: Family) -> bool {
    let family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    // A family that the kernel does not have needs no rule.
    let rules = routing_policy::rules(family).unwrap_or_default();
    rules
        .iter()
        .any(|rule| rule.is_blackhole && rule.protocol == RULE_PROTOCOL)
}

fn change(family: Family, verb: &str, what: &[&str]) -> Result<(), CommandError> {
    let flag = match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    };
    let protocol = RULE_PROTOCOL.to_string();
    let ours = ["priority", PRIORITY, "protocol", &protocol];
    let arguments = [&[flag, "rule", verb], what, &ours].concat();
    Command::new("ip", arguments)
        .run(&CancellationToken::never())
        .map(drop)
}
