//! Neighbours that try to get out past the tunnel: what containers sharing the network might send,
//! all of it, all the time.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use prober::Targets;
pub use prober::{Kind, Probe, Sender};

use super::World;
use super::capture::Capture;
use super::network::{API, DNS, ELSEWHERE, ELSEWHERE_V6};
use super::pcap::{Packet, Transport};
use super::privileges::{DOCKER_DEFAULT, Privileges};
use crate::programs;

/// Where this world's probers send to.
const TARGETS: Targets = Targets {
    name_server: DNS,
    elsewhere: ELSEWHERE,
    elsewhere_v6: ELSEWHERE_V6,
    api: API,
};

/// Running probers; dropping them ends them.
#[derive(Debug)]
pub struct Prober(Vec<Child>);

impl World {
    /// Begins to send every steady probe from the client's network, as both senders. The flows
    /// that are to be old exist when this returns.
    #[track_caller]
    pub fn probe(&self) -> Prober {
        let mut children = [Sender::Root, Sender::User].map(|sender| self.start_prober(sender));
        for child in &mut children {
            let stdout = child.stdout.take().expect("stdout is piped");
            let first = BufReader::new(stdout).lines().next();
            let is_ready = first.is_some_and(|line| line.is_ok_and(|line| line == "ready"));
            assert!(is_ready, "a prober did not start");
        }
        Prober(children.into())
    }

    fn start_prober(&self, sender: Sender) -> Child {
        let mut command = Privileges::only(&DOCKER_DEFAULT)
            .lasting()
            .command(programs::prober());
        let targets = [
            TARGETS.name_server.to_string(),
            TARGETS.elsewhere.to_string(),
            TARGETS.elsewhere_v6.to_string(),
            TARGETS.api.to_string(),
        ];
        command
            .args(["keep-on", &format!("{sender:?}").to_lowercase(), "eth0"])
            .args(targets)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        self.client()
            .spawn(&mut command)
            .unwrap_or_else(|error| panic!("cannot start setpriv: {error}: install util-linux"))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Packet {
    /// The steady probe that it is.
    pub fn probe(&self) -> Option<Probe> {
        let mut probes = Probe::steady().into_iter();
        probes.find(|probe| self.is(*probe))
    }

    fn is(&self, probe: Probe) -> bool {
        let target = probe.target(&TARGETS);
        if self.destination != target.ip() {
            return false;
        }
        match (probe.kind, self.transport) {
            (Kind::Icmp, Transport::Icmp { kind }) => kind == 8,
            (Kind::Dns, Transport::Udp { to: 53, .. }) => self.payload == probe.payload(),
            (_, Transport::Udp { to, .. } | Transport::Tcp { to, .. }) => {
                probe.has_own_port() && to == target.port()
            }
            _ => false,
        }
    }
}

impl Capture {
    /// The probes that were on the wire until now.
    #[track_caller]
    pub fn probes(&self) -> BTreeSet<Probe> {
        self.packets().iter().filter_map(Packet::probe).collect()
    }
}
