//! `PORT_FATAL`: what is fatal, and what never is. The ten minutes of grace are the lease machine's
//! own tests.

use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::World;

use super::forwarding;
use super::told::{agreed_port, all_agree_that_there_is_none};

const FATAL: &str = "Fatal error: PORT_FATAL=1";

/// "is refused with two signatures in a row" (README.md)
#[test]
fn a_port_that_is_refused_also_with_a_new_signature_ends_the_container() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_FATAL", "1")
        .env("EXIT_ON_FATAL", "1")
        .start();
    agreed_port(&world, &container);
    world.pia.port_busy();
    let status = container.wait(SOON);
    assert_eq!(status.code(), Some(1));
    assert!(container.logs().contains(FATAL));
}

#[test]
fn without_exit_on_fatal_it_stays_unhealthy_until_the_port_is_back() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_FATAL", "1")
        .env("FATAL_SCRIPT", "echo oh no")
        .start();
    agreed_port(&world, &container);
    world.pia.port_busy();
    container.wait_for_log(FATAL, SOON);
    container.wait_for_log("[fatal-script] oh no", SOON);
    all_agree_that_there_is_none(&world, &container);
    let is_healthy = || {
        container
            .exec(&["wireguard-pia", "healthcheck"])
            .status
            .success()
    };
    assert!(!is_healthy());
    world.pia.forward_ports();
    agreed_port(&world, &container);
    wait_until("healthy again", SOON, is_healthy);
    assert_eq!(container.logs().matches(FATAL).count(), 1);
    assert!(container.stop().status.success());
}

#[test]
fn one_refusal_or_failures_that_pass_are_not_fatal_at_once() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_FATAL", "1")
        .env("EXIT_ON_FATAL", "1")
        .start();
    let port = agreed_port(&world, &container);
    world.pia.port_forwarding().forget_signatures();
    super::told::agreed_port_but(&world, &container, port);
    world.pia.fail_times(Api::BindPort, 500, 6);
    all_agree_that_there_is_none(&world, &container);
    agreed_port(&world, &container);
}

#[test]
fn without_port_fatal_nothing_about_the_port_is_fatal() {
    let world = World::new();
    let container = forwarding(&world).env("EXIT_ON_FATAL", "1").start();
    agreed_port(&world, &container);
    world.pia.port_busy();
    let asked = world.pia.records().of(Api::GetSignature).len();
    assert!(
        world
            .pia
            .records()
            .wait_for(Api::GetSignature, asked + 6, SOON)
    );
    assert!(container.exit_status().is_none());
    world.pia.forward_ports();
    agreed_port(&world, &container);
}
