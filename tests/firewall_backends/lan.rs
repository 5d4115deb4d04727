//! The LAN on a leash: directions, ports, IPv6; who reaches whom, with real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::net::{SocketAddrV4, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use wireguard_pia::firewall_internals::{
    Backend, Destination, Firewall, Policy, TrafficKind, TunnelPolicy,
};

use crate::namespace::{MARK, Namespace, iptables, lacking, run};
use crate::packets::{ARRIVES, BLOCKED, Far, HERE, THERE, both, gets_out, hears, ip, open};
use crate::wire::Sibling;

const HERE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const THERE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
const ELSEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// In the attached network, too, but in no range.
const ATTACHED_V6: Ipv6Addr = Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
const DISCARD: u16 = 9;

fn connected(tunnel: TunnelPolicy) -> Policy {
    let endpoint = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 1337);
    let interface = "wg0".to_owned();
    Policy::connected(
        MARK,
        endpoint,
        TunnelPolicy {
            interface,
            ..tunnel
        },
    )
}

fn with(entries: &[&str]) -> Policy {
    let entries = entries.iter().map(|entry| entry.parse().unwrap());
    connected(TunnelPolicy {
        local: entries.map(|entry| ("eth0".to_owned(), entry)).collect(),
        ..TunnelPolicy::default()
    })
}

fn connects(address: IpAddr, port: u16, wait: Duration) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(address, port), wait).is_ok()
}

/// Which of these ports at the far end we reach, and which not.
#[track_caller]
fn assert_we_reach(address: impl Into<IpAddr>, ports: &[u16], not: &[u16]) {
    let address = address.into();
    for port in ports {
        assert!(connects(address, *port, ARRIVES), "{port} there");
    }
    for port in not {
        assert!(!connects(address, *port, BLOCKED), "{port} there");
    }
}

/// The same of those at the far end and our ports.
#[track_caller]
fn assert_they_reach(far: &Far, address: impl Into<IpAddr>, ports: &[u16], not: &[u16]) {
    let address = address.into();
    for (ports, wait, expected) in [(ports, ARRIVES, true), (not, BLOCKED, false)] {
        for port in ports.iter().copied() {
            let reached = far.run(move || connects(address, port, wait));
            assert_eq!(reached, expected, "{port} here");
        }
    }
}

/// Services of both families: ports 80 and 81 there, 8080 and 8081 here.
fn services(far: &Far) -> Vec<TcpListener> {
    let listen = |port: u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
    let mut all = vec![listen(8080), listen(8081)];
    all.extend(far.run(move || [80, 81].map(listen)));
    all
}

#[test]
fn the_leash_holds_in_each_direction_and_at_each_port() {
    both(|backend| {
        let far = Far::connect("eth0");
        let _services = services(&far);
        assert_we_reach(THERE, &[80, 81], &[]);
        assert_they_reach(&far, HERE, &[8080, 8081], &[]);

        let mut firewall = open(backend, &with(&["out:10.77.0.2:80/tcp"]));
        assert_we_reach(THERE, &[80], &[81]);
        assert_they_reach(&far, HERE, &[], &[8080]);

        firewall.apply(&with(&["in:10.77.0.0/24"])).unwrap();
        assert_they_reach(&far, HERE, &[8080, 8081], &[]);
        assert_we_reach(THERE, &[], &[80]);

        let several = [
            "10.77.0.2:8080-8080",
            "out:10.77.0.0/28:81",
            "out:10.77.0.2/udp",
        ];
        firewall.apply(&with(&several)).unwrap();
        assert_they_reach(&far, HERE, &[8080], &[8081]);
        assert_we_reach(THERE, &[81], &[80]);
        assert!(gets_out(&far, THERE, DISCARD, ARRIVES));

        let attached = TunnelPolicy {
            attached: vec![("eth0".to_owned(), "10.77.0.0/24".parse().unwrap())],
            local_ports: Some(vec![TrafficKind::of_ports("8081/tcp").unwrap()]),
            ..TunnelPolicy::default()
        };
        firewall.apply(&connected(attached)).unwrap();
        assert_they_reach(&far, HERE, &[8081], &[8080]);
        assert_we_reach(THERE, &[80, 81], &[]);
    });
}

/// A connection, and the other side's end of it.
fn flow(listener: &TcpListener, connect: impl FnOnce() -> TcpStream) -> (TcpStream, TcpStream) {
    let begun = connect();
    let (taken, _) = listener.accept().unwrap();
    (begun, taken)
}

fn carries(mut from: &TcpStream, mut to: &TcpStream, wait: Duration) -> bool {
    to.set_read_timeout(Some(wait)).unwrap();
    from.write_all(b"more").unwrap();
    hears(|| to.read(&mut [0; 16]))
}

/// A flow of ours from before is no answer, whatever its other end may begin; nor is what goes from
/// another port of ours than it may come to. Docker's rules for names have the kernel know all
/// flows from the start.
#[test]
fn what_may_only_come_in_keeps_no_flow_of_ours() {
    both(|backend| {
        let far = Far::connect("eth0");
        run(&format!(
            "{} -A INPUT -m conntrack --ctstate ESTABLISHED",
            iptables(backend)
        ));
        let there = far.run(|| TcpListener::bind((THERE, 80)).unwrap());
        let [open_here, shut_here] =
            [8080, 8081].map(|port| TcpListener::bind((HERE, port)).unwrap());
        let ours = flow(&there, || TcpStream::connect((THERE, 80)).unwrap());
        let theirs = [(&open_here, 8080), (&shut_here, 8081)].map(|(listener, port)| {
            let connect = move || TcpStream::connect((HERE, port)).unwrap();
            flow(listener, || far.run(connect))
        });
        assert!(carries(&ours.0, &ours.1, ARRIVES), "there are flows");

        let mut firewall = open(backend, &with(&["in:10.77.0.2"]));
        assert!(!carries(&ours.0, &ours.1, BLOCKED));
        assert!(carries(&theirs[1].1, &theirs[1].0, ARRIVES));
        firewall.apply(&with(&["in:10.77.0.2:8080/tcp"])).unwrap();
        assert!(carries(&theirs[0].1, &theirs[0].0, ARRIVES));
        assert!(!carries(&theirs[1].1, &theirs[1].0, BLOCKED));
    });
}

/// Writes an IP packet to lo.
type Forge = fn(&[u8]);

/// Each with a port of its own, as the kernel remembers what came from one.
const FORGERS: [(u16, Forge); 2] = [(7000, by_ip_socket), (7001, by_frame)];

fn by_ip_socket(packet: &[u8]) {
    let header_included = Protocol::from(255);
    let forger = Socket::new(Domain::IPV4, Type::RAW, Some(header_included)).unwrap();
    let _ = forger.send_to(packet, &SocketAddrV4::new(HERE, 8080).into());
}

/// Past the rules for what goes out.
fn by_frame(packet: &[u8]) {
    let ethernet = [&[0; 12][..], &[0x08, 0x00]].concat();
    let frame = [&ethernet, packet].concat();
    Sibling::new("lo").write(&frame).unwrap();
}

/// A datagram that says it comes from this port of the far end.
fn lie(port: u16) -> Vec<u8> {
    [
        // IPv4: 32 bytes, UDP, with its checksum.
        &[0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0x66, 0x30][..],
        &THERE.octets(),
        &HERE.octets(),
        &port.to_be_bytes(),
        &8080_u16.to_be_bytes(),
        &[0, 12, 0, 0],
        b"lies",
    ]
    .concat()
}

/// Whom such a datagram is for. One for all of them: a program that another test starts holds our
/// sockets until it is executed, so that an address may still be taken after its socket was closed.
fn listen_to_lies() -> UdpSocket {
    let service = UdpSocket::bind((HERE, 8080)).unwrap();
    service.set_read_timeout(Some(BLOCKED)).unwrap();
    service
}

/// Whether such a datagram on lo is heard by the service here, and the answer that it then sends
/// there.
fn is_believed_and_answered(
    service: &UdpSocket,
    far: &Far,
    (port, forge): (u16, Forge),
) -> (bool, bool) {
    let receiver = far.run(move || UdpSocket::bind((THERE, port)).unwrap());
    receiver.set_read_timeout(Some(BLOCKED)).unwrap();
    forge(&lie(port));
    let is_believed = hears(|| service.recv(&mut [0; 16]));
    let _ = service.send_to(b"leak", (THERE, port));
    (is_believed, hears(|| receiver.recv(&mut [0; 16])))
}

/// Or a name server's answer would be anybody's, and with it where we connect to.
#[test]
fn nobody_here_speaks_in_the_name_of_a_host_elsewhere() {
    both(|backend| {
        let far = Far::connect("eth0");
        let _firewall = open(backend, &Policy::closed(MARK));
        let listener = listen_to_lies();
        for forger in FORGERS {
            let outcome = is_believed_and_answered(&listener, &far, forger);
            assert_eq!(outcome, (false, false));
        }
    });
    let far = Far::connect("eth0");
    let namespace = Namespace::here();
    let firewall = Firewall::new(lacking(&namespace, "-m addrtype"), &namespace.bin(), false);
    let _firewall = Firewall::open_any(vec![firewall], Some(&Policy::closed(MARK))).unwrap();
    let listener = listen_to_lies();
    for forger in FORGERS {
        let (is_believed, _) = is_believed_and_answered(&listener, &far, forger);
        assert!(is_believed, "nothing but that rule stops it");
    }
}

/// Whether such a datagram is taken for the answer to a look-up of ours.
fn answers_our_look_up(far: &Far, forge: Forge) -> bool {
    let _name_server = far.run(|| UdpSocket::bind((THERE, 53)).unwrap());
    let ours = listen_to_lies();
    SockRef::from(&ours).set_mark(MARK).unwrap();
    ours.send_to(b"question", (THERE, 53)).unwrap();
    forge(&lie(53));
    hears(|| ours.recv(&mut [0; 16]))
}

#[test]
fn nobody_here_answers_our_look_ups_in_the_name_of_the_name_server() {
    for (_, forge) in FORGERS {
        for backend in [Backend::NfTables, Backend::Legacy] {
            let far = Far::connect("eth0");
            let policy = Policy::bootstrap(MARK, [Destination::udp(THERE, 53)]);
            let _firewall = open(backend, &policy);
            assert!(!answers_our_look_up(&far, forge));
        }
        let far = Far::connect("eth0");
        let namespace = Namespace::here();
        let firewall = Firewall::new(lacking(&namespace, "-m addrtype"), &namespace.bin(), false);
        let policy = Policy::bootstrap(MARK, [Destination::udp(THERE, 53)]);
        let _firewall = Firewall::open_any(vec![firewall], Some(&policy)).unwrap();
        assert!(
            answers_our_look_up(&far, forge),
            "nothing but that rule stops it"
        );
    }
}

/// A resolver or proxy of the user's own, and what is to fail at once.
#[test]
fn what_users_lead_to_a_service_here_is_answered_and_what_they_refuse_is_refused() {
    both(|backend| {
        let _far = Far::connect("wg0");
        let iptables = iptables(backend);
        let resolver = UdpSocket::bind("127.0.0.1:5353").unwrap();
        thread::spawn(move || {
            while let Ok((_, from)) = resolver.recv_from(&mut [0; 16]) {
                if resolver.send_to(b"answer", from).is_err() {
                    break;
                }
            }
        });
        let _firewall = open(backend, &connected(TunnelPolicy::default()));
        run(&format!(
            "{iptables} -t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 5353"
        ));
        run(&format!(
            "{iptables} -I OUTPUT -p tcp --dport 81 -j REJECT --reject-with tcp-reset"
        ));
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(ARRIVES)).unwrap();
        client.send_to(b"question", (THERE, 53)).unwrap();
        assert!(hears(|| client.recv(&mut [0; 16])));
        let refused = TcpStream::connect_timeout(&SocketAddr::from((THERE, 81)), ARRIVES);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

/// Who has NET_RAW can write such a packet.
#[test]
fn nobody_here_begins_a_connection_in_the_name_of_the_lan() {
    both(|backend| {
        let far = Far::connect("eth0");
        let _service = far.run(|| TcpListener::bind((THERE, 80)).unwrap());
        assert!(connects(THERE.into(), 80, ARRIVES), "the cable works");
        let _firewall = open(backend, &with(&["in:10.77.0.2"]));
        let listener = listen_to_lies();
        for forger in FORGERS {
            let outcome = is_believed_and_answered(&listener, &far, forger);
            assert_eq!(outcome, (false, false));
        }
        // Our own address may lie in such a range.
        let _firewall = open(backend, &with(&["in:10.77.0.0/24"]));
        let _own = TcpListener::bind((HERE, 8080)).unwrap();
        assert!(connects(HERE.into(), 8080, ARRIVES));
    });
    let far = Far::connect("eth0");
    let namespace = Namespace::here();
    let firewall = Firewall::new(lacking(&namespace, "-m addrtype"), &namespace.bin(), false);
    let policy = with(&["in:10.77.0.2"]);
    let _firewall = Firewall::open_any(vec![firewall], Some(&policy)).unwrap();
    let _service = TcpListener::bind((HERE, 8080)).unwrap();
    assert!(far.run(|| connects(HERE.into(), 8080, ARRIVES)));
    let listener = listen_to_lies();
    for forger in FORGERS {
        let outcome = is_believed_and_answered(&listener, &far, forger);
        assert_eq!(outcome, (true, true), "nothing but that rule stops it");
    }
}

/// A cable with the LAN's IPv6 on it, and a default route to elsewhere.
fn cable_v6() -> Far {
    let far = Far::connect("eth0");
    for address in [HERE_V6.to_string(), "fd79::1".to_owned()] {
        ip(&format!("address add {address}/64 dev eth0 nodad"));
    }
    ip(&format!("-6 route add default via {THERE_V6} metric 2000"));
    far.run(|| {
        for address in [THERE_V6, ATTACHED_V6, ELSEWHERE_V6, ROUTER] {
            ip(&format!("address add {address}/64 dev far nodad"));
        }
    });
    far
}

/// "Here is a router to everywhere."
fn advertise(far: &Far) {
    far.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        let far = if_nametoindex("far").unwrap();
        let own = SocketAddrV6::new(ROUTER, 0, 0, far);
        socket.bind(&own.into()).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let to = SocketAddrV6::new(all_nodes, 0, 0, far);
        // ICMPv6 134, its checksum the kernel's; 64 hops, half an hour.
        let lifetime = 1800_u16.to_be_bytes();
        let message = [&[134, 0, 0, 0, 64, 0][..], &lifetime, &[0; 8]].concat();
        socket.send_to(&message, &to.into()).unwrap();
    });
}

fn has_advertised_route() -> bool {
    run("ip -6 route show default").contains("proto ra")
}

/// Neighbours have to be found anew.
fn forget_neighbours(far: &Far) {
    ip("-6 neighbour flush dev eth0");
    far.run(|| ip("-6 neighbour flush dev far"));
}

#[test]
fn ipv6_is_open_to_the_lan_and_to_nothing_else() {
    both(|backend| {
        let far = cable_v6();
        let _services = services(&far);
        for address in [THERE_V6, ATTACHED_V6, ELSEWHERE_V6] {
            assert!(gets_out(&far, address, DISCARD, ARRIVES), "the cable works");
        }
        assert_they_reach(&far, HERE_V6, &[8080, 8081], &[]);
        let begun = std::time::Instant::now();
        while !has_advertised_route() && begun.elapsed() < ARRIVES {
            advertise(&far);
        }
        assert!(has_advertised_route(), "the advertisement is a true one");

        let mut firewall = open(backend, &with(&["10.77.0.0/24"]));
        run("ip -6 route del default proto ra");
        for address in [THERE_V6, ATTACHED_V6, ELSEWHERE_V6] {
            assert!(!gets_out(&far, address, DISCARD, BLOCKED), "{address}");
        }
        assert_they_reach(&far, HERE_V6, &[], &[8080]);

        let attached = |attached: &[&str], local: &[&str]| {
            let named = |network: &&str| ("eth0".to_owned(), network.parse().unwrap());
            let mut policy = with(local);
            if let Some(tunnel) = &mut policy.tunnel {
                tunnel.attached = attached.iter().map(named).collect();
            }
            policy
        };
        forget_neighbours(&far);
        let open_to_both = attached(&["fd79::/64"], &["in:[fd77::/64]:8080", "out:[fd77::2]:80"]);
        firewall.apply(&open_to_both).unwrap();
        assert_they_reach(&far, HERE_V6, &[8080], &[8081]);
        assert_we_reach(THERE_V6, &[80], &[81]);
        assert_we_reach(ATTACHED_V6, &[80, 81], &[]);
        forget_neighbours(&far);
        assert_they_reach(&far, HERE_V6, &[8080], &[]);
        advertise(&far);
        assert_they_reach(&far, HERE_V6, &[8080], &[]);
        assert!(!has_advertised_route());
        assert!(run("ip -6 route show default").contains(&THERE_V6.to_string()));
        assert!(!gets_out(&far, ELSEWHERE_V6, DISCARD, BLOCKED));
    });
}
