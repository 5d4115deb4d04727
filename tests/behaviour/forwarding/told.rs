//! What a container tells others about its port, and whether that is true.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use harness::log_lines::{FORWARDING, in_order};
use harness::waiting::{LATER, SOON, wait_for, wait_until};
use harness::world::World;
use harness::world::container::Container;

use super::{forwarding, gateway};

/// The port, as each of those who are told has it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    file: BTreeSet<u16>,
    status: BTreeSet<u16>,
    firewall: BTreeSet<u16>,
    hooks: BTreeSet<u16>,
}

impl Told {
    fn by(world: &World, container: &Container) -> Self {
        Self {
            file: container
                .read("/pia-shared/port.dat")
                .and_then(|text| text.trim().parse().ok())
                .into_iter()
                .collect(),
            status: in_status(container).into_iter().collect(),
            firewall: in_firewall(world),
            hooks: by_hooks(&container.logs()).into_iter().collect(),
        }
    }

    fn is(&self, port: Option<u16>) -> bool {
        let port: BTreeSet<u16> = port.into_iter().collect();
        [&self.file, &self.status, &self.firewall, &self.hooks]
            .into_iter()
            .all(|told| *told == port)
    }
}

fn in_status(container: &Container) -> Option<u16> {
    let status = container.read("/run/wireguard-pia/status.json")?;
    let status: serde_json::Value = serde_json::from_str(&status).ok()?;
    status["port"]["number"].as_u64()?.try_into().ok()
}

/// Every port that any rule for incoming connections names; a hole for tcp alone counts as one for
/// port 0.
pub fn in_firewall(world: &World) -> BTreeSet<u16> {
    let rules = world.look("iptables-save");
    let ports = |protocol: &str| -> BTreeSet<u16> {
        let lines = rules
            .lines()
            .filter(|line| line.contains("-i wg0") && line.contains(&format!("-p {protocol}")));
        lines
            .filter_map(|line| {
                line.split_once("--dport ")?
                    .1
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect()
    };
    let (tcp, udp) = (ports("tcp"), ports("udp"));
    if tcp == udp { tcp } else { BTreeSet::from([0]) }
}

/// The port that the hooks were told last, unless it was withdrawn.
fn by_hooks(log: &str) -> Option<u16> {
    let mut told = log.lines().filter(|line| {
        line.starts_with("[port-script] up") || line.starts_with("[port-down-script]")
    });
    told.next_back()?
        .strip_prefix("[port-script] up ")?
        .parse()
        .ok()
}

/// Blocks until everybody is told the same port, and that is the one that the server forwards to
/// this container.
#[track_caller]
pub fn agreed_port(world: &World, container: &Container) -> u16 {
    agreed_port_but(world, container, 0)
}

/// The same, when it must be another port than before.
#[track_caller]
pub fn agreed_port_but(world: &World, container: &Container, before: u16) -> u16 {
    let agreed = || {
        let port = in_status(container).filter(|port| *port != before)?;
        let bound = world
            .pia
            .bound_ports()
            .iter()
            .any(|bound| bound.port == port);
        (bound && Told::by(world, container).is(Some(port))).then_some(port)
    };
    let port = wait_for("all agree about the port", LATER, agreed);
    assert_eq!(
        hooks_in_order(&container.logs()),
        [] as [String; 0],
        "what hooks were told makes no sense"
    );
    port
}

/// Blocks until nobody is told of any port.
#[track_caller]
pub fn all_agree_that_there_is_none(world: &World, container: &Container) {
    wait_until("all agree that there is no port", LATER, || {
        Told::by(world, container).is(None)
    });
}

/// Lines of hooks that do not fit: a port withdrawn that was not announced, or two at a time. The
/// same one may be announced again, after a reconnect.
fn hooks_in_order(log: &str) -> Vec<String> {
    let mut present = None;
    let mut wrong = Vec::new();
    for line in log.lines() {
        if let Some(port) = line.strip_prefix("[port-script] up ") {
            if present.replace(port).is_some_and(|former| former != port) {
                wrong.push(line.to_owned());
            }
        } else if let Some(port) = line.strip_prefix("[port-down-script] down ")
            && present.take() != Some(port)
        {
            wrong.push(line.to_owned());
        }
    }
    wrong
}

/// The torrent client's usual port, with which it was left.
const USUAL: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 6881);

/// A minute after it is told: "log, `status` and `doctor` say so" (README.md)
#[test]
fn a_port_on_which_nobody_listens_is_named_with_the_one_on_which_somebody_does() {
    let world = World::new();
    let _client = world.client().run(|| {
        (
            TcpListener::bind(USUAL).unwrap(),
            UdpSocket::bind(USUAL).unwrap(),
        )
    });
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    let complaint = format!(
        "nobody listens on port {port}; another program listens on {}",
        USUAL.1
    );
    let status = container.shell("wireguard-pia status");
    assert!(status.contains(&complaint), "{status}");
    let said = container
        .wait_for_log(&complaint, Duration::from_secs(120))
        .text;
    assert!(said.contains("PORT_CLIENTS=qbittorrent"), "{said}");
    let any = (Ipv4Addr::UNSPECIFIED, port);
    let _right = world.client().run(|| TcpListener::bind(any)).unwrap();
    let status = container.shell("wireguard-pia status");
    assert!(!status.contains("nobody listens"), "{status}");
    let proof = || {
        let status = container.shell("wireguard-pia status --json");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["port_proof"].clone()
    };
    assert_eq!(proof()["listener"], "another program");
    assert_eq!(proof()["arrivals"], 0);
    let server = world.server_in_use().address();
    world.knock_from_internet(IpAddr::V4(server), port);
    assert!(proof()["arrivals"].as_u64().unwrap() > 0, "{}", proof());
    let status = container.shell("wireguard-pia status");
    assert!(status.contains("by the port since the rules"), "{status}");
}

#[test]
fn nobody_has_to_listen_where_the_port_leads_elsewhere() {
    let world = World::new();
    let _client = world.client().run(|| TcpListener::bind(USUAL)).unwrap();
    let redirected = forwarding(&world).env("PORT_REDIRECT", USUAL.1.to_string());
    let container = redirected.start();
    container.wait_for_log(FORWARDING, SOON);
    let status = container.shell("wireguard-pia status");
    assert!(!status.contains("nobody listens"), "{status}");
    drop(container);
    let world = World::builder().behind().build();
    let container = gateway(&world).start();
    agreed_port(&world, &container);
    let status = container.shell("wireguard-pia status");
    assert!(!status.contains("nobody listens"), "{status}");
}

/// Commands have the container's environment, and not what `PRE_UP` made of it.
#[test]
fn where_the_port_leads_is_as_pre_up_left_it() {
    let world = World::new();
    let _client = world.client().run(|| TcpListener::bind(USUAL)).unwrap();
    let pre_up = format!("PORT_REDIRECT={}", USUAL.1);
    let container = forwarding(&world).env("PRE_UP", pre_up).start();
    let status = wait_for("a port", SOON, || {
        let status = container.shell("wireguard-pia status --json");
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        (!status["port"].is_null()).then_some(status)
    });
    assert_eq!(status["port_proof"]["listener"], "another program");
    assert_eq!(status["port"]["leads_to"], USUAL.1);
    for command in ["status", "doctor"] {
        let said = container.shell(&format!("wireguard-pia {command}; true"));
        assert!(
            said.contains(&status["port"]["number"].to_string()),
            "{said}"
        );
        assert!(!said.contains("nobody listens"), "{said}");
    }
}

/// Its first `PORT_DOWN_SCRIPT` hangs until it is told to go on, and two ports come meanwhile, of
/// which one is gone again. Which ports there were.
fn ports_while_a_down_script_hangs(world: &World) -> (Container, [String; 3]) {
    let hangs = "[ -e /tmp/go ] || { echo hangs; until [ -e /tmp/go ]; do sleep 0.1; done; }; \
                 echo down";
    let recipe = forwarding(world).env("PORT_DOWN_SCRIPT", hangs);
    let container = recipe.first("rm -f /tmp/go").connect();
    let port = |index: usize| {
        wait_for("another port", LATER, || {
            let log = container.logs();
            let mut ports = log.lines().filter_map(|line| line.strip_prefix(FORWARDING));
            ports.nth(index).map(str::to_owned)
        })
    };
    let first = port(0);
    container.wait_for_log(&format!("[port-script] up {first}"), SOON);
    world.pia.port_forwarding().forget_signatures();
    container.wait_for_log("[port-down-script] hangs", LATER);
    let second = port(1);
    world.pia.port_forwarding().forget_signatures();
    let third = port(2);
    (container, [first, second, third])
}

#[test]
fn a_down_script_that_hangs_lets_no_older_port_be_told_after_a_newer_one() {
    let world = World::new();
    let (container, [first, second, third]) = ports_while_a_down_script_hangs(&world);
    container.shell(": >/tmp/go");
    let told = [
        format!("[port-down-script] down {first}"),
        format!("[port-down-script] down {second}"),
        format!("[port-script] up {third}"),
    ];
    for line in &told {
        container.wait_for_log(line, LATER);
    }
    let log = container.logs();
    assert!(
        in_order(&log, &told.each_ref().map(String::as_str)),
        "{log}"
    );
    assert!(!log.contains(&format!("[port-script] up {second}")));
}

#[test]
fn a_stop_tells_no_port_that_waits_to_be_told() {
    let world = World::new();
    let (container, _) = ports_while_a_down_script_hangs(&world);
    // The last down script, that of the stop itself, has to end.
    container.shell("(sleep 1; : >/tmp/go) >/dev/null 2>&1 &");
    assert!(container.stop().status.success());
    assert_eq!(container.logs().matches("[port-script] up ").count(), 1);
}
