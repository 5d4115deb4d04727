//! A tunnel by which nothing goes takes next to nothing.

use std::time::Duration;

use harness::log_lines::{FORWARDING, UP};
use harness::waiting::SOON;
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use harness::world::rest::Rest;

use crate::PROGRAM;

/// "No process and no thread is made, and nobody is woken up more than twelve times a minute"
/// (docs/performance.md), with all that watches the tunnel and the port.
#[test]
fn at_rest_nothing_is_made_and_nobody_is_woken_up_often() {
    let world = World::new();
    let container = watched(world.container(PROGRAM)).start();
    let rest = rest(&container);
    assert_eq!(rest.made, 0, "{rest:?}");
    assert!(rest.all_wake_ups() <= 12, "{rest:?}");
    assert_eq!(
        container.heaps_of_threads(),
        0,
        "what they free stays in them"
    );
    let (now, most) = (container.memory("VmRSS"), container.memory("VmHWM"));
    println!("{now} of {most} bytes are resident");
    assert!(now < most - most / 10, "the program stays mapped");
    assert_nothing_is_there_unasked(&container);
}

/// Of a minute with a probe each ten seconds, of these targets. The health check's own ping is part
/// of the check, which somebody else has to call.
#[track_caller]
fn made_by_pings(targets: &str) -> u64 {
    let world = World::new();
    let container = watched(world.container(PROGRAM))
        .env("ACTIVE_HEALTHCHECKS", "1")
        .env("HEALTHCHECK_PING_TARGET", targets)
        .env("MONITOR_INTERVAL", "10")
        .start();
    rest(&container).made
}

/// Who asks and who listens is there already.
#[test]
fn pings_that_are_answered_make_nothing() {
    assert_eq!(made_by_pings("www.privateinternetaccess.com 1.1.1.1"), 0);
}

/// A thread for each target and probe, where the first address among them is silent; no process.
#[test]
fn pings_of_somebody_silent_make_no_more_than_a_thread_for_each_target() {
    let made = made_by_pings("198.51.100.200 1.1.1.1");
    assert!((1..=2 * 7).contains(&made), "{made}");
}

/// With all that watches the tunnel and the port.
fn watched(recipe: Recipe) -> Recipe {
    let recipe = recipe.credentials().env("LOC", "swiss");
    recipe.env("PORT_FORWARDING", "1").env("RECONNECT", "1")
}

/// A minute of it.
#[track_caller]
fn rest(container: &Container) -> Rest {
    container.wait_for_log(UP, SOON);
    container.wait_for_log(FORWARDING, SOON);
    std::thread::sleep(Duration::from_secs(4));
    let rest = container.rest(Duration::from_secs(60));
    println!("{rest:?}");
    rest
}

/// "It is off by default, and then there is no process, no thread and no socket of it."
/// (docs/monitoring.md); and of the question for the exit address nothing is left. What
/// `STATUS_LISTEN` adds, `it_tells_what_is` sees.
fn assert_nothing_is_there_unasked(container: &Container) {
    let threads = container.threads_by_name();
    let count = |name: &str| threads.iter().filter(|found| *found == name).count();
    let counts = ["wireguard-pia", "status-server", "exit-address"].map(count);
    assert_eq!(counts, [1, 0, 0], "{threads:?}");
    assert_eq!(container.listening(), [0_u16; 0]);
}
