//! Which address the world sees: asked of PIA through the tunnel, and told to whoever wants it.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use harness::log_lines::{RECONNECTED, UP};
use harness::simulator::faults::{Api, Fault};
use harness::waiting::{SOON, wait_for, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::network::HOME;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::PROGRAM;
use crate::status_server::{ask, serving, started};

/// This field of the status file.
fn field(container: &Container, name: &str) -> Value {
    let text = container.read("/run/wireguard-pia/status.json");
    let status: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
    status[name].clone()
}

/// The address that the status file tells.
fn told(container: &Container) -> Option<Ipv4Addr> {
    field(container, "exit")["ip"].as_str()?.parse().ok()
}

fn reconnect(container: &Container, before: usize) {
    container.signal(Signal::SIGHUP);
    wait_until("reconnected", SOON, || {
        container.logs().matches(RECONNECTED).count() > before
    });
}

/// The login is asked outside, which shows that a request by that way would be seen as one.
#[test]
fn the_address_that_the_world_sees_is_told_everywhere_and_asked_through_the_tunnel_only() {
    let world = World::new();
    let mut container = started(
        serving(&world)
            .env("STATUS_EXIT_ADDRESS", "1")
            .env("PRE_RECONNECT", "echo the world saw $VPN_EXIT_IP")
            .env("POST_RECONNECT", "echo and now ${VPN_EXIT_IP-nobody knows}"),
    );
    container.wait_for_log(UP, SOON);
    let address = wait_for("the address is known", SOON, || told(&container));
    assert_eq!(address, world.server_in_use().address());
    assert_eq!(ask(&world, "/healthz", "").status, 200);
    let metrics = ask(&world, "/metrics", "");
    let info = format!("exit_address_info{{ip=\"{address}\",rotates=\"0\"}} 1\n");
    assert!(metrics.body().contains(&info), "{}", metrics.text);
    let page = ask(&world, "/v1/publicip/ip", "");
    let seen: Value = serde_json::from_str(page.body()).unwrap();
    assert_eq!(seen["public_ip"], address.to_string());
    let status = container.exec(&["wireguard-pia", "status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains(&format!("exit address  {address}\n")),
        "{status}"
    );

    reconnect(&container, 0);
    container.wait_for_log(&format!("the world saw {address}"), SOON);
    container.wait_for_log("and now nobody knows", SOON);
    let other = wait_for("the address is known again", SOON, || told(&container));
    assert_ne!(other, address);
    assert_eq!(other, world.server_in_use().address());

    let askers = |api| -> Vec<IpAddr> {
        let requests = world.pia.records().of(api);
        requests.iter().map(|seen| seen.request.peer.ip()).collect()
    };
    let inside = [address, address, other, other].map(IpAddr::V4);
    assert_eq!(askers(Api::ExitAddress), inside);
    assert_eq!(askers(Api::Token), [HOME]);
    container.stop();

    container.set_env("EXIT_ADDRESS_CHECK", "0");
    container.start();
    container.wait_for_log(UP, SOON);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(askers(Api::ExitAddress).len(), 4);
    assert_eq!(field(&container, "exit"), Value::Null);
}

/// What is told of before the tunnel is nobody's exit.
#[test]
fn an_address_that_is_none_of_pias_is_unhealthy_and_one_that_is_not_known_is_not() {
    let world = World::new();
    world.pia.see_address(HOME);
    let container = started(serving(&world));
    let health = || ask(&world, "/healthz", "");
    container.wait_for_log(&format!("Exit address: the world sees {HOME}"), SOON);
    wait_until("unhealthy", SOON, || health().status == 503);
    assert!(
        health().body().contains("EXIT_ADDRESS_CHECK=0"),
        "{}",
        health().text
    );
    assert!(
        ask(&world, "/metrics", "")
            .body()
            .contains("exit_address_wrong 1\n")
    );
    world.pia.own_exits();
    wait_until("healthy again", SOON, || health().status == 200);
    assert_eq!(told(&container), Some(world.server_in_use().address()));
    assert!(
        !ask(&world, "/metrics", "")
            .body()
            .contains("exit_address_info")
    );

    let asked = world.pia.records().of(Api::ExitAddress).len();
    world.pia.fail(Api::ExitAddress, Fault::Html);
    reconnect(&container, 0);
    assert!(
        world
            .pia
            .records()
            .wait_for(Api::ExitAddress, asked + 2, SOON)
    );
    assert_eq!(health().status, 200, "{}", health().text);
    assert_eq!(field(&container, "exit"), Value::Null);
    let logs = container.logs();
    assert_eq!(logs.matches("xit address").count(), 2, "{logs}");
}

#[test]
fn an_address_that_rotates_is_said_to() {
    let world = World::builder()
        .servers("uk", Kind::New, 1)
        .rotating()
        .build();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "uk")
        .start();
    container.wait_for_log(UP, SOON);
    // Two connections may leave by the same one of four.
    for reconnects in 0..20 {
        wait_until("the address is known", SOON, || told(&container).is_some());
        if field(&container, "exit")["rotates"] == true {
            break;
        }
        reconnect(&container, reconnects);
    }
    container.wait_for_log("This server's public address rotates", SOON);
    assert_eq!(field(&container, "exit_error"), Value::Null);
}
