//! A watch for leaks: what neighbours send, what is seen on the wire, and what of it may be.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::World;
use super::capture::Capture;
use super::network::{API, DNS, LIST};
use super::pcap::Packet;
use super::prober::{Kind, Probe, Prober};
use crate::waiting::{SOON, wait_until};

/// Probers and a capture, which is known to see every kind of probe.
#[derive(Debug)]
pub struct Watch {
    pub capture: Capture,
    _prober: Prober,
}

impl Watch {
    #[track_caller]
    pub fn begin(world: &World) -> Self {
        let capture = world.capture();
        let watch = Self {
            capture,
            _prober: world.probe(),
        };
        watch.sees(&Probe::steady(), Instant::now());
        watch
    }

    /// The positive control: all these are seen after this moment.
    #[track_caller]
    pub fn sees(&self, wanted: &BTreeSet<Probe>, moment: Instant) {
        wait_until("the capture sees every kind of probe", SOON, || {
            let mut packets = self.capture.packets();
            packets.retain(|packet| packet.at > moment);
            let seen: BTreeSet<Probe> = packets.iter().filter_map(Packet::probe).collect();
            seen.is_superset(wanted)
        });
    }

    /// The same, but for flows that may have died in the meantime.
    #[track_caller]
    pub fn sees_new_flows_after(&self, moment: Instant) {
        let old = |probe: &Probe| matches!(probe.kind, Kind::OldTcp | Kind::OldUdp);
        self.sees(
            &Probe::steady()
                .into_iter()
                .filter(|probe| !old(probe))
                .collect(),
            moment,
        );
    }

    /// Blocks until probes were sent in vain for a while.
    #[track_caller]
    pub fn many_probes_are_dropped(world: &World) {
        let before = dropped(world);
        wait_until("probes are dropped", SOON, || dropped(world) > before + 300);
    }

    /// Fails the test if anything left in this time that `allowed` does not accept.
    #[track_caller]
    pub fn expect_only(
        &self,
        from: Instant,
        to: Option<Instant>,
        allowed: impl Fn(&Packet) -> bool,
    ) {
        let leaks = self.leaked(from, to, allowed);
        assert!(
            leaks.is_empty(),
            "{} packets leaked, the first: {:?}",
            leaks.len(),
            &leaks[..leaks.len().min(5)]
        );
    }

    pub fn leaked(
        &self,
        from: Instant,
        to: Option<Instant>,
        allowed: impl Fn(&Packet) -> bool,
    ) -> Vec<Packet> {
        let mut leaks = self.capture.leaks_since(from, allowed);
        leaks.retain(|packet| to.is_none_or(|to| packet.at < to));
        leaks
    }
}

/// The program's own way to PIA: questions to the name server, the API, the list, registration, the
/// tunnel.
pub fn ours(world: &World) -> impl Fn(&Packet) -> bool + use<> {
    let servers: Vec<Ipv4Addr> = world
        .pia
        .servers()
        .iter()
        .map(|server| server.address())
        .collect();
    let tunnel = the_tunnels(world);
    move |packet| {
        let is = |address: Ipv4Addr, port| {
            packet.destination == address && packet.to_port() == Some(port)
        };
        let dns = is(DNS, 53) && !packet.is_icmp() && packet.probe().is_none();
        let api = packet.is_tcp()
            && (is(API, 443) || is(LIST, 443) || servers.iter().any(|server| is(*server, 1337)));
        dns || api || tunnel(packet)
    }
}

/// The packets of WireGuard.
pub fn the_tunnels(world: &World) -> impl Fn(&Packet) -> bool + use<> {
    let endpoints: Vec<(IpAddr, u16)> = world
        .pia
        .servers()
        .iter()
        .map(|server| (server.address().into(), server.plan().port))
        .collect();
    move |packet| {
        packet.is_udp()
            && endpoints
                .iter()
                .any(|(ip, port)| (packet.destination, packet.to_port()) == (*ip, Some(*port)))
    }
}

/// How many packets the policies of OUTPUT have dropped, with either backend.
fn dropped(world: &World) -> u64 {
    // To ask for a table of the legacy backend's makes one.
    let tables = world
        .client()
        .run(|| fs::read_to_string("/proc/thread-self/net/ip_tables_names"));
    let legacy = tables.is_ok_and(|tables| tables.contains("filter"));
    let programs = [Some("iptables-nft"), legacy.then_some("iptables-legacy")];
    let counts = programs.into_iter().flatten().map(|program| {
        let text = world.look(&format!("{program} -nvxL OUTPUT"));
        // Chain OUTPUT (policy DROP 12 packets, 345 bytes)
        let count = text
            .lines()
            .next()
            .and_then(|line| line.split_whitespace().nth(4));
        count
            .and_then(|count| count.parse::<u64>().ok())
            .unwrap_or_default()
    });
    counts.sum()
}
