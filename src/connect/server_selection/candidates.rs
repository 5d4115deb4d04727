//! Which servers are to be tried, in which order. Pure: lists and randomness are arguments.

use super::locations;
use crate::pia::regions::{Location, Server, ServerList};

/// A server to register at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its location's id.
    pub location: String,
    pub server: Server,
    /// Where it takes registrations.
    pub port: u16,
    pub port_forwarding: bool,
}

/// The servers of these locations, location by location, each in random order.
pub fn of_locations(locations: &[Location], port: u16, rng: &mut fastrand::Rng) -> Vec<Candidate> {
    let of_location = |location: &Location| {
        let servers = locations::servers_in_random_order(location, rng);
        let candidate = |server| Candidate {
            location: location.id.clone(),
            server,
            port,
            port_forwarding: location.port_forward,
        };
        servers.into_iter().map(candidate).collect::<Vec<_>>()
    };
    locations.iter().flat_map(of_location).collect()
}

/// The locations with those of their servers, from all lists, that keep their public address;
/// locations without one are left out.
pub fn with_stable_ip(locations: &[Location], lists: &[&ServerList]) -> Vec<Location> {
    with_servers(locations, lists, locations::has_stable_ip)
}

/// The locations with their servers from all lists, as each download names but a few.
pub fn with_all_servers(locations: &[Location], lists: &[&ServerList]) -> Vec<Location> {
    with_servers(locations, lists, |_| true)
}

fn with_servers(
    locations: &[Location],
    lists: &[&ServerList],
    is_wanted: impl Fn(&Server) -> bool,
) -> Vec<Location> {
    let wanted_servers = |id: &str| {
        let mut servers: Vec<Server> = Vec::new();
        let named = lists
            .iter()
            .flat_map(|list| &list.locations)
            .filter(|location| location.id == id);
        for server in named
            .flat_map(|location| &location.servers)
            .filter(|server| is_wanted(server))
        {
            if !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        servers
    };
    locations
        .iter()
        .map(|location| Location {
            servers: wanted_servers(&location.id),
            ..location.clone()
        })
        .filter(|location| !location.servers.is_empty())
        .collect()
}

/// Servers to avoid because they did not respond come last, the latest of them at the very
/// end: it may yet be the only one that there is.
pub fn avoided_last(mut candidates: Vec<Candidate>, avoided: &[Server]) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| {
        avoided
            .iter()
            .position(|server| *server == candidate.server)
            .map(|place| place + 1)
    });
    candidates
}

/// Location ids by their distance, as far as it was measured; the others after them, in their
/// order.
pub fn nearest_first(ids: Vec<&str>, nearness: &[String]) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    ids.sort_by_key(|id| {
        nearness
            .iter()
            .position(|near| near == id)
            .unwrap_or(nearness.len())
    });
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_comes_first() {
        let near = ["c".to_owned(), "a".to_owned()];
        assert_eq!(
            nearest_first(vec!["a", "b", "c", "d"], &near),
            ["c", "a", "b", "d"]
        );
    }

    fn location(id: &str, servers: &[(&str, u8)]) -> Location {
        Location {
            id: id.into(),
            name: id.into(),
            country: String::new(),
            port_forward: true,
            geo: false,
            offline: false,
            servers: servers
                .iter()
                .map(|(cn, last)| Server {
                    cn: (*cn).into(),
                    ip: [192, 0, 2, *last].into(),
                })
                .collect(),
        }
    }

    fn names(candidates: &[Candidate]) -> Vec<&str> {
        candidates
            .iter()
            .map(|candidate| candidate.server.cn.as_str())
            .collect()
    }

    #[test]
    fn locations_keep_their_order_and_servers_are_shuffled() {
        let locations = [
            location("a", &[("a1", 1), ("a2", 2), ("a3", 3)]),
            location("b", &[("b1", 4)]),
        ];
        let orders: std::collections::BTreeSet<Vec<String>> = (0..50)
            .map(|seed| {
                let candidates =
                    of_locations(&locations, 1337, &mut fastrand::Rng::with_seed(seed));
                assert_eq!(candidates[3].server.cn, "b1");
                names(&candidates).into_iter().map(str::to_owned).collect()
            })
            .collect();
        assert!(orders.len() > 1, "never shuffled");
    }

    #[test]
    fn servers_to_avoid_are_tried_after_all_others_the_latest_last() {
        let locations = [
            location("a", &[("a1", 1)]),
            location("b", &[("b1", 4)]),
            location("c", &[("c1", 5)]),
        ];
        let candidates = of_locations(&locations, 1337, &mut fastrand::Rng::with_seed(1));
        let avoided = [candidates[1].server.clone(), candidates[0].server.clone()];
        assert_eq!(
            names(&avoided_last(candidates, &avoided)),
            ["c1", "b1", "a1"]
        );
    }

    #[test]
    fn stable_servers_are_gathered_from_all_lists() {
        let list = |servers| ServerList {
            registration_port: 1337,
            locations: vec![location("a", servers)],
        };
        let (one, two) = (
            list(&[("Server-1-2a", 1)]),
            list(&[("server-3-4a", 2), ("toronto401", 3)]),
        );
        let stable = with_stable_ip(&one.locations, &[&one, &two]);
        assert_eq!(
            stable[0]
                .servers
                .iter()
                .map(|server| server.cn.as_str())
                .collect::<Vec<_>>(),
            ["toronto401"]
        );
        assert!(with_stable_ip(&one.locations, &[&one]).is_empty());
    }
}
