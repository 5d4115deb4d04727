//! What the status server tells, whom, and with which rights.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use harness::log_lines::{RECONNECTED, UP};
use harness::netns;
use harness::waiting::{LATER, SOON, wait_for, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::network::{CLIENT, PINGABLE};
use harness::world::recipe::Recipe;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::PROGRAM;

const PORT: u16 = 8000;
/// Docker's own resolver.
const DOCKER_DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// An answer: status, then head and body.
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").expect("a head").1
    }
}

/// What comes back for these bytes; `None` where the connection is refused, or closed in silence.
fn send(address: Ipv4Addr, port: u16, request: &[u8]) -> Option<Answer> {
    let timeout = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&(address, port).into(), timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).unwrap();
    stream.write_all(request).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, text })
}

/// From a program that shares the network.
pub fn ask(world: &World, path: &str, fields: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: vpn\r\n{fields}\r\n");
    world
        .client()
        .run(|| send(Ipv4Addr::LOCALHOST, PORT, request.as_bytes()))
        .unwrap_or_else(|| panic!("{path} is answered"))
}

pub fn serving(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("STATUS_LISTEN", ":8000")
}

pub fn started(recipe: Recipe) -> Container {
    let container = recipe.start();
    container.wait_for_log("Status server: listening on", SOON);
    container
}

/// The server's folder in `/proc`: its parent is the program.
fn process(container: &Container) -> PathBuf {
    let threads = fs::read_dir(format!("/proc/{}/task", container.pid())).unwrap();
    // Threads end meanwhile.
    let children: String = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .collect();
    let folders = children
        .split_whitespace()
        .map(|pid| Path::new("/proc").join(pid));
    let is_server = |folder: &PathBuf| {
        let words = fs::read_to_string(folder.join("cmdline"));
        words.is_ok_and(|words| words.contains("status-server"))
    };
    folders.into_iter().find(is_server).expect("it runs")
}

fn promtool(words: &[&str], input: &str) -> String {
    netns::feed(Command::new("promtool").args(words), input)
}

#[test]
fn it_tells_what_is() {
    let world = World::new();
    let container = started(serving(&world).env("PORT_FORWARDING", "1"));
    container.wait_for_log("Forwarding on port", SOON);
    wait_until("healthy", SOON, || {
        ask(&world, "/healthz", "").status == 200
    });
    let port = world.pia.bound_ports()[0].port;
    let healthy = ask(&world, "/healthz?x=y", "");
    assert!(
        healthy.body().starts_with("healthy: connected to "),
        "{}",
        healthy.text
    );

    let status: Value = serde_json::from_str(ask(&world, "/status.json", "").body()).unwrap();
    assert_eq!(
        (&status["state"], &status["port"]["number"]),
        (&"connected".into(), &port.into())
    );

    let metrics = ask(&world, "/metrics", "");
    let bound = format!("\nwireguard_pia_forwarded_port {port}\n");
    assert!(metrics.text.contains(&bound), "{}", metrics.text);
    assert_eq!(promtool(&["check", "metrics"], metrics.body()), "");

    let ports = format!("{{\"port\":{port},\"ports\":[{port}]}}\n");
    for path in [
        "/v1/portforward",
        "/v1/openvpn/portforwarded",
        "/v1/portforward/",
    ] {
        assert_eq!(ask(&world, path, "").body(), ports, "{path}");
    }
    assert_eq!(
        ask(&world, "/v1/vpn/status", "").body(),
        "{\"status\":\"running\"}\n"
    );
    let threads = container.threads_by_name();
    let has = |name: &str| threads.iter().any(|found| found == name);
    assert!(
        has("status-server") && container.listening().contains(&PORT),
        "{threads:?}"
    );
    assert_eq!(ask(&world, "/elsewhere", "").status, 404);
    let local = |request: &[u8]| {
        world
            .client()
            .run(|| send(Ipv4Addr::LOCALHOST, PORT, request))
    };
    let put = local(b"PUT /v1/vpn/status HTTP/1.1\r\nContent-Length: 20\r\n\r\n").unwrap();
    assert_eq!(put.status, 405, "{}", put.text);
    assert_eq!(local(b"\x16\x03\x01\x00\r\n\r\n").unwrap().status, 400);
    assert_eq!(container.stop().status.code(), Some(0));
}

/// As by `pkill -HUP wireguard-pia`, which means the program.
#[test]
fn a_sighup_to_all_of_the_name_reconnects_and_leaves_the_server_alone() {
    let world = World::new();
    let container = started(serving(&world));
    container.wait_for_log(UP, SOON);
    let server = process(&container);
    let pid = server.file_name().unwrap().to_str().unwrap();
    for pid in [pid.parse().unwrap(), container.pid()] {
        kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    }
    assert_eq!(ask(&world, "/v1/vpn/status", "").status, 200);
    container.wait_for_log(RECONNECTED, SOON);
    assert_eq!(process(&container), server);
    assert!(!container.logs().contains("ended by SIGHUP"));
}

/// Neighbours try to get out by all ways, raw frames included.
#[test]
fn it_tells_what_each_wall_dropped() {
    let world = World::builder()
        // As Docker sets it.
        .sysctl("net/ipv4/ping_group_range", "0 2147483647")
        .build();
    let container = started(serving(&world).with_nft());
    container.wait_for_log(UP, SOON);
    let dropped = |wall: &str, at: &str| -> Option<u64> {
        let metrics = ask(&world, "/metrics", "");
        let name = format!("wireguard_pia_dropped_packets_total{{at=\"{at}\",wall=\"{wall}\"}} ");
        let mut lines = metrics.body().lines();
        lines.find_map(|line| line.strip_prefix(&name)?.parse().ok())
    };
    let places = [
        ("iptables", "output"),
        ("ip6tables", "output"),
        ("egress", "eth0"),
    ];
    let before = places.map(|(wall, at)| dropped(wall, at).expect("it is counted"));
    let prober = world.probe_by_all_ways();
    prober.wait_for_rounds(1);
    wait_until("each wall has dropped something", LATER, || {
        let now = places.map(|(wall, at)| dropped(wall, at).unwrap_or_default());
        before.iter().zip(now).all(|(before, now)| now > *before)
    });
}

/// "since the rules' first load", and "since they were loaded last" (docs/monitoring.md): a figure
/// that falls by a part of itself is taken for one that began anew, and all that is left of it for
/// packets that were dropped since.
#[test]
fn what_the_walls_dropped_stays_counted_over_a_reconnect() {
    let world = World::new();
    let container = started(serving(&world));
    container.wait_for_log(UP, SOON);
    let dropped = |at: &str| -> u64 {
        let metrics = ask(&world, "/metrics", "");
        let name = format!("wireguard_pia_dropped_packets_total{{at=\"{at}\",wall=\"iptables\"}} ");
        let mut lines = metrics.body().lines();
        let found = lines.find_map(|line| line.strip_prefix(&name)?.parse().ok());
        found.unwrap_or_default()
    };
    // As every program does that asks Docker's resolver, and one that tries to leave by the card.
    let try_out = || {
        let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
        assert!(socket.send_to(b"x", (DOCKER_DNS, 53)).is_err());
        socket.set_broadcast(true).unwrap();
        assert!(socket.send_to(b"x", ("255.255.255.255", 53)).is_err());
    };
    world.client().run(|| (0..9).for_each(|_| try_out()));
    wait_until("it is counted", SOON, || {
        dropped("output") + dropped("rules") >= 18
    });
    let before = dropped("output");
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, SOON);
    world.client().run(try_out);
    wait_until("it is looked at again", SOON, || {
        dropped("output") != before
    });
    assert!(dropped("output") > before, "{} {before}", dropped("output"));
}

/// "`arrivals`: how many connections and first datagrams came in by it since the rules were loaded
/// last" (README.md), which the server cannot see by itself, nor whose a listening socket is.
#[test]
fn it_tells_what_is_known_of_the_port() {
    let world = World::new();
    port_is_proven(&world, serving(&world), None);
}

#[test]
fn it_tells_what_is_known_of_a_port_that_leads_to_another() {
    let world = World::new();
    let recipe = serving(&world).env("PORT_REDIRECT", "6881");
    port_is_proven(&world, recipe, Some(6881));
}

#[track_caller]
fn port_is_proven(world: &World, recipe: Recipe, redirect: Option<u16>) {
    let container = started(recipe.env("PORT_FORWARDING", "1"));
    container.wait_for_log("Forwarding on port", SOON);
    let port = world.pia.bound_ports()[0].port;
    let proof = || {
        let page = ask(world, "/status.json", "");
        let status: Value = serde_json::from_str(page.body()).unwrap();
        status["port_proof"].clone()
    };
    wait_until("the port is looked at", SOON, || !proof().is_null());
    let unproven = proof();
    assert!(unproven["listener"].is_null(), "{unproven}");
    assert_eq!(unproven["arrivals"], 0);
    let looked_at = unproven["looked_at"].as_u64().unwrap();
    assert!(looked_at.abs_diff(now()) <= 5, "{unproven}");

    let any = (Ipv4Addr::UNSPECIFIED, redirect.unwrap_or(port));
    let _client = world.client().run(|| TcpListener::bind(any)).unwrap();
    let server = world.server_in_use().address();
    world.knock_from_internet(server.into(), port);
    let proven = wait_for("it is looked at again", SOON, || {
        Some(proof()).filter(|proof| proof["looked_at"].as_u64() > Some(looked_at))
    });
    assert_eq!(proven["listener"], "another program");
    assert!(proven["arrivals"].as_u64() > Some(0), "{proven}");
}

/// "The program looks at that when somebody asks for `/metrics` or `/status.json`, every five
/// seconds at most" (docs/monitoring.md); those who ask at the same time are told no less.
#[test]
fn whoever_asks_is_told_what_was_looked_at_just_now() {
    let world = World::new();
    let container = started(serving(&world));
    container.wait_for_log(UP, SOON);
    let looked_at = || {
        let page = ask(&world, "/status.json", "");
        let status: Value = serde_json::from_str(page.body()).unwrap();
        let age = |then: u64| now().abs_diff(then);
        (
            status["looked_at"].as_u64(),
            status["looked_at"].as_u64().map(age),
        )
    };
    let told: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(looked_at)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let is_fresh = |age: Option<u64>| age.is_some_and(|age| age <= 5);
    assert!(told.iter().all(|(_, age)| is_fresh(*age)), "{told:?}");
    let first = told[0].0;
    wait_until("it is looked at again", SOON, || {
        let (at, age) = looked_at();
        assert!(is_fresh(age), "{age:?}");
        at > first
    });
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// As their sources make them in 2026: qbittorrent-port-forward-gluetun-server (mjmeli) by curl,
/// Glueforward (GeoffreyCoulaud) by httpx, qSticky (monstermuffin) by aiohttp, Homepage's widget
/// (gethomepage) by Node.js, gluetun-exporter (crstian19) by Go. Each is content with the answer if
/// it has the fields that it reads.
#[test]
fn helpers_of_gluetun_find_what_they_ask_for() {
    let world = World::new();
    let container = started(
        serving(&world)
            .env("PORT_FORWARDING", "1")
            .file("/key", "open sesame\n")
            .env("STATUS_KEY_FILE", "/key"),
    );
    container.wait_for_log("Forwarding on port", SOON);
    let port = world.pia.bound_ports()[0].port;
    let key = "X-API-Key: open sesame\r\n";
    wait_until("the address is known", SOON, || {
        let page = ask(&world, "/v1/publicip/ip", key);
        !page.body().contains("\"public_ip\":\"\"")
    });
    let address = world.server_in_use().address().to_string();
    let running = Value::from("running");
    let curl = "User-Agent: curl/8.14.1\r\nAccept: */*\r\n";
    let httpx = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
                 User-Agent: python-httpx/0.28.1\r\n";
    let aiohttp = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n\
                   User-Agent: Python/3.13 aiohttp/3.12.15\r\n";
    let node = "accept: application/json\r\naccept-encoding: gzip\r\nConnection: close\r\n";
    let go = "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n";
    type Wanted<'a> = &'a [(&'a str, Value)];
    let asked: [(&str, &str, &str, Wanted<'_>); 9] = [
        (
            "mjmeli",
            "/v1/openvpn/portforwarded",
            curl,
            &[("port", port.into())],
        ),
        (
            "Glueforward",
            "/v1/portforward",
            httpx,
            &[("port", port.into())],
        ),
        (
            "qSticky",
            "/v1/portforward",
            aiohttp,
            &[("port", port.into())],
        ),
        (
            "qSticky",
            "/v1/vpn/status",
            aiohttp,
            &[("status", running.clone())],
        ),
        (
            "Homepage",
            "/v1/publicip/ip",
            node,
            &[
                ("public_ip", address.clone().into()),
                ("region", "swiss".into()),
                ("country", "".into()),
            ],
        ),
        (
            "Homepage",
            "/v1/portforward",
            node,
            &[("port", port.into())],
        ),
        (
            "gluetun-exporter",
            "/v1/vpn/status",
            go,
            &[("status", running.clone())],
        ),
        (
            "gluetun-exporter",
            "/v1/publicip/ip",
            go,
            &[("public_ip", address.into())],
        ),
        (
            "gluetun-exporter",
            "/v1/openvpn/portforwarded",
            go,
            &[("port", port.into())],
        ),
    ];
    for (helper, path, fields, wanted) in asked {
        let answer = ask(&world, path, &format!("{fields}{key}"));
        assert_eq!(answer.status, 200, "{helper} {path}: {}", answer.text);
        let found: Value = serde_json::from_str(answer.body()).expect("it is JSON, not packed");
        for (name, value) in wanted {
            assert_eq!(&found[name], value, "{helper} {path}: {}", answer.text);
        }
    }
    // What makes them say that their key is wrong.
    let keyless = ask(&world, "/v1/portforward", httpx);
    assert_eq!(keyless.status, 401, "{}", keyless.text);
}

#[test]
fn it_tells_why_nothing_works() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .env("STATUS_LISTEN", "127.0.0.1:8000")
        .start();
    container.wait_for_log("Fatal error", SOON);
    wait_until("it listens", SOON, || {
        world.client().reaches((Ipv4Addr::LOCALHOST, PORT))
    });
    let health = ask(&world, "/healthz", "");
    assert_eq!(health.status, 503);
    assert!(
        health.body().contains("blocked: a new token is needed"),
        "{}",
        health.text
    );
    assert_eq!(
        ask(&world, "/v1/vpn/status", "").body(),
        "{\"status\":\"crashed\"}\n"
    );
    assert!(
        ask(&world, "/metrics", "")
            .body()
            .contains("failures_total{kind=\"login\"} 1\n")
    );
}

/// The forwarded port leads to the server's own, and still nobody who comes by it is told anything.
#[test]
fn attached_networks_are_told_and_the_internet_is_not() {
    let world = World::new();
    let container = started(
        serving(&world)
            .env("PORT_FORWARDING", "1")
            .env("PORT_REDIRECT", PORT.to_string()),
    );
    container.wait_for_log("Forwarding on port", SOON);
    let request = b"GET /healthz HTTP/1.1\r\n\r\n";
    let told = world.router().run(|| send(CLIENT, PORT, request));
    assert!(told.is_some_and(|answer| answer.body().contains("connected")));
    let (server, port) = (
        world.server_in_use().address(),
        world.pia.bound_ports()[0].port,
    );
    let far = world.internet();
    // By the rules they can connect.
    wait_until("the way is there", SOON, || far.reaches((server, port)));
    assert!(far.run(|| send(server, port, request)).is_none());
}

#[test]
fn its_process_has_no_rights_and_no_secrets() {
    let world = World::new();
    let container = started(
        serving(&world)
            .file("/key", "open sesame\n")
            .env("STATUS_KEY_FILE", "/key"),
    );
    let process = process(&container);
    let status = fs::read_to_string(process.join("status")).unwrap();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(
            status.lines().any(|found| found == line),
            "{line}\n{status}"
        );
    }
    assert_eq!(fs::read(process.join("environ")).unwrap(), b"");
    assert!(!container.logs().contains("it stays root"));
    let status = |fields| ask(&world, "/healthz", fields).status;
    assert_eq!(status(""), 401);
    assert_eq!(status("X-API-Key: open\r\n"), 401);
    wait_until("connected", SOON, || {
        status("x-api-key: open sesame\r\n") == 200
    });
}

/// As the image runs with `NET_ADMIN` alone.
#[test]
fn where_root_may_not_change_its_user_the_process_has_no_capability_either() {
    let world = World::new();
    let recipe = ["setuid", "setgid", "setpcap"]
        .into_iter()
        .fold(serving(&world), Recipe::cap_drop);
    let container = started(recipe);
    let status = fs::read_to_string(process(&container).join("status")).unwrap();
    let has = |line: &str| status.lines().any(|found| found == line);
    assert!(
        has("CapPrm:\t0000000000000000") && has("NoNewPrivs:\t1"),
        "{status}"
    );
    wait_until("healthy", SOON, || {
        ask(&world, "/healthz", "").status == 200
    });
    let log = container.logs();
    let said = log.lines().filter(|line| line.contains("it stays root"));
    assert_eq!(said.count(), 1, "{log}");
}

#[test]
fn white_space_around_a_key_is_none_of_it() {
    let world = World::new();
    let recipe = serving(&world).env("STATUS_KEY_FILE", "/key");
    let _container = started(recipe.file("/key", " open sesame \r\n\r\n"));
    let key = "X-API-Key: open sesame\r\n";
    assert_ne!(ask(&world, "/healthz", key).status, 401);
    assert_eq!(ask(&world, "/healthz", "").status, 401);
}

/// It could not be told by anybody.
#[test]
fn a_key_of_two_lines_opens_nothing() {
    let world = World::new();
    let recipe = serving(&world).env("STATUS_KEY_FILE", "/key");
    let container = recipe.file("/key", "open\nsesame\n").start();
    container.wait_for_log("There is no status server: STATUS_KEY_FILE=/key", SOON);
}

#[test]
fn a_key_that_cannot_be_read_opens_nothing() {
    let world = World::new();
    let container = serving(&world).env("STATUS_KEY_FILE", "/missing").start();
    container.wait_for_log("There is no status server: STATUS_KEY_FILE=/missing", SOON);
    container.wait_for_log(UP, SOON);
    assert!(world.client().is_kept_from((Ipv4Addr::LOCALHOST, PORT)));
}

/// More clients than it takes, which say nothing, too little or too much: they are cut, the tunnel
/// carries, and then it tells again. Killed, it comes back.
#[test]
fn whoever_floods_it_keeps_others_away_for_seconds_at_most() {
    let world = World::new();
    let container = started(serving(&world));
    container.wait_for_log(UP, SOON);
    let held: Vec<TcpStream> = (0..80)
        .map(|number: u32| {
            let stream = world
                .client()
                .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)));
            let mut stream = stream.expect("the kernel takes it");
            if number.is_multiple_of(2) {
                let _ = stream.write_all(b"GET /met");
            }
            stream
        })
        .collect();
    world.assert_carries();
    let long = [b"GET /".as_slice(), &[b'a'; 20_000]].concat();
    let asked = |request: &[u8]| {
        world
            .client()
            .run(|| send(Ipv4Addr::LOCALHOST, PORT, request))
    };
    wait_until("it tells again", SOON, || {
        asked(b"GET /healthz HTTP/1.1\r\n\r\n").is_some_and(|answer| answer.status == 200)
    });
    drop(held);
    assert_eq!(asked(&long).map(|answer| answer.status), Some(431));
    assert_eq!(ask(&world, "/metrics", "").status, 200);
    let name = process(&container)
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    kill(Pid::from_raw(name.parse().unwrap()), Signal::SIGKILL).unwrap();
    let ended = container.wait_for_log("Status server: wireguard-pia: ended by SIGKILL", SOON);
    assert!(!ended.text.contains("look"), "{}", ended.text);
    wait_until("it is back", SOON, || {
        asked(b"GET /healthz HTTP/1.1\r\n\r\n").is_some_and(|answer| answer.status == 200)
    });
}

/// As a container is paused, a machine put to sleep, or a debugger attached: waits end early then.
#[test]
fn whoever_is_being_answered_when_it_is_halted_is_answered_all_the_same() {
    let world = World::new();
    let container = started(serving(&world));
    let process = process(&container);
    let pid = process.file_name().unwrap().to_str().unwrap();
    let pid = Pid::from_raw(pid.parse().unwrap());
    let mut client = world
        .client()
        .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)))
        .unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(b"GET /status.json HT").unwrap();
    let threads = || fs::read_dir(process.join("task")).unwrap().count();
    wait_until("the rest is waited for", SOON, || threads() == 2);
    for _ in 0..20 {
        kill(pid, Signal::SIGSTOP).unwrap();
        kill(pid, Signal::SIGCONT).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    client.write_all(b"TP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// `STATUS_FLOOD` has as many requests as it says.
#[test]
fn a_flood_costs_the_tunnel_no_packet() {
    let wanted = env::var("STATUS_FLOOD").map_or(20_000, |text| text.parse().expect("a number"));
    let world = World::new();
    let container = started(serving(&world));
    container.wait_for_log(UP, SOON);
    let mut ping = Command::new("ping");
    ping.args(["-i", "0.05", "-I", "wg0", &PINGABLE.to_string()])
        .stdout(Stdio::piped());
    let mut ping = Running(world.client().spawn(&mut ping).unwrap());
    let requests: [&[u8]; 4] = [
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"GET",
    ];
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                world.client().run(|| {
                    while sent.load(Ordering::Relaxed) < wanted {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        let to = (Ipv4Addr::LOCALHOST, PORT);
                        // Some are turned away, and some go without waiting for the answer.
                        if let Ok(mut stream) = TcpStream::connect(to) {
                            let request = requests[number % requests.len()];
                            let _ = stream.write_all(request);
                            if number.is_multiple_of(2) {
                                let _ = stream.shutdown(Shutdown::Write);
                                let _ = stream.read_to_end(&mut Vec::new());
                            }
                        }
                    }
                });
            });
        }
    });
    let pid = Pid::from_raw(ping.0.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let mut summary = String::new();
    ping.0
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut summary)
        .unwrap();
    assert_none_lost(&summary);
    wait_until("it tells again", SOON, || {
        ask(&world, "/healthz", "").status == 200
    });
}

/// Of what `ping` sent, told by its summary. The last one may be on its way still.
#[track_caller]
fn assert_none_lost(summary: &str) {
    let answered: Vec<usize> = summary
        .lines()
        .filter_map(|line| {
            line.split_once("icmp_seq=")?
                .1
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    let sent: usize = summary
        .lines()
        .find_map(|line| line.split_once(" packets transmitted")?.0.parse().ok())
        .expect("a summary");
    assert!(!answered.is_empty(), "{summary}");
    assert!(answered.iter().copied().eq(1..=answered.len()), "{summary}");
    assert!(answered.len() + 1 >= sent, "{summary}");
}

/// Is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As docs/monitoring.md has it, but for the address and the interval.
#[test]
fn a_prometheus_takes_it_in_and_the_alert_rules_hold() {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    let tests = documents.join("alerts_test.yml");
    let tested = Command::new("promtool")
        .args(["test", "rules"])
        .arg(tests)
        .output()
        .unwrap();
    assert!(tested.status.success(), "{tested:?}");

    let world = World::new();
    let container = started(serving(&world).env("PORT_FORWARDING", "1"));
    container.wait_for_log("Forwarding on port", SOON);
    let port = world.pia.bound_ports()[0].port;
    let folder = tempfile::tempdir().unwrap();
    let configuration = fs::read_to_string(documents.join("prometheus.yml"))
        .unwrap()
        .replace("vpn:8000", "127.0.0.1:8000")
        .replace("30s", "1s");
    fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
    fs::copy(
        documents.join("alerts.yml"),
        folder.path().join("alerts.yml"),
    )
    .unwrap();
    let mut prometheus = Command::new("prometheus");
    prometheus
        .current_dir(folder.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Running(world.client().spawn(&mut prometheus).unwrap());
    let query = b"GET /api/v1/query?query=wireguard_pia_forwarded_port HTTP/1.0\r\n\r\n";
    let found = wait_for("the port is there", LATER, || {
        let answer = world
            .client()
            .run(|| send(Ipv4Addr::LOCALHOST, 9090, query))?;
        let found: Value = serde_json::from_str(answer.body()).ok()?;
        found["data"]["result"][0]["value"][1]
            .as_str()
            .map(str::to_owned)
    });
    assert_eq!(found, port.to_string());
}
