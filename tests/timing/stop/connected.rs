//! With a tunnel that is up.

use std::fs::File;
use std::time::Duration;

use harness::log_lines::{ENABLED, FORWARDING, RECONNECTED};
use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use nix::sys::signal::Signal;

use super::{container, stops, stops_by};

#[track_caller]
fn when_connected_by(signal: Signal) {
    let world = World::new();
    let container = container(&world).start();
    container.wait_for_log(ENABLED, SOON);
    world.server_in_use();
    stops_by(signal, &world, &container);
    assert_eq!(world.address_seen_from(world.client()), None);
}

#[test]
fn when_connected() {
    when_connected_by(Signal::SIGTERM);
}

#[test]
fn when_connected_by_ctrl_c() {
    when_connected_by(Signal::SIGINT);
}

#[test]
fn when_connected_by_sigquit() {
    when_connected_by(Signal::SIGQUIT);
}

#[test]
fn while_a_reconnect_hangs() {
    let world = World::new();
    let container = container(&world).start();
    container.wait_for_log(ENABLED, SOON);
    world.pia.hang(Api::AddKey);
    container.signal(Signal::SIGHUP);
    assert!(world.pia.records().wait_for(Api::AddKey, 2, SOON));
    stops(&world, &container);
}

/// They are waited for: half a second by each load, and a second by wg-quick.
#[test]
fn while_others_hold_the_lock_of_legacy() {
    let world = World::new();
    let container = container(&world).env("NFTABLES", "0").start();
    container.wait_for_log(ENABLED, SOON);
    let lock = File::create(container.path("/run/xtables.lock")).unwrap();
    lock.lock().unwrap();
    let stopped = container.stop();
    println!("stopped in {} ms", stopped.took.as_millis());
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < Duration::from_secs(3), "{stopped:?}");
    lock.unlock().unwrap();
    assert!(world.look("iptables-legacy-save").contains(":OUTPUT DROP"));
    assert_eq!(container.processes(), [""; 0]);
    assert!(!world.look("ip link").contains("wg0"));
}

/// The program that carries the tunnel takes questions, and is stuck.
#[test]
fn while_a_wireguard_in_user_space_hangs() {
    let world = World::new();
    if world.kernel_has_wireguard() {
        return;
    }
    let container = container(&world).start();
    container.wait_for_log(ENABLED, SOON);
    container.halt("wireguard-go");
    stops(&world, &container);
}

#[test]
fn while_a_new_server_carries_nothing() {
    let world = World::new();
    let container = container(&world).env("DEBUG", "1").connect();
    let servers = world.pia.servers();
    servers.iter().for_each(|server| server.silence_endpoint());
    container.signal(Signal::SIGHUP);
    let waiting = "waiting for the first packet through the tunnel";
    let twice = || container.logs().matches(waiting).count() == 2;
    wait_until("the wait for the new server", SOON, twice);
    stops(&world, &container);
}

/// With the monitor running.
#[test]
fn after_a_reconnect() {
    let world = World::new();
    let container = container(&world).env("RECONNECT", "1").connect();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, SOON);
    stops(&world, &container);
}

#[test]
fn while_a_probe_is_not_answered() {
    let world = World::new();
    let container = container(&world)
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .connect();
    world.server_in_use().silence_endpoint();
    // The second probe begins.
    container.wait_for_log("Probe 1 of 3 failed", SOON);
    stops(&world, &container);
}

#[test]
fn while_a_port_is_forwarded() {
    let world = World::new();
    let container = container(&world).env("PORT_FORWARDING", "1").start();
    container.wait_for_log(FORWARDING, SOON);
    stops(&world, &container);
}

#[track_caller]
fn while_port_forwarding_waits_for(api: Api) {
    let world = World::new();
    world.pia.hang(api);
    let container = container(&world).env("PORT_FORWARDING", "1").connect();
    assert!(world.pia.records().wait_for(api, 1, SOON));
    stops(&world, &container);
}

#[test]
fn while_a_signature_of_a_port_is_waited_for() {
    while_port_forwarding_waits_for(Api::GetSignature);
}

#[test]
fn while_a_port_is_being_bound() {
    while_port_forwarding_waits_for(Api::BindPort);
}

#[test]
fn while_a_port_script_runs() {
    let world = World::new();
    let container = container(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_SCRIPT", "echo working; sleep 600; echo")
        .start();
    container.wait_for_log("[port-script] working", SOON);
    stops(&world, &container);
}

/// Whose connections are taken, and which says nothing.
#[test]
fn while_port_clients_hang() {
    let world = World::new();
    let (hanging, port) = world.client().listen();
    let container = container(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_CLIENTS", "slskd rtorrent")
        .env("SLSKD_URL", format!("http://127.0.0.1:{port}"))
        .env("RTORRENT_URL", format!("scgi://127.0.0.1:{port}"))
        .start();
    container.wait_for_log(FORWARDING, SOON);
    let _both = [hanging.accept().unwrap(), hanging.accept().unwrap()];
    stops(&world, &container);
}

#[test]
fn while_ports_are_cycled() {
    let world = World::new();
    let container = container(&world)
        .env("CYCLE_PORTS", "40001,40002")
        .env("CYCLE_INTERVAL", "600")
        .connect();
    container.wait_for_log(ENABLED, SOON);
    stops(&world, &container);
}
