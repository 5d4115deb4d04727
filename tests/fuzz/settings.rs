//! Environments: what comes of them in rules and in wg0.conf.
//!
//! An input is pairs `NAME=value` with `␞` between them; a value may hold anything else.

use std::net::{Ipv4Addr, SocketAddrV4};

use wireguard_pia::firewall_internals::{ForwardedPort, Gateway, Policy, TunnelPolicy};
use wireguard_pia::parser_internals::{Conf, Secret, Server, firewall, wireguard};
use wireguard_pia::settings::{Environment, ServerChoice, Settings};

use super::answers::KEY;
use super::engine;
use super::property::assert_is_visible;

const MARK: u32 = 0xca6c;
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 13), 1337);

fn settings(bytes: &[u8]) -> Settings {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let environment: Environment = text
        .split('␞')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim().into(), value.into()))
        .collect();
    let (settings, warnings) = Settings::from_environment(&environment);
    for warning in &warnings {
        assert_is_visible(&warning.to_string());
    }
    assert_is_visible(&Settings::effective(&environment));
    settings
}

fn policy(settings: &Settings, gateway: Option<Gateway>, rng: &mut fastrand::Rng) -> Policy {
    let local = settings.local_network.iter();
    let tunnel = TunnelPolicy {
        interface: "wg0".to_owned(),
        name_servers: [[10, 0, 0, 243].into()].into(),
        attached: vec![("eth0".to_owned(), "172.18.0.0/16".parse().unwrap())],
        local: local.map(|access| ("eth0".to_owned(), *access)).collect(),
        local_ports: settings.local_ports.clone(),
        forwarded: rng.bool().then(|| ForwardedPort {
            port: rng.u16(1..),
            redirect: settings.port_forwarding.redirect,
        }),
        gateway,
    };
    Policy {
        sealed: settings.firewall,
        ..Policy::connected(MARK, ENDPOINT, tunnel)
    }
}

/// A rule set is the one for a gateway with plain names, but for those names. An entry of the LAN
/// is read as it is shown.
#[test]
fn rule_text() {
    engine::run("rule_text", |bytes, rng| {
        let settings = settings(bytes);
        for access in &settings.local_network {
            assert_eq!(access.to_string().parse(), Ok(*access));
        }
        let policy = policy(&settings, settings.gateway.clone(), rng);
        let strict = rng.bool();
        let rules = match firewall::rule_set(&policy, strict) {
            Ok(rules) => rules,
            Err(error) => return assert_is_visible(&error.to_string()),
        };
        let mut plain = policy;
        let mut names = Vec::new();
        if let Some(gateway) = plain.tunnel.as_mut().and_then(|it| it.gateway.as_mut()) {
            let stand_ins = (0..gateway.interfaces.len()).map(|number| format!("eth9.{number}"));
            names = std::mem::replace(&mut gateway.interfaces, stand_ins.collect());
        }
        for name in &names {
            // One word, and neither an option nor a negation.
            assert!(
                name.chars().all(|letter| letter.is_ascii_graphic()),
                "{name:?}"
            );
            assert!(!name.starts_with(['-', '!']), "{name:?}");
        }
        let plain = firewall::rule_set(&plain, strict).unwrap();
        let back = |word| {
            let number = str::strip_prefix(word, "eth9.").and_then(|it| it.parse::<usize>().ok());
            number.map_or(word, |number| names[number].as_str())
        };
        let expected: Vec<&str> = plain.split(' ').map(back).collect();
        assert_eq!(rules, expected.join(" "));
    });
}

/// wg0.conf has the lines of its template: wg-quick runs what stands behind `PostUp`.
#[test]
fn wg0_conf() {
    engine::run("wg0_conf", |bytes, rng| {
        let settings = settings(bytes);
        let cn = match &settings.destination {
            ServerChoice::Manual { cn, .. } => cn.clone(),
            _ => "zurich401".to_owned(),
        };
        // A server of another name cannot have shown its certificate.
        let Some(server) = Server::new(&cn, "198.51.100.13") else {
            return;
        };
        let mut dns = vec!["10.0.0.243".to_owned()];
        dns.extend_from_slice(settings.dns.search());
        let conf = Conf {
            location: "swiss".to_owned(),
            private_key: Secret::new(KEY),
            address: Ipv4Addr::new(10, 12, 224, 3),
            mark: if rng.bool() { MARK } else { 0 },
            dns: dns.join(","),
            mtu: settings.mtu,
            peer: KEY.to_owned(),
            endpoint: ENDPOINT,
            keepalive: settings.keepalive,
            server_cn: server.cn,
            port_forwarding_gateway: rng.bool().then_some(Ipv4Addr::new(10, 12, 128, 1)),
        };
        let text = wireguard::conf_text(&conf).unwrap();
        assert_eq!(keys(&text), expected_keys(&conf), "{text}");
    });
}

/// The word that each line begins with; a control character would be one in it.
fn keys(text: &str) -> Vec<&str> {
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split(' ').next().unwrap()).collect()
}

fn expected_keys(conf: &Conf) -> Vec<&'static str> {
    let optional = [
        (true, "#"),
        (true, "[Interface]"),
        (true, "PrivateKey"),
        (true, "Address"),
        (conf.mark != 0, "FwMark"),
        (true, "DNS"),
        (conf.mtu.is_some(), "MTU"),
        (true, "[Peer]"),
        (true, "PublicKey"),
        (true, "AllowedIPs"),
        (true, "Endpoint"),
        (conf.keepalive.is_some(), "PersistentKeepalive"),
        (conf.port_forwarding_gateway.is_some(), "#cn:"),
        (conf.port_forwarding_gateway.is_some(), "#pf"),
    ];
    optional
        .iter()
        .filter(|(is_there, _)| *is_there)
        .map(|(_, key)| *key)
        .collect()
}
