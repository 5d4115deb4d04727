//! Connected means carried: a server that takes keys and carries nothing is left for the next one,
//! at the start as in a reconnect, and nobody is told otherwise.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use harness::log_lines::{RECONNECTED, UP};
use harness::simulator::server::Server;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::PROGRAM;

/// One server in each of two locations, so that it is known which one is tried first.
fn world() -> World {
    World::builder()
        .servers("first", Kind::New, 1)
        .servers("second", Kind::Stable, 1)
        .build()
}

fn recipe(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "first second")
        .env("POST_UP", "echo up by $VPN_SERVER_CN")
}

/// What can happen to the tunnels of a server that registers.
type Death = fn(&Server);

fn state(container: &Container) -> String {
    let output = container.exec(&["wireguard-pia", "status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("a status in JSON");
    status["state"].as_str().expect("a state").to_owned()
}

/// All that was said to somebody who asked this again and again until the line was logged.
#[track_caller]
fn said_until<T: Ord>(container: &Container, line: &str, ask: impl Fn() -> T) -> BTreeSet<T> {
    let said = RefCell::new(BTreeSet::new());
    wait_until(line, LATER, || {
        // Each question is a program, and there are tests beside this one.
        thread::sleep(Duration::from_millis(50));
        let answer = ask();
        // Looked at afterwards: what is said later is of the next server.
        let is_logged = container.logs().contains(line);
        if !is_logged {
            said.borrow_mut().insert(answer);
        }
        is_logged
    });
    said.into_inner()
}

/// "Connected is said once something has come back through the tunnel" (README.md)
#[track_caller]
fn is_left_at_the_start(death: Death, why: &str) {
    let world = world();
    let servers = world.pia.servers();
    death(&servers[0]);
    let container = recipe(&world).start();
    wait_until("it starts", SOON, || state(&container) == "starting");
    let is_unhealthy = || {
        let output = container.exec(&["wireguard-pia", "healthcheck"]);
        output.stdout.starts_with(b"unhealthy: starting")
    };
    let line = format!("first: {} {why}", servers[0].cn());
    let said = said_until(&container, &line, || (state(&container), is_unhealthy()));
    assert_eq!(said, BTreeSet::from([("starting".to_owned(), true)]));
    container.wait_for_log(UP, LATER);
    container.wait_for_log(&format!("[post-up] up by {}", servers[1].cn()), SOON);
    world.assert_carries();
    assert_eq!(world.server_in_use().cn(), servers[1].cn());
    assert_eq!(container.logs().matches(UP).count(), 1);
    assert_eq!(container.logs().matches("[post-up]").count(), 1);
}

#[test]
fn a_server_that_is_silent_is_left_at_the_start() {
    is_left_at_the_start(
        Server::silence_endpoint,
        "took the key, but nothing comes back from",
    );
}

#[test]
fn a_server_that_answers_handshakes_only_is_left_at_the_start() {
    is_left_at_the_start(
        Server::answer_handshakes_only,
        "answers handshakes, but nothing comes through",
    );
}

#[test]
fn a_server_whose_tunnel_drops_everything_is_left_at_the_start() {
    is_left_at_the_start(
        Server::kill_tunnel,
        "answers handshakes, but nothing comes through",
    );
}

/// "open once there was a tunnel" (docs/lan.md)
#[test]
fn what_never_carried_opens_no_lan() {
    let world = world();
    let servers = world.pia.servers();
    for server in &servers {
        server.silence_endpoint();
    }
    let container = recipe(&world).env("LOCAL_NETWORK", "10.9.0.0/16").start();
    container.wait_for_log("nothing comes back from", SOON);
    let is_open = || world.look("iptables -S PIA_OUTPUT").contains("10.9.0.0/16");
    wait_until("it is closed", SOON, || !is_open());
    container.wait_for_log("Fatal error", LATER);
    assert!(!is_open());
    for server in &servers {
        server.restore_endpoint();
    }
    container.wait_for_log(UP, LATER);
    assert!(is_open());
}

/// "a server that carries nothing is left for the next one" (README.md)
#[test]
fn where_no_server_carries_nobody_is_told_that_it_is_up() {
    let world = world();
    let servers = world.pia.servers();
    servers[0].kill_tunnel();
    servers[1].silence_endpoint();
    let container = recipe(&world).env("FATAL_SCRIPT", "echo told").start();
    container.wait_for_log("Trying again in", LATER);
    let log = container.logs();
    let [first, second] = [servers[0].cn(), servers[1].cn()];
    assert!(
        log.contains("Fatal error: no server could be connected to. Tried first ")
            && log.contains(&format!("{first} ({}): answers", servers[0].address()))
            && log.contains(&format!("{second} ({}): took", servers[1].address())),
        "{log}"
    );
    assert!(log.contains("[fatal-script] told"), "{log}");
    assert!(!log.contains(UP) && !log.contains("[post-up]"), "{log}");
    assert_eq!(world.pia.records().registrations().len(), 2);
    assert!(world.is_sealed());
    assert!(!world.look("ip link").contains("wg0"));
    servers[0].revive_tunnel();
    container.wait_for_log(UP, LATER);
    world.assert_carries();
}

/// "the old tunnel is given up only once the new one has carried something" (README.md)
#[track_caller]
fn is_left_in_a_reconnect(death: Death, why: &str) {
    let world = world();
    let servers = world.pia.servers();
    let container = recipe(&world).connect();
    death(&servers[1]);
    container.signal(Signal::SIGHUP);
    let is_looking = || state(&container) == "reconnecting";
    wait_until("another server is looked for", SOON, is_looking);
    let line = format!("{} {why}", servers[1].cn());
    let said = said_until(&container, &line, || state(&container));
    assert_eq!(said, BTreeSet::from(["reconnecting".to_owned()]));
    container.wait_for_log("Trying another server", SOON);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_eq!(world.server_in_use().cn(), servers[0].cn());
    let log = container.logs();
    assert_eq!(log.matches(RECONNECTED).count(), 1, "{log}");
    assert_eq!(world.pia.records().registrations().len(), 3);
}

#[test]
fn a_server_that_is_silent_is_left_in_a_reconnect() {
    is_left_in_a_reconnect(
        Server::silence_endpoint,
        "took the key, but nothing comes back from",
    );
}

#[test]
fn a_server_that_answers_handshakes_only_is_left_in_a_reconnect() {
    is_left_in_a_reconnect(
        Server::answer_handshakes_only,
        "answers handshakes, but nothing comes through",
    );
}

#[test]
fn a_server_whose_tunnel_drops_everything_is_left_in_a_reconnect() {
    is_left_in_a_reconnect(
        Server::kill_tunnel,
        "answers handshakes, but nothing comes through",
    );
}

/// A name server and a gateway that do not answer are no reason to leave a tunnel that carries.
#[test]
fn whatever_comes_through_the_tunnel_is_a_sign_that_it_carries() {
    let world = world();
    let server = world.pia.servers()[0].clone();
    server.answer_with("server_vip", "10.255.255.1");
    server.answer_with("dns_servers", ["10.255.255.2"]);
    // Somebody in the same network who goes on asking.
    let _neighbour = world.probe();
    let _container = recipe(&world).connect();
    assert_eq!(world.server_in_use().cn(), server.cn());
}
