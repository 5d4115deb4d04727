//! The last resort where no packet filter works: a routing rule by which a family's packets have no
//! way to go.
//!
//! Sockets that are bound to an interface do not heed it; what they send on the link looks for its
//! destination there, and finds no router. Raw frames pass, as they pass the packet filter.

use super::tables::Family;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths::RULE_PROTOCOL;
use crate::system::routing_policy::{self, AddressFamily, KernelRule};

/// After the rule for our own addresses, before all others.
const PRIORITY: u32 = 1;

/// Drops whatever is not for this network namespace itself.
pub(super) fn block(family: Family) -> Result<(), CommandError> {
    change(family, "add")
}

/// Takes the rule back, of an earlier life for one, where the packet filter works now.
pub(super) fn unblock(family: Family) -> Result<(), CommandError> {
    match is_there(family) {
        true => change(family, "delete"),
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
    is_among(&rules)
}

/// By its protocol, or by its place where the kernel keeps no protocols.
fn is_among(rules: &[KernelRule]) -> bool {
    let kept = routing_policy::keep_protocols(rules);
    let is_ours = |rule: &KernelRule| match kept {
        true => rule.protocol == RULE_PROTOCOL,
        false => rule.preference == PRIORITY,
    };
    rules.iter().any(|rule| rule.is_blackhole && is_ours(rule))
}

fn change(family: Family, verb: &str) -> Result<(), CommandError> {
    let flag = match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    };
    let (priority, protocol) = (PRIORITY.to_string(), RULE_PROTOCOL.to_string());
    let place = ["priority", &priority, "protocol", &protocol];
    let arguments = [&[flag, "rule", verb, "type", "blackhole"], &place[..]].concat();
    Command::new("ip", arguments)
        .run(&CancellationToken::never())
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_blackhole_is_told_from_others() {
        let blackhole = |preference: u32, protocol: u8| KernelRule {
            preference,
            protocol,
            is_blackhole: true,
            ..KernelRule::default()
        };
        let of_kernel = KernelRule {
            protocol: 2,
            ..KernelRule::default()
        };
        for (rule, kept, expected) in [
            (blackhole(1, RULE_PROTOCOL), true, true),
            (blackhole(1, 0), true, false),
            // As Linux lists them before 4.17.
            (blackhole(1, 0), false, true),
            (blackhole(2, 0), false, false),
            (
                KernelRule {
                    is_blackhole: false,
                    ..blackhole(1, 0)
                },
                false,
                false,
            ),
        ] {
            let rules = [Some(rule), kept.then(|| of_kernel.clone())];
            let rules: Vec<KernelRule> = rules.into_iter().flatten().collect();
            assert_eq!(is_among(&rules), expected, "{rules:?}");
        }
    }
}
