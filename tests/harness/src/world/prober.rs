//! Neighbours that try to get out past the tunnel: what containers sharing the network might send,
//! all of it, all the time.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::Arc;

use prober::Targets;
pub use prober::{Kind, Probe, Sender};

use super::World;
use super::capture::Capture;
use super::journal::Journal;
use super::network::{API, DNS, ELSEWHERE, ELSEWHERE_V6, GATEWAY, GATEWAY_V6, server_address};
use super::pcap::{Packet, Transport};
use super::privileges::Privileges;
use super::process::Process;
use crate::programs;
use crate::waiting::{SOON, wait_until};

/// Where this world's probers send to.
const TARGETS: Targets = Targets {
    name_server: DNS,
    elsewhere: ELSEWHERE,
    elsewhere_v6: ELSEWHERE_V6,
    api: API,
    gateway: GATEWAY,
    gateway_v6: GATEWAY_V6,
    // The port is each world's own.
    endpoint: SocketAddrV4::new(server_address(0), 0),
};

/// Running probers; dropping them ends them.
#[derive(Debug)]
pub struct Prober(Vec<(Process, Journal)>);

impl World {
    /// Begins to send every steady probe from the client's network, as root and as a user. The
    /// flows that are to be old exist when this returns.
    #[track_caller]
    pub fn probe(&self) -> Prober {
        self.start_probers("keep-on", &[Sender::Root, Sender::User])
    }

    /// The same with every probe, by every sender. What one may not send was refused when this
    /// returns.
    #[track_caller]
    pub fn probe_by_all_ways(&self) -> Prober {
        self.start_probers("all", &[Sender::Root, Sender::User, Sender::Bare])
    }

    #[track_caller]
    fn start_probers(&self, command: &str, senders: &[Sender]) -> Prober {
        let start = |sender| self.start_prober(command, sender);
        let probers: Vec<_> = senders.iter().map(start).collect();
        for (_, journal) in &probers {
            let is_ready = journal.wait_for(SOON, |line| line == "ready").is_some();
            assert!(is_ready, "a prober did not start: {}", journal.text());
        }
        Prober(probers)
    }

    #[track_caller]
    fn start_prober(&self, command: &str, sender: &Sender) -> (Process, Journal) {
        let privileges = match sender {
            Sender::Root | Sender::User => Privileges::docker(),
            Sender::Bare => Privileges::only(&[]),
        };
        let servers = self.pia.servers();
        let endpoint = SocketAddrV4::new(servers[0].address(), servers[0].plan().port);
        let mut prober = privileges.command(programs::prober());
        prober
            .args([command, &format!("{sender:?}").to_lowercase(), "eth0"])
            .args([DNS.to_string(), ELSEWHERE.to_string()])
            .args([ELSEWHERE_V6.to_string(), API.to_string()])
            .args([GATEWAY.to_string(), endpoint.to_string()])
            .arg(GATEWAY_V6.to_string());
        let journal = Journal::default();
        let network = Arc::clone(self.client());
        let process = Process::start(move || network.enter(), prober, &journal)
            .unwrap_or_else(|error| panic!("cannot start setpriv: {error}: install util-linux"));
        (process, journal)
    }
}

impl Prober {
    /// Blocks until each prober that sends by all ways has done so at least so often from now on.
    #[track_caller]
    pub fn wait_for_rounds(&self, count: usize) {
        let rounds = |journal: &Journal| journal.lines().len();
        // The one that is under way has begun before.
        let wanted = |(_, journal): &(_, Journal)| rounds(journal) + 1 + count;
        let wanted: Vec<usize> = self.0.iter().map(wanted).collect();
        wait_until("the probers' rounds", SOON, || {
            let mut each = self.0.iter().zip(&wanted);
            each.all(|((_, journal), wanted)| rounds(journal) >= *wanted)
        });
    }
}

impl Packet {
    /// The probe that it is.
    pub fn probe(&self) -> Option<Probe> {
        let probe = Probe::on_wire(self.ports(), &self.payload)?;
        // Answers have the same ports.
        let is_there = self.destination == probe.destination(&TARGETS);
        let is_icmp = matches!(self.transport, Transport::Icmp { kind: 8 | 128 });
        let by_icmp = matches!(probe.kind, Kind::Icmp | Kind::IcmpV6 | Kind::Ping);
        // An error quotes the packet that it is about.
        (is_there && is_icmp == by_icmp && self.is_icmp() == is_icmp).then_some(probe)
    }
}

impl Capture {
    /// The probes that were on the wire until now.
    #[track_caller]
    pub fn probes(&self) -> BTreeSet<Probe> {
        self.packets().iter().filter_map(Packet::probe).collect()
    }
}
