//! Limits that settings, or those who wait, have set.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::{FORWARDING, UP};
use harness::simulator::faults::{Api, Fault};
use harness::simulator::server::Server;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::container::Container;
use harness::world::network::PINGABLE;
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

fn recipe(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

/// "HEALTHCHECK --interval=1m --timeout=3s" (Dockerfile), of which starting the container's process
/// takes a part.
#[track_caller]
fn health_is_told_in_time(container: &Container, environment: &str) {
    let begun = Instant::now();
    container.shell(&format!("{environment} /scripts/healthcheck.sh"));
    let took = begun.elapsed();
    println!("{environment} took {took:?}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[test]
fn the_health_check_is_done_before_docker_gives_it_up() {
    let world = World::new();
    let container = recipe(&world).connect();
    health_is_told_in_time(&container, "");
    health_is_told_in_time(&container, "ACTIVE_HEALTHCHECKS=1");
    world.server_in_use().silence_endpoint();
    health_is_told_in_time(&container, "");
    health_is_told_in_time(&container, "ACTIVE_HEALTHCHECKS=1");
}

/// It is called once a minute, or once a second while others wait for it.
#[test]
fn the_passive_health_check_is_cheap() {
    let world = World::new();
    let container = recipe(&world).connect();
    let begun = Instant::now();
    container.shell("for i in 1 2 3 4 5 6 7 8 9 10; do /scripts/healthcheck.sh; done");
    let took = begun.elapsed();
    println!("ten health checks took {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// `CURL_MAX_TIME`: "Seconds for all tries of one request together" (README.md).
#[test]
fn a_list_host_that_hangs_keeps_the_stored_list_waiting_no_longer_than_curl_max_time() {
    let world = World::new();
    let mut container = recipe(&world).env("CURL_MAX_TIME", "2").connect();
    container.stop();
    world.pia.fail(Api::List, Fault::Hang);
    container.restart();
    container.wait_for_log("using the stored server list", Duration::from_secs(6));
    container.wait_for_log(UP, SOON);
}

/// As after a machine's sleep.
#[test]
fn a_program_that_was_halted_refreshes_its_port_at_once() {
    let world = World::new();
    let container = recipe(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_REBIND_INTERVAL", "2")
        .start();
    container.wait_for_log(FORWARDING, SOON);
    container.signal(Signal::SIGSTOP);
    let asked = world.pia.records().of(Api::BindPort).len();
    // Nothing happens meanwhile that could be waited for.
    thread::sleep(Duration::from_millis(2500));
    container.signal(Signal::SIGCONT);
    let records = world.pia.records();
    assert!(records.wait_for(Api::BindPort, asked + 1, Duration::from_secs(1)));
}

/// What can happen to the endpoint of a server.
type Death = fn(&Server);

/// At the defaults, with traffic: "A dead endpoint is noticed within 15 seconds, also where only
/// one direction is dead" (CHANGELOG.md), and another server serves five seconds later.
#[track_caller]
fn a_dead_endpoint_is_replaced_in_time(death: Death) {
    let world = World::new();
    let container = recipe(&world).env("RECONNECT", "1").connect();
    let server = world.server_in_use();
    // The first probe is answered by then, and the next is a minute away.
    thread::sleep(Duration::from_secs(4));
    world.assert_carries();
    death(&server);
    let died = Instant::now();
    // Traffic: somebody who tries on and on.
    world.assert_carries();
    let carried = died.elapsed();
    let noticed = container.wait_for_log("Reconnecting: unresponsive endpoint", SOON);
    let noticed = noticed.at.saturating_duration_since(died);
    println!("noticed after {noticed:?}, traffic after {carried:?}");
    assert!(noticed < Duration::from_secs(15), "{noticed:?}");
    assert!(carried < Duration::from_secs(20), "{carried:?}");
}

#[test]
fn an_endpoint_that_is_dead_both_ways_is_replaced_in_time() {
    a_dead_endpoint_is_replaced_in_time(Server::silence_endpoint);
}

#[test]
fn an_endpoint_that_hears_nothing_is_replaced_in_time() {
    a_dead_endpoint_is_replaced_in_time(Server::deafen_endpoint);
}

#[test]
fn an_endpoint_that_says_nothing_is_replaced_in_time() {
    a_dead_endpoint_is_replaced_in_time(Server::mute_endpoint);
}

/// "An endpoint that goes silent makes it unhealthy within 15 seconds of traffic" (README.md), also
/// without `RECONNECT`.
#[track_caller]
fn a_dead_endpoint_is_told_in_time(death: Death) {
    let world = World::new();
    let container = recipe(&world).connect();
    let server = world.server_in_use();
    thread::sleep(Duration::from_secs(4));
    death(&server);
    let died = Instant::now();
    assert_eq!(world.address_seen_from(world.client()), None);
    let told = container.wait_for_log("The endpoint is silent", SOON).at;
    let took = told.saturating_duration_since(died);
    println!("told after {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn without_reconnect_a_dead_endpoint_is_told_in_time() {
    let deaths: [Death; 3] = [
        Server::silence_endpoint,
        Server::deafen_endpoint,
        Server::mute_endpoint,
    ];
    thread::scope(|scope| {
        for death in deaths {
            scope.spawn(move || a_dead_endpoint_is_told_in_time(death));
        }
    });
}

/// Nothing answers an upload, so that it looks as a dead endpoint does; only a probe can tell.
#[test]
fn an_upload_only_is_no_dead_endpoint() {
    let world = World::new();
    let container = recipe(&world)
        .env("RECONNECT", "1")
        .env("DEBUG", "1")
        .connect();
    let server = world.server_in_use();
    let receiver = world.internet().run(|| UdpSocket::bind((PINGABLE, 9000)));
    let _receiver = receiver.unwrap();
    let socket = world.client().run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        socket.send_to(&[0; 1000], (PINGABLE, 9000)).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    let logs = container.logs();
    assert!(logs.contains("packets were sent and nothing came back; probing"));
    assert!(!logs.contains("Reconnecting"), "{logs}");
    assert_eq!(world.server_in_use().cn(), server.cn());
}

/// An interface that is gone is missed before the next probe.
#[test]
fn an_interface_that_is_gone_is_missed_within_seconds() {
    let world = World::new();
    let container = recipe(&world).env("RECONNECT", "1").connect();
    world.server_in_use();
    thread::sleep(Duration::from_secs(4));
    container.shell("ip link delete wg0");
    let gone = Instant::now();
    world.assert_carries();
    let carried = gone.elapsed();
    println!("traffic after {carried:?}");
    assert!(carried < Duration::from_secs(15), "{carried:?}");
}

/// "An interface that is added later is covered within half a second" (README.md). Who waits for
/// such news costs nothing.
#[test]
fn an_interface_that_comes_later_is_covered_soon_and_until_then_nobody_looks() {
    let world = World::new();
    let container = recipe(&world)
        .bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft")
        .connect();
    let watcher = "grep -l '^networks$' /proc/[0-9]*/task/*/comm | head -n 1";
    let switches = || {
        container.shell(&format!(
            "grep ctxt_switches $(dirname $({watcher}))/status"
        ))
    };
    let before = switches();
    assert!(before.contains("voluntary"), "{before}");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before);
    let begun = Instant::now();
    world.client().ip("link add eth1 type veth peer name other");
    while !world
        .look("nft list table netdev wireguard-pia")
        .contains("\"eth1\"")
    {
        assert!(begun.elapsed() < Duration::from_millis(500));
    }
    println!("covered after {:?}", begun.elapsed());
}
