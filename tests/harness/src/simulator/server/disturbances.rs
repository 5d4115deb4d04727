//! What can happen to a VPN server.

use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::{Plan, PortService, Server, State, TUNNEL_DNS};
use crate::simulator::certificates::{self, Cert};

/// By how many of its addresses a server's connections leave.
const AT_A_TIME: usize = 4;

/// What the server's own firewall does to its traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disturbance {
    Down,
    EndpointDeaf,
    EndpointMute,
    RegistrationClosed,
    RegistrationSlow,
    RegistrationMute,
    PortForwardingClosed,
    PortForwardingSilent,
    PortForwardingClosedInside,
    PortForwardingSilentInside,
    TunnelDead,
    HandshakesOnly,
    InsideSilent,
}

impl Server {
    /// Nothing comes through any more, by whatever port.
    pub fn down(&self) {
        self.disturb(Disturbance::Down, true);
    }

    pub fn up(&self) {
        self.disturb(Disturbance::Down, false);
    }

    /// WireGuard's packets are lost; registration works.
    pub fn silence_endpoint(&self) {
        self.deafen_endpoint();
        self.mute_endpoint();
    }

    /// WireGuard's packets to the server are lost; those from it come through.
    pub fn deafen_endpoint(&self) {
        self.disturb(Disturbance::EndpointDeaf, true);
    }

    /// WireGuard's packets from the server are lost; those to it come through.
    pub fn mute_endpoint(&self) {
        self.disturb(Disturbance::EndpointMute, true);
    }

    pub fn restore_endpoint(&self) {
        self.disturb(Disturbance::EndpointDeaf, false);
        self.disturb(Disturbance::EndpointMute, false);
    }

    /// Handshakes succeed, but what comes out of the tunnel is lost.
    pub fn kill_tunnel(&self) {
        self.disturb(Disturbance::TunnelDead, true);
    }

    pub fn revive_tunnel(&self) {
        self.disturb(Disturbance::TunnelDead, false);
    }

    /// Of WireGuard's packets only answers to handshakes leave.
    pub fn answer_handshakes_only(&self) {
        self.disturb(Disturbance::HandshakesOnly, true);
    }

    pub fn answer_everything(&self) {
        self.disturb(Disturbance::HandshakesOnly, false);
    }

    /// Neither the host inside the tunnel nor its name servers answer; others do through it.
    pub fn silence_inside(&self) {
        self.disturb(Disturbance::InsideSilent, true);
    }

    /// Port 1337 refuses connections.
    pub fn close_registration(&self) {
        self.disturb(Disturbance::RegistrationClosed, true);
    }

    pub fn open_registration(&self) {
        self.disturb(Disturbance::RegistrationClosed, false);
    }

    /// Connecting to port 1337 takes a second.
    pub fn slow_down(&self) {
        self.disturb(Disturbance::RegistrationSlow, true);
    }

    pub fn speed_up(&self) {
        self.disturb(Disturbance::RegistrationSlow, false);
    }

    /// Port 1337 takes connections, and nothing more comes of them.
    pub fn mute_registration(&self) {
        self.disturb(Disturbance::RegistrationMute, true);
    }

    /// Port 19999 refuses connections.
    pub fn no_port_forwarding(&self) {
        self.disturb(Disturbance::PortForwardingClosed, true);
    }

    pub fn port_forwarding(&self) {
        self.disturb(Disturbance::PortForwardingClosed, false);
    }

    /// Nothing that is sent to port 19999 arrives.
    pub fn silent_port_forwarding(&self) {
        self.disturb(Disturbance::PortForwardingSilent, true);
    }

    /// Every port is busy here; at other servers it is not.
    pub fn no_free_ports(&self, so: bool) {
        self.lock().no_free_ports = so;
    }

    /// An account that registers a second key keeps the address of its first.
    pub fn keep_addresses(&self) {
        self.lock().keeps_addresses = true;
    }

    /// `peer_ip` has a prefix length, as in 2020.
    pub fn write_prefix_lengths(&self) {
        self.lock().writes_lengths = true;
    }

    /// Port 19999 refuses connections at the address inside the tunnel; at the public one it does
    /// not.
    pub fn no_port_forwarding_inside(&self) {
        self.disturb(Disturbance::PortForwardingClosedInside, true);
    }

    pub fn port_forwarding_inside(&self) {
        self.disturb(Disturbance::PortForwardingClosedInside, false);
    }

    /// What port 19999 does at the public address, for those who come through the tunnel.
    pub fn port_forwarding_at_public_address(&self, service: PortService) {
        let mut state = self.lock();
        state.at_public_address = service;
        self.apply(&state);
    }

    /// Connections leave by other addresses from now on: some go out of use, others come in.
    pub fn move_exits(&self) {
        let mut state = self.lock();
        state.moved += AT_A_TIME / 2;
        self.apply(&state);
    }

    /// Nothing that is sent to port 19999 of the address inside the tunnel arrives; at the public
    /// one it does.
    pub fn silent_port_forwarding_inside(&self) {
        self.disturb(Disturbance::PortForwardingSilentInside, true);
    }

    /// `addKey` answers with status ERROR and this message.
    pub fn refuse_registration(&self, message: &str) {
        self.lock().refusal = Some(message.to_owned());
    }

    pub fn accept_registration(&self) {
        let mut state = self.lock();
        state.refusal = None;
        state.wrong_key = false;
    }

    /// `addKey` answers with somebody else's key as `peer_pubkey`.
    pub fn answer_with_wrong_key(&self) {
        self.lock().wrong_key = true;
    }

    /// `addKey` answers with this value in a field.
    pub fn answer_with(&self, field: &str, value: impl Into<Value>) {
        self.lock().untruths.insert(field.to_owned(), value.into());
    }

    /// Shows another certificate, for registration and for port forwarding.
    pub fn certificate(&self, kind: Cert) {
        let tls = certificates::pia_server(&self.plan.cn, kind);
        for site in [&self.registration, &self.forwarding]
            .into_iter()
            .filter_map(OnceLock::get)
        {
            site.present(Arc::clone(&tls));
        }
    }

    /// Shows another certificate at the meta ports.
    pub fn meta_certificate(&self, kind: Cert) {
        if let Some(site) = self.meta.get() {
            site.present(certificates::pia_server(&self.plan.meta_cn, kind));
        }
    }

    /// Forgets all clients, as after hours of silence.
    pub fn forget_keys(&self) {
        let peers = std::mem::take(&mut self.lock().peers);
        let keys: Vec<String> = peers.into_iter().map(|peer| peer.key).collect();
        if !keys.is_empty() {
            self.interface.remove_peers(&keys);
        }
    }

    /// Forgets what a restart forgets: clients and bound ports.
    pub fn reboot(&self) {
        self.forget_keys();
        self.forget_ports();
    }

    /// Forgets the bindings of ports, as when they were not refreshed in time.
    pub fn forget_ports(&self) {
        let mut state = self.lock();
        state.ports.clear();
        self.apply(&state);
    }

    fn disturb(&self, disturbance: Disturbance, on: bool) {
        let mut state = self.lock();
        let changed = if on {
            state.disturbances.insert(disturbance)
        } else {
            state.disturbances.remove(&disturbance)
        };
        if changed {
            self.apply(&state);
        }
    }

    /// Brings the server's firewall in line with the state.
    pub(super) fn apply(&self, state: &State) {
        let Plan { port, .. } = &self.plan;
        let device = self.interface.name();
        let has = |disturbance| state.disturbances.contains(&disturbance);
        let mut rules = String::from("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
        if has(Disturbance::Down) {
            rules += "-A PREROUTING -i eth0 -j DROP\n-A OUTPUT -o eth0 -j DROP\n";
        }
        if has(Disturbance::RegistrationSlow) {
            // Without netem, a delay is a lost packet: TCP sends its SYN again after a second.
            rules += "-A PREROUTING -i eth0 -p tcp --syn --dport 1337 \
                      -m statistic --mode nth --every 2 --packet 0 -j DROP\n";
        }
        if has(Disturbance::RegistrationMute) {
            // A segment without content has 60 bytes at most.
            rules += "-A OUTPUT -o eth0 -p tcp --sport 1337 -m length --length 61: -j DROP\n";
        }
        if has(Disturbance::EndpointDeaf) {
            rules += &format!("-A PREROUTING -i eth0 -p udp --dport {port} -j DROP\n");
        }
        if has(Disturbance::EndpointMute) {
            rules += &format!("-A OUTPUT -o eth0 -p udp --sport {port} -j DROP\n");
        }
        if has(Disturbance::HandshakesOnly) {
            // 92 bytes, in UDP.
            rules += &format!(
                "-A OUTPUT -o eth0 -p udp --sport {port} -m length ! --length 120 -j DROP\n"
            );
        }
        if has(Disturbance::TunnelDead) {
            rules += &format!("-A PREROUTING -i {device} -j DROP\n");
        }
        rules += "COMMIT\n*filter\n:INPUT ACCEPT [0:0]\n";
        rules += &self.service_rules(state);
        rules += "COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n";
        for bound in &state.ports {
            for protocol in ["tcp", "udp"] {
                rules += &format!(
                    "-A PREROUTING -i eth0 -p {protocol} --dport {} -j DNAT --to-destination {}\n",
                    bound.port, bound.address,
                );
            }
        }
        rules += &self.exit_rules(state);
        rules += "COMMIT\n";
        self.namespace.firewall(rules);
    }

    /// What the server does to those who ask for registration or ports.
    fn service_rules(&self, state: &State) -> String {
        let has = |disturbance| state.disturbances.contains(&disturbance);
        let refusal = "--reject-with tcp-reset\n";
        let mut rules = String::new();
        for (disturbance, port) in [
            (Disturbance::RegistrationClosed, 1337),
            (Disturbance::PortForwardingClosed, 19999),
        ] {
            if has(disturbance) {
                rules += &format!("-A INPUT -p tcp --dport {port} -j REJECT {refusal}");
            }
        }
        let (inside, outside) = (self.plan.vip, self.plan.address);
        for (refuses, address) in [
            (has(Disturbance::PortForwardingClosedInside), inside),
            (state.at_public_address == PortService::Refuses, outside),
        ] {
            if refuses {
                rules += &format!("-A INPUT -d {address} -p tcp --dport 19999 -j REJECT {refusal}");
            }
        }
        if has(Disturbance::PortForwardingSilentInside) {
            let vip = self.plan.vip;
            rules += &format!("-A INPUT -d {vip} -p tcp --dport 19999 -j DROP\n");
        }
        if has(Disturbance::InsideSilent) {
            for address in [self.plan.vip, TUNNEL_DNS[0], TUNNEL_DNS[1]] {
                rules += &format!("-A INPUT -d {address} -j DROP\n");
            }
        }
        if has(Disturbance::PortForwardingSilent) {
            rules += "-A INPUT -p tcp --dport 19999 -j DROP\n";
        }
        rules
    }

    fn exits_in_use(&self, moved: usize) -> Vec<Ipv4Addr> {
        let all = self.exits();
        let count = AT_A_TIME.min(all.len());
        all.into_iter().cycle().skip(moved).take(count).collect()
    }

    /// By which address connections leave, the servers' own by turns. Each rule takes its share of
    /// those that the rules before it left.
    fn exit_rules(&self, state: &State) -> String {
        let exits = self.exits_in_use(state.moved);
        let mut rules = String::new();
        for (position, exit) in exits.iter().enumerate() {
            let left = exits.len() - position;
            rules += "-A POSTROUTING -o eth0 -s 10.0.0.0/8 ";
            if left > 1 {
                rules += &format!(
                    "-m statistic --mode random --probability {:.3} ",
                    1.0 / left as f64
                );
            }
            rules += &format!("-j SNAT --to-source {exit}\n");
        }
        rules
    }
}
