//! What clients ask of a VPN server.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{Peer, PortService, Server, State, TUNNEL_DNS};
use crate::simulator::faults::Api;
use crate::simulator::http::{Reply, Request};
use crate::simulator::port_forwarding;
use crate::simulator::records::{BoundPort, Registration};

impl Server {
    pub(super) fn add_key(&self, _: Api, request: &Request) -> Reply {
        let error =
            |message: &str| Reply::json(200, &json!({"status": "ERROR", "message": message}));
        let key = request.parameter("pubkey").unwrap_or_default();
        let account = &self.shared.account;
        let owner = match request.parameter("pt") {
            Some(token) => account.owner(token),
            None => account
                .owns_dedicated_ip(request, self.plan.address)
                .then_some("dedicated IP"),
        };
        let Some(owner) = owner else {
            return error("Login failed!");
        };
        if BASE64_STANDARD
            .decode(key)
            .is_ok_and(|bytes| bytes.len() == 32)
        {
            self.register(owner, key)
                .unwrap_or_else(|message| error(&message))
        } else {
            error("Invalid public key")
        }
    }

    fn register(&self, owner: &str, key: &str) -> Result<Reply, String> {
        let mut state = self.lock();
        if let Some(message) = &state.refusal {
            return Err(message.clone());
        }
        let former = state
            .peers
            .iter()
            .position(|peer| peer.owner == owner || peer.key == key);
        let former = former.map(|position| state.peers.remove(position));
        let address = match &former {
            Some(former) if former.key == key || state.keeps_addresses => former.address,
            _ => self.next_address(&mut state),
        };
        self.interface
            .add_peer(key, address, former.as_ref().map(|peer| peer.key.as_str()));
        state.peers.push(Peer {
            owner: owner.to_owned(),
            key: key.to_owned(),
            address,
        });
        self.shared.records.registration(Registration {
            server: self.plan.cn.clone(),
            public_key: key.to_owned(),
            address,
        });
        let length = if state.writes_lengths { "/32" } else { "" };
        let shown_key = if state.wrong_key {
            self.public_key()
        } else {
            key
        };
        let mut answer = json!({
            "status": "OK",
            "server_key": self.public_key(),
            "server_port": self.plan.port,
            "server_ip": self.plan.address,
            "server_vip": self.plan.vip,
            "peer_ip": format!("{address}{length}"),
            "peer_pubkey": shown_key,
            "dns_servers": TUNNEL_DNS,
        });
        for (field, value) in &state.untruths {
            answer[field] = value.clone();
        }
        Ok(Reply::json(200, &answer))
    }

    fn next_address(&self, state: &mut State) -> Ipv4Addr {
        state.taken = state.taken.wrapping_add(1);
        let [a, b, c, d] = self.plan.vip.octets();
        Ipv4Addr::new(a, b, c, d + 1 + state.taken % 200)
    }

    pub(super) fn forward(&self, api: Api, request: &Request) -> Reply {
        let mut state = self.lock();
        let client = state.peers.iter().map(|peer| peer.address);
        let client = client
            .into_iter()
            .find(|address| IpAddr::V4(*address) == request.peer.ip());
        let asked_outside = request.local.ip() == IpAddr::V4(self.plan.address);
        let refused = asked_outside && state.at_public_address == PortService::Unauthorized;
        let Some(client) = client.filter(|_| !refused) else {
            return port_forwarding::unauthorized();
        };
        let leases = &self.shared.port_forwarding;
        if api == Api::GetSignature {
            let token = request.parameter("token").unwrap_or_default();
            return leases.signature(request, self.shared.account.knows(token));
        }
        match leases.check(request) {
            Err(refusal) => refusal,
            Ok(port) if state.no_free_ports => port_forwarding::busy(port),
            Ok(port) => {
                let message = self.bind(&mut state, port, client);
                Reply::json(200, &json!({"status": "OK", "message": message}))
            }
        }
    }

    pub(super) fn bind(&self, state: &mut State, port: u16, address: Ipv4Addr) -> &'static str {
        let bound = state.ports.iter_mut().find(|bound| bound.port == port);
        if let Some(bound) = bound.filter(|bound| bound.address == address) {
            bound.refreshed += 1;
            return "timer refreshed";
        }
        let server = self.plan.cn.clone();
        state.ports.retain(|bound| bound.port != port);
        state.ports.push(BoundPort {
            server,
            port,
            address,
            refreshed: 0,
        });
        self.apply(state);
        "port scheduled for add"
    }
}
