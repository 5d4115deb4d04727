//! The container as gateway of machines that have nothing but an address and a route.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use harness::netns::Namespace;
use harness::simulator::server::TUNNEL_DNS;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::network::{BEHIND, CLIENT, CLIENT_INNER, ELSEWHERE, INSIDE, LAN};
use harness::world::recipe::Recipe;

use crate::PROGRAM;

/// A machine of the container's own network.
const MACHINE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 9);

/// "As gateway for other machines, set `FWD_IFACE`" (README.md)
#[test]
fn a_host_behind_the_container_uses_the_tunnel_and_nothing_else() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build();
    let capture = world.capture();
    let container = life(&world).env("FWD_IFACE", "eth1").connect();
    assert!(
        !container.logs().contains("net.ipv4.ip_forward"),
        "{}",
        container.logs()
    );
    let server = world.server_used_by(world.behind());
    assert_eq!(server.plan().location, "swiss");
    container.stop();
    assert_eq!(world.address_seen_from(world.behind()), None);
    assert!(world.behind().is_kept_from((ELSEWHERE, 7)));
    assert_eq!(
        capture.leaks(|packet| packet.source != BEHIND && packet.destination != ELSEWHERE),
        []
    );
}

#[test]
fn a_host_behind_the_container_gets_nowhere_unless_it_is_a_gateway() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build();
    let _container = life(&world).connect();
    assert_eq!(world.address_seen_from(world.behind()), None);
    world.assert_carries();
}

#[test]
fn a_gateway_that_forwards_nothing_is_warned_of() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "0")
        .build();
    let container = life(&world).env("FWD_IFACE", "eth1").start();
    let line = container
        .wait_for_log("FWD_IFACE is set but nothing is forwarded", SOON)
        .text;
    assert!(line.contains("net.ipv4.ip_forward=1"), "{line}");
}

/// "a connection of theirs agrees on segments that the tunnel holds" (docs/gateway.md)
#[test]
fn much_comes_through_though_nobody_is_told_what_the_tunnel_holds() {
    let world = gateway_world();
    let container = life(&world).env("FWD_IFACE", "eth1").connect();
    world.server_used_by(world.behind());
    // As behind firewalls that drop all of ICMP.
    let deaf = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p icmp -j DROP\nCOMMIT\n";
    for place in [world.behind(), world.internet()] {
        place.firewall(deaf);
    }
    much_comes_through(&world, world.behind(), SOON).unwrap();
    // Without these rules it does not, so the test can see what they do.
    let without = "iptables-save -t filter | sed '/TCPMSS/d' | iptables-restore";
    container.shell(without);
    assert!(much_comes_through(&world, world.behind(), Duration::from_secs(3)).is_err());
}

/// 300 kB to a host on the internet, and as much from there.
fn much_comes_through(world: &World, from: &Namespace, patience: Duration) -> std::io::Result<()> {
    let (listener, port) = world.internet().listen();
    let data = vec![b'x'; 300_000];
    let connect = || TcpStream::connect_timeout(&(INSIDE, port).into(), patience);
    let (mut here, mut there) = (from.run(connect)?, listener.accept()?.0);
    for stream in [&here, &there] {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(|| -> std::io::Result<()> {
            there.read_exact(&mut vec![0; data.len()])?;
            there.write_all(&data)
        });
        here.write_all(&data)?;
        here.read_exact(&mut vec![0; data.len()])?;
        other.join().expect("it does not panic")
    })
}

/// "`FWD_SOURCES`", "`FWD_DNS`" (docs/gateway.md)
#[test]
fn a_gateway_serves_whom_it_is_told_to_by_all_its_interfaces_and_answers_look_ups() {
    let world = gateway_world();
    let capture = world.capture_on("wan");
    let (near, wanted) = (machine_on_the_wire(&world), Ipv4Addr::new(10, 77, 0, 3));
    let container = life(&world)
        .env("FWD_IFACE", "eth0 eth1")
        .env("FWD_SOURCES", format!("{wanted}, {MACHINE}/32"))
        .env("FWD_DNS", "1")
        .connect();
    let behind = world.behind();
    assert_eq!(world.address_seen_from(behind), None);
    behind.ip(format_args!(
        "addr flush dev eth0\naddr add {wanted}/24 dev eth0\nroute add default via {CLIENT_INNER}\n"
    ));
    for place in [behind.as_ref(), &near] {
        world.server_used_by(place);
        // Whomever it asks.
        for server in [CLIENT_INNER, CLIENT, ELSEWHERE] {
            assert_eq!(looked_up(place, server), ELSEWHERE.to_string(), "{server}");
        }
    }
    let records = world.pia.records();
    let questions = records.questions();
    let theirs = questions.iter().filter(|q| q.name == "elsewhere.test");
    assert!(theirs.clone().count() >= 6 && theirs.clone().all(|q| q.through.is_some()));
    container.stop();
    for place in [behind.as_ref(), &near] {
        assert_eq!(world.address_seen_from(place), None);
        assert_eq!(looked_up(place, TUNNEL_DNS[0]), "");
    }
    for place in [behind.as_ref(), &near] {
        assert!(place.is_kept_from((ELSEWHERE, 53)));
    }
    assert_eq!(capture.leaks(|packet| packet.destination != ELSEWHERE), []);
    // A host that is not behind the container is seen.
    world.lan().reaches((ELSEWHERE, 7));
    assert_ne!(capture.leaks(|packet| packet.destination != ELSEWHERE), []);
}

/// The name servers that the user chose are in the LAN.
#[test]
fn look_ups_that_cannot_be_answered_inside_the_tunnel_are_warned_of() {
    let world = gateway_world();
    let container = life(&world)
        .env("FWD_IFACE", "eth1")
        .env("FWD_DNS", "1")
        .env("VPNDNS", LAN.to_string())
        .env("LOCAL_NETWORK", LAN.to_string())
        .start();
    let warning = format!(
        "FWD_DNS: no name server is inside the tunnel ({LAN} is not), so look-ups of the machines \
         behind go where they are sent to"
    );
    container.wait_for_log(&warning, SOON);
}

/// A machine of the network that the container's default route lies in, with the container as its
/// gateway, as where a router hands out the container's address.
fn machine_on_the_wire(world: &World) -> Namespace {
    let machine = Namespace::create(format!("{}-machine", world.behind().name()));
    world.router().ip(format_args!(
        "link add link wire name machine type macvlan mode bridge\n\
         link set machine netns {} name eth0\n",
        machine.name()
    ));
    machine.ip(format_args!(
        "addr add {MACHINE}/16 dev eth0\nlink set eth0 up\nroute add default via {CLIENT}\n"
    ));
    machine
}

fn looked_up(place: &Namespace, server: Ipv4Addr) -> String {
    let mut dig = Command::new("dig");
    let server = format!("@{server}");
    dig.args([
        "+short",
        "+noedns",
        "+tries=2",
        "+time=1",
        &server,
        "elsewhere.test",
    ]);
    let output = place.output(&mut dig).expect("dig is installed");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        text
    } else {
        String::new()
    }
}

fn gateway_world() -> World {
    World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build()
}

fn life(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}
