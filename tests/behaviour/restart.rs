//! After any kind of death the next life in the same network just works. Of the original: "A
//! container that was killed could not always start again in the same network"
//! (docs/migration.md).

use std::process::Command;

use harness::log_lines::{CLOSED, ENABLED, START, UP};
use harness::simulator::faults::Api;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;
use crate::anchor::has_the_name;

const DEATHS: usize = 3;

/// Who dies.
#[derive(Clone, Copy)]
enum Dying {
    /// The program with everything in its container.
    Container,
    /// The program alone: wireguard-go, and whatever else it started, goes on.
    Program,
}

fn container(world: &World, dying: Dying) -> Recipe {
    let recipe = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam")
        .env("DEBUG", "1");
    match dying {
        Dying::Container => recipe,
        Dying::Program => recipe.shared_pid_namespace(),
    }
}

/// Kills the program three times at this point, and then lets it live.
#[track_caller]
fn it_survives(dying: Dying, point: impl Fn(&World, &Container, usize), then: impl Fn(&World)) {
    let world = World::new();
    let mut container = container(&world, dying).create();
    let resolv_conf = container.read("/etc/resolv.conf");
    for death in 1..=DEATHS {
        container.start();
        point(&world, &container, death);
        container.kill();
    }
    then(&world);
    container.start();
    container.wait_for_log(ENABLED, SOON);
    lives_well(&world, &container);
    assert!(container.stop().status.success());
    assert_eq!(container.read("/etc/resolv.conf"), resolv_conf);
    assert!(!world.look("ip link").contains("wg0"));
    assert_eq!(
        world.look("ip rule").lines().count(),
        3,
        "{}",
        world.look("ip rule")
    );
    assert!(world.is_sealed());
}

/// It found the name servers of old, its tunnel carries, and all rules are there once.
#[track_caller]
fn lives_well(world: &World, container: &Container) {
    container.wait_for_log("203.0.113.53 resolves serverlist.piaservers.net", SOON);
    container.wait_for_log("Verified server list", SOON);
    assert_eq!(world.location_in_use(), "nl_amsterdam");
    assert_eq!(world.repeated_rules(), [""; 0]);
    assert!(world.is_sealed());
    assert_eq!(
        world
            .look("iptables-save")
            .matches("wg-quick(8) rule for wg0")
            .count(),
        3
    );
}

fn logged(text: &'static str) -> impl Fn(&World, &Container, usize) {
    move |_, container, _| drop(container.wait_for_log(text, SOON))
}

/// The program dies while this API leaves it waiting.
#[track_caller]
fn it_survives_while_asking(api: Api, dying: Dying) {
    let hangs = |world: &World, _: &Container, death: usize| {
        world.pia.hang(api);
        assert!(world.pia.records().wait_for(api, death, SOON));
    };
    it_survives(dying, hangs, |world| world.pia.heal(api));
}

fn nothing(_: &World) {}

#[test]
fn killed_at_the_start() {
    it_survives(Dying::Container, logged("wireguard-pia"), nothing);
}

#[test]
fn killed_with_the_kill_switch_closed() {
    it_survives(Dying::Container, logged(CLOSED), nothing);
}

#[test]
fn killed_at_the_login() {
    it_survives_while_asking(Api::Token, Dying::Container);
}

#[test]
fn killed_at_the_list() {
    it_survives_while_asking(Api::List, Dying::Container);
}

#[test]
fn killed_at_the_registration() {
    it_survives_while_asking(Api::AddKey, Dying::Container);
}

#[test]
fn killed_while_wg_quick_makes_the_interface() {
    it_survives(Dying::Container, logged("[#] ip link add wg0"), nothing);
}

#[test]
fn killed_while_wg_quick_sets_routes() {
    it_survives(Dying::Container, logged("[#] ip -4 rule add"), nothing);
}

#[test]
fn killed_while_wg_quick_loads_its_rules() {
    it_survives(Dying::Container, logged("[#] iptables-restore -n"), nothing);
}

#[test]
fn killed_when_connected() {
    it_survives(Dying::Container, logged(UP), nothing);
}

#[test]
fn the_program_alone_killed_at_the_registration() {
    it_survives_while_asking(Api::AddKey, Dying::Program);
}

#[test]
fn the_program_alone_killed_while_wg_quick_makes_the_interface() {
    it_survives(Dying::Program, logged("[#] ip link add wg0"), nothing);
}

#[test]
fn the_program_alone_killed_while_wg_quick_configures_the_interface() {
    it_survives(Dying::Program, logged("[#] wg setconf wg0"), nothing);
}

#[test]
fn the_program_alone_killed_while_wg_quick_sets_routes() {
    it_survives(Dying::Program, logged("[#] ip -4 rule add"), nothing);
}

#[test]
fn the_program_alone_killed_while_wg_quick_loads_its_rules() {
    it_survives(Dying::Program, logged("[#] iptables-restore -n"), nothing);
}

#[test]
fn the_program_alone_killed_when_connected() {
    it_survives(Dying::Program, logged(UP), nothing);
}

#[test]
fn killed_during_the_shutdown() {
    let during = |_: &World, container: &Container, _| {
        container.wait_for_log(UP, SOON);
        container.signal(Signal::SIGTERM);
        container.wait_for_log("Shutting down", SOON);
    };
    it_survives(Dying::Program, during, nothing);
}

/// Once at each step of a start; the login is left out, as its token is kept.
#[track_caller]
fn killed_at_each_step(dying: Dying) {
    let world = World::new();
    let mut container = container(&world, dying).create();
    for step in START {
        println!("at {step:?}");
        container.start();
        container.wait_for_log(step, SOON);
        container.kill();
    }
    container.start();
    container.wait_for_log(ENABLED, SOON);
    lives_well(&world, &container);
}

#[test]
fn the_container_killed_at_each_step() {
    killed_at_each_step(Dying::Container);
}

#[test]
fn the_program_killed_at_each_step() {
    killed_at_each_step(Dying::Program);
}

#[test]
fn killed_and_started_with_an_empty_run() {
    let world = World::new();
    let mut container = container(&world, Dying::Container).fresh_run().start();
    for _ in 1..=DEATHS {
        container.wait_for_log(ENABLED, SOON);
        container.kill();
        container.start();
    }
    container.wait_for_log(ENABLED, SOON);
    lives_well(&world, &container);
}

#[test]
fn killed_and_started_with_the_other_backend() {
    let world = World::new();
    let mut container = container(&world, Dying::Container).create();
    for (nf_tables, other) in [("1", "legacy"), ("0", "nft"), ("1", "legacy")] {
        container.set_env("NFTABLES", nf_tables);
        container.start();
        container.wait_for_log(ENABLED, SOON);
        let others =
            ["iptables", "ip6tables"].map(|program| world.look(&format!("{program}-{other}-save")));
        assert!(
            others
                .iter()
                .all(|rules| !rules.contains("PIA_") && !rules.contains("wg-quick")),
            "{others:?}"
        );
        container.kill();
    }
    container.start();
    container.wait_for_log(ENABLED, SOON);
    lives_well(&world, &container);
}

#[test]
fn stopped_and_started_again() {
    let world = World::new();
    let mut container = container(&world, Dying::Container).create();
    for _ in 0..DEATHS {
        container.start();
        container.wait_for_log(ENABLED, SOON);
        lives_well(&world, &container);
        assert!(container.stop().status.success());
    }
}

#[test]
fn a_running_program_is_not_disturbed_by_a_second_one() {
    let world = World::new();
    let container = container(&world, Dying::Container).start();
    container.wait_for_log(ENABLED, SOON);
    let second = container.exec(&["wireguard-pia", "run"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&second.stdout)
            .contains("another wireguard-pia is running in this container")
    );
    lives_well(&world, &container);
}

// What others have in the same network.

#[test]
fn an_interface_of_somebody_elses_is_named_and_left_alone() {
    let world = World::new();
    world.look("ip link add wg0 type veth peer name wg0-peer");
    let container = container(&world, Dying::Container).start();
    container.wait_for_log("an interface wg0 is there that is not ours", SOON);
    container.wait_for_log("Trying again in", SOON);
    assert!(world.look("ip -details link show wg0").contains("veth"));
    world.look("ip link delete wg0");
    container.signal(Signal::SIGHUP);
    container.wait_for_log(UP, SOON);
}

/// A tunnel as wg-quick makes it, to a server that does not answer.
fn up_by_wg_quick(world: &World) {
    // wireguard-go's sockets are found by the interface's name, and by all who see this directory.
    let script = "umask 077; mkdir -p /run/wireguard; mount -t tmpfs none /run/wireguard
        cd $(mktemp -d) && wg genkey >key && {
        echo '[Interface]'; echo PrivateKey = $(<key); echo Address = 10.99.0.2/32
        echo '[Peer]'; echo PublicKey = $(wg genkey | wg pubkey); echo AllowedIPs = 0.0.0.0/0
        echo Endpoint = 203.0.113.200:51820
        } >other.conf && wg-quick up ./other.conf; rm -r \"$PWD\"";
    let mut command = Command::new("unshare");
    let output = world
        .client()
        .output(command.args(["--mount", "bash", "-c", script]));
    let output = output.expect("bash is there");
    assert!(output.status.success(), "{output:?}");
}

/// Without preferences, which the kernel gives by turns.
fn rules_of_others(world: &World) -> Vec<String> {
    let rules = world.look("ip rule") + &world.look("ip -6 rule");
    let mut others = Vec::new();
    for line in rules.lines().filter(|line| !line.contains("proto 51")) {
        others.push(line.split_once(':').expect("a rule").1.trim().to_owned());
    }
    others.sort();
    others
}

#[test]
fn another_wg_quick_tunnel_keeps_its_table_its_mark_and_its_rules() {
    let world = World::new();
    up_by_wg_quick(&world);
    let before = rules_of_others(&world);
    assert!(
        before.iter().any(|rule| rule.contains("lookup 51820")),
        "{before:?}"
    );
    let container = container(&world, Dying::Container)
        .env("PORT_FORWARDING", "1")
        .start();
    container.wait_for_log("51820 are another tunnel's; ours are 51821", SOON);
    container.wait_for_log("Forwarding on port", SOON);
    world.assert_carries();
    assert_eq!(rules_of_others(&world), before);
    let look = container.shell("wireguard-pia doctor");
    assert!(look.contains("no failures"), "{look}");
    container.signal(Signal::SIGHUP);
    container.wait_for_log("Reconnected to", SOON);
    world.assert_carries();
    assert!(container.stop().status.success());
    assert_eq!(rules_of_others(&world), before);
    assert!(world.look("ip link show other").contains("other"));
    world.look("ip link delete other");
}

#[test]
fn a_second_container_in_the_same_network_leaves_the_first_ones_tunnel_alone() {
    let world = World::new();
    let first = container(&world, Dying::Container).start();
    first.wait_for_log(UP, SOON);
    let second = container(&world, Dying::Container).start();
    let (status, log) = second.end();
    assert_eq!(status, Some(1));
    assert!(
        log.contains("another container that shares this network"),
        "{log}"
    );
    world.assert_carries();
}

/// It is no sign of a life: everybody in the network can use the name.
#[test]
fn a_name_that_a_sibling_takes_after_a_death_shuts_nobody_out() {
    let world = World::new();
    let mut container = container(&world, Dying::Program).start();
    container.wait_for_log(UP, SOON);
    container.kill();
    assert!(world.look("ip link").contains("wg0"), "it stays");
    for and in ["1", "listen(S, 1)"] {
        let sibling = world.container(PROGRAM).ordinary_user(1000);
        let sibling = has_the_name(sibling, and);
        container.start();
        container.wait_for_log(
            "has the name of a wireguard-pia, and nothing else of one",
            SOON,
        );
        container.wait_for_log(ENABLED, SOON);
        lives_well(&world, &container);
        container.kill();
        drop(sibling);
    }
}
