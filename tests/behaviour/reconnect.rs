//! A dead endpoint is noticed and replaced, on the live interface, whatever else is down.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::{RECONNECTED, UP};
use harness::simulator::faults::Api;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::internet::Outage;
use harness::world::journal::Line;
use harness::world::network::{CLIENT, PINGABLE};
use harness::world::recipe::Recipe;
use harness::world::watch::the_tunnels;
use harness::world::{self, World};
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// A name server in a LAN of the range 10.0.0.0/8.
const LAN_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn watching(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
}

fn up(world: &World) -> Container {
    let container = watching(world).start();
    container.wait_for_log(UP, SOON);
    container
}

/// The interface's index, and what the rules say of its address.
fn interface(container: &Container) -> String {
    container.shell("cat /sys/class/net/wg0/ifindex")
}

/// "reconnect, without taking the interface down, when the server no longer responds" (README.md)
#[test]
fn a_silent_endpoint_is_replaced_by_another_server_on_the_same_interface() {
    let world = World::new();
    let container = up(&world);
    let (before, index) = (world.server_in_use(), interface(&container));
    before.silence_endpoint();
    container.wait_for_log("Reconnecting: unresponsive endpoint", LATER);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_ne!(world.server_in_use().cn(), before.cn());
    assert_eq!(interface(&container), index);
    assert_eq!(
        container
            .shell("wg show wg0 peers | wc -l; ip -4 -o addr show wg0 | wc -l")
            .replace('\n', " "),
        "1 1 "
    );
    assert!(container.stop().status.success());
}

#[test]
fn sighup_reconnects_at_once() {
    let world = World::new();
    let container = up(&world);
    let before = world.server_in_use();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_ne!(world.server_in_use().cn(), before.cn());
}

#[test]
fn a_reconnect_needs_no_file() {
    let world = World::new();
    let container = up(&world);
    container.shell("rm -r /etc/wireguard; touch /etc/wireguard");
    world.server_in_use().silence_endpoint();
    container.wait_for_log("; the tunnel goes on without it", LATER);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert!(container.stop().status.success());
}

/// Who asks for it while there is no tunnel yet gets the one that is being made.
#[test]
fn a_sighup_during_the_start_leads_to_one_connection() {
    let world = World::new();
    let container = watching(&world)
        .env("PRE_UP", "kill -HUP $PPID; sleep 1")
        .env("POST_UP", "sleep 1; echo later")
        .start();
    container.wait_for_log("This is the connection that SIGHUP asked for", SOON);
    container.wait_for_log("[post-up] later", LATER);
    assert!(!container.logs().contains("Reconnecting"));
    assert_eq!(world.pia.records().registrations().len(), 1);
    reconnect_times(&world, &container, 1);
}

/// "It needs neither name servers nor the server list" (docs/migration.md)
#[test]
fn neither_dns_nor_list_nor_account_api_is_needed() {
    let world = World::new();
    let container = up(&world);
    for outage in [Outage::DnsSilent, Outage::Api, Outage::List] {
        world.begin(outage);
    }
    world.server_in_use().silence_endpoint();
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
}

/// A list names a few of a location's servers, others the next time (docs/pia-api.md).
#[test]
fn servers_that_only_the_newer_list_names_are_asked_for_anew() {
    let world = World::builder().servers("one", Kind::New, 4).build();
    let servers = world.pia.servers_of("one");
    let lists = world.pia.lists();
    let mut later = Vec::new();
    lists.edit("one", |region| {
        region.only_v7 = true;
        later = region.servers.split_off(2);
    });
    let container = watching(&world).env("LOC", "one").start();
    container.wait_for_log(UP, SOON);
    lists.edit("one", |region| region.servers.clone_from(&later));
    for server in servers {
        if later.iter().all(|listed| listed.cn != server.cn()) {
            server.close_registration();
            server.silence_endpoint();
        }
    }
    // Each list is asked for every half minute at most.
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    let asked = world.pia.records().of(Api::List).len();
    assert!(asked <= 6, "{asked} lists");
}

#[test]
fn a_hanging_candidate_is_left_for_the_next() {
    let world = World::new();
    let container = watching(&world).env("LOC", "nl_amsterdam swiss").start();
    container.wait_for_log(UP, SOON);
    let before = world.server_in_use();
    for server in world.pia.servers_of("nl_amsterdam") {
        server.close_registration();
        server.silence_endpoint();
    }
    assert!(before.cn().starts_with("amsterdam"));
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert!(world.server_in_use().cn().starts_with("Server-"));
}

/// "takes from the table of processes what has ended and has nobody else who would" (CHANGELOG.md)
#[test]
fn what_ends_after_its_parent_does_not_stay_in_the_table_of_processes() {
    let world = World::new();
    let left = "(setsid sleep 1 >/dev/null 2>&1 &)";
    let container = watching(&world).env("POST_UP", left).connect();
    let ended = || {
        let states =
            container.shell("cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep) Z ' || :");
        states.trim().parse::<u32>().expect("a number")
    };
    wait_until("the control: one has ended", SOON, || ended() > 0);
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, SOON);
    wait_until("nothing is left", LATER, || ended() == 0);
    // Whoever is waited for is so still.
    container.signal(Signal::SIGHUP);
    wait_until("it reconnects once more", SOON, || {
        container.logs().matches(RECONNECTED).count() > 1
    });
}

/// "asked alone, when no answer is to come from others" (docs/pia-api.md): a new key there ends the
/// tunnel that is up, which is kept for as long as another server may answer.
#[test]
fn the_server_of_the_tunnel_is_not_asked_beside_one_that_hangs() {
    let world = World::builder()
        .servers("here", Kind::New, 1)
        .servers("silent", Kind::New, 1)
        .servers("hangs", Kind::New, 1)
        .build();
    let container = world.container(PROGRAM).credentials();
    let container = container.env("LOC", "here silent hangs").connect();
    // One that carries nothing stands between: it is avoided later than the tunnel's server.
    world.pia.servers_of("silent")[0].silence_endpoint();
    world.pia.servers_of("hangs")[0].mute_registration();
    container.signal(Signal::SIGHUP);
    container.wait_for_log("Trying another server", SOON);
    let asked = container.wait_for_log("Registering with hangs", SOON).at;
    world.assert_carries();
    let here = world.pia.servers_of("here")[0].cn().to_owned();
    let asked_here = || {
        let records = world.pia.records().of(Api::AddKey);
        let there = records.into_iter().filter(|one| one.host == here);
        there.map(|one| one.at).nth(1)
    };
    wait_until("it is asked in the end", SOON, || asked_here().is_some());
    let after = asked_here().map(|at| at.duration_since(asked));
    assert!(after > Some(Duration::from_secs(5)), "{after:?}");
    // The control: so long the other one was waited for.
    assert!(container.logs().contains("hangs: registering with"));
}

#[test]
fn the_same_server_will_do_if_it_is_the_only_one() {
    let world = World::builder().servers("one", Kind::New, 1).build();
    let container = watching(&world).env("LOC", "one").start();
    container.wait_for_log(UP, SOON);
    reconnect_times(&world, &container, 3);
    assert_eq!(world.pia.records().registrations().len(), 4);
}

#[test]
fn ten_times_in_a_row() {
    let world = World::new();
    let container = up(&world);
    let index = interface(&container);
    reconnect_times(&world, &container, 10);
    assert_eq!(interface(&container), index);
    assert_eq!(world.repeated_rules(), [""; 0]);
}

/// Asks for it by SIGHUP, each time when the one before is done.
fn reconnect_times(world: &World, container: &Container, times: usize) {
    for done in 1..=times {
        container.signal(Signal::SIGHUP);
        wait_until("the reconnect", LATER, || {
            container.logs().matches(RECONNECTED).count() == done
        });
        world.assert_carries();
    }
}

#[test]
fn nothing_leaks_in_a_reconnect() {
    let world = World::new();
    let (capture, _neighbour) = (world.capture(), world.probe());
    let container = up(&world);
    let up = container.wait_for_log(UP, SOON).at;
    let old = world.server_in_use();
    old.silence_endpoint();
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    old.restore_endpoint();
    reconnect_times_more(&world, &container);
    let servers: Vec<_> = world
        .pia
        .servers()
        .iter()
        .map(|server| server.address())
        .collect();
    let leaks = capture.leaks_since(up, |packet| {
        let ours = servers.iter().any(|server| packet.destination == *server);
        let api = [
            world::network::API,
            world::network::LIST,
            world::network::DNS,
        ];
        packet.probe().is_none() && (ours || api.iter().any(|host| packet.destination == *host))
    });
    assert!(
        leaks.is_empty(),
        "{} leaked, first {:?}",
        leaks.len(),
        leaks.first()
    );
    assert!(
        !capture.probes().is_empty(),
        "the neighbour was seen before the start"
    );
}

fn reconnect_times_more(world: &World, container: &Container) {
    let before = container.logs().matches(RECONNECTED).count();
    container.signal(Signal::SIGHUP);
    wait_until("another reconnect", LATER, || {
        container.logs().matches(RECONNECTED).count() > before
    });
    world.assert_carries();
}

/// "A reconnect leaves those that share its network as they are." (README.md)
#[test]
fn connections_to_the_lan_survive_and_lan_routes_hold() {
    let world = World::new();
    let container = watching(&world)
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .start();
    container.wait_for_log(UP, SOON);
    let listener = world
        .client()
        .run(|| TcpListener::bind("0.0.0.0:8080"))
        .unwrap();
    let mut caller = world
        .lan()
        .run(|| TcpStream::connect((CLIENT, 8080)))
        .unwrap();
    let (mut called, _) = listener.accept().unwrap();
    reconnect_times_more(&world, &container);
    caller.write_all(b"still here").unwrap();
    let mut heard = [0; 10];
    called.set_read_timeout(Some(SOON)).unwrap();
    called.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    assert!(
        world
            .lan()
            .run(|| TcpStream::connect_timeout(&(CLIENT, 8080).into(), SOON))
            .is_ok()
    );
}

#[test]
fn connections_through_the_tunnel_survive_where_its_address_stays_the_same() {
    let world = World::builder().servers("one", Kind::New, 1).build();
    world.pia.servers()[0].keep_addresses();
    let container = watching(&world).env("LOC", "one").start();
    container.wait_for_log(UP, SOON);
    let listener = world
        .internet()
        .run(|| TcpListener::bind((PINGABLE, 9000)))
        .unwrap();
    let (accepted, accepting) = mpsc::channel();
    thread::spawn(move || accepted.send(listener.accept().unwrap().0));
    let mut caller = world
        .client()
        .run(|| TcpStream::connect_timeout(&(PINGABLE, 9000).into(), SOON))
        .unwrap();
    let mut called = accepting.recv_timeout(SOON).unwrap();
    reconnect_times_more(&world, &container);
    caller.write_all(b"still here").unwrap();
    let mut heard = [0; 10];
    called.set_read_timeout(Some(SOON)).unwrap();
    called.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
}

/// "so that programs connect again instead of waiting" (README.md)
#[test]
fn connections_through_the_tunnel_end_at_once_where_its_address_changes() {
    let world = World::new();
    let container = up(&world);
    let listener = world.internet().run(|| TcpListener::bind((PINGABLE, 9000)));
    let _listener = listener.unwrap();
    let mut callers: Vec<TcpStream> = world.client().run(|| {
        let plain = TcpStream::connect_timeout(&(PINGABLE, 9000).into(), SOON).unwrap();
        let mapped = (PINGABLE.to_ipv6_mapped(), 9000).into();
        let mapped = TcpStream::connect_timeout(&mapped, SOON).unwrap();
        vec![plain, mapped]
    });
    reconnect_times_more(&world, &container);
    for caller in &mut callers {
        caller.set_read_timeout(Some(SOON)).unwrap();
        let heard = caller.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::ConnectionAborted), "{caller:?}");
    }
}

#[test]
fn the_rule_against_spoofed_packets_moves_along() {
    for nft in [false, true] {
        let world = World::new();
        let recipe = if nft {
            watching(&world).with_nft()
        } else {
            watching(&world)
        };
        let container = recipe.start();
        container.wait_for_log(UP, SOON);
        reconnect_times_more(&world, &container);
        let address = container.shell("ip -4 -o addr show wg0 | awk '{print $4}' | cut -d/ -f1");
        let rules = if nft {
            container.shell("nft list table ip wg-quick-wg0")
        } else {
            container.shell("iptables-save -t raw")
        };
        let naming: Vec<_> = rules
            .lines()
            .filter(|line| line.contains("wg0") && line.contains("10."))
            .collect();
        assert!(
            naming.len() == 1 && naming[0].contains(address.trim()),
            "{rules}"
        );
    }
}

#[test]
fn hosts_behind_the_container_are_served_again() {
    let world = World::builder()
        .behind()
        .sysctl("net.ipv4.ip_forward", "1")
        .build();
    let container = watching(&world).env("FWD_IFACE", "eth1").start();
    container.wait_for_log(UP, SOON);
    world.server_used_by(world.behind());
    reconnect_times_more(&world, &container);
    let behind = world.server_used_by(world.behind());
    assert_eq!(behind.cn(), world.server_in_use().cn());
}

#[test]
fn hooks_of_a_reconnect_run_around_it() {
    let world = World::new();
    let container = watching(&world)
        .env("PRE_RECONNECT", "echo leaving $VPN_SERVER_CN")
        .env("POST_RECONNECT", "echo arrived at $VPN_SERVER_CN")
        .start();
    container.wait_for_log(UP, SOON);
    let old = world.server_in_use();
    reconnect_times_more(&world, &container);
    container.wait_for_log(&format!("[pre-reconnect] leaving {}", old.cn()), SOON);
    container.wait_for_log(
        &format!("[post-reconnect] arrived at {}", world.server_in_use().cn()),
        SOON,
    );
}

/// "Later texts choose where the next reconnect leads, unless a command has" (README.md)
#[test]
fn hooks_choose_where_a_reconnect_leads() {
    let world = World::new();
    let container = watching(&world)
        .env("PRE_RECONNECT", "LOC=$(cat /pia/next)")
        .file("/pia/next", "swiss")
        .start();
    container.wait_for_log(UP, SOON);
    let location = || world.server_in_use().plan().location.clone();
    let next = |text: &str| {
        container.shell(&format!("echo {text} >/pia/next"));
        reconnect_times_more(&world, &container);
        location()
    };
    assert_eq!(location(), "nl_amsterdam");
    reconnect_times_more(&world, &container);
    assert_eq!(location(), "swiss");
    // What names no location changes nothing; where one does, that is enough.
    assert_eq!(next("swis"), "swiss");
    container.wait_for_log("LOC as a hook left it: ", SOON);
    assert_eq!(next("swis nl_amsterdam"), "nl_amsterdam");
    let words = ["wireguard-pia", "reconnect", "--location", "nl_amsterdam"];
    container.shell("echo swiss >/pia/next");
    assert!(container.exec(&words).status.success());
    assert_eq!(location(), "nl_amsterdam");
    reconnect_times_more(&world, &container);
    assert_eq!(location(), "nl_amsterdam");
    let words = ["wireguard-pia", "reconnect", "--configured"];
    assert!(container.exec(&words).status.success());
    assert_eq!(location(), "swiss");
}

#[test]
fn another_dedicated_ip_that_a_hook_chooses_is_asked_for() {
    let world = World::new();
    let servers = world.pia.servers_of("nl_amsterdam");
    let [first, second] = [&servers[0], &servers[1]].map(|server| world.pia.dedicate(server));
    let container = watching(&world)
        .env("PIA_DIP_TOKEN", &first)
        .env("PRE_RECONNECT", "PIA_DIP_TOKEN=$(cat /pia/next)")
        .file("/pia/next", first)
        .connect();
    // With this one PIA was asked for more, so that it is not again for a while.
    reconnect_times_more(&world, &container);
    assert_eq!(world.server_in_use().cn(), servers[0].cn());
    container.shell(&format!("echo {second} >/pia/next"));
    reconnect_times_more(&world, &container);
    assert_eq!(world.server_in_use().cn(), servers[1].cn());
    let refused = "the server refused the dedicated IP";
    assert!(!container.logs().contains(refused));
}

/// It was good at the start, so its server is known; PIA's no is lasting all the same.
#[test]
fn a_dedicated_ip_that_has_expired_since_is_said_so_and_not_asked_for_on_and_on() {
    let world = World::new();
    let server = &world.pia.servers()[0];
    let token = world.pia.dedicate(server);
    let container = watching(&world).env("PIA_DIP_TOKEN", token).connect();
    let asked = || world.pia.records().of(Api::DedicatedIp).len();
    let before = asked();
    world.pia.set_dedicated_ip_status("expired");
    server.silence_endpoint();
    container.signal(Signal::SIGHUP);
    let said = "the dedicated IP has expired; renew it";
    let line = container.wait_for_log(said, LATER).text;
    let (_, pause) = line.rsplit_once("Trying again in ").expect(&line);
    let seconds = pause.strip_suffix(" s").and_then(|text| text.parse().ok());
    assert!(seconds.is_some_and(|seconds: u32| seconds >= 200), "{line}");
    thread::sleep(Duration::from_secs(3));
    assert_eq!((asked() - before, world.pia.login_attempts()), (1, 1));
    world.pia.set_dedicated_ip_status("active");
    server.restore_endpoint();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
}

#[test]
fn a_hook_chooses_a_location_that_only_the_newer_list_has() {
    let world = World::new();
    let lists = world.pia.lists();
    lists.edit("swiss", |region| region.only_v7 = true);
    let container = watching(&world).env("PRE_RECONNECT", "LOC=swiss").start();
    container.wait_for_log(UP, SOON);
    reconnect_times_more(&world, &container);
    assert_eq!(world.location_in_use(), "swiss");
}

#[test]
fn a_hooks_location_that_nobody_can_be_asked_for_holds_up_no_reconnect() {
    let world = World::new();
    let container = watching(&world).env("PRE_RECONNECT", "LOC=nowhere").start();
    container.wait_for_log(UP, SOON);
    for outage in [Outage::DnsSilent, Outage::List] {
        world.begin(outage);
    }
    world.server_in_use().silence_endpoint();
    container.wait_for_log("LOC as a hook left it: ", LATER);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_eq!(world.location_in_use(), "nl_amsterdam");
}

#[test]
fn a_new_server_that_is_silent_too_is_left_again() {
    let world = World::builder().servers("three", Kind::New, 3).build();
    // Which two of them a list names otherwise is chance, and it may be none that answers.
    world.pia.lists().servers_per_download(3);
    let container = watching(&world).env("LOC", "three").start();
    container.wait_for_log(UP, SOON);
    let servers = world.pia.servers();
    servers[1..]
        .iter()
        .for_each(|server| server.silence_endpoint());
    servers[0].silence_endpoint();
    container.wait_for_log("Reconnecting: unresponsive endpoint", LATER);
    servers[0].restore_endpoint();
    assert_eq!(world.server_in_use().cn(), servers[0].cn());
}

#[test]
fn a_refused_token_is_renewed() {
    let world = World::new();
    let container = up(&world);
    world.pia.forget_tokens();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_eq!(world.pia.login_attempts(), 2);
}

#[test]
fn a_stored_token_that_is_refused_is_renewed_without_dns() {
    let world = World::new();
    let container = watching(&world)
        .file("/pia/.token", world.pia.issue_token())
        .start();
    container.wait_for_log(UP, SOON);
    world.pia.forget_tokens();
    world.begin(Outage::DnsSilent);
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, LATER);
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn a_token_that_lost_its_force_before_a_server_took_it_is_renewed() {
    let world = World::new();
    world.pia.hang(Api::AddKey);
    let container = watching(&world).start();
    container.wait_for_log("no server could be connected to", LATER);
    world.pia.forget_tokens();
    world.pia.heal(Api::AddKey);
    container.wait_for_log(UP, LATER);
    assert_eq!(world.pia.login_attempts(), 2);
}

#[test]
fn all_servers_down_for_a_while() {
    let world = World::new();
    let container = up(&world);
    let servers = world.pia.servers_of("nl_amsterdam");
    servers.iter().for_each(|server| server.down());
    container.wait_for_log("no server could be connected to", LATER);
    servers[1].up();
    world.assert_carries();
}

#[test]
fn a_network_that_was_away_costs_no_registration() {
    let world = World::new();
    let container = up(&world);
    world.begin(Outage::Everything);
    container.wait_for_log("no server could be connected to", LATER);
    let registrations = || world.pia.records().registrations().len();
    assert_eq!(registrations(), 1, "none while the network is away");
    world.end(Outage::Everything);
    world.assert_carries();
    wait_until("the end of the search", LATER, || {
        container
            .shell("wireguard-pia status --json || true")
            .contains("\"connected\"")
    });
    // The old tunnel carries again; only a try that was under way may have found a server in this
    // moment.
    assert!(registrations() <= 2, "{}", registrations());
}

/// Such a script is content with an interface, whether it carries anything or not.
#[test]
fn an_own_healthcheck_that_is_content_with_a_dead_tunnel_does_not_keep_it() {
    let world = World::new();
    let container = watching(&world)
        .script("/scripts/healthcheck.sh", "wg show wg0\n")
        .connect();
    let said = |text: &str| {
        container.shell("ping -c1 -W1 1.1.1.1 || true");
        container.logs().contains(text)
    };
    world.server_in_use().silence_endpoint();
    for server in world.pia.servers() {
        server.close_registration();
    }
    wait_until("a search in vain", LATER, || {
        said("no server could be connected to")
    });
    for server in world.pia.servers() {
        server.open_registration();
    }
    wait_until("the reconnect", LATER, || said(RECONNECTED));
    world.assert_carries();
    assert!(!said("keeping it"));
}

/// The program that carries the tunnel takes all that it is told, and is stuck. `wg` would wait for
/// it without an end.
fn hangs_in_user_space(world: &World, container: &Container) {
    container.halt("wireguard-go");
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_eq!(container.shell("pidof wireguard-go | wc -w").trim(), "1");
}

#[test]
fn a_wireguard_in_user_space_that_hangs_is_replaced() {
    let world = World::new();
    if world.kernel_has_wireguard() {
        return;
    }
    let container = up(&world);
    hangs_in_user_space(&world, &container);
    reconnect_times(&world, &container, 2);
}

#[test]
fn one_that_hangs_while_its_ports_are_cycled_is_replaced() {
    let world = World::new();
    if world.kernel_has_wireguard() {
        return;
    }
    let container = watching(&world)
        .env("CYCLE_PORTS", "40001 40002")
        .env("CYCLE_INTERVAL", "1")
        .connect();
    hangs_in_user_space(&world, &container);
    container.wait_for_log("CYCLE_PORTS: wg0 does not listen on", SOON);
    assert!(container.stop().status.success());
}

#[test]
fn an_interface_that_is_gone_is_brought_up_anew() {
    let world = World::new();
    let container = up(&world);
    container.shell("ip link delete wg0");
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_eq!(world.pia.records().of(Api::AddKey).len(), 2);
}

/// What people do to see whether the kill switch holds.
#[test]
fn an_interface_that_is_down_is_brought_up_anew() {
    for reconnects in ["0", "1"] {
        let world = World::new();
        let container = watching(&world).env("RECONNECT", reconnects).connect();
        container.shell("ip link set wg0 down");
        container.wait_for_log(RECONNECTED, LATER);
        world.assert_carries();
        assert_eq!(world.repeated_rules(), [""; 0]);
        let logs = container.logs();
        assert!(!logs.contains("nothing comes back from"), "{logs}");
    }
}

/// The kernel takes the routes of a link that is set down away, and nobody puts them back.
#[test]
fn an_interface_that_has_lost_its_route_is_brought_up_anew() {
    let losses = [
        "ip link set wg0 down; ip link set wg0 up",
        "ip route del default dev wg0 table 51820",
    ];
    for (loss, reconnects) in losses.into_iter().zip(["0", "1"]) {
        let world = World::new();
        let container = watching(&world).env("RECONNECT", reconnects).connect();
        container.shell(loss);
        container.wait_for_log("wg0 has lost its default route", LATER);
        container.wait_for_log(RECONNECTED, LATER);
        world.assert_carries();
        assert_eq!(world.repeated_rules(), [""; 0]);
    }
}

/// They are made for PIA's sake, who does not hear of it.
#[test]
fn in_a_long_pause_the_old_tunnel_is_asked_too() {
    let world = World::new();
    let container = up(&world);
    let server = world.server_in_use();
    world.pia.forget_tokens();
    world.pia.refuse_login();
    server.silence_endpoint();
    container.wait_for_log("Trying again in ", LATER);
    server.restore_endpoint();
    container.wait_for_log("through the old tunnel again; keeping it", LATER);
    world.assert_carries();
}

#[test]
fn a_list_host_that_answers_with_errors_is_left_alone_for_a_while() {
    let world = World::new();
    let container = up(&world);
    let lists = || world.pia.records().of(Api::List).len();
    let before = lists();
    world.pia.fail_times(Api::List, 503, 999);
    for server in world.pia.servers() {
        server.close_registration();
        server.silence_endpoint();
    }
    container.signal(Signal::SIGHUP);
    container.wait_for_log("using the stored server list", LATER);
    thread::sleep(Duration::from_secs(15));
    assert!(lists() <= before + 3, "{} lists", lists() - before);
}

/// What hooks do to the routes is theirs; what the kernel does after one is not.
#[test]
fn a_route_that_was_lost_after_a_hook_is_not_what_the_hook_wished() {
    for loss in [
        "ip link set wg0 down; ip link set wg0 up",
        "ip link set wg0 down; sleep 3; ip link set wg0 up",
    ] {
        let world = World::new();
        // The monitor is to find nothing meanwhile.
        let recipe = watching(&world).env("MONITOR_INTERVAL", "1000");
        let container = recipe.env("POST_UP", "sleep 1; echo done").connect();
        container.wait_for_log("[post-up] done", SOON);
        // Its last line is not its end, up to which all is its wish.
        wait_until("the hook's end", SOON, || {
            let threads = container.threads_by_name();
            threads.iter().all(|name| name != "post-up")
        });
        container.shell(loss);
        container.wait_for_log("wg0 has lost its default route", LATER);
        container.wait_for_log(RECONNECTED, LATER);
        world.assert_carries();
    }
}

/// By somebody in its network, and as that leaves its routes where they are.
#[test]
fn an_interface_that_gets_another_name_is_replaced() {
    let world = World::new();
    let mut container = up(&world);
    let rename = "ip link set wg0 name foo 2>/dev/null ||
        { ip link set wg0 down; ip link set wg0 name foo; ip link set foo up; }";
    container.shell(rename);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert!(!container.shell("ls /sys/class/net").contains("foo"));
    // The same where nobody has seen it.
    container.signal(Signal::SIGSTOP);
    container.shell(rename);
    container.kill();
    container.restart();
    container.wait_for_log(UP, LATER);
    world.assert_carries();
}

#[test]
fn a_program_that_outlives_its_interface_is_ended() {
    let world = World::new();
    let container = up(&world);
    container.halt("wireguard-go");
    container.shell("ip link delete wg0");
    container.wait_for_log("has not ended with it, and is ended", LATER);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
}

#[test]
fn a_wg_quick_that_hangs_is_ended_and_tried_again() {
    let world = World::new();
    let script = "#!/bin/sh
[ -e /run/hung ] || { touch /run/hung; sleep 1000; }
exec wireguard-go \"$@\"
";
    let container = watching(&world)
        .script("/usr/local/sbin/slow-go", script)
        .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "slow-go")
        .start();
    container.wait_for_log(
        "wg-quick up has not ended within 60 s, and is ended",
        2 * LATER,
    );
    container.wait_for_log(UP, LATER);
    world.assert_carries();
}

#[test]
fn a_reconnect_that_is_asked_for_repairs_the_interface_at_once() {
    let world = World::builder().servers("one", Kind::New, 1).build();
    let container = watching(&world).env("LOC", "one").connect();
    for damage in [
        "ip link set wg0 down",
        "ip link set wg0 down; ip link set wg0 up",
    ] {
        container.shell(damage);
        reconnect_times_more(&world, &container);
    }
    let logs = container.logs();
    assert!(!logs.contains("nothing comes back from"), "{logs}");
}

/// Who takes it down by hand has ten seconds to bring it up.
#[test]
fn a_link_can_be_set_down_and_up_by_hand() {
    let world = World::new();
    let recipe = watching(&world).env("RECONNECT", "0");
    let container = recipe.connect();
    let index = interface(&container);
    container.shell("ip link set wg0 down");
    container.wait_for_log("wg0 was taken down by hand", SOON);
    container.shell("ip link set wg0 up; ip route add default dev wg0 table 51820");
    container.wait_for_log("wg0 is up again", SOON);
    world.assert_carries();
    assert_eq!(interface(&container), index);
    assert!(!container.logs().contains("Reconnecting"));
}

/// Programs that are bound to the device need no route by it.
#[test]
fn a_route_that_a_hook_takes_away_is_not_missed() {
    let world = World::new();
    let container = watching(&world)
        .env("POST_UP", "ip route del default dev wg0 table 51820")
        .env("DEBUG", "1")
        .start();
    container.wait_for_log("The post-up hook has ended", LATER);
    let index = interface(&container);
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, LATER);
    assert_eq!(interface(&container), index);
    let logs = container.logs();
    assert!(!logs.contains("has lost its default route"), "{logs}");
}

/// With the image's `wg-quick`.
fn with_wg_quick_by_hand(world: &World) -> Recipe {
    let script = include_bytes!("../../scripts/wg-quick");
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("RECONNECT", "0")
        .script("/usr/local/bin/wg-quick", script)
}

/// A habit of many: `docker exec vpn wg-quick down wg0`, then `up wg0`.
#[test]
fn the_interface_can_be_taken_down_and_up_by_hand() {
    let world = World::new();
    let container = with_wg_quick_by_hand(&world).connect();
    let resolv_conf = container.read("/etc/resolv.conf");
    let capture = world.capture();
    container.shell("wg-quick down wg0 && ! ip link show wg0");
    assert_eq!(world.address_seen_from(world.client()), None);
    // Somebody may look at something in between.
    container.wait_for_log("wg0 was taken down by hand", SOON);
    container.shell("wg-quick up wg0");
    world.assert_carries();
    assert!(!container.logs().contains("Reconnecting"));
    assert_eq!(world.repeated_rules(), [""; 0]);
    assert_eq!(container.read("/etc/resolv.conf"), resolv_conf);
    assert_eq!(capture.leaks(the_tunnels(&world)), []);
    // What it made is ours to take away.
    container.stop();
    assert!(!world.look("ip rule").contains("proto 51"));
}

/// "routed into the tunnel also where a `LOCAL_NETWORK` range" (docs/original-behaviour.md): with
/// the interface there, and without it nowhere.
#[test]
fn the_vpns_name_servers_are_never_asked_in_a_lan_that_has_their_addresses() {
    let world = World::new();
    let container = with_wg_quick_by_hand(&world)
        .env("LOCAL_NETWORK", "10.0.0.0/8")
        .connect();
    let resolv_conf = container.read("/etc/resolv.conf").unwrap();
    let server = resolv_conf
        .lines()
        .find_map(|line| line.strip_prefix("nameserver "));
    let server: Ipv4Addr = server.unwrap().parse().unwrap();
    let goes_into_tunnel = || {
        let way = world.look(&format!("ip route get {server}"));
        way.contains("dev wg0")
    };
    assert!(goes_into_tunnel());
    let capture = world.capture();
    let begun = Instant::now();
    container.shell("wg-quick down wg0");
    for address in [LAN_RESOLVER, server] {
        let ask = format!("echo q >/dev/udp/{address}/53 || true");
        container.exec(&["bash", "-c", &ask]);
    }
    let asked = |address| {
        let leaks = capture.leaks_since(begun, |packet| packet.destination != IpAddr::V4(address));
        leaks.len()
    };
    assert_eq!((asked(LAN_RESOLVER), asked(server)), (1, 0));
    container.shell("wg-quick up wg0");
    wait_until(
        "they are asked through the tunnel again",
        SOON,
        goes_into_tunnel,
    );
}

/// The former name servers may be in the LAN.
#[test]
fn names_are_looked_up_by_nobody_else_while_an_interface_that_is_gone_comes_back() {
    let world = World::new();
    let container = up(&world);
    let ours = container.read("/etc/resolv.conf");
    for server in world.pia.servers() {
        server.silence_endpoint();
    }
    container.shell("ip link delete wg0");
    container.wait_for_log("Reconnecting: the interface wg0 is gone", LATER);
    container.wait_for_log("wg0 is gone; bringing it up anew", LATER);
    container.wait_for_log("nothing comes back from", LATER);
    assert_eq!(container.read("/etc/resolv.conf"), ours);
    for server in world.pia.servers() {
        server.restore_endpoint();
    }
    container.wait_for_log(RECONNECTED, LATER);
    assert_eq!(container.read("/etc/resolv.conf"), ours);
    world.assert_carries();
}

#[test]
fn an_interface_that_is_taken_down_by_hand_and_left_is_brought_up_anew() {
    let world = World::new();
    let container = with_wg_quick_by_hand(&world).connect();
    container.shell("wg-quick down wg0");
    container.wait_for_log("wg0 was taken down by hand", SOON);
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
}

#[test]
fn an_interface_that_is_brought_up_by_hand_after_a_silence_is_healthy() {
    let world = World::new();
    let container = with_wg_quick_by_hand(&world).connect();
    let server = world.server_in_use();
    server.silence_endpoint();
    wait_until("the silence is noticed", LATER, || {
        container.shell("ping -c1 -W1 1.1.1.1 || true");
        container.logs().contains("The endpoint is silent")
    });
    container.shell("wg-quick down wg0");
    container.wait_for_log("wg0 was taken down by hand", SOON);
    server.restore_endpoint();
    container.shell("wg-quick up wg0");
    wait_until("healthy", SOON, || {
        let checked = container.exec(&["wireguard-pia", "healthcheck"]);
        checked.status.success()
    });
    assert!(!container.logs().contains("Reconnecting"));
}

/// As where no further process can be had.
fn let_no_peer_be_set(container: &Container) {
    container.shell(
        "wg=/usr/local/sbin/wg
         echo '#!/bin/sh' >$wg
         echo '[ \"$1\" != set ] || exit 1' >>$wg
         echo 'exec /usr/bin/wg \"$@\"' >>$wg
         chmod +x $wg",
    );
}

#[test]
fn the_old_tunnel_is_kept_where_a_new_one_cannot_be_set_and_it_carries() {
    let world = World::new();
    let container = up(&world);
    let before = world.server_in_use();
    let_no_peer_be_set(&container);
    container.signal(Signal::SIGHUP);
    container.wait_for_log("answers through the old tunnel again; keeping it", LATER);
    assert_eq!(world.server_in_use().cn(), before.cn());
    assert_eq!(world.pia.records().of(Api::AddKey).len(), 2);
}

/// Each try costs PIA a registration.
#[test]
fn finds_that_cannot_be_used_are_not_made_without_a_pause() {
    let world = World::new();
    let container = up(&world);
    world.server_in_use().silence_endpoint();
    let_no_peer_be_set(&container);
    let tries = || {
        let said = |line: &Line| line.text.contains("The search for a server goes on in");
        let lines = container.lines().into_iter();
        lines.filter(said).map(|line| line.at).collect::<Vec<_>>()
    };
    wait_until("three tries", LATER, || tries().len() >= 3);
    let tries = tries();
    let lasted = tries[2] - tries[0];
    assert!(lasted > Duration::from_secs(4), "{lasted:?}");
    container.shell("rm /usr/local/sbin/wg");
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
}

/// "a second tunnel in a row that falls silent within minutes is told with what it may mean"
/// (README.md)
#[test]
fn another_container_that_takes_the_place_twice_is_suspected_aloud() {
    let world = World::new();
    let container = up(&world);
    world.server_in_use().forget_keys();
    container.wait_for_log("Reconnected to", LATER);
    assert!(!container.logs().contains("second tunnel in a row"));
    let second = world.server_in_use();
    second.forget_keys();
    container.wait_for_log("second tunnel in a row that fell silent", LATER);
    wait_until("a way out by another server", LATER, || {
        world.server_in_use().cn() != second.cn()
    });
}
