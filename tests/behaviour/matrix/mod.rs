//! The table of docs/security.md, cell by cell: every way out, by every sibling, in every state.
//!
//! Three containers of the same network send by all ways all the while; a fourth shares files only.
//! Each life goes through all states and stays in each until all have sent several times. What is
//! counted is what was on the wire outside.

mod walk;

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use harness::log_lines::{CLOSED, ENABLED, UP};
use harness::simulator::faults::Api;
use harness::simulator::{API_HOST, LIST_HOST};
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind as Server;
use harness::world::container::Container;
use harness::world::docker_dns::Docker;
use harness::world::network::{DNS, DNS_SECOND};
use harness::world::recipe::Recipe;
use harness::world::ways_out::{Setup, State, Table};
use nix::sys::signal::Signal;

use self::walk::{Expected, Walk};
use crate::PROGRAM;

/// On the way to a tunnel: a login, and a registration as in a reconnect.
const SEARCH: [State; 2] = [State::Bootstrap, State::Reconnecting];
/// Where the sibling that shares files would have the program connect to.
const PLANTED: Ipv4Addr = DNS_SECOND;

#[test]
fn what_leaves_is_what_the_table_says_with_nf_tables_and_chain() {
    walk_with_kill_switch("1", true, true);
}

#[test]
fn what_leaves_is_what_the_table_says_with_nf_tables_without_chain() {
    walk_with_kill_switch("1", false, false);
}

#[test]
fn what_leaves_is_what_the_table_says_with_legacy_and_chain() {
    walk_with_kill_switch("0", true, false);
}

#[test]
fn what_leaves_is_what_the_table_says_with_legacy_without_chain() {
    walk_with_kill_switch("0", false, true);
}

/// The control of every cell.
#[test]
fn without_the_kill_switch_every_way_leads_out_in_every_state() {
    let world = world();
    let mut walk = Walk::begin(&world, Expected::AllOut);
    through_all_states(&mut walk, recipe(&world).env("FIREWALL", "0"));
    let planted = recipe(&world)
        .env("FIREWALL", "0")
        .env("PRE_UP", "")
        .file("/etc/hosts", format!("{PLANTED} {API_HOST}\n"))
        .resolv_conf(format!("nameserver {PLANTED}\n"))
        .start();
    wait_until("what was there at the start is believed", SOON, || {
        let packets = walk.wire.packets();
        let has = |port| {
            let mut there = packets
                .iter()
                .filter(|packet| packet.destination == PLANTED);
            there.any(|packet| packet.to_port() == Some(port))
        };
        has(53) && has(443)
    });
    planted.kill();
}

fn world() -> World {
    let world = World::builder()
        .servers("one", Server::New, 1)
        // As Docker sets them.
        .sysctl("net/ipv4/ip_forward", "1")
        .sysctl("net/ipv4/ping_group_range", "0 2147483647")
        .build();
    world.docker_dns(Docker::AsksFromHost);
    world
}

fn recipe(world: &World) -> Recipe {
    let [hosts, resolv_conf] = shared_files();
    let wait = |name: &str| {
        format!("echo held in {name}; until [ -e /pia-shared/{name} ]; do sleep 0.02; done")
    };
    world
        .container(PROGRAM)
        .credentials()
        .file(hosts.0, hosts.1)
        .resolv_conf(resolv_conf.1)
        .env("LOC", "one")
        .env("PRE_UP", wait("pre-up"))
        .env("PRE_DOWN", wait("pre-down"))
}

fn walk_with_kill_switch(nf_tables: &str, chain: bool, ipv6_lan: bool) {
    let world = world();
    let table = Table::read();
    let setup = Setup { chain, ipv6_lan };
    let mut walk = Walk::begin(&world, Expected::Table { table, setup });
    let mut recipe = recipe(&world).env("NFTABLES", nf_tables);
    if chain {
        recipe = recipe.bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft");
    }
    if ipv6_lan {
        recipe = recipe.env("LOCAL_NETWORK", "fd77::/64");
    }
    through_all_states(&mut walk, recipe);
    walk.judge();
}

/// Three lives: killed in bootstrap, killed when connected, and stopped in a reconnect.
fn through_all_states(walk: &mut Walk<'_>, recipe: Recipe) {
    let pia = &walk.world.pia;
    let sealed = walk.is_sealed();
    let up = if sealed { ENABLED } else { UP };
    walk.stay(State::BeforeStart, Instant::now());

    let mut container = recipe.start();
    container.wait_for_log("held in pre-up", SOON);
    walk.stay(State::PreUp, Instant::now());
    pia.hang(Api::Token);
    release(&container, "pre-up");
    let mut closed = Instant::now();
    if sealed {
        closed = container.wait_for_log(CLOSED, SOON).at;
    }
    assert!(pia.records().wait_for(Api::Token, 1, SOON));
    plant(&container);
    walk.stay(State::Bootstrap, closed);
    container.kill();

    pia.heal(Api::Token);
    pia.refuse_login();
    container.set_env("PRE_UP", "");
    take_back(&container);
    container.restart();
    let blocked = container.wait_for_log("Waiting", SOON).at;
    plant(&container);
    walk.passed.push(State::Bootstrap);
    walk.stay(State::Blocked, blocked);
    pia.accept_login();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(up, SOON);
    walk.passed.extend(SEARCH);
    walk.stay(State::Connected, Instant::now());
    container.kill();
    walk.stay(State::Killed, Instant::now());

    take_back(&container);
    container.restart();
    container.wait_for_log(up, SOON);
    plant(&container);
    // Else the search is over when the old tunnel answers.
    pia.servers()[0].silence_endpoint();
    pia.hang(Api::AddKey);
    let before = pia.records().of(Api::AddKey).len();
    container.signal(Signal::SIGHUP);
    assert!(pia.records().wait_for(Api::AddKey, before + 1, SOON));
    walk.passed.extend(SEARCH);
    walk.passed.push(State::Connected);
    walk.stay(State::Reconnecting, Instant::now());
    container.signal(Signal::SIGTERM);
    container.wait_for_log("held in pre-down", SOON);
    // Beside the hook the search ends, and takes its rules with it.
    let asks = |backend| {
        let save = format!("iptables-{backend}-save -t filter");
        let rules = walk.world.look(&save);
        rules.contains("--dport 53 ")
    };
    wait_until("the search's end", SOON, || {
        !["nft", "legacy"].iter().any(asks)
    });
    walk.stay(State::Stopping, Instant::now());
    release(&container, "pre-down");
    container.wait(SOON);
    walk.stay(State::Stopped, Instant::now());
}

/// A container that shares files has the program connect elsewhere, if it believes them.
fn plant(container: &Container) {
    append(
        &container.path("/etc/hosts"),
        &format!("{PLANTED} {API_HOST} {LIST_HOST}\n"),
    );
    append(
        &container.path("/etc/resolv.conf"),
        &format!("nameserver {PLANTED}\n"),
    );
}

fn release(container: &Container, name: &str) {
    fs::write(container.path(format!("/pia-shared/{name}")), "").unwrap();
}

/// The files that containers share, as they were before the start.
fn shared_files() -> [(&'static str, String); 2] {
    [
        ("/etc/hosts", "127.0.0.1 localhost\n".to_owned()),
        (
            "/etc/resolv.conf",
            format!("nameserver {DNS}\nnameserver 127.0.0.11\n# ExtServers: [host({DNS})]\n"),
        ),
    ]
}

fn take_back(container: &Container) {
    for (path, text) in shared_files() {
        fs::write(container.path(path), text).unwrap();
    }
}

fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
