//! The health check tells the truth, in one line, whatever the state.

use harness::log_lines::{RECONNECTED, UP};
use harness::simulator::faults::Api;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::internet::Outage;
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// What the health check says, and whether it is content.
fn health(container: &Container, environment: &[&str]) -> (bool, String) {
    let words = [
        &["/usr/bin/env"],
        environment,
        &["/usr/local/bin/wireguard-pia", "healthcheck"],
    ]
    .concat();
    let output = container.exec(&words);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.success(), said)
}

#[track_caller]
fn unhealthy(container: &Container, environment: &[&str], why: &str) {
    let (well, said) = health(container, environment);
    assert!(!well && said.contains(why), "expected {why:?}: {said}");
}

fn connected(world: &World) -> Container {
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .start();
    container.wait_for_log(UP, SOON);
    wait_until("healthy", SOON, || health(&container, &[]).0);
    container
}

/// "Variables of the table above that `PRE_UP` assigns take effect" (README.md)
#[test]
fn whether_a_port_is_wanted_is_as_pre_up_left_it() {
    let world = World::new();
    world.pia.refuse_signature();
    let started = |variable: &str, pre_up: &str| {
        let recipe = world.container(PROGRAM).credentials();
        let recipe = recipe.env("PORT_FORWARDING", variable).env("LOC", "swiss");
        let container = recipe.env("PRE_UP", pre_up).start();
        container.wait_for_log("Firewall enabled", SOON);
        container
    };
    let said = |container: &Container, words: &[&str]| {
        let output = container.exec(&[&["/usr/local/bin/wireguard-pia"], words].concat());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };

    let container = started("1", "PORT_FORWARDING=0");
    wait_until("healthy", SOON, || health(&container, &[]).0);
    let port = said(&container, &["port"]);
    assert!(port.contains("PORT_FORWARDING=1 is not set"), "{port}");
    let report = said(&container, &["doctor"]);
    assert!(!report.contains(" port "), "{report}");
    container.stop();

    let container = started("0", "PORT_FORWARDING=1");
    unhealthy(&container, &[], "no port is forwarded");
    let port = said(&container, &["port"]);
    assert!(
        port.contains("no port is forwarded at the moment"),
        "{port}"
    );
    let report = said(&container, &["doctor"]);
    assert!(report.contains("FAILURE  port "), "{report}");
}

/// It is blocked before it has begun: the missing right is the first thing it looks at.
#[test]
fn a_port_is_wanted_also_where_no_tunnel_can_be_set_up() {
    let world = World::new();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let recipe = recipe.env("PORT_FORWARDING", "1").cap_drop("net_admin");
    let container = recipe.start();
    container.wait_for_log("Waiting to be stopped", SOON);
    let output = container.exec(&["/usr/local/bin/wireguard-pia", "port"]);
    let port = String::from_utf8(output.stderr).unwrap();
    assert!(
        port.contains("no port is forwarded at the moment"),
        "{port}"
    );
}

/// "a check that is called with `PORT_FORWARDING=0`" (README.md): the original's monitor called it
/// so, and so does ours a check of the user's, which may call the program's.
#[test]
fn a_check_that_is_called_without_port_forwarding_leaves_the_port_out() {
    let world = World::new();
    world.pia.refuse_signature();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe.env("PORT_FORWARDING", "1").start();
    container.wait_for_log("Firewall enabled", SOON);
    wait_until("healthy without it", SOON, || {
        health(&container, &["PORT_FORWARDING=0"]).0
    });
    unhealthy(&container, &[], "no port is forwarded");
    unhealthy(&container, &["PORT_FORWARDING=no"], "no port is forwarded");
    let unset = ["-u", "PORT_FORWARDING"];
    unhealthy(&container, &unset, "no port is forwarded");
    container.shell("ip link delete wg0");
    unhealthy(&container, &["PORT_FORWARDING=0"], "");
}

/// The container's own `PORT_FORWARDING=0` says nothing there, but the monitor's question does.
#[test]
fn the_monitor_leaves_a_port_out_that_pre_up_turned_on() {
    let world = World::new();
    world.pia.refuse_signature();
    let check = "wireguard-pia healthcheck >>/pia/said\n";
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe
        .env("PORT_FORWARDING", "0")
        .env("PRE_UP", "PORT_FORWARDING=1")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "1000")
        .script("/scripts/healthcheck.sh", check)
        .connect();
    wait_until("the probe is content", SOON, || {
        let said = container.read("/pia/said").unwrap_or_default();
        said.lines().any(|line| line.starts_with("healthy: "))
    });
    unhealthy(&container, &[], "no port is forwarded");
}

/// "the log, `status` and the health check say that IPv6 is not blocked" (README.md), for as long
/// as that is so: ip6tables may be made to work meanwhile, by the modprobe that they ask for.
#[test]
fn ipv6_that_is_not_blocked_is_said_until_it_is() {
    let world = World::new();
    let mut recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    for name in ["ip6tables-nft-restore", "ip6tables-legacy-restore"] {
        let script = format!(
            "#!/bin/sh\n[ -e /etc/works ] && exec /usr/sbin/{name} \"$@\"\n\
             echo '{name}: the kernel has no ip6tables' >&2\nexit 3\n"
        );
        recipe = recipe.script(format!("/usr/local/sbin/{name}"), script);
    }
    let ip = "#!/bin/sh\ncase \"$*\" in '-6 rule add type blackhole'*) exit 2;; esac\n\
              for ip in /sbin/ip /usr/sbin/ip; do [ -x $ip ] && exec $ip \"$@\"; done\n";
    let container = recipe.script("/usr/local/sbin/ip", ip).start();
    container.wait_for_log("WireGuard successfully started", SOON);
    wait_until("it is said", SOON, || {
        health(&container, &[]).1.contains("IPv6 is not blocked")
    });
    container.shell("touch /etc/works");
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, SOON);
    wait_until("healthy", SOON, || health(&container, &[]).0);
}

/// `docker exec --user 1000`: it cannot look, which is not to see that nothing is there.
#[test]
fn who_may_not_see_the_peers_is_told_so() {
    let world = World::new();
    let container = connected(&world);
    let ordinary = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
    unhealthy(&container, &ordinary, "the peers of wg0 cannot be seen");
}

/// "healthcheck exits 0 or 1": also where its line cannot be written.
#[test]
fn the_verdict_stands_where_its_line_is_lost() {
    let world = World::new();
    let mut container = connected(&world);
    let status = |container: &Container| {
        let lost = "/usr/local/bin/wireguard-pia healthcheck >/dev/full";
        container.exec(&["bash", "-c", lost]).status.code()
    };
    assert_eq!(status(&container), Some(0));
    container.stop();
    world.pia.hang(Api::AddKey);
    container.restart();
    container.wait_for_log("Registering with", SOON);
    assert_eq!(status(&container), Some(1));
}

/// The program that carries the tunnel takes questions, and is stuck.
#[test]
fn a_wireguard_in_user_space_that_hangs_holds_up_no_health_check() {
    let world = World::new();
    if world.kernel_has_wireguard() {
        return;
    }
    let container = connected(&world);
    container.halt("wireguard-go");
    let limited = ["timeout", "15"];
    unhealthy(
        &container,
        &limited,
        "the program that carries wg0 does not answer",
    );
    assert_eq!(
        container.shell("pidof wg; true"),
        "",
        "nothing is left behind"
    );
    container.shell("kill -CONT $(pidof wireguard-go)");
    wait_until("healthy", SOON, || health(&container, &[]).0);
}

/// Nor does it hold up a stop for long, or the next life.
#[test]
fn a_wireguard_in_user_space_that_hangs_holds_up_no_stop() {
    let world = World::new();
    if world.kernel_has_wireguard() {
        return;
    }
    let mut container = connected(&world);
    container.halt("wireguard-go");
    assert!(container.stop().status.success());
    container.restart();
    container.wait_for_log(UP, SOON);
    wait_until("healthy", SOON, || health(&container, &[]).0);
}

/// "a ping through the tunnel must be answered too" (README.md)
#[test]
fn connected_is_healthy_with_and_without_a_ping() {
    let world = World::new();
    let container = connected(&world);
    let (well, said) = health(&container, &[]);
    assert!(
        well && said.starts_with("healthy: connected to Server-"),
        "{said}"
    );
    wait_until("an answer", SOON, || {
        health(&container, &["ACTIVE_HEALTHCHECKS=1"]).0
    });
}

/// Every 30 seconds, in every container: a process less each time.
#[test]
fn no_program_is_started_for_it() {
    let world = World::new();
    let container = connected(&world);
    let (well, said) = health(&container, &["PATH=/nowhere"]);
    assert!(well, "{said}");
    // It is the peers that are asked for, though.
    container.shell("wg set wg0 peer $(wg show wg0 peers) remove");
    unhealthy(&container, &["PATH=/nowhere"], "has no peer");
}

#[test]
fn starting_and_blocked_are_not() {
    let world = World::new();
    let starting = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .env("PRE_UP", "echo in hook; sleep 60")
        .start();
    starting.wait_for_log("in hook", SOON);
    unhealthy(&starting, &[], "starting");
    drop(starting);
    let blocked = world.container(PROGRAM).env("LOC", "swiss").start();
    blocked.wait_for_log("Fatal error", SOON);
    unhealthy(&blocked, &[], "blocked: a new token is needed");
}

#[test]
fn a_dead_endpoint_shows_in_the_ping() {
    let world = World::new();
    let container = connected(&world);
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.silence_endpoint());
    unhealthy(
        &container,
        &["ACTIVE_HEALTHCHECKS=1"],
        "no answer through wg0",
    );
    let traffic = || container.shell("ping -c1 -W1 1.1.1.1 || true");
    wait_until("the passive check knows", LATER, || {
        traffic();
        health(&container, &[]).1.contains("the endpoint is silent")
    });
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.restore_endpoint());
    wait_until("it answers again", LATER, || health(&container, &[]).0);
}

/// The host inside and the name servers may never answer again.
#[test]
fn an_endpoint_that_carries_for_others_is_silent_no_more() {
    let world = World::new();
    let container = connected(&world);
    let server = world.server_in_use();
    server.silence_endpoint();
    wait_until("the silence is noticed", LATER, || {
        container.shell("ping -c1 -W1 1.1.1.1 || true");
        container.logs().contains("The endpoint is silent")
    });
    // WireGuard shakes hands anew after 15 seconds without an answer.
    container.shell("ping -c16 -W1 1.1.1.1 || true");
    server.silence_inside();
    server.restore_endpoint();
    wait_until("others are answered", LATER, || {
        container.shell("ping -c5 -i0.2 -W1 1.1.1.1 || true");
        container.logs().contains("The tunnel carries again")
    });
    wait_until("healthy", SOON, || health(&container, &[]).0);
}

#[test]
fn a_lost_port_is_not_healthy() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("PORT_FORWARDING", "1")
        .start();
    container.wait_for_log("Forwarding on port", SOON);
    let (well, said) = health(&container, &[]);
    assert!(well && said.contains("forwarded"), "{said}");
    drop(container);
    world.pia.refuse_signature();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("PORT_FORWARDING", "1")
        .start();
    container.wait_for_log(UP, SOON);
    wait_until("the health check knows", SOON, || {
        health(&container, &[]).1.contains("no port is forwarded")
    });
    unhealthy(&container, &[], "no port is forwarded");
}

/// What failed before the tunnel was up is no reason for a port that has not come yet.
#[test]
fn why_there_is_no_port_is_nothing_else_that_failed() {
    let world = World::new();
    world.begin(Outage::DnsSilent);
    world.pia.hang(Api::GetSignature);
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe.env("PORT_FORWARDING", "1").start();
    container.wait_for_log("resolving", SOON);
    world.end(Outage::DnsSilent);
    container.wait_for_log(UP, LATER);
    let said = || health(&container, &[]).1;
    wait_until("the health check knows", SOON, || {
        said().contains("no port is forwarded")
    });
    let said = said();
    assert!(!said.contains("resolving"), "{said}");
    let report = container.exec(&["/usr/local/bin/wireguard-pia", "doctor"]);
    let report = String::from_utf8(report.stdout).unwrap();
    let line = report
        .lines()
        .find(|line| line.contains("none is forwarded"));
    assert!(
        line.is_some_and(|line| !line.contains("resolving")),
        "{report}"
    );
}

/// The port is at the former server, and this one has not been asked yet.
#[test]
fn a_port_is_not_forwarded_by_a_new_server_before_it_has_bound_it() {
    let world = World::new();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let recipe = recipe.env("PORT_FORWARDING", "1");
    let container = recipe.start();
    wait_until("healthy", SOON, || health(&container, &[]).0);
    let port = |words: &str| container.shell(&format!("wireguard-pia port {words} 2>&1; true"));
    let former = port("").trim().to_owned();
    world.pia.hang(Api::BindPort);
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, SOON);
    wait_until("connected", SOON, || {
        !health(&container, &[]).1.contains("reconnecting")
    });
    unhealthy(
        &container,
        &[],
        &format!("port {former} is being bound there"),
    );
    let now = port("");
    assert!(now.contains("is being bound at the new server"), "{now}");
    let status = container.shell("wireguard-pia status; true");
    assert!(
        status.contains("is being bound at the new server"),
        "{status}"
    );
    world.pia.heal(Api::BindPort);
    wait_until("healthy again", LATER, || health(&container, &[]).0);
    assert_eq!(port("").trim(), former);
}

#[test]
fn a_killed_program_is_not_healthy() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .shared_pid_namespace()
        .start();
    container.wait_for_log(UP, SOON);
    container.kill();
    wait_until("dead", SOON, || container.exit_status().is_some());
    unhealthy(&container, &[], "not running");
}

#[test]
fn a_removed_interface_is_not_healthy() {
    let world = World::new();
    let container = connected(&world);
    container.shell("ip link delete wg0");
    unhealthy(&container, &[], "the interface wg0 is gone");
    container.wait_for_log(RECONNECTED, LATER);
    assert!(health(&container, &[]).0);
}

#[test]
fn an_interface_that_is_down_is_not_healthy() {
    let world = World::new();
    let container = connected(&world);
    container.shell("ip link set wg0 down");
    unhealthy(&container, &[], "the interface wg0 is down");
    container.wait_for_log(RECONNECTED, LATER);
    assert!(health(&container, &[]).0);
}

#[test]
fn a_status_file_of_garbage_is_not_healthy() {
    let world = World::new();
    let container = connected(&world);
    container.shell("echo '{' > /run/wireguard-pia/status.json");
    unhealthy(&container, &[], "is no status of this program");
}

/// "`status --wait 60` returns as soon as it is connected." (README.md)
#[test]
fn status_is_for_people_and_for_programs() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .start();
    let waited = container.shell("wireguard-pia status --wait 30");
    assert!(
        waited.contains("connected for") && waited.contains("Server-"),
        "{waited}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&container.shell("wireguard-pia status --json")).unwrap();
    assert_eq!(
        (json["version"].as_u64(), json["state"].as_str()),
        (Some(1), Some("connected"))
    );
    assert_eq!(json["location"], "swiss");
    container.stop();
}
