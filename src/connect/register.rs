//! Registering a fresh key at one of the candidates.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::api_hosts::ApiHosts;
use super::places::{HeldPlace, Holder, Places};
use super::server_selection::candidates::Candidate;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::credentials::Token;
use crate::pia::error::{ApiError, Call};
use crate::pia::regions::Server;
use crate::pia::registration::{self, Proof, Registration};
use crate::pia::retry::RetryPolicy;
use crate::settings::{SeenServer, ServerChoice};
use crate::system::cancellation::CancellationToken;
use crate::underlay::interfaces;
use crate::wireguard::keys::KeyPair;

/// For a registration at one server: another is better than patience.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(6);

/// A server that took our key.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its location's id; `manual` or the dedicated IP's own where none was chosen.
    pub location: String,
    pub server: Server,
    /// Whether ports can be forwarded there, as far as PIA says.
    pub port_forwarding: bool,
    pub keys: KeyPair,
    pub registration: Registration,
    /// How long the server took to register: three ways there and back at least.
    pub registered_in: Duration,
    /// Others with this volume go elsewhere for as long as this lives.
    _place: Option<Arc<HeldPlace>>,
}

impl Joined {
    /// Where WireGuard's packets go: the server's address, and the port that its registration
    /// named.
    pub fn endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.server.ip, self.registration.server_port)
    }

    /// With the place that this container holds there.
    pub(super) fn with_place(self, place: Option<Arc<HeldPlace>>) -> Self {
        Self {
            _place: place,
            ..self
        }
    }

    /// Where the server is, for whoever chooses it again.
    pub fn seen(&self) -> SeenServer {
        SeenServer {
            location: self.location.clone(),
            ip: self.server.ip,
            port_forwarding: self.port_forwarding,
        }
    }
}

/// One that is asked: with the same key each time, as a second one would end the first.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub candidate: Candidate,
    /// If it could be taken.
    pub place: Option<Arc<HeldPlace>>,
    pub keys: KeyPair,
}

/// A candidate, and its place, if that could be taken.
pub(super) type Placed = (Candidate, Option<Arc<HeldPlace>>);

/// What registrations are made with.
pub(super) struct Registrar<'a> {
    pub hosts: &'a ApiHosts,
    pub places: &'a Places,
    /// The server of a tunnel that is up meanwhile.
    pub in_use: Option<&'a Server>,
    /// Those that did not respond of late.
    pub avoid: &'a [Server],
    /// No other container with this volume is thrown out.
    pub leaves_all: bool,
    pub retry: RetryPolicy,
    pub local_network: &'a [Ipv4Net],
    /// By what the candidates were chosen.
    pub choice: &'a ServerChoice,
}

/// The servers that were tried in vain, with the latest reason of each.
#[derive(Debug, Clone, Default)]
pub struct Tried(Vec<(Server, String)>);

impl Tried {
    /// Adds a server of `location`.
    pub fn add(&mut self, location: &str, server: &Server, failure: &Failure) {
        let Server { cn, ip } = server;
        // Which server it was stands in front already.
        let why = [format!("registering with {cn}: "), format!("{cn} ")]
            .iter()
            .find_map(|what| failure.text.strip_prefix(what))
            .unwrap_or(&failure.text);
        self.0.retain(|(before, _)| before != server);
        let words = format!("{location} {cn} ({ip}): {why}");
        self.0.push((server.clone(), words));
    }

    pub(super) fn has(&self, server: &Server) -> bool {
        self.0.iter().any(|(tried, _)| tried == server)
    }

    pub(super) fn in_words(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(_, words)| words.as_str()).collect();
        words.join("; ")
    }
}

impl Registrar<'_> {
    /// What can be done where no server can be connected to.
    pub(super) fn cure(&self) -> &'static str {
        match self.choice {
            ServerChoice::Manual { .. } => {
                "check PIA_IP, PIA_CN and PIA_PORT: servers come and go; without these variables \
                 the locations in LOC are used"
            }
            ServerChoice::DedicatedIp(_) => {
                "ask PIA about the dedicated IP; without PIA_DIP_TOKEN the locations in LOC are \
                 used"
            }
            _ => "add other locations to LOC",
        }
    }

    /// The next candidate, with its place; an error where all are others' that are left alone.
    pub(super) fn next(&self, waiting: &mut Vec<Candidate>) -> Result<Option<Placed>, Failure> {
        if !self.leaves_all {
            return Ok(next_free(waiting, self.places));
        }
        match (take_free(waiting, self.places), waiting.first()) {
            (None, Some(held)) => Err(left_to_another(held)),
            (free, _) => Ok(free),
        }
    }

    /// Registers at one, with the account's `token` or what proves us there.
    pub(super) fn register(
        &self,
        asking: &Asking,
        token: &Token,
        stop: &CancellationToken,
    ) -> Result<Joined, Failure> {
        let Candidate {
            location,
            server,
            port,
            port_forwarding,
        } = &asking.candidate;
        let proof = match self.choice {
            // Its own token proves the account at its server, whose answer says nothing of the
            // account's.
            ServerChoice::DedicatedIp(token) => Proof::DedicatedIp {
                token,
                ip: server.ip,
            },
            _ => Proof::Token(token),
        };
        let host = self.hosts.server(server, *port)?;
        let asked = Instant::now();
        let registration = registration::add_key(
            &host,
            proof,
            &asking.keys.public,
            REGISTRATION_TIMEOUT,
            stop,
        )?;
        let registered_in = asked.elapsed();
        self.refuse_if_implausible(&registration, server)?;
        Ok(Joined {
            location: location.clone(),
            server: server.clone(),
            port_forwarding: *port_forwarding,
            keys: asking.keys.clone(),
            registration,
            registered_in,
            _place: None,
        })
    }

    /// A server whose addresses collide with the networks around us is of no use: routes to those
    /// networks, or to PIA's API, would lead into the tunnel.
    fn refuse_if_implausible(
        &self,
        registration: &Registration,
        server: &Server,
    ) -> Result<(), ApiError> {
        // What cannot be listed cannot be compared; the start of the tunnel fails on it anyway.
        let attached: Vec<Ipv4Net> = interfaces::attached_networks()
            .unwrap_or_default()
            .iter()
            .filter_map(|attached| {
                Ipv4Net::new(attached.address, attached.network.prefix_len()).ok()
            })
            .collect();
        registration
            .is_plausible(&attached, self.local_network)
            .map_err(|why| ApiError {
                call: Call::AddKey,
                host: server.cn.clone(),
                kind: why.into(),
                tries: 1,
            })
    }
}

/// Why a candidate is not asked.
pub(super) fn left_to_another(candidate: &Candidate) -> Failure {
    let text = format!(
        "another container with this volume is connected to {}",
        candidate.server.cn
    );
    Failure::new(FailureKind::Location, Retry::Later(None), text)
}

/// Takes out the first candidate whose place no other container with this volume has; where there
/// is none, the first of all, whose place is taken away from another one.
fn next_free(waiting: &mut Vec<Candidate>, places: &Places) -> Option<Placed> {
    if let Some(free) = take_free(waiting, places) {
        return Some(free);
    }
    if waiting.is_empty() {
        return None;
    }
    let candidate = waiting.remove(0);
    log::warn!(
        "{}: another container with this volume is connected to {}, as to every other server that \
         is left. A server keeps one client of an account, so that one is thrown out: give them \
         more locations in LOC, or such with more servers",
        candidate.location,
        candidate.server.cn
    );
    Some((candidate, None))
}

fn take_free(waiting: &mut Vec<Candidate>, places: &Places) -> Option<Placed> {
    for index in 0..waiting.len() {
        let server = waiting.get(index)?.server.ip;
        if let Holder::Us(place) = places.take(server) {
            return Some((waiting.remove(index), place));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn candidates(servers: u8, rng: &mut fastrand::Rng) -> Vec<Candidate> {
        let mut numbers: Vec<u8> = (0..servers).collect();
        rng.shuffle(&mut numbers);
        numbers
            .into_iter()
            .map(|number| Candidate {
                location: "swiss".into(),
                server: Server {
                    cn: format!("zurich{number}"),
                    ip: Ipv4Addr::new(192, 0, 2, number),
                },
                port: 1337,
                port_forwarding: true,
            })
            .collect()
    }

    /// How many of five containers are thrown out of their places, on the average of many starts.
    fn thrown_out(servers: u8, places: impl Fn() -> Places) -> f64 {
        const STARTS: u32 = 400;
        let mut rng = fastrand::Rng::with_seed(1);
        let mut lost = 0;
        for _ in 0..STARTS {
            let containers: Vec<Places> = (0..5).map(|_| places()).collect();
            let taken: Vec<_> = containers
                .iter()
                .filter_map(|places| next_free(&mut candidates(servers, &mut rng), places))
                .collect();
            let different: BTreeSet<_> = taken.iter().map(|(one, _)| one.server.ip).collect();
            lost += taken.len() - different.len();
        }
        lost as f64 / f64::from(STARTS)
    }

    /// The figures of docs/decisions/0009-places-in-the-volume.md.
    #[test]
    fn five_containers_with_one_volume_need_no_more_than_five_servers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("servers.lock");
        for (servers, by_chance) in [(5, 1.64), (10, 0.90), (20, 0.48)] {
            let lost = thrown_out(servers, Places::default);
            assert!((lost - by_chance).abs() < 0.15, "{servers}: {lost}");
            assert_eq!(thrown_out(servers, || Places::shared_by(&file)), 0.0);
        }
        // Where there are too few, no more are thrown out than have to be.
        assert_eq!(thrown_out(4, || Places::shared_by(&file)), 1.0);
    }
}
