//! What the LAN and attached networks may do, taken apart into what single rules say.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::local_access::{Direction, LocalAccess};
use super::policy::TunnelPolicy;
use super::tables::Family;
use super::traffic::{Matched, TrafficKind};

/// `ff02::/16`, groups of the link.
const LINK_GROUPS: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0), 16);
/// `fe80::/10`, hosts of the link.
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// A range that is reached by an interface outside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenRange<'a> {
    pub interface: &'a str,
    pub range: IpNet,
    /// What those of the range may begin.
    pub arriving: Vec<Matched>,
    /// What we may begin, answers to anything included where that is everything.
    pub leaving: Vec<Matched>,
    /// What we may answer.
    pub answers: Vec<Matched>,
}

/// Those of this family, attached networks first.
pub(super) fn open_ranges(tunnel: &TunnelPolicy, family: Family) -> Vec<OpenRange<'_>> {
    let attached = tunnel
        .attached
        .iter()
        .map(|(interface, network)| (interface, LocalAccess::from(*network)));
    let local = tunnel
        .local
        .iter()
        .map(|(interface, access)| (interface, *access));
    attached
        .chain(local)
        .filter(|(_, access)| Family::of(&access.range) == family)
        .map(|(interface, access)| open_range(interface, access, tunnel.local_ports.as_deref()))
        .collect()
}

/// An IPv6 link whose neighbours are to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbourhood<'a> {
    pub interface: &'a str,
    /// Where questions and answers about neighbours go.
    pub ranges: Vec<IpNet>,
}

/// One for each interface by which something is reached.
pub(super) fn neighbourhoods<'a>(open_ranges: &[OpenRange<'a>]) -> Vec<Neighbourhood<'a>> {
    let names: BTreeSet<&str> = open_ranges
        .iter()
        .map(|open_range| open_range.interface)
        .collect();
    let of_link = [LINK_GROUPS, LINK_LOCAL].map(IpNet::V6);
    let ranges = |interface: &str| {
        let mut ranges = Vec::from(of_link);
        for open_range in open_ranges {
            if open_range.interface == interface && !ranges.contains(&open_range.range) {
                ranges.push(open_range.range);
            }
        }
        ranges
    };
    names
        .into_iter()
        .map(|interface| Neighbourhood {
            interface,
            ranges: ranges(interface),
        })
        .collect()
}

/// The ranges that may come in and are not simply reached: nobody here may begin in their name.
pub(super) fn answered(open_ranges: &[OpenRange<'_>]) -> BTreeSet<IpNet> {
    open_ranges
        .iter()
        .filter(|open_range| !open_range.answers.is_empty())
        .map(|open_range| open_range.range)
        .collect()
}

fn open_range<'a>(
    interface: &'a str,
    access: LocalAccess,
    local_ports: Option<&[TrafficKind]>,
) -> OpenRange<'a> {
    let here = match local_ports {
        Some(ports) if access.traffic == TrafficKind::default() => ports.to_vec(),
        _ => vec![access.traffic],
    };
    let here: Vec<Matched> = here.into_iter().flat_map(TrafficKind::matched).collect();
    let (arriving, leaving) = match access.direction {
        Direction::Both => (here, access.traffic.matched()),
        Direction::In => (here, Vec::new()),
        Direction::Out => (Vec::new(), access.traffic.matched()),
    };
    let answers = match leaving.contains(&Matched::All) {
        true => Vec::new(),
        false => arriving.clone(),
    };
    OpenRange {
        interface,
        range: access.range,
        arriving,
        leaving,
        answers,
    }
}
