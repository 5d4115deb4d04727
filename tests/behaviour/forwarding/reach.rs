//! Who can be reached by the forwarded port.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use harness::log_lines::{FORWARDING, UP};
use harness::netns::Namespace;
use harness::simulator::account::{OTHER_PASSWORD, OTHER_USER};
use harness::simulator::faults::Api;
use harness::simulator::server::PortService;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::network::{BEHIND, CLIENT};
use harness::world::recipe::Recipe;

use super::forwarding;
use super::told::{agreed_port, all_agree_that_there_is_none};
use crate::PROGRAM;

/// Answers at this port, over tcp and udp, with who it is.
fn listen(world: &World, place: &Namespace, port: u16, name: &'static str) {
    let (tcp, udp) = place.run(|| {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        (
            TcpListener::bind(any).expect("the port is free"),
            UdpSocket::bind(any).expect("the port is free"),
        )
    });
    world.pia.hub().tcp(tcp, move |mut stream| {
        let _ = write!(stream, "{name} by tcp");
    });
    world
        .pia
        .hub()
        .udp(udp, move |_, _| Some(format!("{name} by udp").into_bytes()));
}

/// What answers at this port of the server in use, when asked from the internet.
fn answers(world: &World, port: u16) -> (Option<String>, Option<String>) {
    let server = world.server_in_use().address();
    (
        world.knock_from_internet(IpAddr::V4(server), port),
        ask_by_udp(world, server, port),
    )
}

fn ask_by_udp(world: &World, server: Ipv4Addr, port: u16) -> Option<String> {
    let socket = world
        .internet()
        .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .expect("a free port");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a good timeout");
    let mut buffer = [0; 100];
    (0..3).find_map(|_| {
        socket.send_to(b"who is there?", (server, port)).ok()?;
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}

#[track_caller]
fn is_answered_by(world: &World, port: u16, name: &str) {
    wait_until("an answer by tcp and udp", SOON, || {
        answers(world, port) == by_both(name)
    });
}

fn by_both(name: &str) -> (Option<String>, Option<String>) {
    (
        Some(format!("{name} by tcp")),
        Some(format!("{name} by udp")),
    )
}

/// Binds a port at the server that the container was never told of.
fn forward_another(world: &World, port: u16) -> u16 {
    let bound = world.pia.bound_ports().remove(0);
    let other = if port > 40_000 { port - 1 } else { port + 1 };
    world
        .pia
        .server(&bound.server)
        .forward_port(other, bound.address);
    other
}

#[test]
fn a_listener_is_reached_by_tcp_and_udp_and_other_ports_stay_shut() {
    let world = World::new();
    let container = forwarding(&world).start();
    container.wait_for_log(UP, SOON);
    let port = agreed_port(&world, &container);
    listen(&world, world.client(), port, "listener");
    is_answered_by(&world, port, "listener");

    let other = forward_another(&world, port);
    listen(&world, world.client(), other, "not for others");
    assert_eq!(answers(&world, other), (None, None));
}

/// "Local port to which connections to the forwarded port are redirected, tcp and udp" (README.md)
#[test]
fn port_redirect_leads_to_a_program_that_listens_elsewhere() {
    let world = World::new();
    let container = forwarding(&world).env("PORT_REDIRECT", "6881").start();
    let announced = container.wait_for_log("Forwarding on port ", SOON);
    let port: u16 = announced
        .text
        .rsplit(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number");
    listen(&world, world.client(), 6881, "torrents");
    is_answered_by(&world, port, "torrents");
    world
        .pia
        .server(&world.pia.bound_ports()[0].server)
        .forward_port(6881, world.pia.bound_ports()[0].address);
    assert_eq!(
        answers(&world, 6881),
        (None, None),
        "the local port itself is not open"
    );
}

#[test]
fn the_gateway_hands_the_port_on_to_the_host_behind_it() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build();
    let container = forwarding(&world)
        .env("FWD_IFACE", "eth1")
        .env("PF_DEST_IP", BEHIND.to_string())
        .start();
    container.wait_for_log("Forwarding on port ", SOON);
    let port = world.pia.bound_ports()[0].port;
    listen(&world, world.behind(), port, "behind");
    is_answered_by(&world, port, "behind");
    // The port is the tunnel's: an attached network is not handed on.
    assert!(!world.router().reaches((CLIENT, port)));
    listen(&world, world.client(), port, "the gateway itself");
    assert!(world.router().reaches((CLIENT, port)));
    is_answered_by(&world, port, "behind");
    let other = forward_another(&world, port);
    listen(&world, world.behind(), other, "not for others");
    assert_eq!(answers(&world, other), (None, None));
}

/// "this machine gets what comes in by the forwarded port" (docs/gateway.md)
#[test]
fn the_port_leads_to_a_host_that_may_not_use_the_tunnel_itself() {
    let world = World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build();
    let container = forwarding(&world)
        .env("FWD_IFACE", "eth1")
        .env("FWD_SOURCES", "192.0.2.0/24")
        .env("PF_DEST_IP", BEHIND.to_string())
        .start();
    container.wait_for_log("Forwarding on port ", SOON);
    let port = world.pia.bound_ports()[0].port;
    listen(&world, world.behind(), port, "behind");
    is_answered_by(&world, port, "behind");
    assert_eq!(world.address_seen_from(world.behind()), None);
}

#[test]
fn where_the_inner_address_refuses_the_public_one_is_asked() {
    let world = World::new();
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.no_port_forwarding_inside());
    let container = forwarding(&world).start();
    container.wait_for_log(UP, SOON);
    agreed_port(&world, &container);
    assert!(!container.logs().contains("Warning: Port forwarding"));
}

#[test]
fn where_both_addresses_refuse_it_is_asked_until_one_does_not() {
    for service in [PortService::Unauthorized, PortService::Refuses] {
        let world = World::new();
        for server in world.pia.servers() {
            server.no_port_forwarding_inside();
            server.port_forwarding_at_public_address(service);
        }
        let container = forwarding(&world).start();
        container.wait_for_log("Warning: Port forwarding", SOON);
        all_agree_that_there_is_none(&world, &container);
        for server in world.pia.servers() {
            server.port_forwarding_at_public_address(PortService::Answers);
        }
        agreed_port(&world, &container);
    }
}

/// It says so to everybody.
#[test]
fn a_public_address_that_refuses_costs_no_port_while_the_gateway_starts_again() {
    let world = World::new();
    for server in world.pia.servers() {
        server.port_forwarding_at_public_address(PortService::Unauthorized);
    }
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    let records = world.pia.records();
    let logins = records.of(Api::Token).len();
    let server = world.server_in_use();
    server.no_port_forwarding_inside();
    container.wait_for_log("Port forwarding:", SOON);
    server.port_forwarding_inside();
    let bound = records.of(Api::BindPort).len();
    assert!(records.wait_for(Api::BindPort, bound + 1, LATER));
    assert_eq!(agreed_port(&world, &container), port);
    assert_eq!(records.of(Api::Token).len(), logins);
    assert_eq!(records.of(Api::GetSignature).len(), 1);
}

#[test]
fn a_public_address_that_served_once_does_not_hide_the_gateway_for_good() {
    let world = World::new();
    for server in world.pia.servers() {
        server.no_port_forwarding_inside();
    }
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    let server = world.server_in_use();
    server.port_forwarding_inside();
    server.port_forwarding_at_public_address(PortService::Unauthorized);
    let records = world.pia.records();
    let bound = records.of(Api::BindPort).len();
    assert!(records.wait_for(Api::BindPort, bound + 3, LATER));
    assert_eq!(agreed_port(&world, &container), port);
    assert_eq!(records.of(Api::GetSignature).len(), 1);
}

#[test]
fn the_port_is_reached_by_every_address_of_a_server_that_has_many() {
    let world = World::builder()
        .servers("uk", Kind::New, 1)
        .rotating()
        .build();
    let container = forwarding(&world)
        .env("LOC", "uk")
        .env("USER", OTHER_USER)
        .env("PASS", OTHER_PASSWORD)
        .start();
    let port = agreed_port(&world, &container);
    let server = world.server_in_use();
    listen(&world, world.client(), port, "torrents");
    for address in server.exits() {
        wait_until("the port answers", SOON, || {
            let heard = world.knock_from_internet(address.into(), port);
            heard.as_deref() == Some("torrents by tcp")
        });
    }
    server.move_exits();
    assert_eq!(world.server_in_use().cn(), server.cn());
}

/// The address from the registration first, as the other says no to some.
#[test]
fn where_the_inner_address_is_silent_the_public_one_is_asked() {
    let world = World::new();
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.silent_port_forwarding_inside());
    let container = forwarding(&world).start();
    container.wait_for_log(FORWARDING, LATER);
    agreed_port(&world, &container);
    assert_eq!(world.pia.records().registrations().len(), 1);
}

/// "`post-up` hooks may wait for `port.dat`" (README.md)
#[test]
fn post_up_may_wait_for_the_port_file() {
    let world = World::new();
    let wait = "until [ -s /pia-shared/port.dat ]; do sleep 0.02; done; echo seen $(cat \
                /pia-shared/port.dat)";
    let container = forwarding(&world).env("POST_UP", wait).start();
    let seen = container.wait_for_log("[post-up] seen", SOON);
    assert_eq!(
        seen.text,
        format!("[post-up] seen {}", agreed_port(&world, &container))
    );
}

#[test]
fn hooks_know_the_port_and_the_server() {
    let world = World::new();
    let script = r#"echo "$VPN_PORT at $VPN_SERVER_CN in $VPN_LOCATION as $VPN_LOCAL_IP for""#;
    let container = forwarding(&world).env("PORT_SCRIPT", script).start();
    let line = container.wait_for_log("[port-script] ", SOON).text;
    let bound = world.pia.bound_ports().remove(0);
    let (port, server, address) = (bound.port, bound.server, bound.address);
    assert_eq!(
        line,
        format!("[port-script] {port} at {server} in nl_amsterdam as {address} for {port}")
    );
}

#[test]
fn the_port_file_is_for_all_or_for_whom_the_user_says() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let looks = |container: &harness::world::container::Container| {
        container.wait_for_log("Forwarding on port", SOON);
        let found =
            std::fs::metadata(container.path("/pia-shared/port.dat")).expect("the port file");
        (found.uid(), found.gid(), found.mode() & 0o777)
    };
    let container = forwarding(&world).start();
    assert_eq!(looks(&container), (0, 0, 0o644));
    container.stop();
    let container = forwarding(&world)
        .env("PUID", "1000")
        .env("PGID", "1001")
        .env("UMASK", "027")
        .start();
    assert_eq!(looks(&container), (1000, 1001, 0o640));
}

/// Compose files that share their environment set PUID for other images.
#[test]
fn without_the_right_to_give_files_away_the_port_file_is_readable_by_all() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let container = forwarding(&world)
        .cap_drop("chown")
        .env("PUID", "1000")
        .env("PGID", "1001")
        .env("UMASK", "077")
        .start();
    container.wait_for_log("Forwarding on port", SOON);
    let found = std::fs::metadata(container.path("/pia-shared/port.dat")).expect("the port file");
    let owner = (found.uid(), found.gid(), found.mode() & 0o777);
    assert_eq!(owner, (0, 0, 0o644));
    container.wait_for_log("`cap_add: [CHOWN]`", SOON);
}

/// "or is a mounted file" (README.md)
#[test]
fn a_port_file_that_is_a_mount_is_written_in_place() {
    let world = World::new();
    let file = world.files().directory.join("shared-port");
    std::fs::write(&file, "a former life's longer text").expect("writable");
    let read = || std::fs::read_to_string(&file).expect("readable");
    let container = forwarding(&world)
        .bind(&file, "/pia-shared/port.dat")
        .start();
    container.wait_for_log("Forwarding on port", SOON);
    assert_eq!(read(), format!("{}\n", world.pia.bound_ports()[0].port));
    world.pia.port_unauthorized();
    wait_until("the file claims no port", SOON, || read().is_empty());
}

/// A folder as a volume that a sibling owns, with `port.dat` made by `make`; the program has no
/// right to replace what lies in it.
fn in_a_siblings_folder(world: &World, make: impl Fn(&std::path::Path)) -> Recipe {
    let folder = world.files().directory.join("siblings");
    std::fs::create_dir(&folder).expect("a new folder");
    make(&folder.join("port.dat"));
    std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).expect("we are root");
    forwarding(world)
        .bind(&folder, "/pia-shared")
        .cap_drop("dac_override")
}

#[test]
fn a_siblings_link_in_place_of_the_port_file_leads_nowhere() {
    let world = World::new();
    let link = |file: &std::path::Path| {
        std::os::unix::fs::symlink("/pia/.token", file).expect("a new link");
    };
    let container = in_a_siblings_folder(&world, link).start();
    container.wait_for_log("PORT_FILE: ", SOON);
    container.wait_for_log("Forwarding on port", SOON);
    container.stop();
    let token = container.read("/pia/.token").expect("the token is stored");
    assert!(token.len() > 100, "{token:?}");
}

#[test]
fn a_siblings_pipe_in_place_of_the_port_file_holds_nothing_up() {
    let world = World::new();
    let pipe = |file: &std::path::Path| {
        nix::unistd::mkfifo(file, nix::sys::stat::Mode::from_bits_truncate(0o666))
            .expect("a new pipe");
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o666)).expect("it is ours");
    };
    let container = in_a_siblings_folder(&world, pipe).start();
    container.wait_for_log("Forwarding on port", SOON);
    let begun = Instant::now();
    let stopped = container.stop();
    assert!(
        stopped.status.success() && begun.elapsed() < Duration::from_secs(1),
        "{stopped:?}"
    );
}

#[test]
fn a_port_file_that_exists_keeps_its_inode_and_its_owner() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let folder = world.files().directory.join("shared");
    std::fs::create_dir(&folder).expect("a new folder");
    let file = folder.join("port.dat");
    std::fs::write(&file, "a former life's longer text").expect("writable");
    std::os::unix::fs::chown(&file, Some(1000), Some(1001)).expect("we are root");
    let looks = || {
        let found = std::fs::metadata(&file).expect("it is there");
        (found.ino(), found.uid(), found.gid(), found.mode())
    };
    let before = looks();
    let container = forwarding(&world).bind(&folder, "/pia-shared").start();
    container.wait_for_log("Forwarding on port", SOON);
    assert_eq!(looks(), before);
    assert_eq!(
        std::fs::read_to_string(&file).expect("readable"),
        format!("{}\n", world.pia.bound_ports()[0].port)
    );
}

#[test]
fn a_device_as_port_file_is_written_and_stays() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_FILE", "/dev/stdout")
        .env("PORT_FILE_CLEANUP", "1")
        .start();
    container.wait_for_log("Forwarding on port", SOON);
    let port = world.pia.bound_ports()[0].port.to_string();
    assert!(container.logs().lines().any(|line| line.trim() == port));
    assert_eq!(
        container.shell("readlink /dev/stdout").trim(),
        "/proc/self/fd/1"
    );
}

/// "remove the port file at start and at exit" (README.md)
#[test]
fn the_port_file_is_removed_at_the_end_only_if_the_user_wants_it() {
    let world = World::new();
    for (cleanup, left) in [("0", true), ("1", false)] {
        let container = forwarding(&world).env("PORT_FILE_CLEANUP", cleanup).start();
        container.wait_for_log("Forwarding on port", SOON);
        container.stop();
        assert_eq!(container.read("/pia-shared/port.dat").is_some(), left);
        assert!(
            container.logs().contains("[port-down-script] down"),
            "the port is withdrawn at the end"
        );
    }
}

/// Docker makes a folder where a file was to be mounted that is not there; and a path may lead
/// nowhere.
#[test]
fn a_port_file_that_cannot_be_removed_holds_nothing_up() {
    let world = World::new();
    let cleaning = || forwarding(&world).env("PORT_FILE_CLEANUP", "1");
    let container = cleaning().file("/pia-shared/port.dat/kept", "").start();
    container.wait_for_log(UP, SOON);
    container.wait_for_log("Forwarding on port", SOON);
    let port = format!("{}\n", world.pia.bound_ports()[0].port);
    assert_eq!(
        container.read("/pia-shared/port.dat/port.dat"),
        Some(port),
        "in the folder"
    );
    container.stop();

    let container = cleaning()
        .env("PORT_FORWARDING", "0")
        .file("/pia-shared/file", "")
        .env("PORT_FILE", "/pia-shared/file/port")
        .start();
    container.wait_for_log(UP, SOON);
    let warning = "PORT_FILE_CLEANUP: removing /pia-shared/file/port: ";
    assert!(container.logs().contains(warning));
}

#[test]
fn without_port_forwarding_nothing_is_asked() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam")
        .start();
    container.wait_for_log(UP, SOON);
    container.stop();
    assert!(world.pia.records().of(Api::GetSignature).is_empty());
}
