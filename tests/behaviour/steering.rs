//! What commands ask of a running program, and what they are told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use harness::log_lines::{ENABLED, FORWARDING, RECONNECTED, UP};
use harness::simulator::faults::{Api, Fault};
use harness::simulator::server::Server;
use harness::simulator::{API_HOST, LIST_HOST};
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::internet::Outage;
use harness::world::network::{CLIENT, LAN};
use harness::world::pcap::Packet;
use harness::world::recipe::Recipe;
use harness::world::watch::{Watch, ours, the_tunnels};

use crate::PROGRAM;
use crate::status_server::ask;

/// With token and list renewed each second.
const RENEWING: [&str; 4] = [
    "/usr/local/bin/wireguard-pia",
    "run",
    "--renewal-interval",
    "1",
];
const SOCKET: &str = "/run/wireguard-pia/control.sock";

fn steered(world: &World) -> Recipe {
    let container = world.container(PROGRAM).credentials();
    container.env("LOC", "nl_amsterdam")
}

/// `docker exec vpn wireguard-pia WORDS`: whether it ended with 0, and what it printed and said.
#[track_caller]
fn command(container: &Container, words: &str) -> (bool, String) {
    let words: Vec<&str> = ["wireguard-pia"]
        .into_iter()
        .chain(words.split(' '))
        .collect();
    let output = container.exec(&words);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    (output.status.success(), said.trim_end().to_owned())
}

#[track_caller]
fn done(container: &Container, words: &str) -> String {
    let (is_done, said) = command(container, words);
    assert!(is_done, "{words}: {said}");
    said
}

#[track_caller]
fn refused(container: &Container, words: &str) -> String {
    let (is_done, said) = command(container, words);
    assert!(!is_done, "{words}: {said}");
    said.trim_start_matches("Error: ").to_owned()
}

/// "It keeps what others in its network have open, lets nothing past the tunnel, needs neither a
/// login nor a list, and ends where it was told" (README.md)
#[test]
fn a_command_sends_the_tunnel_elsewhere_and_disturbs_nobody() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let recipe = steered(&world).env("LOCAL_NETWORK", "192.168.77.0/24");
    let container = recipe.connect();
    let up = container.wait_for_log(ENABLED, SOON).at;
    wait_for_socket(&container);
    let index = interface(&container);
    let mut held = Held::by_lan(&world);
    let asked = || {
        let of = |api| world.pia.records().of(api).len();
        (of(Api::Token), of(Api::List))
    };
    let before = asked();

    let said = done(&container, "reconnect --location swiss");
    let server = world.server_in_use();
    assert_eq!(server.plan().location, "swiss");
    assert!(
        said.starts_with(&format!("connected to swiss: {} (", server.cn())),
        "{said}"
    );
    assert!(
        container
            .read("/run/wireguard-pia/status.json")
            .unwrap()
            .contains(server.cn())
    );
    held.is_open();
    // "Without an option it stays with what was chosen last" (README.md)
    done(&container, "reconnect");
    let other = world.server_in_use();
    assert_eq!(other.plan().location, "swiss");
    assert_ne!(other.cn(), server.cn());
    done(&container, "reconnect --configured");
    assert_eq!(world.server_in_use().plan().location, "nl_amsterdam");
    // By its name, also twice, and from a list in order of preference.
    for _ in 0..2 {
        done(
            &container,
            &format!("reconnect --server {}", server.cn().to_lowercase()),
        );
        assert_eq!(world.server_in_use().cn(), server.cn());
    }
    done(&container, "reconnect --location nl_amsterdam swiss");
    assert_eq!(world.server_in_use().plan().location, "nl_amsterdam");
    held.is_open();
    drop(Held::of(&world, held.listener));
    assert_eq!(asked(), before, "neither a login nor a list");
    assert_eq!(interface(&container), index);
    let may = ours(&world);
    watch.expect_only(up, None, |packet| packet.destination == LAN || may(packet));
    done(&container, "reconnect --auto");
}

/// A connection from the LAN to a program that shares the container's network.
struct Held {
    listener: TcpListener,
    caller: TcpStream,
    called: TcpStream,
}

impl Held {
    #[track_caller]
    fn by_lan(world: &World) -> Self {
        let listen = || TcpListener::bind("0.0.0.0:8080");
        Self::of(world, world.client().run(listen).unwrap())
    }

    #[track_caller]
    fn of(world: &World, listener: TcpListener) -> Self {
        let call = || TcpStream::connect_timeout(&(CLIENT, 8080).into(), SOON);
        let caller = world.lan().run(call).unwrap();
        let (called, _) = listener.accept().unwrap();
        called.set_read_timeout(Some(SOON)).unwrap();
        Self {
            listener,
            caller,
            called,
        }
    }

    #[track_caller]
    fn is_open(&mut self) {
        self.caller.write_all(b"still here").unwrap();
        let mut heard = [0; 10];
        self.called.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"still here");
    }
}

fn interface(container: &Container) -> String {
    container.shell("cat /sys/class/net/wg0/ifindex")
}

/// The socket comes a moment after the tunnel.
#[track_caller]
fn wait_for_socket(container: &Container) {
    let socket = container.path(SOCKET);
    wait_until("commands are taken", SOON, || socket.exists());
}

/// "What cannot be had is refused, and the tunnel is where it was, or where it can be" (README.md)
#[test]
fn what_cannot_be_done_is_said_and_the_tunnel_stays_where_it_can_be() {
    let world = World::new();
    let recipe = steered(&world).env("HEALTHCHECK_PING_TIMEOUT", "1");
    let container = recipe.start();
    wait_for_socket(&container);
    let (before, index) = (world.server_in_use(), interface(&container));
    let said = refused(&container, "reconnect --location swis");
    assert!(said.contains("did you mean swiss"), "{said}");
    let said = refused(&container, "reconnect --server amsterdam44");
    assert!(said.contains("did you mean amsterdam447"), "{said}");
    for (words, why) in [
        ("port --new", "no port is forwarded: set PORT_FORWARDING=1"),
        (
            "port --rebind",
            "no port is forwarded: set PORT_FORWARDING=1",
        ),
        ("port", "no port is forwarded: PORT_FORWARDING=1 is not set"),
        ("reconnect --keep", "required"),
        ("reconnect --location ,", "no location is named by ,"),
    ] {
        let said = refused(&container, words);
        assert!(said.contains(why), "{words}: {said}");
    }
    assert_eq!(
        world.pia.records().of(Api::AddKey).len(),
        1,
        "the tunnel is untouched"
    );

    for server in world.pia.servers_of("swiss") {
        server.close_registration();
    }
    let said = refused(&container, "reconnect --location swiss --keep");
    let still = format!("; still connected to nl_amsterdam: {} (", before.cn());
    assert!(said.contains("no server could be connected to"), "{said}");
    assert!(said.contains(&still), "{said}");
    assert_eq!(world.server_in_use().cn(), before.cn());
    assert!(
        container.read("/pia/choice.json").is_none(),
        "it is not kept"
    );
    // One that takes the key, and carries nothing.
    let deaf = &world.pia.servers_of("swiss")[0];
    deaf.open_registration();
    deaf.kill_tunnel();
    let said = refused(&container, &format!("reconnect --server {}", deaf.cn()));
    assert!(said.contains("nothing comes through its tunnel"), "{said}");
    assert!(said.contains(&still), "{said}");
    let tries = world.pia.records().of(Api::AddKey);
    assert_eq!(tries.len(), 2, "once");
    // Nor does the old one any more.
    deaf.close_registration();
    before.silence_endpoint();
    let said = refused(&container, "reconnect --location swiss");
    assert!(said.contains("; connected to nl_amsterdam: "), "{said}");
    assert!(said.ends_with(" instead"), "{said}");
    assert_ne!(world.server_in_use().cn(), before.cn());
    assert_eq!(interface(&container), index);
    world.assert_carries();
}

/// "root of the container alone" (docs/security.md)
#[test]
fn clients_may_do_what_they_like() {
    let world = World::new();
    let container = steered(&world).start();
    wait_for_socket(&container);
    let socket = container.path(SOCKET);
    let file = std::fs::symlink_metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let user = "setpriv --reuid 1000 --clear-groups wireguard-pia reconnect 2>&1";
    let said = container.shell(user);
    assert!(said.contains("Permission denied"), "{said}");
    container.shell(&format!("chmod 666 {SOCKET}"));
    let said = container.shell(user);
    assert!(said.contains("user 1000 may not ask: root may"), "{said}");

    // Nothing, too much, garbage, and a client that does not wait.
    let connect = || UnixStream::connect(&socket).unwrap();
    let mut silent = connect();
    let mut long = connect();
    // It may be cut before it has said all.
    let _ = long.write_all(&[b'x'; 100_000]);
    let mut garbage = connect();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut heard = String::new();
    garbage.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("{\"done\":false"), "{heard}");
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0, "it is cut");
    let servers = world.pia.servers_of("swiss");
    servers.iter().for_each(|server| server.slow_down());
    let mut gone = connect();
    let request = b"{\"reconnect\":{\"to\":{\"locations\":\"swiss\"},\"keep\":false}}\n";
    gone.write_all(request).unwrap();
    container.wait_for_log("Reconnecting: asked for by a command", SOON);
    let said = refused(&container, "reconnect --auto");
    assert_eq!(said, "another command's reconnect is under way");
    drop(gone);
    // It takes the place of the one that nobody waits for.
    let said = done(&container, "reconnect");
    assert!(said.starts_with("connected to swiss: "), "{said}");

    // A stop answers whoever waits.
    let mut waiting = connect();
    waiting.write_all(request).unwrap();
    wait_until("it is under way", SOON, || {
        container
            .logs()
            .matches("Reconnecting: asked for by a command")
            .count()
            == 2
    });
    assert!(container.stop().status.success());
    let mut heard = String::new();
    waiting.read_to_string(&mut heard).unwrap();
    assert!(heard.contains("wireguard-pia is being stopped"), "{heard}");
    assert!(!socket.exists());
}

/// What is kept, as `status` says it to people and, the same, to programs.
fn kept_by_status(container: &Container) -> Option<String> {
    let page = done(container, "status");
    let told = page
        .lines()
        .find_map(|line| line.strip_prefix("kept choice   "));
    let told = told.map(|told| {
        let kept = told.strip_suffix(", which goes before LOC at each start");
        kept.expect("it is said what that means").to_owned()
    });
    let status = done(container, "status --json");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["kept_choice"].as_str(), told.as_deref());
    told
}

#[test]
fn a_kept_choice_outlives_restarts_until_it_is_forgotten() {
    let world = World::new();
    let recipe = steered(&world).env("STATUS_LISTEN", ":8000");
    let mut container = recipe.shared_pid_namespace().start();
    wait_for_socket(&container);
    assert_eq!(kept_by_status(&container), None);
    let said = done(&container, "reconnect --location swiss --keep");
    assert!(
        said.ends_with("this choice is kept over restarts"),
        "{said}"
    );
    assert_eq!(kept_by_status(&container).as_deref(), Some("swiss"));
    let page = ask(&world, "/status.json", "");
    assert!(
        page.body().contains("\"kept_choice\": \"swiss\""),
        "{}",
        page.text
    );
    let mode = std::fs::metadata(container.path("/pia/choice.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // A killed life leaves its socket.
    container.kill();
    let said = refused(&container, "reconnect");
    assert_eq!(said, "wireguard-pia is not running");
    container.restart();
    container.wait_for_log(
        "Using the kept choice of a server, swiss, instead of LOC; `wireguard-pia reconnect \
         --forget` undoes that",
        SOON,
    );
    container.wait_for_log(ENABLED, SOON);
    assert_eq!(world.location_in_use(), "swiss");
    wait_until("commands are taken", SOON, || {
        command(&container, "reconnect").0
    });
    assert_eq!(world.location_in_use(), "swiss");
    let said = done(&container, "reconnect --forget --configured");
    assert!(said.starts_with("the kept choice is forgotten"), "{said}");
    assert_eq!(world.location_in_use(), "nl_amsterdam");
    assert_eq!(done(&container, "reconnect --forget"), "no choice is kept");
    assert_eq!(kept_by_status(&container), None);
    container.stop();

    for (content, warning) in [
        (
            "{\"locations\":\"atlantis\"}",
            "atlantis: there is no such location",
        ),
        (
            "swiss",
            "choice.json: it is no request (line 1, column 1); LOC is used",
        ),
    ] {
        std::fs::write(container.path("/pia/choice.json"), content).unwrap();
        container.restart();
        container.wait_for_log(warning, SOON);
        container.wait_for_log(ENABLED, SOON);
        assert_eq!(world.location_in_use(), "nl_amsterdam");
        container.stop();
    }
}

/// "`wireguard-pia port --new` gets another port" (README.md)
#[test]
fn a_command_gets_another_port_or_refreshes_this_one() {
    let world = World::new();
    let recipe = steered(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_SCRIPT", "echo up");
    let container = recipe.start();
    container.wait_for_log(FORWARDING, SOON);
    wait_for_socket(&container);
    let port = done(&container, "port");
    let new = done(&container, "port --new");
    assert_ne!(new, port);
    assert_eq!(done(&container, "port"), new);
    assert_eq!(container.read("/pia-shared/port.dat").unwrap().trim(), new);
    container.wait_for_log(&format!("[port-script] up {new}"), SOON);
    let bound = || {
        let ports = world.pia.bound_ports().into_iter();
        ports
            .filter(|bound| bound.port.to_string() == new)
            .map(|bound| bound.refreshed)
            .sum::<u32>()
    };
    let before = bound();
    assert_eq!(done(&container, "port --rebind"), new);
    assert_eq!(bound(), before + 1);

    world
        .pia
        .fail(Api::GetSignature, Fault::Status(503, 1_000_000));
    let said = refused(&container, "port --new");
    assert!(said.ends_with(&format!("; port {new} is kept")), "{said}");
    world.pia.fail(Api::BindPort, Fault::Status(503, 1_000_000));
    let said = refused(&container, "port --rebind");
    assert!(said.ends_with(&format!("; port {new} is kept")), "{said}");
    assert_eq!(done(&container, "port"), new);
}

/// "Both are renewed through the tunnel while all is well" (README.md)
#[test]
fn token_and_list_are_renewed_through_the_tunnel() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = steered(&world).command(RENEWING).start();
    let up = container.wait_for_log(ENABLED, SOON).at;
    wait_for_socket(&container);
    let records = world.pia.records();
    let asked = |api| records.of(api).len();
    world.pia.forget_tokens();
    // The first may have been under way.
    let renewed = |api, times: usize| records.wait_for(api, asked(api) + times, SOON);
    assert!(renewed(Api::Token, 2) && renewed(Api::List, 2));
    for host in [API_HOST, LIST_HOST] {
        assert!(is_looked_up_inside(&world, host), "{host}");
    }
    done(&container, "reconnect --location swiss");
    // Credentials that are refused are sent once, and a bad list is not used.
    world.pia.refuse_login();
    world.pia.bad_list_signature();
    assert!(renewed(Api::Token, 1) && renewed(Api::List, 1));
    let (stored, logins) = (container.read("/pia/.token"), asked(Api::Token));
    assert!(renewed(Api::List, 2));
    assert_eq!(asked(Api::Token), logins);
    assert_eq!(container.read("/pia/.token"), stored);
    assert!(
        !container.logs().contains("refused"),
        "nobody's trouble yet"
    );
    done(&container, "reconnect --configured");
    watch.expect_only(up, None, |packet| is_registration(&world, packet));
}

#[test]
fn a_location_that_vanished_from_renewed_lists_serves_a_reconnect() {
    let world = World::new();
    let recipe = steered(&world)
        .env("MONITOR_INTERVAL", "1")
        .command(RENEWING);
    let mut container = recipe.env("RECONNECT", "1").connect();
    let lists = world.pia.lists();
    lists.edit("nl_amsterdam", |region| region.missing = true);
    let records = world.pia.records();
    let asked = records.of(Api::List).len();
    assert!(records.wait_for(Api::List, asked + 5, SOON));
    world.server_in_use().silence_endpoint();
    container.wait_for_log(RECONNECTED, LATER);
    assert_eq!(world.location_in_use(), "nl_amsterdam");
    // Nor did the renewals overwrite the stored one.
    container.stop();
    container.restart();
    container.wait_for_log(UP, LATER);
    assert_eq!(world.location_in_use(), "nl_amsterdam");
}

#[test]
fn a_location_that_only_the_newer_list_has_is_looked_for_through_the_tunnel() {
    let world = World::new();
    let lists = world.pia.lists();
    lists.edit("swiss", |region| region.only_v7 = true);
    let container = steered(&world).connect();
    wait_for_socket(&container);
    assert!(!is_looked_up_inside(&world, LIST_HOST));
    done(&container, "reconnect --location swiss");
    assert_eq!(world.location_in_use(), "swiss");
    assert!(is_looked_up_inside(&world, LIST_HOST));
}

#[test]
fn a_list_that_is_used_for_one_location_alone_is_renewed_too() {
    let world = World::builder().servers("one", Kind::New, 2).build();
    let lists = world.pia.lists();
    let mut later = Vec::new();
    lists.edit("one", |region| {
        region.only_v7 = true;
        later = region.servers.split_off(1);
    });
    let container = steered(&world).env("LOC", "one").command(RENEWING).start();
    container.wait_for_log(ENABLED, SOON);
    let (first, second) = (world.server_in_use(), later[0].cn.clone());
    lists.edit("one", |region| region.servers = later);
    let records = world.pia.records();
    let asked = records.of(Api::List).len();
    // The first may have been under way.
    assert!(records.wait_for(Api::List, asked + 5, SOON));
    world.begin(Outage::List);
    first.close_registration();
    done(&container, "reconnect");
    assert_eq!(world.server_in_use().cn(), second);
}

/// Each download names a few servers of a location, others the next time (docs/pia-api.md).
#[test]
fn a_chosen_server_that_no_list_names_any_more_is_found_where_it_was() {
    let world = World::new();
    let mut container = steered(&world).command(RENEWING).start();
    wait_for_socket(&container);
    let server = world.pia.servers_of("swiss")[0].clone();
    done(
        &container,
        &format!("reconnect --server {} --keep", server.cn()),
    );
    world.pia.lists().edit("swiss", |region| {
        region.servers.retain(|listed| listed.cn != server.cn());
    });
    // More lists than are kept.
    let asked = world.pia.records().of(Api::List).len();
    assert!(world.pia.records().wait_for(Api::List, asked + 9, SOON));
    done(&container, "reconnect");
    assert_eq!(world.server_in_use().cn(), server.cn());
    container.stop();
    container.restart();
    container.wait_for_log(ENABLED, SOON);
    assert_eq!(world.server_in_use().cn(), server.cn());
    container.stop();
    // One that is neither named nor there makes way for LOC.
    server.close_registration();
    container.restart();
    container.wait_for_log("LOC is used in this life", SOON);
    container.wait_for_log(ENABLED, SOON);
    assert_eq!(world.location_in_use(), "nl_amsterdam");
}

/// Lists are asked for anew for whoever comes after one that did not wait for them.
#[test]
fn a_command_is_answered_by_the_lists_that_were_fetched_for_it() {
    let world = World::new();
    let lists = world.pia.lists();
    lists.edit("swiss", |region| region.only_v7 = true);
    let container = steered(&world).connect();
    wait_for_socket(&container);
    let asked = world.pia.records().of(Api::List).len();
    world.pia.hang(Api::List);
    let mut gone = UnixStream::connect(container.path(SOCKET)).unwrap();
    let request = b"{\"reconnect\":{\"to\":{\"locations\":\"swiss\"},\"keep\":false}}\n";
    gone.write_all(request).unwrap();
    assert!(world.pia.records().wait_for(Api::List, asked + 1, SOON));
    drop(gone);
    world.pia.heal(Api::List);
    done(&container, "reconnect --location swiss");
    assert_eq!(world.location_in_use(), "swiss");
}

fn is_looked_up_inside(world: &World, host: &str) -> bool {
    let questions = world.pia.records().questions().into_iter();
    let mut inside = questions.filter(|question| question.through.is_some());
    inside.any(|question| question.name == host)
}

/// Of a tunnel that moves: a registration, and WireGuard.
fn is_registration(world: &World, packet: &Packet) -> bool {
    let servers = world.pia.servers();
    let is_server = |server: &Arc<Server>| packet.destination == server.address();
    let is_api = packet.to_port() == Some(1337) && servers.iter().any(is_server);
    is_api || the_tunnels(world)(packet)
}
