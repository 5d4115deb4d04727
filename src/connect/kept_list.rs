//! A server list as it is kept while nobody looks at it.
//!
//! A list has some two hundred locations and their servers, of which each name is an allocation of
//! its own; packed they take half of that, for the weeks in which a tunnel stands.

use std::cell::OnceCell;
use std::net::Ipv4Addr;

use crate::pia::regions::{Location, Server, ServerList};

/// A list that is unpacked when it is looked at, and stays so until it is to rest.
pub(super) struct KeptList {
    packed: PackedList,
    unpacked: OnceCell<ServerList>,
}

impl KeptList {
    /// Unpacked, as a new list is looked at.
    pub(super) fn new(list: ServerList) -> Self {
        Self {
            packed: PackedList::of(&list),
            unpacked: OnceCell::from(list),
        }
    }

    /// The list.
    pub(super) fn list(&self) -> &ServerList {
        self.unpacked.get_or_init(|| self.packed.unpack())
    }

    /// The list, for those who want to change it.
    pub(super) fn into_list(mut self) -> ServerList {
        let unpacked = self.unpacked.take();
        unpacked.unwrap_or_else(|| self.packed.unpack())
    }

    /// Nobody will look at it soon.
    pub(super) fn rest(&mut self) {
        self.unpacked.take();
    }
}

/// All names are in one text, one after the other.
struct PackedList {
    registration_port: u16,
    names: Box<str>,
    locations: Box<[PackedLocation]>,
    /// Those of the first location, of the second, and so on.
    servers: Box<[PackedServer]>,
}

/// Lengths are in bytes of the names.
struct PackedLocation {
    id: u32,
    name: u32,
    country: u32,
    /// How many servers are its own.
    servers: u32,
    port_forward: bool,
    geo: bool,
    offline: bool,
}

struct PackedServer {
    cn: u32,
    ip: Ipv4Addr,
}

impl PackedList {
    fn of(list: &ServerList) -> Self {
        let mut names = String::new();
        let mut servers = Vec::new();
        let mut pack = |name: &str| {
            names.push_str(name);
            short(name.len())
        };
        let locations = list.locations.iter().map(|location| {
            let packed = PackedLocation {
                id: pack(&location.id),
                name: pack(&location.name),
                country: pack(&location.country),
                servers: short(location.servers.len()),
                port_forward: location.port_forward,
                geo: location.geo,
                offline: location.offline,
            };
            servers.extend(location.servers.iter().map(|server| PackedServer {
                cn: pack(&server.cn),
                ip: server.ip,
            }));
            packed
        });
        Self {
            registration_port: list.registration_port,
            locations: locations.collect(),
            names: names.into(),
            servers: servers.into(),
        }
    }

    fn unpack(&self) -> ServerList {
        let mut names = &*self.names;
        let mut next_name = |length| {
            let (name, rest) = names.split_at_checked(long(length)).unwrap_or((names, ""));
            names = rest;
            name.to_owned()
        };
        let mut servers = self.servers.iter();
        let locations = self.locations.iter().map(|location| Location {
            id: next_name(location.id),
            name: next_name(location.name),
            country: next_name(location.country),
            port_forward: location.port_forward,
            geo: location.geo,
            offline: location.offline,
            servers: servers
                .by_ref()
                .take(long(location.servers))
                .map(|server| Server {
                    cn: next_name(server.cn),
                    ip: server.ip,
                })
                .collect(),
        });
        ServerList {
            registration_port: self.registration_port,
            locations: locations.collect(),
        }
    }
}

/// Nothing in a list is so long that it does not fit.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn long(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_rested_is_the_same() {
        let server = |cn: &str, last| Server {
            cn: cn.to_owned(),
            ip: Ipv4Addr::new(192, 0, 2, last),
        };
        let location = |id: &str, name: &str, servers| Location {
            id: id.to_owned(),
            name: name.to_owned(),
            country: "XX".to_owned(),
            port_forward: id == "swiss",
            geo: id == "none",
            offline: id == "sao",
            servers,
        };
        for locations in [
            Vec::new(),
            vec![
                location("none", "", Vec::new()),
                location("sao", "São Paulo", vec![server("sao401", 1)]),
                location("swiss", "Switzerland", vec![server("a", 2), server("b", 3)]),
            ],
        ] {
            let list = ServerList {
                registration_port: 1338,
                locations,
            };
            let mut kept = KeptList::new(list.clone());
            for _ in 0..2 {
                assert_eq!(kept.list(), &list);
                kept.rest();
            }
            assert_eq!(kept.into_list(), list);
        }
    }
}
