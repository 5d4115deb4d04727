//! The port over restarts.

use std::time::Duration;

use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;

use super::forwarding;
use super::told::{agreed_port, agreed_port_but};

const LEASE: &str = "/pia/portsig.json";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn restarted(world: &World, container: &mut Container) -> u16 {
    container.restart();
    agreed_port(world, container)
}

/// "keep the same port over restarts, for up to two months" (README.md)
#[test]
fn port_persist_keeps_the_port_over_restarts_sigkill_included() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let mut container = forwarding(&world).env("PORT_PERSIST", "1").start();
    let port = agreed_port(&world, &container);
    let found = std::fs::metadata(container.path(LEASE)).expect("the lease is stored");
    assert_eq!(found.mode() & 0o777, 0o600);
    container.stop();
    assert_eq!(restarted(&world, &mut container), port);
    container.kill();
    assert_eq!(restarted(&world, &mut container), port);
    assert_eq!(world.pia.records().of(Api::GetSignature).len(), 1);
}

/// "Containers that share `/pia` have one each", "`%h` stands for the host name" (README.md)
#[test]
fn containers_that_share_a_volume_have_a_port_each() {
    let world = World::new();
    let mut container = forwarding(&world)
        .env("PORT_PERSIST", "1")
        .env("PORT_FILE", "/pia-shared/port.%h")
        .start();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let file = format!("/pia-shared/port.{}", host.trim());
    wait_until("the port is told", SOON, || container.read(&file).is_some());
    let (port, lease) = (container.read(&file), container.read(LEASE));
    container.stop();
    // As a second container does for as long as it runs.
    let other = std::fs::File::open(container.path("/pia")).unwrap();
    other.lock().unwrap();
    container.restart();
    let told = || {
        container
            .read(&file)
            .filter(|told| Some(told) != port.as_ref())
    };
    wait_until("another port is told", SOON, || told().is_some());
    assert_eq!(container.read(LEASE), lease);
    assert_ne!(container.read("/pia/portsig-2.json"), None);
    container.stop();
    drop(other);
    container.restart();
    wait_until("the first port again", SOON, || {
        container.read(&file) == port
    });
}

#[test]
fn without_port_persist_each_life_has_a_port_of_its_own() {
    let world = World::new();
    let mut container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    container.stop();
    container.restart();
    agreed_port_but(&world, &container, port);
    assert_eq!(container.read(LEASE), None);
}

#[test]
fn a_lease_that_could_not_be_stored_is_stored_once_there_is_room() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_PERSIST", "1")
        .tmpfs("/pia", "size=64k")
        .env("PRE_UP", "cat /dev/zero >/pia/full || true")
        .start();
    container.wait_for_log("storing the lease", SOON);
    let port = agreed_port(&world, &container);
    container.shell("rm /pia/full");
    let stored = || container.shell("cat /pia/portsig.json || true");
    wait_until("it is stored", SOON, || stored().contains("payload"));
    let said = container.logs();
    assert_eq!(said.matches("storing the lease").count(), 1, "{said}");
    assert_eq!(agreed_port(&world, &container), port);
}

/// "a persistent port's signature are taken over from `/pia`" (docs/migration.md)
#[test]
fn a_lease_that_the_original_left_is_used() {
    let world = World::new();
    world.pia.date_payloads();
    let answer = world.pia.port_forwarding().issue(&world.pia.issue_token());
    let container = forwarding(&world)
        .env("PORT_PERSIST", "1")
        .file(LEASE, format!("{answer}\n"))
        .start();
    agreed_port(&world, &container);
    assert_eq!(world.pia.records().of(Api::GetSignature).len(), 0);
    assert_eq!(
        container.read(LEASE),
        Some(format!("{answer}\n")),
        "byte for byte"
    );
}

#[test]
fn a_stored_lease_that_is_no_good_is_replaced_and_said_once() {
    let world = World::new();
    let nearly_over = {
        world.pia.port_forwarding().set_lifetime(6 * DAY);
        let answer = world.pia.port_forwarding().issue(&world.pia.issue_token());
        world.pia.port_forwarding().set_lifetime(60 * DAY);
        answer
    };
    let foreign = {
        let answer = world.pia.port_forwarding().issue("another account's");
        world.pia.port_forwarding().forget_signatures();
        answer
    };
    for (stored, said) in [
        (
            "<html>".to_owned(),
            "portsig.json: lease of the port: it is not JSON",
        ),
        (nearly_over, "has expired or soon will"),
        (foreign, "the lease of the port was refused"),
    ] {
        let container = forwarding(&world)
            .env("PORT_PERSIST", "1")
            .file(LEASE, stored.clone())
            .start();
        agreed_port(&world, &container);
        assert_ne!(container.read(LEASE), Some(stored));
        assert_eq!(container.logs().matches(said).count(), 1, "{said}");
        container.stop();
    }
}
