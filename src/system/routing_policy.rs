//! The kernel's routing rules, read without a process: what `ip rule show` would print.

use std::io;
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, Parseable,
};
pub use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use nix::sys::socket::{
    self, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
};

/// The main table, by its number.
pub const MAIN_TABLE: u32 = 254;
/// What the kernel puts into one datagram at most (`NLMSG_GOODSIZE` and netlink's own limit).
const MAX_DATAGRAM: usize = 32 * 1024;
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
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(Rule(request)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let socket = socket::socket(
        socket::AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())?;
    let mut rules = Vec::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if !read(buffer.get(..length).unwrap_or_default(), &mut rules)? {
            return Ok(rules);
        }
    }
}

/// Adds what a datagram lists; whether more is to come.
///
/// # Errors
/// When it is no answer of the kernel's, or says that there is an error.
pub fn read(datagram: &[u8], rules: &mut Vec<KernelRule>) -> io::Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<Rule>::deserialize(rest).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(Rule(rule)) => rules.push(KernelRule::from(rule)),
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
            }
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        // Messages begin at multiples of four bytes.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
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

/// The only kind of message here, so that the program carries no more of the protocol.
struct Rule(RuleMessage);

impl NetlinkSerializable for Rule {
    fn message_type(&self) -> u16 {
        RTM_GETRULE
    }

    fn buffer_len(&self) -> usize {
        self.0.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }
}

impl NetlinkDeserializable for Rule {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        RuleMessage::parse(payload).map(Self)
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
        let datagram = include_bytes!("../../tests/fuzz/corpus/kernel_rules/ipv4_and_done");
        let mut listed = Vec::new();
        assert!(!read(datagram, &mut listed).unwrap());
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

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let refused = rules(AddressFamily::Other(77)).unwrap_err();
        assert_ne!(refused.raw_os_error(), None);
    }
}
