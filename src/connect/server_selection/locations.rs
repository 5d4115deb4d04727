//! Choosing locations and servers from the lists. Pure: lists and randomness are arguments.

use std::cmp::Reverse;

use super::location_names::{self, simplified};
use crate::pia::regions::{Location, Server, ServerList};

/// How many ids are proposed for one that is unknown.
const MAX_PROPOSALS: usize = 4;
/// How many letters a server's name may be off, to be proposed.
const MAX_DISTANCE_OF_SERVERS: usize = 2;

/// What became of the wanted location ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// In the order of preference; each has at least one server and takes connections.
    pub locations: Vec<Location>,
    /// Those that cannot be used, with the reason.
    pub problems: Vec<LocationProblem>,
}

/// Why a wanted location cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationProblem {
    #[error("location {id}: there is no such location{}", proposals_in_words(.nearest))]
    Unknown { id: String, nearest: Vec<String> },
    #[error("location {id}: it has no WireGuard server in this server list")]
    NoServers { id: String },
    #[error("location {id}: it is offline")]
    Offline { id: String },
}

fn proposals_in_words(nearest: &[String]) -> String {
    match nearest {
        [] => ": set LOC to an id of the table that is printed when LOC is empty".to_owned(),
        ids => format!(": did you mean {}?", ids.join(" or ")),
    }
}

/// Looks the wanted ids and names up in the lists, any case, the first list first; a later one
/// counts where the earlier has no servers for the id.
pub fn choose(wanted: &[impl AsRef<str>], lists: &[&ServerList]) -> Choice {
    let mut choice = Choice::default();
    let ids = wanted
        .iter()
        .flat_map(|part| location_names::ids_of(part.as_ref(), lists));
    for id in ids {
        match choose_one(&id, lists) {
            Ok(location) => {
                let is_new = choice.locations.iter().all(|known| known.id != location.id);
                if is_new {
                    choice.locations.push(location.clone());
                }
            }
            Err(problem) => choice.problems.push(problem),
        }
    }
    choice
}

fn choose_one<'a>(id: &str, lists: &[&'a ServerList]) -> Result<&'a Location, LocationProblem> {
    let found = || {
        lists
            .iter()
            .flat_map(|list| &list.locations)
            .filter(|location| location.id.eq_ignore_ascii_case(id))
    };
    if let Some(usable) = found().find(|location| is_usable(location)) {
        return Ok(usable);
    }
    Err(
        match found()
            .find(|location| location.offline)
            .or_else(|| found().next())
        {
            Some(Location {
                offline: true, id, ..
            }) => LocationProblem::Offline { id: id.clone() },
            Some(Location { id, .. }) => LocationProblem::NoServers { id: id.clone() },
            None => LocationProblem::Unknown {
                id: id.to_owned(),
                nearest: nearest(id, lists),
            },
        },
    )
}

/// Whether a connection can be made there at all.
pub fn is_usable(location: &Location) -> bool {
    !location.offline && !location.servers.is_empty()
}

/// The servers of a location in random order, so that not everybody asks the first.
pub fn servers_in_random_order(location: &Location, rng: &mut fastrand::Rng) -> Vec<Server> {
    let mut servers = location.servers.clone();
    rng.shuffle(&mut servers);
    servers
}

/// Whether the server keeps one public address. Those named `Server-…` leave by a different one for
/// almost every connection, as users of the API found in 2026.
pub fn has_stable_ip(server: &Server) -> bool {
    const ROTATING: &str = "Server-";
    !server
        .cn
        .get(..ROTATING.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(ROTATING))
}

/// The server of this common name, any case, and its location.
pub fn server_named<'a>(cn: &str, lists: &[&'a ServerList]) -> Option<(&'a Location, &'a Server)> {
    let mut servers = lists
        .iter()
        .flat_map(|list| &list.locations)
        .flat_map(|location| {
            let servers = location.servers.iter();
            servers.map(move |server| (location, server))
        });
    servers.find(|(location, server)| !location.offline && server.cn.eq_ignore_ascii_case(cn))
}

/// That there is none, with those that may be meant.
pub fn no_such_server(cn: &str, lists: &[&ServerList]) -> String {
    let wanted = cn.to_ascii_lowercase();
    let mut near: Vec<(usize, &str)> = lists
        .iter()
        .flat_map(|list| &list.locations)
        .filter(|location| is_usable(location))
        .flat_map(|location| &location.servers)
        .map(|server| {
            let known = server.cn.to_ascii_lowercase();
            (strsim::osa_distance(&wanted, &known), server.cn.as_str())
        })
        .filter(|(distance, _)| *distance <= MAX_DISTANCE_OF_SERVERS)
        .collect();
    near.sort_unstable();
    near.dedup();
    let near: Vec<&str> = near
        .into_iter()
        .take(MAX_PROPOSALS)
        .map(|(_, cn)| cn)
        .collect();
    let proposals = match near.as_slice() {
        [] => "; each download names but a few of a location's servers".to_owned(),
        cns => format!(": did you mean {}?", cns.join(" or ")),
    };
    format!("server {cn}: the server lists at hand name no such one{proposals}")
}

/// The ids of the usable locations where `is_wanted` holds for a server.
pub fn locations_with(list: &ServerList, is_wanted: impl Fn(&Server) -> bool) -> Vec<&str> {
    let has_one =
        |location: &&Location| is_usable(location) && location.servers.iter().any(&is_wanted);
    list.locations
        .iter()
        .filter(has_one)
        .map(|location| location.id.as_str())
        .collect()
}

/// The ids of the usable locations with port forwarding.
pub fn locations_with_port_forwarding(list: &ServerList) -> Vec<&str> {
    let forwards = |location: &&Location| is_usable(location) && location.port_forward;
    list.locations
        .iter()
        .filter(forwards)
        .map(|location| location.id.as_str())
        .collect()
}

/// The usable ids that look like `id`, or whose name or country does, best first.
pub fn nearest(id: &str, lists: &[&ServerList]) -> Vec<String> {
    let wanted = simplified(id);
    let locations = lists
        .iter()
        .flat_map(|list| &list.locations)
        .filter(|location| is_usable(location));
    let mut scored: Vec<(Reverse<u32>, &str)> = locations
        .filter_map(|location| Some((Reverse(likeness(&wanted, location)?), location.id.as_str())))
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored
        .into_iter()
        .take(MAX_PROPOSALS)
        .map(|(_, id)| id.to_owned())
        .collect()
}

/// How much a location is like what was typed; `None` if not at all.
fn likeness(wanted: &str, location: &Location) -> Option<u32> {
    let (id, name) = (simplified(&location.id), simplified(&location.name));
    if wanted.is_empty() || id.is_empty() {
        return None;
    }
    if wanted == id || wanted == name {
        return Some(100);
    }
    if location_names::is_country_of(wanted, location) {
        return Some(90);
    }
    // A part of a name is only told from chance when it is of some length.
    let is_part = |part: &str, whole: &str| part.len() >= 3 && whole.contains(part);
    if is_part(wanted, &id) || is_part(wanted, &name) {
        return Some(80);
    }
    let distance = strsim::osa_distance(wanted, &id).min(strsim::osa_distance(wanted, &name));
    let tolerated = (wanted.chars().count() / 3).clamp(1, 3);
    if distance <= tolerated {
        return Some(70 - u32::try_from(distance).unwrap_or(70));
    }
    is_part(&id, wanted).then_some(50)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(id: &str, name: &str, servers: &[&str]) -> Location {
        let servers = servers
            .iter()
            .map(|cn| Server::new(cn, "192.0.2.1").unwrap())
            .collect();
        Location {
            id: id.into(),
            name: name.into(),
            country: id.get(..2).unwrap_or_default().to_uppercase(),
            port_forward: !id.starts_with("us"),
            geo: false,
            offline: false,
            servers,
        }
    }

    fn list(locations: Vec<Location>) -> ServerList {
        ServerList {
            registration_port: 1337,
            locations,
        }
    }

    fn world() -> ServerList {
        list(vec![
            location(
                "swiss",
                "Switzerland",
                &["zurich406", "Server-12144-3a", "zurich407"],
            ),
            location("de-frankfurt", "DE Frankfurt", &["Server-1-1a"]),
            location("de_berlin", "DE Berlin", &["berlin401"]),
            location("us_chicago", "US Chicago", &["chicago401"]),
            location("nowg", "Nowhere", &[]),
            Location {
                offline: true,
                ..location("dark", "Dark", &["dark1"])
            },
        ])
    }

    fn chosen(choice: &Choice) -> Vec<&str> {
        choice
            .locations
            .iter()
            .map(|location| location.id.as_str())
            .collect()
    }

    #[test]
    fn ids_are_found_in_any_case_and_order_is_kept() {
        let choice = choose(&["DE_Berlin", "swiss", "SWISS"], &[&world()]);
        assert_eq!(chosen(&choice), ["de_berlin", "swiss"]);
        assert_eq!(choice.problems, []);
    }

    #[test]
    fn names_and_countries_stand_for_ids_where_they_are_clear() {
        let of = |wanted: &str| {
            let choice = choose(&[wanted], &[&world()]);
            let ids = chosen(&choice).into_iter().map(str::to_owned);
            (ids.collect::<Vec<_>>().join(" "), choice.problems)
        };
        for (wanted, ids) in [
            ("Switzerland", "swiss"),
            ("DE Frankfurt", "de-frankfurt"),
            ("de_frankfurt", "de-frankfurt"),
            ("de berlin swiss", "de_berlin swiss"),
            ("swiss US Chicago de_berlin", "swiss us_chicago de_berlin"),
            ("US", "us_chicago"),
            ("united states swiss", "us_chicago swiss"),
        ] {
            assert_eq!(of(wanted), (ids.to_owned(), vec![]), "{wanted}");
        }
        // Several are meant, or none.
        let problem = |wanted: &str| {
            of(wanted)
                .1
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            problem("Germany"),
            ["location Germany: there is no such location: \
                 did you mean de-frankfurt or de_berlin?"]
        );
        assert_eq!(problem("swiss nonsense x").len(), 2);
    }

    #[test]
    fn an_id_is_an_id_even_where_it_begins_a_name() {
        let canada = list(vec![
            location("ca", "CA Montreal", &["montreal401"]),
            location("ca_toronto", "CA Toronto", &["toronto401"]),
            location("toronto", "Elsewhere", &["elsewhere401"]),
        ]);
        let ids = |wanted: &str, list: &ServerList| chosen(&choose(&[wanted], &[list])).join(" ");
        assert_eq!(ids("ca toronto", &canada), "ca toronto");
        let canada = ServerList {
            locations: canada.locations[..2].to_vec(),
            ..canada
        };
        assert_eq!(ids("ca toronto", &canada), "ca_toronto");
        assert_eq!(ids("ca", &canada), "ca");
    }

    #[test]
    fn the_second_list_counts_where_the_first_has_no_server() {
        let newer = list(vec![
            location("nowg", "Nowhere", &["Server-2-2a"]),
            location("fresh", "Fresh", &["Server-3-3a"]),
        ]);
        let choice = choose(&["nowg", "fresh"], &[&world(), &newer]);
        assert_eq!(chosen(&choice), ["nowg", "fresh"]);
    }

    #[test]
    fn problems_are_told_apart() {
        let problems: Vec<String> = choose(&["nowg", "dark", "swis", "x"], &[&world()])
            .problems
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            problems,
            [
                "location nowg: it has no WireGuard server in this server list",
                "location dark: it is offline",
                "location swis: there is no such location: did you mean swiss?",
                "location x: there is no such location: set LOC to an id of the table that is \
                 printed when LOC is empty",
            ]
        );
    }

    #[test]
    fn what_was_meant_is_guessed() {
        let world = world();
        let guess = |id: &str| nearest(id, &[&world]);
        assert_eq!(guess("Switzerland"), ["swiss"]);
        assert_eq!(guess("frankfurt"), ["de-frankfurt"]);
        assert_eq!(guess("de_frankfurt"), ["de-frankfurt"]);
        assert_eq!(guess("de"), ["de-frankfurt", "de_berlin"]);
        assert_eq!(guess("us_chciago"), ["us_chicago"]);
        assert_eq!(guess("berlin"), ["de_berlin"]);
        assert_eq!(guess("nowhere"), [""; 0]);
        assert_eq!(guess("--"), [""; 0]);
    }

    #[test]
    fn a_server_is_found_by_its_name_where_it_takes_connections() {
        let world = world();
        let named = |cn: &str| {
            let (location, server) = server_named(cn, &[&world])?;
            Some(format!("{} {}", location.id, server.cn))
        };
        assert_eq!(named("ZURICH406").as_deref(), Some("swiss zurich406"));
        assert_eq!(named("dark1"), None);
        assert_eq!(
            no_such_server("zurich40", &[&world]),
            "server zurich40: the server lists at hand name no such one: did you mean zurich406 \
             or zurich407?"
        );
        assert!(no_such_server("x", &[&world]).ends_with("a few of a location's servers"));
    }

    #[test]
    fn only_older_servers_keep_their_address() {
        let world = world();
        assert_eq!(
            locations_with(&world, has_stable_ip),
            ["swiss", "de_berlin", "us_chicago"]
        );
        assert!(!has_stable_ip(
            &Server::new("server-1-1a", "192.0.2.1").unwrap()
        ));
        assert_eq!(
            locations_with_port_forwarding(&world),
            ["swiss", "de-frankfurt", "de_berlin"]
        );
    }

    #[test]
    fn the_order_of_servers_is_random_and_complete() {
        let swiss = &world().locations[0];
        let mut first = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let servers = servers_in_random_order(swiss, &mut fastrand::Rng::with_seed(seed));
            assert_eq!(servers.len(), 3);
            first.insert(servers[0].cn.clone());
        }
        assert_eq!(first.len(), 3);
    }
}
