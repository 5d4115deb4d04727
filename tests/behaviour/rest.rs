//! A tunnel by which nothing goes takes next to nothing.

use std::time::Duration;

use harness::log_lines::{FORWARDING, UP};
use harness::waiting::SOON;
use harness::world::World;

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
}
