//! Nothing leaves outside the tunnel but what the policy names: what the walk through all states
//! (`matrix`) does not come by.
//!
//! Other containers of the same network send all they can, all the time, as root and as an ordinary
//! user: UDP, TCP, DNS, ICMP, IPv6, flows from before the start, packets with the tunnel's own
//! mark, sockets bound to the interface. What is judged is every packet on the wire outside,
//! whoever sent it.

use std::net::UdpSocket;
use std::time::Instant;

use harness::log_lines::{CLOSED, FORWARDING, RECONNECTED, UP};
use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::capture::Capture;
use harness::world::container::Container;
use harness::world::network::{API, DNS, DNS_V6, ELSEWHERE, ELSEWHERE_V6};
use harness::world::pcap::Packet;
use harness::world::privileges::Privileges;
use harness::world::prober::{Kind, Probe};
use harness::world::recipe::Recipe;
use harness::world::watch::{Watch, ours, the_tunnels};
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// "Each of these rules names the tunnel's mark, the protocol and the exact destination"
/// (README.md)
#[test]
fn nothing_leaks_from_the_closing_to_after_the_stop() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = start(&world);
    let closed = container.wait_for_log(CLOSED, SOON).at;
    let up = container.wait_for_log(UP, SOON).at;
    world.assert_carries();
    Watch::many_probes_are_dropped(&world);
    let stop = Instant::now();
    container.stop();
    let stopped = Instant::now();
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(closed, None, ours(&world));
    watch.expect_only(up, Some(stop), the_tunnels(&world));
    watch.expect_only(stopped, None, |_| false);
}

/// What the program needs of IPv6 is the name server's address and the link's neighbours.
#[test]
fn nothing_leaks_while_an_ipv6_name_server_is_asked() {
    let world = World::new();
    let ask = || {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        // Refused by the kill switch.
        let _ = socket.send_to(b"from a neighbour", (DNS_V6, 53));
    };
    let watch = Watch::begin(&world);
    let asked = |packet: &Packet| packet.destination == DNS_V6;
    let neighbours = || {
        let mut packets = watch.capture.packets();
        packets.retain(|packet| packet.payload == b"from a neighbour");
        packets.len()
    };
    world.client().run(ask);
    wait_until("a neighbour is heard", SOON, || neighbours() == 1);
    world.pia.hang(Api::Token);
    let container = recipe(&world)
        .resolv_conf(format!("nameserver {DNS_V6}\n"))
        .start();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    assert!(world.pia.records().wait_for(Api::Token, 1, SOON));
    let rules = world.look("ip6tables -S PIA_OUTPUT");
    assert!(rules.contains("--dport 53"), "{rules}");
    world.client().run(ask);
    Watch::many_probes_are_dropped(&world);
    world.pia.heal(Api::Token);
    container.stop();
    let allowed = ours(&world);
    watch.expect_only(closed, None, |packet| {
        allowed(packet) || asked(packet) && packet.to_port() == Some(53)
    });
    assert_eq!(neighbours(), 1);
    assert!(
        watch
            .capture
            .packets()
            .iter()
            .any(|packet| asked(packet) && packet.at > closed)
    );
}

const PROGRAMS: [&str; 6] = [
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
];

/// Where blocking fails, the network is cut; where it works again, the cut is taken back.
#[test]
fn without_any_iptables_nothing_leaves() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let mut recipe = recipe(&world)
        .without("/usr/sbin/xtables-nft-multi")
        .without("/usr/sbin/xtables-legacy-multi");
    for name in PROGRAMS {
        recipe = recipe.without(format!("/usr/sbin/{name}"));
    }
    let container = recipe.start();
    container.wait_for_log("no iptables program for", SOON);
    container.wait_for_log("blocks all IPv4 instead", SOON);
    let cut = container.wait_for_log("IPv6 is blocked by", SOON).at;
    // Meanwhile the probers send a few hundred probes a second.
    container.wait_for_log("Warning: firewall: no iptables program for", SOON);
    container.stop();
    let again = Instant::now();
    let container = start(&world);
    watch.expect_only(cut, Some(again), |_| false);
    container.wait_for_log(UP, SOON);
    assert!(!world.look("ip -4 rule").contains("blackhole"));
    container.stop();
}

#[test]
fn nothing_leaks_when_a_stop_meets_a_hanging_login() {
    let world = World::new();
    let watch = Watch::begin(&world);
    world.pia.hang(Api::Token);
    let container = start(&world);
    let closed = container.wait_for_log(CLOSED, SOON).at;
    assert!(world.pia.records().wait_for(Api::Token, 1, SOON));
    container.stop();
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(closed, None, ours(&world));
}

#[test]
fn nothing_leaks_while_it_reconnects() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = recipe(&world).env("PORT_FORWARDING", "1").start();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    container.wait_for_log(FORWARDING, SOON);
    container.signal(Signal::SIGHUP);
    let again = container.wait_for_log(RECONNECTED, SOON).at;
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(closed, None, ours(&world));
    watch.expect_only(again, None, the_tunnels(&world));
}

/// "Connections that were open before the start are cut." (README.md)
#[test]
fn flows_that_began_in_the_tunnel_do_not_go_on_outside() {
    let world = World::new();
    let container = start(&world);
    container.wait_for_log(UP, SOON);
    let capture = world.capture();
    let _prober = world.probe();
    assert!(world.elsewhere.wait_for(SOON, |arrival| arrival.tcp
        && arrival.text.contains("oldtcp")));
    container.kill();
    Watch::many_probes_are_dropped(&world);
    assert_eq!(capture.leaks(the_tunnels(&world)), []);
}

#[test]
fn where_frames_cannot_be_dropped_it_is_said() {
    let world = World::new();
    let container = start(&world);
    container.wait_for_log("frames that a program writes by itself", SOON);
    container.wait_for_log(UP, SOON);
    frames_pass_by_the_status(&container);
}

/// Not only once it is connected, which may never be.
#[test]
fn where_frames_cannot_be_dropped_it_is_said_by_a_life_that_is_blocked() {
    let world = World::new();
    world.pia.refuse_login();
    let container = start(&world);
    container.wait_for_log("Waiting, sealed", SOON);
    frames_pass_by_the_status(&container);
}

#[track_caller]
fn frames_pass_by_the_status(container: &Container) {
    let status = container.exec(&["/usr/local/bin/wireguard-pia", "status"]);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("cap_drop: [NET_RAW]"), "{status}");
}

fn start(world: &World) -> Container {
    recipe(world).start()
}

fn recipe(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

/// Sends each probe once, the frame among them, and blocks until all are on their way.
pub fn send_probes(world: &World, interface: &str) {
    let mut prober = Privileges::docker().command(harness::programs::prober());
    prober.args(["once", interface]).args([
        DNS.to_string(),
        ELSEWHERE.to_string(),
        ELSEWHERE_V6.to_string(),
        API.to_string(),
    ]);
    let output = world.client().output(&mut prober).unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// How many frames of the prober's were on the wire.
pub fn frames(capture: &Capture) -> usize {
    let is_frame = |probe: &Probe| probe.kind == Kind::Frame;
    let frame = Probe::common().into_iter().find(is_frame).unwrap();
    let mut packets = capture.packets();
    packets.retain(|packet| packet.payload == frame.payload());
    packets.len()
}
