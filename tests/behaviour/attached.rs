//! Networks that come, change and go meanwhile, as `docker network connect` makes them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::slice;
use std::thread;
use std::time::Duration;

use harness::log_lines::UP;
use harness::simulator::server::TUNNEL_DNS;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::capture::Capture;
use harness::world::container::Container;
use harness::world::network::{CLIENT, CLIENT_SECOND, LAN};
use harness::world::pcap::Packet;
use harness::world::recipe::Recipe;

use crate::PROGRAM;
use crate::leaks::{frames, send_probes};
use crate::network::name_servers;

/// The router in the second network.
pub const ROUTER_SECOND: Ipv4Addr = Ipv4Addr::new(172, 19, 0, 1);

/// "Networks that are attached later are followed at once" (README.md)
#[test]
fn a_network_that_is_attached_later_is_reached_and_nothing_else_leaves_by_it() {
    let world = World::new();
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    let open = world.capture_on("wire2");
    send_probes(&world, "eth1");
    assert!(frames(&open) > 0 && !beyond(&open).is_empty());
    world.client().ip("link delete eth1");
    let _container = life(&world).connect();
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    let capture = world.capture_on("wire2");
    let ((_router, there), (_client, here)) = (world.router().listen(), world.client().listen());
    assert!(world.client().reaches((ROUTER_SECOND, there)));
    assert!(world.router().reaches((CLIENT_SECOND, here)));
    send_probes(&world, "eth1");
    assert_eq!((frames(&capture), beyond(&capture)), (0, vec![]));
    world.assert_carries();
}

/// A network that is gone is open no more, whoever has its interface's name next.
#[test]
fn addresses_that_change_are_followed() {
    let world = World::new();
    let container = life(&world)
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .connect();
    let (own, router) = (Ipv4Addr::new(172, 20, 0, 2), Ipv4Addr::new(172, 20, 0, 1));
    world
        .router()
        .ip(format_args!("addr add {router}/16 dev wire"));
    world.client().ip(format_args!(
        "addr add {own}/16 dev eth0\nroute replace default via {router}\n\
         addr delete {CLIENT}/16 dev eth0"
    ));
    let ((_router, there), (_lan, in_lan)) = (world.router().listen(), world.lan().listen());
    assert!(world.client().reaches((router, there)));
    assert!(world.client().reaches((LAN, in_lan)));
    world.assert_carries();
    assert!(
        !container
            .shell("iptables -S PIA_OUTPUT")
            .contains("172.18.")
    );
}

#[test]
fn the_vpns_hosts_stay_in_the_tunnel_where_a_later_network_has_their_addresses() {
    let world = World::new();
    let _container = life(&world).connect();
    attach(
        &world,
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(10, 0, 0, 2),
    );
    let (_router, there) = world.router().listen();
    assert!(world.client().reaches((Ipv4Addr::new(10, 0, 0, 1), there)));
    assert!(world.client().reaches((TUNNEL_DNS[0], 53)));
    let way = world.look(&format!("ip route get {}", TUNNEL_DNS[0]));
    assert!(way.contains("dev wg0"), "{way}");
}

/// Podman writes the file anew, with that network's name server first.
#[test]
fn a_name_server_that_comes_with_a_later_network_is_not_asked() {
    let world = World::new();
    let container = life(&world).connect();
    let ours = name_servers(&container);
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    let write = |names: &[String]| {
        let lines: String = names
            .iter()
            .map(|name| format!("nameserver {name}\\n"))
            .collect();
        container.shell(&format!("printf '{lines}' >/etc/resolv.conf"));
    };
    // It does so some time after the network is there.
    wait_until("the network is followed", SOON, || {
        container.shell("iptables -S").contains("172.19.")
    });
    let theirs = ROUTER_SECOND.to_string();
    write(&[slice::from_ref(&theirs), ours.as_slice()].concat());
    wait_until("it is taken out", SOON, || name_servers(&container) == ours);
    container.wait_for_log("DNS: 172.19.0.1 was put into", SOON);
    // What a user writes there is the user's.
    write(slice::from_ref(&theirs));
    world.client().ip("link delete eth1");
    wait_until("the network is forgotten", SOON, || {
        !container.shell("iptables -S").contains("172.19.")
    });
    assert_eq!(name_servers(&container), [theirs]);
}

/// Docker writes its own over what a container of the default bridge has, where it cannot see that
/// this was changed.
#[test]
fn dockers_resolver_takes_no_place_of_the_vpns_name_servers() {
    let world = World::new();
    let container = life(&world).connect();
    let ours = name_servers(&container);
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    container.shell("printf 'nameserver 127.0.0.11\\noptions ndots:0\\n' >/etc/resolv.conf");
    wait_until("it is taken out", SOON, || name_servers(&container) == ours);
    container.wait_for_log("DNS: 127.0.0.11 was put into", SOON);
    container.stop();
    assert_eq!(name_servers(&container), ["127.0.0.11"]);
}

/// As where a sibling that shares the user's limits has opened all files.
#[test]
fn networks_are_followed_again_once_files_can_be_opened() {
    let world = World::new();
    let container = life(&world).connect();
    let limit = |files: u32| {
        let pid = container.pid().to_string();
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &pid, &format!("--nofile={files}:1024")]);
        assert!(
            prlimit
                .status()
                .expect("prlimit is of util-linux")
                .success()
        );
    };
    limit(1);
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    container.wait_for_log("may be followed late", SOON);
    limit(1024);
    let (_router, there) = world.router().listen();
    wait_until("the network is followed", LATER, || {
        world.client().reaches((ROUTER_SECOND, there))
    });
    // The main loop tries again what it owes; that this goes away, nobody but the watch tells it.
    world.client().ip("link delete eth1");
    wait_until("the network is forgotten", LATER, || {
        !container.shell("iptables -S").contains("172.19.")
    });
}

/// It is no reason to try a refused password again.
#[test]
fn a_network_that_is_attached_while_the_start_waits_passes_no_frame() {
    let world = World::new();
    world.pia.refuse_login();
    let container = life(&world).start();
    container.wait_for_log("Waiting, sealed", SOON);
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    let capture = world.capture_on("wire2");
    wait_until("the network card has its chain", SOON, || {
        world
            .look("nft list table netdev wireguard-pia")
            .contains("\"eth1\"")
    });
    send_probes(&world, "eth1");
    assert_eq!((frames(&capture), beyond(&capture)), (0, vec![]));
    assert_eq!(world.pia.login_attempts(), 1);
    assert!(!container.logs().contains(UP));
}

/// A life whose nft does this first, and may go on as the real one, `/opt/nft`.
fn life_with_nft(world: &World, script: &str) -> Container {
    let container = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let (nft, script) = (
        "/usr/local/libexec/wireguard-pia/nft",
        format!("#!/bin/sh\n{script}\n"),
    );
    let container = container.bind("/usr/sbin/nft", "/opt/nft");
    container.script(nft, script).connect()
}

/// A passing failure of nft, such as memory that is short.
#[test]
fn the_chain_of_an_attached_network_is_tried_again_until_it_is_there() {
    let world = World::new();
    let short = "[ ! -e /run/short ] || exit 1\nexec /opt/nft \"$@\"";
    let container = life_with_nft(&world, short);
    container.shell("touch /run/short");
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    container.wait_for_log("frames by a new interface pass", SOON);
    // All tries of the loads that this calls for are over.
    thread::sleep(Duration::from_secs(3));
    let has_chain = || {
        let table = world.look("nft list table netdev wireguard-pia");
        table.contains("\"eth1\"")
    };
    assert!(!has_chain());
    container.shell("rm /run/short");
    wait_until("the network card has its chain", LATER, has_chain);
}

/// The same at the start.
#[test]
fn chains_that_cannot_be_had_for_want_of_means_are_tried_again() {
    let world = World::new();
    let short = "[ ! -e /run/enough ] || exec /opt/nft \"$@\"\n\
                 echo 'netlink: Error: Resource temporarily unavailable' >&2\nexit 1";
    let container = life_with_nft(&world, short);
    container.wait_for_log("which is tried again; add `cap_drop", SOON);
    let says = |what: &str| {
        let status = container.shell("wireguard-pia status --json");
        status.contains(&format!("\"frames_pass\": {what}"))
    };
    assert!(says("\"frames that"));
    container.shell("touch /run/enough");
    wait_until("the network card has its chain", LATER, || {
        world
            .look("nft list table netdev wireguard-pia")
            .contains("\"eth0\"")
    });
    wait_until("that is said", SOON, || says("null"));
    world.assert_carries();
}

fn life(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft")
}

/// `docker network connect`: a further interface, `eth1`.
pub fn attach(world: &World, router: Ipv4Addr, own: Ipv4Addr) {
    world.router().ip(format_args!(
        "link add wire2 type veth peer name eth1 netns {}\naddr add {router}/16 dev wire2\n\
         link set wire2 up\n",
        world.client().name()
    ));
    world
        .client()
        .ip(format_args!("addr add {own}/16 dev eth1\nlink set eth1 up"));
}

/// What left by the second network to somewhere else.
fn beyond(capture: &Capture) -> Vec<Packet> {
    capture.leaks(|packet| packet.destination.to_string().starts_with("172.19."))
}
