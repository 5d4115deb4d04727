//! Commands run by hand that take their time, and an anchor.

use harness::by_hand;
use harness::log_lines::FORWARDING;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::internet::Outage;

use super::assert_in_time;
use crate::PROGRAM;

const OWN: &str = "/usr/local/bin/wireguard-pia";

#[test]
fn a_port_that_is_kept() {
    let world = World::new();
    let words = format!("wireguard-pia port-forward -t {}", by_hand::TOKEN);
    let container = by_hand::with_tunnel(&world, PROGRAM, &by_hand::unprivileged(&words));
    container.wait_for_log(FORWARDING, SOON);
    assert_in_time(container.stop());
}

/// It is no success: there was no diagnosis.
#[test]
fn a_diagnosis_that_waits_for_an_answer() {
    let world = World::new();
    world.begin(Outage::Everything);
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .command([OWN, "doctor"])
        .start();
    container.wait_for_log("programs", SOON);
    let stopped = container.stop();
    println!("stopped in {} ms", stopped.took.as_millis());
    assert!(stopped.took < super::A_SECOND, "{stopped:?}");
}

#[test]
fn an_anchor() {
    let world = World::new();
    let anchor = world.container(PROGRAM).command([OWN, "seal"]).start();
    anchor.wait_for_log("Network closed", SOON);
    assert_in_time(anchor.stop());
    assert!(world.is_sealed());
}
