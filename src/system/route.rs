//! The way to an address, and a table's default route, read without a process: what `ip route get`
//! and `ip route show` would print.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, parse_u32};
use nix::libc::AF_INET;
use nix::net::if_::if_indextoname;

use super::netlink::{self, attribute, attributes};

// From linux/rtnetlink.h.
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const RTAX_MTU: u16 = 2;
/// Before the attributes stand family, lengths of the prefixes and what else a route has.
const HEADER_LENGTH: usize = 12;
const WHOLE_ADDRESS: u8 = 32;

/// A route as it was found for an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Of its destination, in bits: 0 for a default route.
    pub prefix_length: u8,
    pub table: u32,
    pub interface: Option<String>,
    /// The route's own, which comes before the interface's.
    pub mtu: Option<u32>,
}

/// The route that a packet without a mark takes.
///
/// # Errors
/// When there is none.
pub fn to(address: Ipv4Addr) -> io::Result<Route> {
    let mut request = header(WHOLE_ADDRESS);
    request.extend(attribute(RTA_DST, &address.octets()));
    let mut found = Route::default();
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    netlink::ask(RTM_GETROUTE, flags, &request, |answer| {
        found = parse(answer)?;
        Ok(())
    })?;
    Ok(found)
}

/// Whether this table has a default route by this interface.
///
/// # Errors
/// When the kernel does not say.
pub fn has_default(table: u32, interface: &str) -> io::Result<bool> {
    let mut is_there = false;
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    netlink::ask(RTM_GETROUTE, flags, &header(0), |answer| {
        let route = parse(answer)?;
        is_there |= route.prefix_length == 0
            && route.table == table
            && route.interface.as_deref() == Some(interface);
        Ok(())
    })?;
    Ok(is_there)
}

/// Of a question about routes of IPv4.
fn header(prefix_length: u8) -> Vec<u8> {
    let mut header = vec![0; HEADER_LENGTH];
    if let [family, length, ..] = header.as_mut_slice() {
        *family = AF_INET.unsigned_abs().try_into().unwrap_or_default();
        *length = prefix_length;
    }
    header
}

/// One route, out of the kernel's message. The library's reader of routes knows kinds of tunnels
/// that nobody has here, and would add 50 kB to the program.
///
/// # Errors
/// When it is none.
pub fn parse(message: &[u8]) -> io::Result<Route> {
    let mut route = Route::default();
    if let [_family, prefix_length, _source, _tos, table, ..] = message {
        route.prefix_length = *prefix_length;
        route.table = (*table).into();
    }
    for attribute in attributes(message.get(HEADER_LENGTH..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind() {
            RTA_OIF => {
                let index = parse_u32(attribute.value()).map_err(io::Error::other)?;
                let name = if_indextoname(index).ok();
                route.interface = name.and_then(|name| name.into_string().ok());
            }
            // The header's field is too small for most numbers.
            RTA_TABLE => route.table = parse_u32(attribute.value()).map_err(io::Error::other)?,
            RTA_METRICS => {
                for metric in attributes(attribute.value()) {
                    let metric = metric?;
                    if metric.kind() == RTAX_MTU {
                        route.mtu = parse_u32(metric.value()).ok();
                    }
                }
            }
            _ => {}
        }
    }
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_oneself_is_lo() {
        let route = to(Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(route.interface.as_deref(), Some("lo"));
    }

    #[test]
    fn a_table_without_a_default_route_has_none() {
        assert!(!has_default(255, "lo").unwrap());
        assert!(!has_default(51_999, "wg0").unwrap());
    }

    #[test]
    fn the_mtu_of_a_route_is_its_own() {
        let datagram = include_bytes!("../../tests/fuzz/corpus/kernel_answer/route_with_mtu");
        let mut routes = Vec::new();
        let is_end = netlink::read(datagram, &mut |message: &[u8]| {
            routes.push(parse(message)?);
            Ok(())
        });
        assert!(!is_end.unwrap());
        assert_eq!(routes.first().and_then(|route| route.mtu), Some(1450));
        let first = routes.first();
        let found = first.map(|route| (route.prefix_length, route.table));
        assert_eq!(found, Some((32, 254)));
    }
}
