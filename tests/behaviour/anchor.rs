//! `wireguard-pia seal`: a network that is closed before anybody uses it, and stays so while VPN
//! containers in it come and go.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::log_lines::{ENABLED, UP};
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::network::{CLIENT_SECOND, ELSEWHERE, GATEWAY, INSIDE};
use harness::world::pcap::Packet;
use harness::world::recipe::Recipe;
use harness::world::watch::{Watch, ours, the_tunnels};
use tempfile::NamedTempFile;

use crate::PROGRAM;
use crate::attached::{ROUTER_SECOND, attach};
use crate::leaks::{frames, send_probes};

const OWN: &str = "/usr/local/bin/wireguard-pia";
const SEALED: &str = "Network closed";

/// A container of the image, with its nft.
fn recipe(world: &World, nf_tables: &str) -> Recipe {
    world
        .container(PROGRAM)
        .env("NFTABLES", nf_tables)
        .bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft")
}

fn anchor(world: &World, nf_tables: &str) -> Recipe {
    recipe(world, nf_tables).command([OWN, "seal"])
}

/// A new container each time, as an update makes one.
fn vpn(world: &World, nf_tables: &str) -> Container {
    let recipe = recipe(world, nf_tables).credentials();
    recipe.env("LOC", "swiss").start()
}

fn says(container: &Container, verb: &str) -> (Option<i32>, String) {
    let output = container.exec(&[OWN, verb]);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

/// A connection of a program in the network to one beside it.
struct Neighbours(TcpStream, TcpStream);

impl Neighbours {
    fn connect(world: &World) -> Self {
        let listen = || TcpListener::bind((GATEWAY, 0)).unwrap();
        let listener = world.router().run(listen);
        let address = listener.local_addr().unwrap();
        let here = world.client().run(move || TcpStream::connect(address));
        Self(here.expect("it is let out"), listener.accept().unwrap().0)
    }

    /// There and back again by the same connection, which may have to be sent once more.
    #[track_caller]
    fn talk(&mut self) {
        let ends = [(&self.0, &self.1), (&self.1, &self.0)];
        for (mut from, mut to) in ends {
            to.set_read_timeout(Some(SOON)).unwrap();
            from.write_all(b"x").unwrap();
            to.read_exact(&mut [0]).expect("the connection lives");
        }
    }
}

#[test]
fn an_anchor_keeps_its_network_closed_from_life_to_life_with_nf_tables() {
    from_life_to_life("1", ["1", "1"]);
}

#[test]
fn an_anchor_keeps_its_network_closed_from_life_to_life_with_legacy() {
    from_life_to_life("0", ["0", "0"]);
}

#[test]
fn an_anchor_with_nf_tables_keeps_its_network_closed_under_lives_with_either_backend() {
    from_life_to_life("1", ["0", "1"]);
}

#[test]
fn an_anchor_with_legacy_keeps_its_network_closed_under_lives_with_either_backend() {
    from_life_to_life("0", ["1", "0"]);
}

/// With `NFTABLES` of the anchor, and of the lives of two VPN containers one after the other.
#[track_caller]
fn from_life_to_life(nf_tables: &str, lives: [&str; 2]) {
    let world = World::new();
    // The positive control: all is seen before.
    let watch = Watch::begin(&world);
    send_probes(&world, "eth0");
    wait_until("a frame is seen", SOON, || frames(&watch.capture) > 0);
    let seen = frames(&watch.capture);

    let anchor = anchor(&world, nf_tables).start();
    let closed = anchor.wait_for_log(SEALED, SOON).at;
    send_probes(&world, "eth0");
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(closed, None, |_| false);
    assert_eq!(frames(&watch.capture), seen, "a frame got out");
    let within = Duration::from_millis(300);
    let beside = world
        .client()
        .run(move || TcpStream::connect_timeout(&(GATEWAY, 53).into(), within));
    assert_eq!(beside.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    wait_until("it is healthy", SOON, || {
        says(&anchor, "healthcheck").0 == Some(0)
    });
    let (code, page) = says(&anchor, "status");
    assert!(code == Some(0) && page.starts_with("state         sealed for"));

    let first = vpn(&world, lives[0]);
    first.wait_for_log(UP, SOON);
    world.assert_carries();
    let mut neighbours = Neighbours::connect(&world);
    neighbours.talk();
    first.kill();
    let between = Instant::now();
    Watch::many_probes_are_dropped(&world);
    neighbours.talk();
    drop(first);

    let second = vpn(&world, lives[1]);
    let begun = Instant::now();
    watch.expect_only(between, Some(begun), the_tunnels(&world));
    second.wait_for_log(UP, SOON);
    world.assert_carries();
    neighbours.talk();
    assert_eq!(world.repeated_rules(), [""; 0]);
    assert!(second.stop().status.success());
    neighbours.talk();
    assert_eq!(says(&anchor, "healthcheck").0, Some(0));
    assert!(anchor.stop().status.success());
    let left = Instant::now();
    send_probes(&world, "eth0");
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(left, None, |_| false);
    watch.expect_only(closed, None, ours(&world));
    assert_eq!(frames(&watch.capture), seen, "a frame got out");
}

#[test]
fn an_anchor_sends_whoever_steers_it_to_the_vpn() {
    let world = World::new();
    let anchor = anchor(&world, "1").start();
    wait_until("it is sealed", SOON, || {
        says(&anchor, "healthcheck").0 == Some(0)
    });
    for verb in ["port", "reconnect"] {
        let output = anchor.exec(&[OWN, verb]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("ask the VPN container in its network"),
            "{said}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn an_anchor_says_what_it_lacks_and_what_was_undone() {
    let world = World::new();
    let without = anchor(&world, "1").cap_drop("net_admin").start();
    assert_eq!(without.wait(SOON).code(), Some(1));
    let log = without.logs();
    assert!(log.contains("NET_ADMIN is missing, without which the network cannot be closed: add"));

    let holds = anchor(&world, "1").start();
    holds.wait_for_log(SEALED, SOON);
    let healthy = || says(&holds, "healthcheck").0 == Some(0);
    wait_until("it is healthy", SOON, healthy);
    world.look("iptables-nft -P OUTPUT ACCEPT");
    let (code, why) = says(&holds, "healthcheck");
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("lets packets out by eth0"), "{why}");

    // A VPN closes it again, and then its rules are left alone.
    let vpn = vpn(&world, "1");
    vpn.wait_for_log(UP, SOON);
    assert!(healthy());
    let late = anchor(&world, "1").start();
    assert_eq!(late.wait(SOON).code(), Some(1));
    assert!(
        late.logs()
            .contains("wireguard-pia runs in this network already")
    );
    world.assert_carries();
}

/// A sibling that has the name by which lives in a network know of each other, and is none.
pub fn has_the_name(recipe: Recipe, and: &str) -> Container {
    let script = format!(
        "use Socket; $| = 1; socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
         bind(S, pack_sockaddr_un(\"\\0wireguard-pia\")) or die; {and}; \
         print \"has it\\n\"; sleep"
    );
    let sibling = recipe.command(["perl", "-e", &script]).start();
    sibling.wait_for_log("has it", SOON);
    sibling
}

#[test]
fn a_name_that_anybody_can_use_keeps_no_anchor_from_closing() {
    let world = World::new();
    let root = |world: &World| recipe(world, "1").cap_drop("net_admin");
    let ordinary = |world: &World| recipe(world, "1").ordinary_user(1000);
    // Root's first: rules of ours that stay would be a sign of a life.
    for (who, and) in [
        (root(&world), "listen(S, 1)"),
        (root(&world), "1"),
        (ordinary(&world), "listen(S, 1)"),
        (ordinary(&world), "1"),
    ] {
        let sibling = has_the_name(who, and);
        let anchor = anchor(&world, "1").start();
        anchor.wait_for_log(
            "has the name of a wireguard-pia, and nothing else of one",
            SOON,
        );
        anchor.wait_for_log(SEALED, SOON);
        assert!(world.is_sealed());
        assert!(anchor.stop().status.success());
        drop(sibling);
        world.look("nft flush ruleset");
    }
}

/// A passing failure of nft, such as memory that is short, leaves no network open for good.
#[test]
fn what_an_anchor_could_not_close_when_it_was_attached_is_closed_later() {
    let world = World::new();
    let holds = world
        .container(PROGRAM)
        .bind("/usr/sbin/nft", "/opt/nft")
        .script(
            "/usr/local/libexec/wireguard-pia/nft",
            "#!/bin/sh\n[ ! -e /run/short ] || exit 1\nexec /opt/nft \"$@\"\n",
        )
        .command([OWN, "seal"])
        .start();
    holds.wait_for_log(SEALED, SOON);
    holds.shell("touch /run/short");
    attach(&world, ROUTER_SECOND, CLIENT_SECOND);
    holds.wait_for_log("frames by a new interface pass", SOON);
    let has_chain = || {
        let table = world.look("nft list table netdev wireguard-pia");
        table.contains("\"eth1\"")
    };
    assert!(!has_chain());
    holds.shell("rm /run/short");
    wait_until("the network card has its chain", SOON, has_chain);
    holds.wait_for_log("frames by the new interface pass no longer", SOON);
}

/// "`FIREWALL=0` at the VPN has no effect beside an anchor" (docs/anchor.md)
#[test]
fn an_anchor_holds_its_network_closed_though_firewall_is_0_at_the_vpn() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let without = |recipe: Recipe| {
        recipe
            .credentials()
            .env("LOC", "swiss")
            .env("FIREWALL", "0")
    };
    // The positive control: without an anchor all is seen beside the tunnel once that has gone.
    let open = without(recipe(&world, "1")).start();
    open.wait_for_log("FIREWALL=0: there is no kill switch", SOON);
    assert!(open.stop().status.success());
    watch.sees_new_flows_after(Instant::now());

    let anchor = anchor(&world, "1").start();
    let closed = anchor.wait_for_log(SEALED, SOON).at;
    let vpn = without(recipe(&world, "1")).start();
    vpn.wait_for_log(
        "FIREWALL: it is 0, but an anchor (`wireguard-pia seal`) holds this network closed",
        SOON,
    );
    vpn.wait_for_log(ENABLED, SOON);
    world.assert_carries();
    assert_eq!(says(&anchor, "healthcheck").0, Some(0));
    let doctor = says(&vpn, "doctor").1;
    assert!(
        doctor.contains("nothing got out beside the tunnel"),
        "{doctor}"
    );
    Watch::many_probes_are_dropped(&world);
    vpn.kill();
    let between = Instant::now();
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(between, None, the_tunnels(&world));
    drop(vpn);

    // A hook that asks for it late gets the same answer.
    let hook = recipe(&world, "1")
        .env("PRE_UP", "FIREWALL=0")
        .credentials();
    let late = hook.env("LOC", "swiss").start();
    late.wait_for_log("FIREWALL: it is 0, but an anchor", SOON);
    late.wait_for_log(ENABLED, SOON);
    assert!(late.stop().status.success());
    Watch::many_probes_are_dropped(&world);
    watch.expect_only(closed, None, ours(&world));
}

/// "have the next tunnel by themselves, without a restart of anything" (docs/anchor.md): the VPN
/// container is removed and made anew, with the same volume, under programs that know nothing of
/// it.
#[test]
fn what_sends_by_the_same_socket_has_the_next_vpns_tunnel_by_itself() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let datagrams = Datagrams::open(&world);
    // The positive control: it leaves beside the tunnel where nobody has closed the network.
    wait_until("an answer", SOON, || datagrams.carry("open"));
    let beside = |packet: &Packet| packet.to_port() == Some(Datagrams::PORT);
    assert!(watch.capture.packets().iter().any(beside));

    let anchor = anchor(&world, "1").start();
    let closed = anchor.wait_for_log(SEALED, SOON).at;
    let pings = Pings::begin(&world);
    let volume = tempfile::tempdir().unwrap();
    let vpn = || {
        let recipe = recipe(&world, "1").bind(volume.path(), "/pia");
        recipe.credentials().env("LOC", "swiss").connect()
    };
    let mut life = vpn();
    wait_until("the tunnel carries", SOON, || datagrams.carry("first life"));
    for next in ["second life", "third life"] {
        life.kill();
        assert!(!datagrams.carry("between"));
        drop(life);
        life = vpn();
        let before = pings.answered();
        wait_until("the tunnel carries", SOON, || datagrams.carry(next));
        wait_until("a ping is answered", SOON, || pings.answered() > before);
    }
    watch.expect_only(closed, None, ours(&world));
    let addresses: BTreeSet<Ipv4Addr> = (world.pia.records().registrations().iter())
        .map(|registration| registration.address)
        .collect();
    assert_eq!(addresses.len(), 3, "each life has an address of its own");
}

/// Datagrams by one socket that nobody connected, as a torrent's, to the host elsewhere, which
/// sends each back.
struct Datagrams(UdpSocket);

impl Datagrams {
    const PORT: u16 = 4000;

    fn open(world: &World) -> Self {
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        let socket = world.client().run(|| UdpSocket::bind(any)).unwrap();
        let moment = Some(Duration::from_millis(50));
        socket.set_read_timeout(moment).unwrap();
        Self(socket)
    }

    /// Whether this comes back within a moment. One that may not be sent is lost.
    fn carry(&self, word: &str) -> bool {
        let mut back = [0; 64];
        let _ = self.0.send_to(word.as_bytes(), (ELSEWHERE, Self::PORT));
        while let Ok(length) = self.0.recv(&mut back) {
            if &back[..length] == word.as_bytes() {
                return true;
            }
        }
        false
    }
}

/// One `ping` of a host behind the tunnel that goes on for as long as this lives.
struct Pings(Child, NamedTempFile);

impl Pings {
    fn begin(world: &World) -> Self {
        let said = NamedTempFile::new().unwrap();
        let mut ping = Command::new("ping");
        ping.args(["-n", "-O", "-i", "0.1", &INSIDE.to_string()]);
        ping.stdout(said.reopen().unwrap()).stderr(Stdio::null());
        Self(world.client().spawn(&mut ping).unwrap(), said)
    }

    fn answered(&self) -> usize {
        let said = fs::read_to_string(self.1.path()).unwrap();
        said.matches(" bytes from ").count()
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
