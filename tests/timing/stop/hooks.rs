//! While a hook runs.

use harness::log_lines::{ENABLED, UP};
use harness::waiting::SOON;
use harness::world::World;
use nix::sys::signal::Signal;

use super::{assert_in_time, container, stops, stops_blocked};

#[test]
fn while_a_pre_up_hook_runs() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_UP", "echo working; sleep 600")
        .start();
    container.wait_for_log("[pre-up] working", SOON);
    stops(&world, &container);
}

#[test]
fn while_a_pre_up_hook_runs_that_ignores_sigterm_and_has_grandchildren() {
    let world = World::new();
    let hook = "trap '' TERM; (sleep 601 & sleep 602) & echo working; sleep 600; sleep 600";
    let container = container(&world).env("PRE_UP", hook).start();
    container.wait_for_log("[pre-up] working", SOON);
    stops(&world, &container);
}

#[test]
fn while_a_pre_up_script_runs_and_what_would_follow_does_not_start() {
    let world = World::new();
    let recipe = container(&world).script(
        "/pia/scripts/pre-up.sh",
        "#!/bin/bash\necho working\nsleep 600\n",
    );
    let container = recipe.env("PRE_UP", "echo more").start();
    container.wait_for_log("[pre-up] working", SOON);
    stops(&world, &container);
    assert!(!container.logs().contains("Running pre-up hook"));
}

#[test]
fn while_a_post_up_script_runs_and_what_would_follow_does_not_start() {
    let world = World::new();
    let recipe = container(&world).script(
        "/pia/scripts/post-up.sh",
        "#!/bin/bash\necho working\nsleep 600\n",
    );
    let container = recipe.env("POST_UP", "echo more").start();
    container.wait_for_log("[post-up] working", SOON);
    stops(&world, &container);
    assert!(!container.logs().contains("Running post-up hook"));
}

#[test]
fn while_the_fatal_script_runs() {
    let world = World::new();
    world.pia.refuse_login();
    let container = container(&world)
        .env("FATAL_SCRIPT", "echo working; sleep 600")
        .start();
    container.wait_for_log("[fatal-script] working", SOON);
    stops_blocked(&world, &container);
}

/// The hooks of a reconnect.
#[track_caller]
fn while_a_hook_runs_at(variable: &str) {
    let world = World::new();
    let container = container(&world)
        .env(variable, "echo working; sleep 600")
        .connect();
    container.wait_for_log(ENABLED, SOON);
    container.signal(Signal::SIGHUP);
    container.wait_for_log("-reconnect] working", SOON);
    stops(&world, &container);
}

#[test]
fn while_a_pre_reconnect_hook_runs() {
    while_a_hook_runs_at("PRE_RECONNECT");
}

#[test]
fn while_a_post_reconnect_hook_runs() {
    while_a_hook_runs_at("POST_RECONNECT");
}

/// They are not waited for, and they are left alone.
#[test]
fn while_background_children_of_hooks_run() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_UP", "sleep 600 & echo left")
        .env("PRE_DOWN", "sleep 601 & echo left")
        .start();
    container.wait_for_log("[pre-up] left", SOON);
    // By now the hook itself is long over.
    container.wait_for_log(UP, SOON);
    assert_in_time(container.stop());
    let mut left = container.processes();
    left.sort();
    assert_eq!(left, ["sleep 600", "sleep 601"]);
}
