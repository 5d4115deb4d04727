//! How often PIA is asked for what it does not give: it counts the requests that came, as the rows
//! of docs/pia-api.md promise them.

use std::thread;
use std::time::Duration;

use harness::log_lines::{RECONNECTED, UP};
use harness::simulator::faults::Api;
use harness::simulator::server::Server;
use harness::waiting::LATER;
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// So long nothing further may be asked for.
const A_WHILE: Duration = Duration::from_secs(4);

fn container(world: &World, locations: &str) -> Recipe {
    world.container(PROGRAM).env("LOC", locations)
}

/// How often PIA was asked to log in and for a key.
fn asked(world: &World) -> [usize; 2] {
    [Api::Token, Api::AddKey].map(|api| world.pia.records().of(api).len())
}

// Logins while the tunnel is up.

/// A reconnect that needs a token says why it has none, and that it waits for minutes. It asks each
/// server that it finds with the old token, and to log in `logins` times.
#[track_caller]
fn a_reconnect_waits(world: &World, container: &Container, said: &str, logins: usize) {
    world.pia.forget_tokens();
    let before = asked(world);
    container.signal(Signal::SIGHUP);
    let line = container.wait_for_log(&format!("{said}. Trying again in "), LATER);
    let pause = line.text.rsplit("Trying again in ").next();
    let pause = pause.and_then(|pause| pause.strip_suffix(" s")?.parse().ok());
    assert!(pause.is_some_and(|pause: u32| pause >= 240), "{line:?}");
    thread::sleep(A_WHILE);
    let servers = world.pia.servers_of("nl_amsterdam").len();
    let [logins_before, keys_before] = before;
    // Each server was asked with the old token.
    assert_eq!(
        asked(world),
        [logins_before + logins, keys_before + servers]
    );
    assert!(!container.logs().contains("Fatal error"));
    world.assert_carries();
}

#[track_caller]
fn one_login_is_made_in_a_reconnect_where(fails: fn(&World), said: &str) {
    let world = World::new();
    let container = container(&world, "nl_amsterdam").credentials().connect();
    fails(&world);
    a_reconnect_waits(&world, &container, said, 1);
    world.pia.accept_login();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, LATER);
    assert_eq!(world.pia.login_attempts(), 3);
}

#[test]
fn a_locked_account_costs_a_reconnect_one_login() {
    one_login_is_made_in_a_reconnect_where(
        |world| world.pia.lock_out(),
        "wait, then check USER and PASS",
    );
}

#[test]
fn a_subscription_that_is_over_costs_a_reconnect_one_login() {
    one_login_is_made_in_a_reconnect_where(
        |world| world.pia.payment_required(),
        "the subscription is over (HTTP 402); renew it with PIA",
    );
}

#[test]
fn a_content_network_that_blocks_costs_a_reconnect_one_login() {
    one_login_is_made_in_a_reconnect_where(
        |world| world.pia.block_login(),
        "(error 1020); set META_IP and META_CN to a meta server, or use another network",
    );
}

#[test]
fn a_reconnect_without_credentials_makes_no_login() {
    let world = World::new();
    let token = world.pia.issue_token();
    let container = container(&world, "nl_amsterdam").file("/pia/.token", token);
    let container = container.connect();
    a_reconnect_waits(&world, &container, "and PASS (or PASS_FILE)", 0);
}

// Tunnels.

/// A key is a request, too: the server that carries nothing is asked for one.
#[test]
fn a_tunnel_that_carries_nothing_costs_one_key_at_its_server() {
    let deaths: [fn(&Server); 2] = [Server::silence_endpoint, Server::answer_handshakes_only];
    for death in deaths {
        let world = World::builder()
            .servers("first", Kind::New, 1)
            .servers("second", Kind::Stable, 1)
            .build();
        let servers = world.pia.servers();
        death(&servers[0]);
        let container = container(&world, "first second").credentials().start();
        container.wait_for_log(UP, LATER);
        let keys = world.pia.records().of(Api::AddKey);
        let hosts: Vec<_> = keys.iter().map(|record| record.host.as_str()).collect();
        assert_eq!(hosts, [servers[0].cn(), servers[1].cn()]);
        assert_eq!(world.pia.login_attempts(), 1);
    }
}

// Lists.

/// "asks for another one, every 30 seconds at most" (docs/pia-api.md)
#[test]
fn where_no_location_answers_auto_asks_for_a_list_every_thirty_seconds_at_most() {
    let world = World::new();
    for server in world.pia.servers() {
        server.close_registration();
    }
    let container = container(&world, "auto").credentials().start();
    let records = world.pia.records();
    container.wait_for_log("LOC=auto: no location answered", LATER);
    assert!(records.wait_for(Api::List, 2, LATER));
    let lists = records.of(Api::List);
    let pause = lists[1].at - lists[0].at;
    assert!(pause >= Duration::from_secs(29), "{pause:?}");
    let attempts = container.logs().matches("no location answered").count();
    assert!(attempts > 2, "{attempts} attempts");
    assert_eq!(world.pia.login_attempts(), 1);
}
