//! A tunnel by which nothing goes takes next to nothing.

use std::time::Duration;

use harness::log_lines::{FORWARDING, UP};
use harness::waiting::SOON;
use harness::world::World;
use harness::world::container::Container;

use crate::PROGRAM;

/// "No process and no thread is made, and nobody is woken up more than twelve times a minute"
/// (docs/performance.md), with all that watches the tunnel and the port.
#[test]
fn at_rest_nothing_is_made_and_nobody_is_woken_up_often() {
    let world = World::new();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe
        .env("PORT_FORWARDING", "1")
        .env("RECONNECT", "1")
        .start();
    container.wait_for_log(UP, SOON);
    container.wait_for_log(FORWARDING, SOON);
    std::thread::sleep(Duration::from_secs(4));
    let rest = container.rest(Duration::from_secs(60));
    println!("{rest:?}");
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
