//! The world is what it claims to be: the container's limits, the networks, Docker's name server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use harness::netns::Namespace;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::docker_dns::Docker;
use harness::world::network::{BEHIND, CLIENT, CLIENT_INNER, CLIENT_SECOND, DNS, ELSEWHERE, LAN};
use harness::world::privileges::Privileges;
use harness::world::prober::Probe;
use harness::world::recipe::Recipe;

/// A program that waits to be told what to do.
fn idle(recipe: Recipe) -> Recipe {
    recipe.command([
        "bash",
        "-c",
        "trap 'exit 7' TERM; echo idle; while :; do sleep 600 & wait $!; done",
    ])
}

/// Who a listener in one place sees when somebody connects from another.
fn seen_by(listener: &Namespace, address: Ipv4Addr, visitor: &Namespace) -> String {
    let socket = listener.run(|| TcpListener::bind((address, 0))).unwrap();
    let target = socket.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, peer) = socket.accept().unwrap();
        stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
    });
    let mut stream = visitor
        .run(|| TcpStream::connect_timeout(&target, SOON))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    answering.join().unwrap();
    text
}

/// Without a kill switch, every probe leaves: a test that sees none has seen something.
#[test]
fn the_capture_sees_every_probe() {
    let world = World::new();
    let capture = world.capture();
    let _prober = world.probe();
    wait_until("every probe", SOON, || capture.probes() == Probe::steady());
    assert_eq!(capture.leaks(|packet| packet.probe().is_some()), []);
}

#[test]
fn a_container_may_do_what_docker_lets_it() {
    let world = World::new();
    let container = idle(world.container("/bin/true"))
        .cap_drop("net_admin")
        .start();
    container.wait_for_log("idle", SOON);
    let shell = |script: &str| container.shell(script).trim().to_owned();
    assert_eq!(
        shell("grep CapEff /proc/self/status"),
        "CapEff:\t00000000a80425fb"
    );
    assert_eq!(shell("ip link add x type dummy || echo refused"), "refused");
    assert_eq!(
        shell("echo 1 > /proc/sys/net/ipv4/ip_forward || echo refused"),
        "refused"
    );
    assert_eq!(
        shell("mv /pia /x || mv /etc/passwd /etc/resolv.conf || echo refused"),
        "refused"
    );
    assert_eq!(
        shell("pwd; head -1 /etc/resolv.conf"),
        format!("/scripts\nnameserver {DNS}")
    );
    assert_eq!(
        shell("ls /proc | grep -c '^[0-9]*$' | head -1")
            .parse::<u32>()
            .map(|count| count < 9),
        Ok(true)
    );
    assert_eq!(
        shell("cat < <(echo pipes) && test -c /dev/net/tun && echo devices"),
        "pipes\ndevices"
    );
    assert_eq!(shell("command -v nft || echo none"), "none");
    assert_eq!(
        shell("env | cut -d= -f1 | sort | tr '\\n' ' '"),
        "HOME PATH PWD SHLVL SSL_CERT_FILE _"
    );
    let stopped = container.stop();
    assert_eq!(stopped.status.code(), Some(7));
}

#[test]
fn a_container_keeps_its_files_when_it_starts_again() {
    let world = World::new();
    let recipe = idle(world.container("/bin/true")).script("/pia/scripts/pre-up.sh", "#!/bin/sh\n");
    let mut container = recipe.fresh_run().start();
    container.wait_for_log("idle", SOON);
    container.shell(
        "for file in /pia/a /pia-shared/a /etc/wireguard/a /run/a; do echo $file > $file; done",
    );
    container.shell(
        "echo changed > /etc/resolv.conf; test -x /pia/scripts/pre-up.sh && echo hook > /pia/b",
    );
    container.kill();
    assert_eq!(
        container.read("/etc/wireguard/a").as_deref(),
        Some("/etc/wireguard/a\n")
    );
    container.set_env("COLOUR", "blue");
    container.restart();
    container.wait_for_log("idle", SOON);
    let seen = container
        .shell("cat /pia/a /pia/b /etc/wireguard/a /etc/resolv.conf; ls /run; echo $COLOUR");
    assert_eq!(seen, "/pia/a\nhook\n/etc/wireguard/a\nchanged\nblue\n");
}

#[test]
fn what_shares_its_processes_survives_the_program() {
    let world = World::new();
    let mut container = idle(world.container("/bin/true"))
        .shared_pid_namespace()
        .start();
    container.wait_for_log("idle", SOON);
    container.shell("sleep 4321 >/dev/null 2>&1 & disown");
    container.kill();
    assert_eq!(container.shell("pgrep -fc '^sleep 4321'").trim(), "1");
    container.restart();
    container.wait_for_log("idle", SOON);
    container.kill_all();
}

#[test]
fn a_read_only_container_has_its_volumes() {
    let world = World::new();
    let container = idle(world.container("/bin/true")).read_only().start();
    container.wait_for_log("idle", SOON);
    let seen = container.shell(
        "for d in /pia /pia-shared /run /tmp /etc /scripts; do test -w $d && echo -n $d; done",
    );
    assert_eq!(seen, "/pia/pia-shared/run/tmp");
}

#[test]
fn networks_are_connected() {
    let world = World::builder().second_network(Some(200)).behind().build();
    assert_eq!(
        seen_by(world.lan(), LAN, world.client()),
        CLIENT.to_string()
    );
    assert_eq!(
        seen_by(world.client(), CLIENT, world.lan()),
        LAN.to_string()
    );
    assert_eq!(
        seen_by(world.client(), CLIENT_INNER, world.behind()),
        BEHIND.to_string()
    );
    assert_eq!(
        seen_by(world.client(), CLIENT_SECOND, world.router()),
        "172.19.0.1"
    );
    let routes = world.beside(&Privileges::docker(), &["ip", "route", "show", "default"]);
    assert_eq!(String::from_utf8_lossy(&routes.stdout).lines().count(), 2);
}

#[test]
fn dockers_name_server_asks_from_where_it_says() {
    for (docker, on_the_wire) in [
        (Docker::AsksFromHost, false),
        (Docker::AsksFromContainer, true),
        (Docker::Old, true),
    ] {
        let world = World::new();
        let capture = world.capture();
        let container = idle(world.container("/bin/true"))
            .resolv_conf(world.docker_dns(docker))
            .start();
        container.wait_for_log("idle", SOON);
        for transport in ["+notcp", "+tcp"] {
            let answer =
                container.shell(&format!("dig +short +time=20 {transport} elsewhere.test"));
            assert_eq!(answer, "203.0.113.66\n", "{docker:?}");
        }
        let questions = world.pia.records().questions();
        assert_eq!(
            questions
                .iter()
                .map(|question| question.tcp)
                .collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(
            !capture
                .leaks(|packet| packet.to_port() != Some(53))
                .is_empty(),
            on_the_wire,
            "{docker:?}"
        );
    }
}

#[test]
fn a_narrow_way_is_told_of_or_not() {
    /// What ping says of one packet of this size that must not be cut up.
    fn ping(world: &World, size: u32, seconds: &str) -> String {
        let (payload, to) = ((size - 28).to_string(), ELSEWHERE.to_string());
        let words = [
            "ping", "-M", "do", "-c1", "-W", seconds, "-s", &payload, &to,
        ];
        let output = world.beside(&Privileges::docker(), &words);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    let world = World::new();
    assert!(ping(&world, 1500, "20").contains("1 received"));
    world.narrow_silently(1300);
    assert!(ping(&world, 1300, "20").contains("1 received"));
    let said = ping(&world, 1301, "1");
    assert!(
        said.contains("0 received") && !said.contains("mtu"),
        "{said}"
    );
    let world = World::new();
    world.narrow(1300);
    let said = ping(&world, 1301, "20");
    assert!(said.contains("mtu = 1300"), "{said}");
}
