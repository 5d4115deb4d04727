//! The last resort where no packet filter works: a routing rule by which a family's packets have no
//! way to go.
//!
//! Sockets that are bound to an interface do not heed it; what they send on the link looks for its
//! destination there, and finds no router. Raw frames pass, as they pass the packet filter.

use super::tables::Family;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};

/// Which routing rules are ours: `protocol`, as ip-rule(8) calls it.
const PROTOCOL: &str = "51";
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
    let arguments = [flag(family), "rule", "list", "protocol", PROTOCOL];
    Command::new("ip", arguments)
        .run(&CancellationToken::never())
        .is_ok_and(|listed| listed.contains("blackhole"))
}

fn change(family: Family, verb: &str, what: &[&str]) -> Result<(), CommandError> {
    let ours = ["priority", PRIORITY, "protocol", PROTOCOL];
    let arguments = [&[flag(family), "rule", verb], what, &ours].concat();
    Command::new("ip", arguments)
        .run(&CancellationToken::never())
        .map(drop)
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}
