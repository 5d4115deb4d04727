//! During the start.

use std::net::Ipv4Addr;
use std::time::Duration;

use harness::log_lines::{LOGIN, START};
use harness::simulator::faults::Api;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::inspect::Tcp;
use harness::world::internet::Outage;
use harness::world::network::{API, DNS, LIST};

use super::{container, stops, stops_blocked};

#[test]
fn at_each_step() {
    let world = World::new();
    for step in LOGIN.iter().chain(&START) {
        println!("at {step:?}");
        let container = container(&world).env("DEBUG", "1").start();
        container.wait_for_log(step, SOON);
        stops(&world, &container);
    }
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
    container.wait_for_log("again in 60 s", SOON);
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

#[test]
fn while_a_server_carries_nothing() {
    let world = World::new();
    let servers = world.pia.servers();
    servers.iter().for_each(|server| server.silence_endpoint());
    let container = container(&world).env("DEBUG", "1").start();
    container.wait_for_log("waiting for the first packet through the tunnel", SOON);
    stops(&world, &container);
}

// wg-quick.

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

// Blocked.

#[test]
fn while_blocked_for_good() {
    let world = World::new();
    world.pia.refuse_login();
    let container = container(&world).start();
    container.wait_for_log("Waiting, sealed", SOON);
    stops_blocked(&world, &container);
}

#[test]
fn while_waiting_to_try_again() {
    let world = World::new();
    world.pia.rate_limit(Duration::from_secs(600));
    let container = container(&world).start();
    container.wait_for_log("Trying again in", SOON);
    stops_blocked(&world, &container);
}
