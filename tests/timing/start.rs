//! How soon a start has what it is for.

use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::{FORWARDING, UP};
use harness::waiting::SOON;
use harness::world::World;
use harness::world::recipe::Recipe;
use harness::world::watch::{Watch, ours};

use crate::PROGRAM;

fn recipe(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

/// From the program's exec to the last packet that it should have kept in. "About three quarters of
/// a second after the start untunnelled packets could leave" (docs/migration.md) is what the
/// original does.
#[test]
fn the_kill_switch_closes_at_once() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = recipe(&world).saying_when_executed().start();
    container.wait_for_log(UP, SOON);
    let leaks = watch.capture.leaks(ours(&world));
    let took = leaks.last().map_or(Duration::ZERO, |last| {
        last.at.saturating_duration_since(container.executed())
    });
    println!("the last packet left after {took:?}");
    assert!(took < Duration::from_millis(200), "{took:?}");
}

/// A handshake that is lost is tried again after five seconds.
#[test]
fn the_first_handshake_is_not_lost() {
    let world = World::new();
    for keepalive in ["0", "25"] {
        let container = recipe(&world).env("KEEPALIVE", keepalive).connect();
        let up = Instant::now();
        world.assert_carries();
        let took = up.elapsed();
        println!("KEEPALIVE={keepalive}: carries {took:?} after it is up");
        assert!(took < Duration::from_secs(3), "{took:?}");
        container.stop();
    }
}

/// By itself WireGuard tries again after five seconds.
#[test]
fn a_handshake_that_is_lost_is_soon_tried_again() {
    let world = World::new();
    let servers = world.pia.servers_of("swiss");
    servers.iter().for_each(|server| server.silence_endpoint());
    let container = recipe(&world).env("DEBUG", "1").start();
    container.wait_for_log("waiting for the first packet", SOON);
    // So that the first one is lost for sure.
    thread::sleep(Duration::from_secs(1));
    servers.iter().for_each(|server| server.restore_endpoint());
    let restored = Instant::now();
    let up = container.wait_for_log(UP, SOON).at;
    let took = up.saturating_duration_since(restored);
    println!("up {took:?} after the endpoint is back");
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

/// "so that it costs no time" (docs/original-behaviour.md): no more than routes and DNS take, which
/// are set meanwhile.
#[test]
fn a_server_that_carries_is_not_waited_for() {
    let world = World::new();
    let mut waits: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let container = recipe(&world).env("DEBUG", "1").start();
        let asked = container
            .wait_for_log("waiting for the first packet", SOON)
            .at;
        let carried = container.wait_for_log("the tunnel carries", SOON).at;
        waits.push(carried.saturating_duration_since(asked));
        container.stop();
    }
    waits.sort_unstable();
    println!("the first packet came after {waits:?}");
    assert!(waits[2] < Duration::from_millis(50), "{waits:?}");
}

#[test]
fn a_port_is_announced_within_half_a_second_of_ready() {
    let world = World::new();
    let container = recipe(&world).env("PORT_FORWARDING", "1").start();
    let up = container.wait_for_log(UP, SOON).at;
    let announced = container.wait_for_log(FORWARDING, SOON).at;
    let took = announced.saturating_duration_since(up);
    println!("announced after {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}
