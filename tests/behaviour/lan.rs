//! Who in the LAN reaches whom, where `LOCAL_NETWORK` and `LOCAL_PORTS` say it more closely than by
//! ranges, and by IPv6. That each rule holds, with both backends, is in `tests/firewall_backends`.

use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::process::Command;
use std::thread;

use harness::netns::Namespace;
use harness::waiting::bind_when_free;
use harness::world::World;
use harness::world::network::{CLIENT, CLIENT_V6, ELSEWHERE_V6, GATEWAY_V6, LAN};
use harness::world::pcap::Packet;

use crate::PROGRAM;
use crate::leaks::send_probes;

/// The host of the LAN, and the router there.
const LAN_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x10);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// The router in a network that is attached later.
const ROUTER_LATER: Ipv6Addr = Ipv6Addr::new(0xfd19, 0, 0, 0, 0, 0, 0, 1);
const PUBLISHED: u16 = 8080;
const LOCAL: u16 = 8081;

/// "Publishing a port on an IPv6 network of Docker's then works as on an IPv4 one" (docs/lan.md)
#[test]
fn an_ipv6_lan_reaches_a_published_port() {
    let world = World::new();
    let (lan, router, client) = (world.lan(), world.router(), world.client());
    router.ip(format_args!("addr add {ROUTER_V6}/64 dev lan nodad"));
    lan.ip(format_args!(
        "addr add {LAN_V6}/64 dev eth0 nodad\nroute add default via {ROUTER_V6}"
    ));
    publish(router);
    let _here = [PUBLISHED, LOCAL].map(|port| listen(client, port));
    let (_in_lan, there) = listen(lan, 0);
    let (_at_router, beside) = listen(router, 0);
    let wire = world.capture();
    send_probes(&world, "eth0");
    let is_elsewhere = |packet: &Packet| packet.destination == IpAddr::V6(ELSEWHERE_V6);
    assert!(wire.packets().iter().any(is_elsewhere), "IPv6 leads there");
    assert!(lan.reaches((CLIENT_V6, LOCAL)) && client.reaches((LAN_V6, there)));

    let entries = format!("in:[fd77::/64]:{PUBLISHED}/tcp out:{LAN}:{there}/tcp");
    let _container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("LOCAL_NETWORK", entries)
        .env("LOCAL_PORTS", LOCAL.to_string())
        .bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft")
        .connect();
    let wire = world.capture();
    send_probes(&world, "eth0");
    assert!(lan.reaches((ROUTER_V6, PUBLISHED)));
    assert!(client.reaches((LAN, there)));
    assert!(client.reaches((GATEWAY_V6, beside)) && router.reaches((CLIENT_V6, LOCAL)));
    assert_kept_from([
        (lan, CLIENT_V6.into(), LOCAL),
        (client, LAN_V6.into(), there),
        (lan, CLIENT.into(), PUBLISHED),
        (router, CLIENT_V6.into(), PUBLISHED),
    ]);

    router.ip(format_args!(
        "link add wire2 type veth peer name eth1 netns {}\naddr add {ROUTER_LATER}/64 dev wire2 \
         nodad\nlink set wire2 up",
        client.name()
    ));
    client.ip("addr add fd19::2/64 dev eth1 nodad\nlink set eth1 up");
    assert!(client.reaches((ROUTER_LATER, beside)));
    world.assert_carries();
    let own = [IpAddr::V6(CLIENT_V6)];
    let from_here = |packet: &&Packet| own.contains(&packet.source);
    let packets = wire.packets();
    let (near, far): (Vec<_>, Vec<_>) = packets
        .iter()
        .filter(from_here)
        .partition(|packet| may_be_reached(packet));
    assert!(!near.is_empty());
    assert_eq!(far, [&packets[0]; 0]);
}

/// At the same time, as each has to be waited for.
#[track_caller]
fn assert_kept_from<const N: usize>(tries: [(&Namespace, IpAddr, u16); N]) {
    let kept = thread::scope(|scope| {
        tries
            .map(|(from, address, port)| scope.spawn(move || from.is_kept_from((address, port))))
            .map(|one| one.join().expect("it does not panic"))
    });
    assert_eq!(kept, [true; N], "{tries:?}");
}

/// By IPv6: the LAN, the attached network, the link's groups and hosts.
fn may_be_reached(packet: &Packet) -> bool {
    let text = packet.destination.to_string();
    ["fd77::", "2001:db8:18::", "ff02::", "fe80::"]
        .iter()
        .any(|network| text.starts_with(network))
}

/// As Docker does it.
fn publish(router: &Namespace) {
    let rule = format!(
        "-t nat -A PREROUTING -i lan -p tcp --dport {PUBLISHED} -j DNAT --to-destination \
         [{CLIENT_V6}]:{PUBLISHED}"
    );
    let output = router.output(Command::new("ip6tables").args(rule.split(' ')));
    let output = output.expect("ip6tables is there");
    assert!(output.status.success(), "{output:?}");
}

/// By both families.
fn listen(place: &Namespace, port: u16) -> (TcpListener, u16) {
    let any = (Ipv6Addr::UNSPECIFIED, port);
    let listener = place.run(|| bind_when_free(|| TcpListener::bind(any)));
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}
