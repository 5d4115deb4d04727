//! A stop is answered within a second, whatever is under way, and leaves the network sealed and
//! nothing running.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use harness::log_lines::{UP, count, in_order};
use harness::simulator::faults::Api;
use harness::waiting::{SOON, a_second, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::inspect::Tcp;
use harness::world::internet::Outage;
use harness::world::network::{API, DNS, LIST};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

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

#[track_caller]
fn stops(world: &World, container: &Container) {
    stops_by(Signal::SIGTERM, world, container);
}

#[track_caller]
fn stops_by(signal: Signal, world: &World, container: &Container) {
    let begun = Instant::now();
    container.signal(signal);
    let status = container.wait(SOON);
    let took = begun.elapsed();
    println!("stopped in {} ms", took.as_millis());
    assert_eq!(status.code(), Some(0));
    assert!(took < a_second(), "{took:?}");
    let log = container.logs();
    assert!(in_order(
        &log,
        &[
            "[pre-down] going down",
            "Shutting down",
            "[post-down] is down"
        ]
    ));
    assert_eq!(
        [
            count(&log, "[pre-down] going down"),
            count(&log, "[post-down] is down")
        ],
        [1, 1]
    );
    assert!(!log.contains("Fatal error"), "{log}");
    assert!(world.is_sealed());
    assert_eq!(world.ways_out(), [""; 0]);
    assert_eq!(container.processes(), [""; 0]);
    assert!(!world.look("ip link").contains("wg0"));
    assert!(
        !container
            .read("/etc/resolv.conf")
            .unwrap()
            .contains("10.0.0.243")
    );
}

// Hooks.

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
    let stopped = container.stop();
    assert!(
        stopped.status.success() && stopped.took < a_second(),
        "{stopped:?}"
    );
    assert_eq!(container.processes(), [""; 0]);
}

#[test]
fn background_children_of_hooks_are_left_alone() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_UP", "sleep 600 & echo left")
        .start();
    container.wait_for_log("[pre-up] left", SOON);
    // By now the hook itself is long over.
    container.wait_for_log(UP, SOON);
    assert!(container.stop().status.success());
    assert_eq!(container.processes(), ["sleep 600"]);
}

#[test]
fn down_hooks_take_the_time_they_need() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_DOWN", "sleep 2; echo rested")
        .start();
    container.wait_for_log(UP, SOON);
    let stopped = container.stop();
    assert!(
        stopped.status.success() && stopped.took > Duration::from_secs(2),
        "{stopped:?}"
    );
    assert!(in_order(
        &container.logs(),
        &["[pre-down] rested", "[post-down] is down"]
    ));
}

#[test]
fn a_second_signal_does_not_disturb_the_shutdown() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_DOWN", "echo working; sleep 1; echo rested")
        .start();
    container.wait_for_log(UP, SOON);
    container.signal(Signal::SIGTERM);
    container.wait_for_log("[pre-down] working", SOON);
    container.signal(Signal::SIGINT);
    assert_eq!(container.wait(SOON).code(), Some(0));
    assert!(in_order(
        &container.logs(),
        &["[pre-down] rested", "[post-down] is down"]
    ));
    assert!(!world.look("ip link").contains("wg0"));
}

// Requests.

#[test]
fn while_name_servers_are_silent() {
    let world = World::new();
    world.begin(Outage::DnsSilent);
    let container = container(&world).start();
    world.wait_for_conversation(DNS, 53);
    stops(&world, &container);
}

#[test]
fn while_the_account_host_says_no_word_of_tls() {
    let world = World::new();
    world.pia.accept_tls_never(Api::Token);
    let container = container(&world).start();
    world.wait_for_connection(Tcp::Established, API, 443);
    stops(&world, &container);
}

#[test]
fn while_the_list_host_says_no_word_of_tls() {
    let world = World::new();
    world.pia.accept_tls_never(Api::List);
    let container = container(&world).start();
    world.wait_for_connection(Tcp::Established, LIST, 443);
    stops(&world, &container);
}

#[test]
fn while_the_account_host_cannot_be_reached() {
    let world = World::new();
    world.begin(Outage::Api);
    let container = container(&world).start();
    world.wait_for_connection(Tcp::Connecting, API, 443);
    stops(&world, &container);
}

#[track_caller]
fn while_there_is_no_answer_from(api: Api) {
    let world = World::new();
    world.pia.hang(api);
    let container = container(&world).start();
    assert!(world.pia.records().wait_for(api, 1, SOON));
    stops(&world, &container);
}

#[test]
fn while_the_login_hangs() {
    while_there_is_no_answer_from(Api::Token);
}

#[test]
fn while_the_list_hangs() {
    while_there_is_no_answer_from(Api::List);
}

#[test]
fn while_the_registration_hangs() {
    while_there_is_no_answer_from(Api::AddKey);
}

#[test]
fn while_the_dedicated_ip_hangs() {
    let world = World::new();
    world.pia.hang(Api::DedicatedIp);
    let container = container(&world).env("PIA_DIP_TOKEN", "DIPx").start();
    assert!(world.pia.records().wait_for(Api::DedicatedIp, 1, SOON));
    stops(&world, &container);
}

#[test]
fn while_a_server_swallows_everything() {
    let world = World::new();
    let container = container(&world)
        .env("PIA_IP", "198.19.255.9")
        .env("PIA_CN", "Server-1-1a")
        .env("PIA_PORT", "1337")
        .start();
    world.wait_for_connection(Tcp::Connecting, Ipv4Addr::new(198, 19, 255, 9), 1337);
    stops(&world, &container);
}

#[test]
fn while_latencies_are_measured() {
    let world = World::new();
    let container = container(&world).env("LOC", "auto").start();
    container.wait_for_log("Verified server list", SOON);
    stops(&world, &container);
}

#[test]
fn between_two_tries() {
    let world = World::new();
    world.pia.fail_times(Api::Token, 503, 99);
    let container = container(&world).env("CURL_RETRY_DELAY", "60").start();
    container.wait_for_log("again in 1m", SOON);
    stops(&world, &container);
}

#[test]
fn between_two_rounds_of_registrations() {
    let world = World::new();
    world.pia.fail_times(Api::AddKey, 503, 99);
    let container = container(&world).env("CURL_RETRY_DELAY", "60").start();
    assert!(world.pia.records().wait_for(Api::AddKey, 2, SOON));
    stops(&world, &container);
}

// Blocked.

#[test]
fn while_blocked_for_good() {
    let world = World::new();
    world.pia.refuse_login();
    let container = container(&world).start();
    container.wait_for_log("Waiting, sealed", SOON);
    let stopped = container.stop();
    assert!(
        stopped.status.success() && stopped.took < a_second(),
        "{stopped:?}"
    );
    assert!(in_order(
        &container.logs(),
        &["[pre-down] going down", "[post-down] is down"]
    ));
    assert!(world.is_sealed());
    assert_eq!(world.ways_out(), [""; 0]);
}

#[test]
fn while_waiting_to_try_again() {
    let world = World::new();
    world.pia.rate_limit(Duration::from_secs(600));
    let container = container(&world).start();
    container.wait_for_log("Trying again in", SOON);
    let stopped = container.stop();
    assert!(
        stopped.status.success() && stopped.took < a_second(),
        "{stopped:?}"
    );
    assert!(in_order(
        &container.logs(),
        &["[pre-down] going down", "[post-down] is down"]
    ));
    assert!(world.is_sealed());
    assert_eq!(world.ways_out(), [""; 0]);
}

// wg-quick.

/// wg-quick says each of its commands before it runs it.
#[track_caller]
fn while_wg_quick_runs(command: &str) {
    let world = World::new();
    let container = container(&world).env("DEBUG", "1").start();
    container.wait_for_log(&format!("[#] {command}"), SOON);
    stops(&world, &container);
}

#[test]
fn while_wg_quick_makes_the_interface() {
    while_wg_quick_runs("ip link add wg0");
}

#[test]
fn while_wg_quick_configures_the_interface() {
    while_wg_quick_runs("wg setconf wg0");
}

#[test]
fn while_wg_quick_sets_the_interface_up() {
    while_wg_quick_runs("ip link set mtu");
}

#[test]
fn while_wg_quick_sets_routes() {
    while_wg_quick_runs("ip -4 rule add");
}

#[test]
fn while_wg_quick_loads_its_rules() {
    while_wg_quick_runs("iptables-restore -n");
}

#[test]
fn while_wg_quick_hangs() {
    let world = World::new();
    let slow = "#!/bin/bash\n[[ $1 != setconf ]] || { echo slow >&2; sleep 600; }\nexec \
                /usr/local/bin/wg \"$@\"\n";
    let recipe = container(&world)
        .bind("/usr/bin/wg", "/usr/local/bin/wg")
        .script("/usr/bin/wg", slow);
    let container = recipe.start();
    container.wait_for_log("[wg-quick] slow", SOON);
    stops(&world, &container);
}

// Connected.

#[track_caller]
fn when_connected_by(signal: Signal) {
    let world = World::new();
    let container = container(&world).start();
    container.wait_for_log("Firewall enabled", SOON);
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
fn while_a_pre_reconnect_hook_runs() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_RECONNECT", "echo working; sleep 600")
        .start();
    container.wait_for_log("Firewall enabled", SOON);
    container.signal(Signal::SIGHUP);
    container.wait_for_log("[pre-reconnect] working", SOON);
    stops(&world, &container);
}

#[test]
fn while_a_reconnect_hangs() {
    let world = World::new();
    let container = container(&world).start();
    container.wait_for_log("Firewall enabled", SOON);
    world.pia.hang(Api::AddKey);
    container.signal(Signal::SIGHUP);
    assert!(world.pia.records().wait_for(Api::AddKey, 2, SOON));
    stops(&world, &container);
}

/// The moments between those above: after every fifth line of the log, from the first hook's stage
/// on.
#[test]
fn at_any_moment() {
    let world = World::new();
    for lines in (1..).step_by(5) {
        let container = container(&world)
            .env("DEBUG", "1")
            .env("POST_UP", "echo up")
            .start();
        let is_up = || container.logs().contains("[post-up] up");
        container.wait_for_log("Kill switch closed", SOON);
        wait_until("the line", SOON, || {
            container.lines().len() >= lines || is_up()
        });
        stops(&world, &container);
        if is_up() {
            break;
        }
    }
}
