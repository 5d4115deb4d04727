//! "A stop takes effect within a second, with the down hooks" (docs/migration.md), whatever is
//! under way, and leaves the network sealed and nothing running.

mod by_hand;
mod connected;
mod hooks;
mod start;

use std::time::Duration;

use harness::log_lines::{count, in_order};
use harness::world::World;
use harness::world::container::{Container, Stopped};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

const A_SECOND: Duration = Duration::from_secs(1);

/// A container in which one sees what the program leaves behind, and whose last words are known.
fn container(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .shared_pid_namespace()
        .credentials()
        .env("LOC", "nl_amsterdam")
        .env("PRE_DOWN", "echo going down")
        .env("POST_DOWN", "echo is down")
}

/// It ended in time, as a stop is to end.
#[track_caller]
fn assert_in_time(stopped: Stopped) {
    println!("stopped in {} ms", stopped.took.as_millis());
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < A_SECOND, "{:?}", stopped.took);
}

#[track_caller]
fn stops(world: &World, container: &Container) {
    stops_by(Signal::SIGTERM, world, container);
}

#[track_caller]
fn stops_by(signal: Signal, world: &World, container: &Container) {
    assert_in_time(container.stop_by(signal));
    let log = container.logs();
    assert!(!log.contains("Fatal error"), "{log}");
    assert!(in_order(&log, &["going down", "Shutting down", "is down"]));
    assert!(
        !container
            .read("/etc/resolv.conf")
            .unwrap()
            .contains("10.0.0.243")
    );
    nothing_is_left(world, container);
}

/// The same where the start had failed before.
#[track_caller]
fn stops_blocked(world: &World, container: &Container) {
    assert_in_time(container.stop());
    nothing_is_left(world, container);
}

#[track_caller]
fn nothing_is_left(world: &World, container: &Container) {
    let log = container.logs();
    for hook in ["[pre-down] going down", "[post-down] is down"] {
        assert_eq!(count(&log, hook), 1, "{log}");
    }
    assert!(world.is_sealed());
    assert_eq!(world.ways_out(), [""; 0]);
    assert_eq!(container.processes(), [""; 0]);
    assert!(!world.look("ip link").contains("wg0"));
}
