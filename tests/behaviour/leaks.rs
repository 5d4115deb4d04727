//! Nothing leaves outside the tunnel but what the policy names.
//!
//! Other containers of the same network send all they can, all the time, as root and as an ordinary
//! user: UDP, TCP, DNS, ICMP, IPv6, flows from before the start, packets with the tunnel's own
//! mark, sockets bound to the interface. What is judged is every packet on the wire outside,
//! whoever sent it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::log_lines::UP;
use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::capture::Capture;
use harness::world::container::Container;
use harness::world::network::{API, DNS, LIST};
use harness::world::pcap::Packet;
use harness::world::prober::{Kind, Probe, Prober};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

const CLOSED: &str = "Kill switch closed";
const EXECUTED: &str = "executed at ";

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

#[test]
fn nothing_leaks_while_the_start_fails() {
    let world = World::new();
    let watch = Watch::begin(&world);
    world.pia.refuse_login();
    let container = start(&world);
    let closed = container.wait_for_log(CLOSED, SOON).at;
    let blocked = container.wait_for_log("Waiting, sealed", SOON).at;
    Watch::many_probes_are_dropped(&world);
    container.stop();
    watch.expect_only(closed, None, ours(&world));
    watch.expect_only(blocked, None, |_| false);
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
fn nothing_leaks_through_a_sigkill_and_the_lives_after_it() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let mut container = start(&world);
    let closed = container.wait_for_log(CLOSED, SOON).at;
    container.wait_for_log(UP, SOON);
    container.kill();
    Watch::many_probes_are_dropped(&world);
    for _ in 0..2 {
        container.restart();
        container.wait_for_log(UP, SOON);
        Watch::many_probes_are_dropped(&world);
        container.kill();
    }
    watch.expect_only(closed, None, ours(&world));
}

#[test]
fn nothing_leaks_while_it_reconnects() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = recipe(&world).env("PORT_FORWARDING", "1").start();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    container.wait_for_log("Forwarding on port", SOON);
    container.signal(Signal::SIGHUP);
    let again = container.wait_for_log("Reconnected to", SOON).at;
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(closed, None, ours(&world));
    watch.expect_only(again, None, the_tunnels(&world));
}

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
fn nothing_leaks_with_the_legacy_backend() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = recipe(&world).env("NFTABLES", "0").start();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    container.wait_for_log(UP, SOON);
    container.stop();
    watch.expect_only(closed, None, ours(&world));
    open(&world);
    watch.sees_new_flows_after(Instant::now());
}

#[test]
fn pre_up_hooks_have_the_open_network_and_nothing_leaks_after_them() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let hook =
        "exec 3<>/dev/tcp/203.0.113.66/7; echo hello >&3; read -r answer <&3; echo got $answer";
    let container = recipe(&world).env("PRE_UP", hook).start();
    let hook = container.wait_for_log("got hello", SOON).at;
    let closed = container.wait_for_log(CLOSED, SOON).at;
    container.wait_for_log(UP, SOON);
    container.stop();
    assert!(hook < closed);
    watch.expect_only(closed, None, ours(&world));
}

#[test]
fn without_the_kill_switch_the_same_watch_sees_leaks() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = recipe(&world).env("FIREWALL", "0").start();
    let up = container.wait_for_log(UP, SOON).at;
    container.stop();
    let stopped = Instant::now();
    watch.sees_new_flows_after(stopped);
    assert!(
        watch
            .leaked(up, None, ours(&world))
            .iter()
            .any(|packet| packet.probe().is_some())
    );
}

/// In one of some lives, as the other tests use the processor too; `scripts/bench` has the figures.
/// The original takes 750 ms.
#[test]
fn the_kill_switch_closes_at_once() {
    let mut times = (0..10).map(|_| time_to_the_last_leak(&World::new()));
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 60 });
    assert!(times.any(|time| time < limit), "never within {limit:?}");
}

/// From the program's exec to the last packet that it should have kept in.
fn time_to_the_last_leak(world: &World) -> Duration {
    let watch = Watch::begin(world);
    let container = start(world);
    let executed = container.wait_for_log(EXECUTED, SOON).text;
    let executed: f64 = executed
        .trim_start_matches(EXECUTED)
        .parse()
        .expect("bash says the time in seconds");
    let since = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs_f64(executed));
    let executed = Instant::now() - since.expect("time goes on");
    container.wait_for_log(UP, SOON);
    let leaks = watch.capture.leaks(ours(world));
    leaks.last().map_or(Duration::ZERO, |last| {
        last.at.saturating_duration_since(executed)
    })
}

fn start(world: &World) -> Container {
    recipe(world).start()
}

/// Says when the program is executed, before anything of it runs.
fn recipe(world: &World) -> Recipe {
    let script = format!("echo \"{EXECUTED}$EPOCHREALTIME\"; exec wireguard-pia run");
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .command(["bash", "-c", &script])
}

/// Probers and a capture, which is known to see every kind of probe.
struct Watch {
    capture: Capture,
    _prober: Prober,
}

impl Watch {
    #[track_caller]
    fn begin(world: &World) -> Self {
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
    fn sees(&self, wanted: &BTreeSet<Probe>, moment: Instant) {
        wait_until("the capture sees every kind of probe", SOON, || {
            let mut packets = self.capture.packets();
            packets.retain(|packet| packet.at > moment);
            let seen: BTreeSet<Probe> = packets.iter().filter_map(Packet::probe).collect();
            seen.is_superset(wanted)
        });
    }

    /// The same, but for flows that may have died in the meantime.
    #[track_caller]
    fn sees_new_flows_after(&self, moment: Instant) {
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
    fn many_probes_are_dropped(world: &World) {
        let before = dropped(world);
        wait_until("probes are dropped", SOON, || dropped(world) > before + 300);
    }

    /// Fails the test if anything left in this time that `allowed` does not accept.
    #[track_caller]
    fn expect_only(&self, from: Instant, to: Option<Instant>, allowed: impl Fn(&Packet) -> bool) {
        let leaks = self.leaked(from, to, allowed);
        assert!(
            leaks.is_empty(),
            "{} packets leaked, the first: {:?}",
            leaks.len(),
            &leaks[..leaks.len().min(5)]
        );
    }

    fn leaked(
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
fn ours(world: &World) -> impl Fn(&Packet) -> bool + use<> {
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
fn the_tunnels(world: &World) -> impl Fn(&Packet) -> bool + use<> {
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

/// How many packets the policy of OUTPUT has dropped.
fn dropped(world: &World) -> u64 {
    let output = world
        .client()
        .output(Command::new("iptables-nft").args(["-nvxL", "OUTPUT"]));
    let text = String::from_utf8(output.expect("iptables is installed").stdout)
        .expect("iptables writes UTF-8");
    // Chain OUTPUT (policy DROP 12 packets, 345 bytes)
    let count = text
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(4));
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

/// Opens the client's firewall, as no program of ours would.
fn open(world: &World) {
    for program in [
        "iptables-legacy",
        "ip6tables-legacy",
        "iptables-nft",
        "ip6tables-nft",
    ] {
        for chain in ["INPUT", "OUTPUT"] {
            let _ = world
                .client()
                .output(Command::new(program).args(["-P", chain, "ACCEPT"]));
        }
    }
}
