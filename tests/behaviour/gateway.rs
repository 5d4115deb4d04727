//! The container as gateway of machines that have nothing but an address and a route.

use harness::waiting::SOON;
use harness::world::World;
use harness::world::network::{BEHIND, ELSEWHERE};
use harness::world::recipe::Recipe;

use crate::PROGRAM;

/// "As gateway for other machines, set `FWD_IFACE`" (README.md)
#[test]
fn a_host_behind_the_container_uses_the_tunnel_and_nothing_else() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build();
    let capture = world.capture();
    let container = life(&world).env("FWD_IFACE", "eth1").connect();
    assert!(
        !container.logs().contains("net.ipv4.ip_forward"),
        "{}",
        container.logs()
    );
    let server = world.server_used_by(world.behind());
    assert_eq!(server.plan().location, "swiss");
    container.stop();
    assert_eq!(world.address_seen_from(world.behind()), None);
    assert!(world.behind().is_kept_from((ELSEWHERE, 7)));
    assert_eq!(
        capture.leaks(|packet| packet.source != BEHIND && packet.destination != ELSEWHERE),
        []
    );
}

#[test]
fn a_host_behind_the_container_gets_nowhere_unless_it_is_a_gateway() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build();
    let _container = life(&world).connect();
    assert_eq!(world.address_seen_from(world.behind()), None);
    world.assert_carries();
}

#[test]
fn a_gateway_that_forwards_nothing_is_warned_of() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "0")
        .build();
    let container = life(&world).env("FWD_IFACE", "eth1").start();
    let line = container
        .wait_for_log("FWD_IFACE is set but nothing is forwarded", SOON)
        .text;
    assert!(line.contains("net.ipv4.ip_forward=1"), "{line}");
}

fn life(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}
