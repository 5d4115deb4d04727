//! The kernel's routing rules, read without a process: what `ip rule show` would print.

use std::io;

use ipnet::IpNet;
use netlink_packet_core::{Emitable, NLM_F_DUMP, NLM_F_REQUEST, Parseable};
pub use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::netlink;

/// The main table, by its number.
pub const MAIN_TABLE: u32 = 254;
/// From linux/rtnetlink.h.
const RTM_GETRULE: u16 = 34;

/// A routing rule, as ip-rule(8) describes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelRule {
    pub preference: u32,
    /// `not`
    pub is_inverted: bool,
    /// `to`
    pub to: Option<IpNet>,
    /// `fwmark`, without its mask.
    pub mark: Option<u32>,
    /// `lookup`; 0 where the rule looks nothing up.
    pub table: u32,
    /// `suppress_prefixlength`
    pub suppressed_prefix_length: Option<u32>,
    /// `protocol`
    pub protocol: u8,
    pub is_blackhole: bool,
    /// It has a selector that is none of the above.
    pub has_other_selectors: bool,
}

/// The rules of this address family, in the order in which the kernel obeys them.
///
/// # Errors
/// When the kernel does not answer, or refuses: a family that it does not have.
pub fn rules(family: AddressFamily) -> io::Result<Vec<KernelRule>> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    let mut question = vec![0; request.buffer_len()];
    request.emit(&mut question);
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut rules = Vec::new();
    netlink::ask(RTM_GETRULE, flags, &question, |answer| {
        rules.push(parse(answer)?);
        Ok(())
    })?;
    Ok(rules)
}

/// Whether the kernel keeps the protocols of the rules that it lists so. Linux before 4.17 does
/// not; since then its own rules have one.
pub fn keep_protocols(rules: &[KernelRule]) -> bool {
    rules.iter().any(|rule| rule.protocol != 0)
}

/// One rule, out of the kernel's message.
///
/// # Errors
/// When it is none.
pub fn parse(message: &[u8]) -> io::Result<KernelRule> {
    let message = RuleMessage::parse(message).map_err(io::Error::other)?;
    Ok(KernelRule::from(message))
}

impl From<RuleMessage> for KernelRule {
    fn from(message: RuleMessage) -> Self {
        let header = &message.header;
        let mut rule = Self {
            is_inverted: header.flags.contains(RuleFlags::Invert),
            table: header.table.into(),
            is_blackhole: header.action == RuleAction::Blackhole,
            has_other_selectors: header.src_len != 0 || header.tos != 0,
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                RuleAttribute::Priority(preference) => rule.preference = preference,
                RuleAttribute::Destination(address) => {
                    rule.to = IpNet::new(address, header.dst_len).ok();
                }
                RuleAttribute::FwMark(mark) => rule.mark = Some(mark),
                RuleAttribute::Table(table) => rule.table = table,
                RuleAttribute::SuppressPrefixLen(length) => {
                    // All bits set: there is none.
                    rule.suppressed_prefix_length = Some(length).filter(|it| *it != u32::MAX);
                }
                RuleAttribute::Protocol(protocol) => rule.protocol = protocol.into(),
                RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::Source(_)
                | RuleAttribute::L3MDev(true)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_)
                | RuleAttribute::TunId(_) => rule.has_other_selectors = true,
                _ => {}
            }
        }
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_rules_are_those_that_ip_shows() {
        let rules = rules(AddressFamily::Inet).unwrap();
        let main = KernelRule {
            preference: 32766,
            table: MAIN_TABLE,
            protocol: 2,
            ..KernelRule::default()
        };
        assert!(rules.contains(&main), "{rules:?}");
    }

    #[test]
    fn every_kind_of_rule_is_told_from_the_others() {
        let datagram = include_bytes!("../../tests/fuzz/corpus/kernel_answer/rules");
        let mut listed = Vec::new();
        let is_end = netlink::read(datagram, &mut |message: &[u8]| {
            listed.push(parse(message)?);
            Ok(())
        });
        assert!(is_end.unwrap());
        let [block, pin, suppress, tunnel] = [1, 9, 32764, 32765].map(|preference| {
            let mut found = listed.iter().filter(|rule| rule.preference == preference);
            found.next().unwrap()
        });
        assert!(block.is_blackhole && block.table == 0);
        assert_eq!(pin.to, Some("10.0.0.243/32".parse().unwrap()));
        assert_eq!(
            (suppress.suppressed_prefix_length, suppress.table),
            (Some(0), 254)
        );
        assert!(tunnel.is_inverted && !pin.is_inverted);
        assert_eq!((tunnel.mark, tunnel.table), (Some(51820), 51820));
        let is_special = |rule: &&KernelRule| rule.has_other_selectors;
        assert_eq!(listed.iter().filter(is_special).count(), 1);
        assert!(
            [block, pin, suppress, tunnel]
                .iter()
                .all(|rule| rule.protocol == 51)
        );
    }

    /// The same rules without their protocols.
    #[test]
    fn a_kernel_that_keeps_no_protocols_is_known() {
        let listed = |datagram: &[u8]| {
            let mut listed = Vec::new();
            let is_end = netlink::read(datagram, &mut |message: &[u8]| {
                listed.push(parse(message)?);
                Ok(())
            });
            assert!(is_end.unwrap());
            listed
        };
        let new = listed(include_bytes!(
            "../../tests/fuzz/corpus/kernel_answer/rules"
        ));
        let old = listed(include_bytes!(
            "../../tests/fuzz/corpus/kernel_answer/rules_without_protocols"
        ));
        assert!(keep_protocols(&new) && !keep_protocols(&old));
        let stripped = new.into_iter().map(|rule| KernelRule {
            protocol: 0,
            ..rule
        });
        assert_eq!(stripped.collect::<Vec<_>>(), old);
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let refused = rules(AddressFamily::Other(77)).unwrap_err();
        assert_ne!(refused.raw_os_error(), None);
    }
}
