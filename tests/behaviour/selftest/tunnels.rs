//! The simulator's tunnels are real, and so is what happens to them.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::simulator::Simulator;
use harness::simulator::server::{PortService, Server};
use harness::waiting::{SOON, wait_until};
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::internet::Outage;
use harness::world::{World, network};
use serde_json::Value;

use super::{add_key, body};

type Verb<T> = fn(&T);

/// A tunnel brought up with nothing but curl, wg and ip.
struct Tunnel<'w> {
    world: &'w World,
    server: Arc<Server>,
    container: Container,
    token: String,
    vip: String,
}

impl<'w> Tunnel<'w> {
    fn to(world: &'w World, cn: &str) -> Self {
        let container = world
            .container("/bin/true")
            .command(["bash", "-c", "echo up; sleep 600"])
            .start();
        container.wait_for_log("up", SOON);
        let (server, token) = (world.pia.server(cn), world.pia.issue_token());
        let key = container
            .shell("umask 77; mkdir -p /run/wireguard; wg genkey > /pia/key; wg pubkey < /pia/key");
        let answer: Value =
            serde_json::from_str(&body(&add_key(world, &server, &token, key.trim()))).unwrap();
        let [key, address, vip] =
            ["server_key", "peer_ip", "server_vip"].map(|name| answer[name].as_str().unwrap());
        let (ip, port, gateway) = (server.address(), &answer["server_port"], network::GATEWAY);
        container.shell(&format!(
            "ip link add wg0 type wireguard || wireguard-go wg0
             wg set wg0 private-key /pia/key peer {key} allowed-ips 0.0.0.0/0 endpoint {ip}:{port}
             ip addr add {address} dev wg0
             ip link set wg0 up
             ip route add {ip} via {gateway} dev eth0
             ip route replace default dev wg0"
        ));
        Self {
            world,
            vip: vip.to_owned(),
            server,
            container,
            token,
        }
    }

    fn exit(&self) -> Option<Ipv4Addr> {
        self.world.address_seen_from(self.world.client())
    }

    /// Asks the port forwarding service; the answer, or curl's exit code where there is none.
    fn ask(&self, host: &str, path: &str, fields: &[&str]) -> Result<Value, Option<i32>> {
        let cn = self.server.cn();
        let (url, connect) = (
            format!("https://{cn}:19999/{path}"),
            format!("{cn}::{host}:"),
        );
        let mut words = vec![
            "curl",
            "-s",
            "-m",
            "20",
            "--get",
            "--cacert",
            "/rsa_4096.crt",
        ];
        words.extend(["--connect-to", &connect, &url]);
        fields
            .iter()
            .for_each(|field| words.extend(["--data-urlencode", field]));
        let output = self.container.exec(&words);
        serde_json::from_slice(&output.stdout).map_err(|_| output.status.code())
    }

    fn lease(&self) -> [String; 2] {
        let lease = self
            .ask(
                &self.vip,
                "getSignature",
                &[&format!("token={}", self.token)],
            )
            .unwrap();
        ["payload", "signature"].map(|name| format!("{name}={}", lease[name].as_str().unwrap()))
    }

    fn bind(&self, [payload, signature]: &[String; 2]) -> String {
        let answer = self
            .ask(&self.vip, "bindPort", &[payload, signature])
            .unwrap();
        answer["message"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_tunnel_leads_to_the_page_inside() {
    let world = World::new();
    assert_eq!(world.address_seen_from(world.client()), None);
    for cn in ["amsterdam448", "Server-12158-2a"] {
        let tunnel = Tunnel::to(&world, cn);
        assert_eq!(world.server_in_use().cn(), cn);
        assert!(tunnel.server.had_handshake());
        let pings = tunnel
            .container
            .shell("ping -c1 -W20 1.1.1.1; ping -c1 -W20 www.privateinternetaccess.com");
        assert_eq!(pings.matches("1 received").count(), 2, "{pings}");
        let answer = tunnel
            .container
            .shell("dig +short +time=20 elsewhere.test @10.0.0.243");
        assert_eq!(answer.trim().parse(), Ok(network::ELSEWHERE));
        let questions = world.pia.records().questions();
        assert_eq!(questions.last().unwrap().through.as_deref(), Some(cn));
        tunnel.container.shell(
            "rm /run/wireguard/wg0.sock; ip link del wg0; ip route add default via 172.18.0.1",
        );
    }
}

#[test]
fn tunnels_die_and_revive() {
    let world = World::new();
    let tunnel = Tunnel::to(&world, "amsterdam447");
    world.server_in_use();
    let faults: [[Verb<Server>; 2]; 4] = [
        [Server::silence_endpoint, Server::restore_endpoint],
        [Server::kill_tunnel, Server::revive_tunnel],
        [Server::answer_handshakes_only, Server::answer_everything],
        [Server::down, Server::up],
    ];
    for [harm, repair] in faults {
        harm(&tunnel.server);
        assert_eq!(tunnel.exit(), None);
        repair(&tunnel.server);
        world.server_in_use();
    }
    world.begin(Outage::Everything);
    assert_eq!(tunnel.exit(), None);
    world.end(Outage::Everything);
    world.server_in_use();
    tunnel.server.forget_keys();
    assert_eq!(tunnel.exit(), None);
}

#[test]
fn new_servers_may_rotate_their_address() {
    let world = World::builder()
        .servers("uk", Kind::New, 1)
        .rotating()
        .build();
    let server = world.pia.servers()[0].clone();
    let tunnel = Tunnel::to(&world, server.cn());
    let exits: BTreeSet<_> = (0..20).filter_map(|_| tunnel.exit()).collect();
    assert!(
        exits.len() > 1 && exits.iter().all(|exit| server.exits().contains(exit)),
        "{exits:?}"
    );
    server.move_exits();
    server.move_exits();
    let others: BTreeSet<_> = (0..20).filter_map(|_| tunnel.exit()).collect();
    assert!(
        !others.is_empty() && others.is_disjoint(&exits),
        "{exits:?} {others:?}"
    );
    assert_eq!(server.exits().len(), 25);
}

#[test]
fn a_bound_port_leads_back_to_the_client() {
    let world = World::new();
    let tunnel = Tunnel::to(&world, "amsterdam447");
    let lease = tunnel.lease();
    assert_eq!(tunnel.bind(&lease), "port scheduled for add");
    assert_eq!(tunnel.bind(&lease), "timer refreshed");

    let [bound] = &world.pia.bound_ports()[..] else {
        panic!("one port is bound")
    };
    assert_eq!(bound.refreshed, 1);
    let listener = world
        .client()
        .run(|| TcpListener::bind(("0.0.0.0", bound.port)))
        .unwrap();
    let greeter = thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello\n"));
    let heard = world.knock_from_internet(tunnel.server.address().into(), bound.port);
    assert_eq!(heard.as_deref(), Some("hello\n"));
    greeter.join().unwrap().unwrap();
}

#[test]
fn ports_are_refused_in_every_way() {
    let world = World::new();
    let tunnel = Tunnel::to(&world, "amsterdam447");
    let (pia, server) = (&world.pia, &tunnel.server);
    let lease = tunnel.lease();
    let cases: [(Verb<Simulator>, &str); 4] = [
        (Simulator::port_busy, "is busy"),
        (Simulator::port_expired, "port expired"),
        (Simulator::port_unauthorized, "Unauthorized client"),
        (Simulator::forward_ports, "port scheduled for add"),
    ];
    for (verb, message) in cases {
        verb(pia);
        assert!(tunnel.bind(&lease).contains(message), "{message}");
    }
    pia.refuse_signature();
    let refused = tunnel
        .ask(
            &tunnel.vip,
            "getSignature",
            &[&format!("token={}", tunnel.token)],
        )
        .unwrap();
    assert_eq!(refused["status"], "ERROR");
    pia.forward_ports();

    pia.port_forwarding().set_lifetime(Duration::ZERO);
    assert_eq!(tunnel.bind(&tunnel.lease()), "port expired");
    pia.port_forwarding().forget_signatures();
    assert_eq!(tunnel.bind(&lease), "bad signature");

    // The address outside belongs to the route around the tunnel.
    let outside = tunnel
        .ask(&server.address().to_string(), "getSignature", &["token=x"])
        .unwrap();
    assert_eq!(outside["message"], "Unauthorized client");
    server.no_port_forwarding();
    assert_eq!(
        tunnel.ask(&tunnel.vip, "bindPort", &[]),
        Err(Some(super::REFUSED))
    );
    server.port_forwarding();
    wait_until("forwarding again", SOON, || {
        tunnel.ask(&tunnel.vip, "bindPort", &[]).is_ok()
    });
    server.reboot();
    assert!(pia.bound_ports().is_empty());
}

#[test]
fn leases_come_in_both_forms_and_need_encoding() {
    let world = World::new();
    let tunnel = Tunnel::to(&world, "amsterdam447");
    for (dated, fields) in [
        (false, &["token", "port", "expires_at"][..]),
        (true, &["token", "port", "expires_at", "created_at"][..]),
    ] {
        if dated {
            world.pia.date_payloads();
        }
        let lease = tunnel.lease();
        assert_eq!(tunnel.bind(&lease), "port scheduled for add");
        let [payload, signature] = lease.map(|field| field.split_once('=').unwrap().1.to_owned());
        for character in "+/=".chars() {
            assert!(payload.contains(character) && signature.contains(character));
        }
        let text = String::from_utf8(BASE64_STANDARD.decode(payload).unwrap()).unwrap();
        let place = |field: &&str| text.find(&format!(r#""{field}":"#));
        let places: Vec<_> = fields.iter().map(place).collect();
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
        assert_eq!(text.contains("created_at"), dated);
    }
}

#[test]
fn the_port_service_at_the_public_address_is_another() {
    let world = World::new();
    let tunnel = Tunnel::to(&world, "amsterdam447");
    let address = tunnel.server.address().to_string();
    // Into the tunnel, past the route to the endpoint.
    tunnel.container.shell(&format!(
        "ip route add default dev wg0 table 7 && ip rule add to {address} ipproto tcp lookup 7"
    ));
    let token = format!("token={}", tunnel.token);
    let ask = || tunnel.ask(&address, "getSignature", &[&token]);
    assert_eq!(ask().unwrap()["status"], "OK");
    let service = |it| tunnel.server.port_forwarding_at_public_address(it);
    service(PortService::Unauthorized);
    assert_eq!(ask().unwrap()["message"], "Unauthorized client");
    service(PortService::Refuses);
    assert_eq!(ask(), Err(Some(super::REFUSED)));
    assert_eq!(tunnel.bind(&tunnel.lease()), "port scheduled for add");
}
