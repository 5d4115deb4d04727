//! The whole LAN behind the container: its router hands out the container's address as gateway, and
//! announces IPv6 of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Instant;

use harness::log_lines::RECONNECTED;
use harness::netns::Namespace;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::capture::Capture;
use harness::world::home::ROUTER_OF_LINK;
use harness::world::network::{CLIENT, ELSEWHERE, ELSEWHERE_V6, GATEWAY, INSIDE, PINGABLE};
use harness::world::pcap::Packet;
use harness::world::recipe::Recipe;

use crate::PROGRAM;

/// Where what gets out goes.
const DISCARD: u16 = 9;

fn world() -> World {
    World::builder()
        .servers("one", Kind::New, 1)
        .sysctl("net/ipv4/ip_forward", "1")
        // As kernels have it.
        .sysctl("net/ipv4/conf/all/send_redirects", "1")
        .build()
}

fn gateway(world: &World) -> Recipe {
    let recipe = world.container(PROGRAM).credentials().env("LOC", "one");
    recipe.env("FWD_IFACE", "eth0").env("FWD_DNS", "1")
}

/// A program on the machine that tries to get out, by datagrams to the host elsewhere.
struct Program(UdpSocket);

impl Program {
    fn by_ipv4(machine: &Namespace) -> Self {
        Self::of(machine, "0.0.0.0:0", (ELSEWHERE, DISCARD).into())
    }

    fn by_ipv6(machine: &Namespace) -> Self {
        Self::of(machine, "[::]:0", (ELSEWHERE_V6, DISCARD).into())
    }

    fn of(machine: &Namespace, from: &str, to: SocketAddr) -> Self {
        let socket = machine
            .run(|| UdpSocket::bind(from))
            .expect("a port is free");
        // Where there is no way at all, later tries find one.
        let _ = socket.connect(to);
        Self(socket)
    }

    /// A refusal is as good as a loss.
    fn tries(&self) {
        let _ = self.0.send(b"out");
    }
}

/// How many packets to be forwarded were dropped, by this family's program.
fn dropped(world: &World, iptables: &str) -> u64 {
    let text = world.look(&format!("{iptables} -nvxL FORWARD"));
    // Chain FORWARD (policy DROP 12 packets, 345 bytes)
    let count = text.lines().next().and_then(|line| line.split(' ').nth(4));
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

/// Has the machine try to get out until many packets were dropped, or one arrived.
#[track_caller]
fn many_tries(world: &World, machine: &Namespace) {
    let before = dropped(world, "iptables");
    let arrived = world.elsewhere.all().len();
    let program = Program::by_ipv4(machine);
    wait_until("packets are dropped", SOON, || {
        program.tries();
        dropped(world, "iptables") >= before + 30 || world.elsewhere.all().len() > arrived
    });
}

/// A connection of the machine's to a host on the internet, kept open.
struct Conversation(TcpStream, TcpStream);

impl Conversation {
    fn begin(world: &World, machine: &Namespace) -> Self {
        let (listener, port) = world.internet().listen();
        let to = (PINGABLE, port).into();
        let here = machine
            .run(|| TcpStream::connect_timeout(&to, SOON))
            .unwrap();
        Self(here, listener.accept().unwrap().0)
    }

    /// There and back again by the same connection, which may have to be sent once more.
    #[track_caller]
    fn goes_on(&mut self) {
        let ends = [(&self.0, &self.1), (&self.1, &self.0)];
        for (mut from, mut to) in ends {
            to.set_read_timeout(Some(LATER)).unwrap();
            from.write_all(b"x").unwrap();
            to.read_exact(&mut [0]).expect("the connection lives");
        }
    }

    /// Several megabytes to the machine.
    #[track_caller]
    fn downloads(&mut self) {
        let much = vec![b'x'; 6_000_000];
        self.0.set_read_timeout(Some(SOON)).unwrap();
        self.1.set_write_timeout(Some(SOON)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| self.1.write_all(&much).expect("it is taken"));
            let mut taken = vec![0; much.len()];
            self.0.read_exact(&mut taken).expect("all of it comes");
        });
    }
}

/// What got out past the tunnel, of what the machine tried.
fn got_out(wan: &Capture) -> Vec<Packet> {
    wan.leaks(|packet| {
        let there = [
            IpAddr::from(ELSEWHERE),
            ELSEWHERE_V6.into(),
            PINGABLE.into(),
            INSIDE.into(),
        ];
        !there.contains(&packet.destination)
    })
}

/// "a reconnect keeps the interface, so connections of the machines live through it where the
/// server's address stays" (docs/gateway.md)
#[test]
fn a_machine_of_the_lan_downloads_much_and_goes_on_after_a_tunnel_that_was_dead_or_gone() {
    let world = world();
    world.pia.servers()[0].keep_addresses();
    let machine = world.machine();
    // As behind firewalls that drop all of ICMP.
    machine.firewall("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p icmp -j DROP\nCOMMIT\n");
    let wan = world.capture_on("wan");
    let container = gateway(&world).env("RECONNECT", "1").connect();
    let server = world.server_used_by(&machine);
    let mut conversation = Conversation::begin(&world, &machine);
    conversation.downloads();

    server.silence_endpoint();
    assert_eq!(world.address_seen_from(&machine), None);
    server.restore_endpoint();
    conversation.goes_on();

    container.shell("ip link delete wg0");
    many_tries(&world, &machine);
    container.wait_for_log(RECONNECTED, LATER);
    conversation.goes_on();
    conversation.downloads();
    assert!(container.stop().status.success());
    many_tries(&world, &machine);
    assert_eq!(got_out(&wan), []);
    // A machine that has the router as its gateway is seen.
    machine.ip(format_args!("route replace default via {GATEWAY}\n"));
    many_tries(&world, &machine);
    assert_ne!(got_out(&wan), []);
}

/// "Nor does the container send a machine to a router that is nearer" (docs/gateway.md). A kernel
/// would wherever a packet is to leave by the way it came, even one that is dropped then.
#[test]
fn no_machine_is_sent_to_the_router_where_the_tunnel_s_interface_is_gone() {
    let world = world();
    let machine = world.machine();
    let wan = world.capture_on("wan");
    let container = gateway(&world).env("RECONNECT", "0").connect();
    world.server_used_by(&machine);
    container.shell("ip link delete wg0");
    many_tries(&world, &machine);
    assert_eq!(got_out(&wan), []);
    // What is subject to NAT is never redirected. A neighbour that did not listen is told no more
    // for a while, so the machine is another one now.
    world.look("nft delete table ip nat");
    machine.ip(format_args!(
        "addr flush dev eth0\naddr add 172.18.0.10/16 dev eth0\nroute add default via {CLIENT}\n"
    ));
    many_tries(&world, &machine);
    assert_ne!(got_out(&wan), []);
}

/// Whether the place has given itself an address that a router told it.
fn took_an_address(place: &Namespace) -> bool {
    let mut ip = Command::new("ip");
    let output = place.output(ip.args("-6 address show dynamic scope global".split(' ')));
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.contains("inet6") && !text.contains("tentative")
}

/// "Where the LAN's router announces IPv6 (router advertisements), a machine has a way out that
/// does not lead through here" (docs/gateway.md)
#[test]
fn ipv6_that_the_router_announces_is_a_way_around_unless_it_is_off_on_the_machine() {
    for (off, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
        let world = world();
        let machine = world.machine();
        let wan = world.capture_on("wan");
        let container = gateway(&world).connect();
        machine.sysctl(&format!("net/ipv6/conf/eth0/{off}"), value);
        let announcer = world.announce_ipv6();
        world.server_used_by(&machine);
        // It is heard by whoever lets it in.
        world.look("ip6tables -P INPUT ACCEPT");
        wait_until("the container hears it", SOON, || {
            took_an_address(world.client())
        });
        Program::by_ipv6(&machine).tries();
        assert_eq!(got_out(&wan), [], "{off}");
        // Where it is not off, the machine has a way that does not lead through here.
        machine.sysctl(
            &format!("net/ipv6/conf/eth0/{off}"),
            if value == "1" { "0" } else { "1" },
        );
        wait_until("the machine is seen", SOON, || {
            Program::by_ipv6(&machine).tries();
            !got_out(&wan).is_empty()
        });
        drop((announcer, container));
    }
}

/// "The container forwards no IPv6, takes no router's advertisement" (docs/gateway.md)
#[test]
fn a_gateway_forwards_no_ipv6_and_takes_no_router_for_its_own() {
    let world = World::builder()
        .servers("one", Kind::New, 1)
        .sysctl("net/ipv4/ip_forward", "1")
        // As users have it for a network of their own.
        .sysctl("net/ipv6/conf/all/forwarding", "1")
        .sysctl("net/ipv6/conf/all/accept_ra", "2")
        .sysctl("net/ipv6/conf/eth0/accept_ra", "2")
        .build();
    let machine = world.machine();
    let wan = world.capture_on("wan");
    // As one that is learned from the router, whom machines are redirected to.
    let route = format!("route replace default via {ROUTER_OF_LINK} dev eth0\n");
    world.client().ip(route);
    // Without this a machine does not even find the container by IPv6.
    let open = gateway(&world).env("LOCAL_NETWORK", "2001:db8:18::/64");
    let container = open.connect();
    let _announcer = world.announce_ipv6();
    // It has no other way.
    machine.sysctl("net/ipv6/conf/eth0/accept_ra", "0");
    machine.ip("addr add 2001:db8:18::9/64 dev eth0 nodad\n");
    // Before that it tells nobody anything.
    wait_until("the container's own addresses are settled", SOON, || {
        world.look("ip -6 address show tentative").is_empty()
    });
    let text = world.look("ip -6 -o address show dev eth0 scope link");
    let of_link = text
        .split(' ')
        .find(|word| word.starts_with("fe80"))
        .unwrap();
    let gateway = of_link.trim_end_matches("/64");
    machine.ip(format_args!(
        "route replace default via {gateway} dev eth0\n"
    ));
    let program = Program::by_ipv6(&machine);
    let tries = || {
        program.tries();
        dropped(&world, "ip6tables")
    };
    let is_dropped = || {
        let before = dropped(&world, "ip6tables");
        let begun = Instant::now();
        while begun.elapsed() < SOON && got_out(&wan).is_empty() && tries() < before + 30 {}
        assert_eq!(got_out(&wan), []);
        assert!(dropped(&world, "ip6tables") >= before + 30);
    };
    is_dropped();
    // Nor does it tell a machine that the router is nearer, which those who connect would believe.
    assert!(machine.is_kept_from((ELSEWHERE_V6, DISCARD)));
    assert_eq!(got_out(&wan), []);
    container.shell("ip link delete wg0");
    is_dropped();
    assert!(!took_an_address(world.client()));
    // Both would be so without the kill switch.
    world.look("ip6tables -P INPUT ACCEPT");
    wait_until("the router is heard", SOON, || {
        took_an_address(world.client())
    });
    world.look("ip6tables -P FORWARD ACCEPT");
    wait_until("the machine is seen", SOON, || {
        tries();
        !got_out(&wan).is_empty()
    });
}
