//! Frames that a program writes by itself, past the packet filter, are dropped at the network card;
//! what the packet filter lets out is not.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, send,
    socket,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use wireguard_pia::firewall_internals::{
    Backend, CancellationToken, Destination, Firewall, Policy, Programs, Seal,
};

use crate::namespace::{MARK, Namespace, install, iptables, run};
use crate::packets::{ARRIVES, BLOCKED, Far, HERE, THERE, both, hears, ip, open};
use crate::passing::lock_of_its_own;

const PORT: u16 = 9999;
const OPEN_PORT: u16 = 9998;
const PROBE_PORT: u16 = 9997;
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 255);
const ENOBUFS: Option<i32> = Some(libc::ENOBUFS);

/// Who writes frames: root with NET_RAW, in the same network namespace.
pub struct Sibling(OwnedFd);

impl Sibling {
    pub fn new(interface: &str) -> Self {
        let device: LinkAddr = getifaddrs()
            .unwrap()
            .filter(|entry| entry.interface_name == interface)
            .filter_map(|entry| entry.address?.as_link_addr().copied())
            .find(|address| address.family() == Some(AddressFamily::Packet))
            .unwrap();
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .unwrap();
        bind(socket.as_raw_fd(), &device).unwrap();
        Self(socket)
    }

    fn send(&self) -> io::Result<usize> {
        self.write(&Self::frame())
    }

    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        Ok(send(self.0.as_raw_fd(), frame, MsgFlags::empty())?)
    }

    /// A datagram to the far end, in a frame to everybody.
    fn frame() -> Vec<u8> {
        [
            // Ethernet: to everybody, IPv4.
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 1, 0x08, 0x00],
            // IPv4: 32 bytes, UDP, with its checksum.
            &[0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0x66, 0x30],
            &HERE.octets(),
            &THERE.octets(),
            // UDP: 12 bytes, without a checksum.
            &40_000_u16.to_be_bytes(),
            &PORT.to_be_bytes(),
            &[0, 12, 0, 0],
            b"leak",
        ]
        .concat()
    }
}

/// A cable that is known to carry: at first a new one loses what is sent.
fn cable() -> Far {
    let far = Far::connect("eth0");
    let probes = receiver(&far, PROBE_PORT);
    let tries = (0..100).find(|_| {
        let _ = datagram(0, THERE, PROBE_PORT);
        arrives(&probes, ARRIVES / 100)
    });
    assert!(tries.is_some(), "the cable carries");
    far
}

fn receiver(far: &Far, port: u16) -> UdpSocket {
    far.run(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
}

fn arrives(at: &UdpSocket, wait: Duration) -> bool {
    at.set_read_timeout(Some(wait)).unwrap();
    hears(|| at.recv(&mut [0; 64]))
}

fn datagram(mark: u32, to: Ipv4Addr, port: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_mark(mark).unwrap();
    socket.set_broadcast(true).unwrap();
    let socket = UdpSocket::from(socket);
    socket.send_to(b"ordinary", (to, port)).is_ok()
}

/// The stamps that the chains at the network cards wait for.
fn stamps() -> Vec<String> {
    let listed = run("nft list ruleset netdev");
    let rules = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("meta mark "));
    rules
        .map(|rule| rule.split(' ').next().unwrap().to_owned())
        .collect()
}

/// The stamp of a life with one network card.
fn stamp() -> u32 {
    let stamps = stamps();
    u32::from_str_radix(stamps[0].strip_prefix("0x").unwrap(), 16).unwrap()
}

fn admitting() -> Policy {
    Policy::bootstrap(MARK, [Destination::udp(THERE, OPEN_PORT)])
}

#[test]
fn frames_are_dropped_and_what_the_rules_admit_is_not() {
    both(|backend| {
        let far = cable();
        let (leaks, service) = (receiver(&far, PORT), receiver(&far, OPEN_PORT));
        let sibling = Sibling::new("eth0");
        sibling.send().unwrap();
        assert!(arrives(&leaks, ARRIVES), "frames pass without the filter");
        let mut firewall = open(backend, &Policy::closed(MARK));
        assert_eq!(firewall.frames_pass(), None);
        assert_eq!(sibling.send().unwrap_err().raw_os_error(), ENOBUFS);
        firewall.apply(&admitting()).unwrap();
        // Also asks for the hardware address by ARP.
        ip("neigh flush dev eth0");
        assert!(datagram(MARK, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
        assert_eq!(sibling.send().unwrap_err().raw_os_error(), ENOBUFS);
        drop(firewall);
        assert_eq!(sibling.send().unwrap_err().raw_os_error(), ENOBUFS);
        assert!(!arrives(&leaks, BLOCKED));
    });
}

/// What root with these capabilities alone says who sends the frame by a socket of the family
/// AF_XDP; nothing where it is sent.
fn refusal_of_af_xdp(capabilities: &str) -> String {
    let index = if_nametoindex("eth0").unwrap().to_string();
    let frame: String = Sibling::frame()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let output = Command::new("setpriv")
        .args(["--bounding-set", capabilities, "--inh-caps", capabilities])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/firewall_backends/af_xdp.pl"
        ))
        .args([index, frame])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

/// They do not come by the hook, and it is `NET_RAW` alone that they take.
#[test]
fn frames_by_af_xdp_pass_the_chain_and_take_net_raw() {
    let _namespace = Namespace::enter();
    let far = cable();
    let leaks = receiver(&far, PORT);
    let firewall = open(Backend::NfTables, &Policy::closed(MARK));
    assert_eq!(firewall.frames_pass(), None);
    let refused = Sibling::new("eth0").send().unwrap_err();
    assert_eq!(refused.raw_os_error(), ENOBUFS);
    let said = refusal_of_af_xdp("-all");
    assert!(said.contains("socket: Operation not permitted"), "{said}");
    assert!(!arrives(&leaks, BLOCKED));
    assert_eq!(refusal_of_af_xdp("-all,+net_raw"), "");
    assert!(arrives(&leaks, ARRIVES));
}

#[test]
fn the_chains_close_a_network_before_the_rules_which_take_one_load() {
    both(|backend| {
        let _far = cable();
        let namespace = Namespace::here();
        let mut programs = Programs::find(backend, &namespace.bin()).unwrap();
        let loads = namespace.directory.path().join("loads");
        let script = format!(
            "nft list table netdev wireguard-pia | grep -c 'meta mark 0x' >>{}",
            loads.display()
        );
        install(&namespace, &mut programs, "iptables-restore", &script);
        let firewall = Firewall::new(programs, &namespace.bin(), false);
        let firewall = Firewall::open_any(vec![firewall], Some(&admitting())).unwrap();
        assert_eq!(firewall.frames_pass(), None);
        assert_eq!(std::fs::read_to_string(loads).unwrap(), "1\n");
    });
}

/// With legacy others may hold its lock for seconds.
#[test]
fn nothing_leaves_while_the_first_rules_wait_for_a_lock() {
    let namespace = Namespace::enter();
    let far = cable();
    let (leaks, service) = (receiver(&far, PORT), receiver(&far, OPEN_PORT));
    let sibling = Sibling::new("eth0");
    assert!(datagram(0, THERE, PORT) && arrives(&leaks, ARRIVES));
    let lock = lock_of_its_own(&namespace);
    let opening = thread::spawn(move || namespace.open(Backend::Legacy, &admitting()));
    let begun = Instant::now();
    while !run("nft list tables netdev").contains("wireguard-pia") {
        assert!(begun.elapsed() < ARRIVES, "a chain comes without the lock");
    }
    assert!(!datagram(0, THERE, PORT) || !arrives(&leaks, BLOCKED));
    assert_eq!(sibling.send().unwrap_err().raw_os_error(), ENOBUFS);
    assert!(!opening.is_finished(), "the lock is held");
    drop(lock);
    let _firewall = opening.join().unwrap();
    assert!(datagram(MARK, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
    assert!(!datagram(0, THERE, PORT));
}

#[test]
fn what_rules_of_users_let_out_gets_out() {
    both(|backend| {
        let far = cable();
        let service = receiver(&far, OPEN_PORT);
        let mut firewall = open(backend, &Policy::closed(MARK));
        assert!(!datagram(0, THERE, OPEN_PORT));
        let name = iptables(backend);
        run(&format!(
            "{name} -A OUTPUT -p udp --dport {OPEN_PORT} -j ACCEPT"
        ));
        assert!(datagram(0, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
        firewall.apply(&admitting()).unwrap();
        firewall.set_policies_again();
        firewall.apply(&Policy::closed(MARK)).unwrap();
        assert!(datagram(0, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
    });
}

#[test]
fn a_second_life_has_another_stamp_and_no_frame_passes_meanwhile() {
    both(|backend| {
        let far = cable();
        let (leaks, service) = (receiver(&far, PORT), receiver(&far, OPEN_PORT));
        let sibling = Sibling::new("eth0");
        sibling.send().unwrap();
        assert!(arrives(&leaks, ARRIVES), "frames pass without the filter");
        drop(open(backend, &Policy::closed(MARK)));
        let first = stamps();
        let stop = Arc::new(AtomicBool::new(false));
        let sending = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut refused = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    refused += u32::from(sibling.send().is_err());
                }
                refused
            }
        });
        let mut firewall = open(backend, &Policy::closed(MARK));
        firewall.apply(&admitting()).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(sending.join().unwrap() > 1000);
        assert!(!arrives(&leaks, BLOCKED));
        let second = stamps();
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first, second);
        let saved = run(&format!("{}-save -t mangle", iptables(backend)));
        assert_eq!(saved.matches("-o eth0 -j MARK").count(), 1, "{saved}");
        assert_eq!(saved.matches("-A POSTROUTING -j").count(), 1, "{saved}");
        assert!(datagram(MARK, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
    });
}

/// An anchor's: what comes later is shut too, before and while a life with a tunnel is there.
#[test]
fn an_anchor_shuts_what_is_attached_later_and_leaves_a_life_its_own() {
    both(|backend| {
        let far = cable();
        let (leaks, service) = (receiver(&far, PORT), receiver(&far, OPEN_PORT));
        let attach = |name: &str| {
            ip(&format!("link add {name} type veth peer name {name}far"));
            for end in [name, &format!("{name}far")] {
                ip(&format!("link set {end} up"));
            }
            Sibling::new(name)
        };
        let mut seal = Seal::load(Some(backend), &CancellationToken::never()).unwrap();
        assert_eq!((seal.not_blocked(), seal.frames_pass()), (None, None));
        let by_eth0 = Sibling::new("eth0");
        assert_eq!(by_eth0.send().unwrap_err().raw_os_error(), ENOBUFS);
        let later = attach("eth8");
        later.send().expect("nothing shuts it yet");
        seal.shut_new_interfaces().unwrap();
        assert_eq!(later.send().unwrap_err().raw_os_error(), ENOBUFS);
        assert!(!datagram(MARK, THERE, OPEN_PORT));

        let mut life = open(backend, &admitting());
        let last = attach("eth9");
        life.set_policies_again();
        life.apply(&admitting()).unwrap();
        seal.shut_new_interfaces().unwrap();
        assert!(datagram(MARK, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
        for sibling in [&by_eth0, &later, &last] {
            assert_eq!(sibling.send().unwrap_err().raw_os_error(), ENOBUFS);
        }
        // In each chain the life's own rule comes first, that of the anchor behind its last.
        let listed = run("nft list ruleset netdev");
        let first = |chain: &str| chain.lines().nth(2).unwrap_or_default().trim().to_owned();
        let chains: Vec<String> = listed.split("chain egress").skip(1).map(first).collect();
        assert_eq!(chains.len(), 5, "{listed}");
        assert!(chains.iter().all(|rule| rule.starts_with("meta mark")));
        assert!(!arrives(&leaks, BLOCKED));
    });
}

#[test]
fn a_life_without_the_kill_switch_takes_the_filter_away() {
    both(|backend| {
        let far = cable();
        let leaks = receiver(&far, PORT);
        let sibling = Sibling::new("eth0");
        drop(open(backend, &Policy::closed(MARK)));
        assert!(sibling.send().is_err());
        drop(open(backend, &Policy::closed(MARK).unsealed()));
        sibling.send().unwrap();
        assert!(arrives(&leaks, ARRIVES));
        assert_eq!(stamps(), [""; 0]);
    });
}

/// Lets only packets with this mark through. Others may have one, too: a multicast listener report
/// of the kernel's bears a number where the mark is, the room that was kept in the packet.
fn only_marked(socket: &Socket, wanted: u32) {
    let mark = (libc::SKF_AD_OFF + libc::SKF_AD_MARK).cast_unsigned();
    let code = |code: u32| u16::try_from(code).unwrap();
    let equals = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let result = code(libc::BPF_RET | libc::BPF_K);
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    socket
        .attach_filter(&[
            SockFilter::new(load, 0, 0, mark),
            SockFilter::new(equals, 0, 1, wanted),
            SockFilter::new(result, 0, 0, 0xffff),
            SockFilter::new(result, 0, 0, 0),
        ])
        .unwrap();
}

fn receives(socket: &Socket, wait: Duration) -> bool {
    socket.set_read_timeout(Some(wait)).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
    hears(|| socket.recv(&mut buffer))
}

#[test]
fn who_listens_never_sees_the_stamp() {
    both(|backend| {
        let far = cable();
        let service = receiver(&far, OPEN_PORT);
        let all = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
        let all = Protocol::from(i32::from(all));
        let tap = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
        only_marked(&tap, 0x1234);
        assert!(datagram(0x1234, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
        assert!(receives(&tap, ARRIVES), "marks can be seen");
        let own = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        only_marked(&own, 0x1234);
        let address: std::net::SocketAddr = (Ipv4Addr::UNSPECIFIED, OPEN_PORT).into();
        own.bind(&address.into()).unwrap();
        assert!(datagram(0x1234, HERE, OPEN_PORT) && receives(&own, ARRIVES));
        while receives(&tap, BLOCKED) {}
        let _firewall = open(backend, &Policy::closed(MARK));
        let stamp = stamp();
        only_marked(&tap, stamp);
        only_marked(&own, stamp);
        let name = iptables(backend);
        run(&format!(
            "{name} -A OUTPUT -p udp --dport {OPEN_PORT} -j ACCEPT"
        ));
        run(&format!(
            "{name} -A INPUT -p udp --dport {OPEN_PORT} -j ACCEPT"
        ));
        assert!(datagram(0, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
        // Comes back to this host as well.
        assert!(datagram(0, BROADCAST, OPEN_PORT) && arrives(&service, ARRIVES));
        assert!(!receives(&tap, BLOCKED), "on the interface");
        assert!(!receives(&own, BLOCKED), "by a broadcast");
    });
}

#[test]
fn an_interface_that_comes_later_is_covered_by_the_next_load() {
    both(|backend| {
        let _far = cable();
        let mut firewall = open(backend, &Policy::closed(MARK));
        let before = stamps();
        ip("link add eth1 type veth peer name other");
        ip("link set eth1 up");
        ip("link set other up");
        let sibling = Sibling::new("eth1");
        sibling.send().unwrap();
        firewall.apply(&admitting()).unwrap();
        assert_eq!(sibling.send().unwrap_err().raw_os_error(), ENOBUFS);
        assert_eq!(stamps(), [&before[..], &before, &before].concat());
    });
}

fn without_marks_in(namespace: &Namespace, backend: Backend, names: &[&'static str]) -> Firewall {
    let mut programs = Programs::find(backend, &namespace.bin()).unwrap();
    for name in names {
        let script = "grep -q 'j MARK' <<<\"$input\" && { echo refused >&2; exit 2; }";
        install(namespace, &mut programs, name, script);
    }
    let firewall = Firewall::new(programs, &namespace.bin(), false);
    Firewall::open_any(vec![firewall], Some(&admitting())).unwrap()
}

#[test]
fn where_no_mark_can_be_set_there_is_no_chain_and_the_rest_goes_on() {
    both(|backend| {
        let far = cable();
        let service = receiver(&far, OPEN_PORT);
        drop(open(backend, &Policy::closed(MARK)));
        let names = ["iptables-restore", "ip6tables-restore"];
        let firewall = without_marks_in(&Namespace::here(), backend, &names);
        assert!(
            firewall
                .frames_pass()
                .unwrap()
                .contains("no mark can be set")
        );
        assert_eq!(stamps(), [""; 0]);
        assert!(datagram(MARK, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
    });
}

#[test]
fn where_ip6tables_sets_no_mark_no_ipv6_leaves() {
    both(|backend| {
        let far = cable();
        ip("address add fd77::1/64 dev eth0 nodad");
        let (service, ipv6) = far.run(|| {
            ip("address add fd77::2/64 dev far nodad");
            let ipv6 = UdpSocket::bind(("fd77::2", OPEN_PORT)).unwrap();
            (UdpSocket::bind((THERE, OPEN_PORT)).unwrap(), ipv6)
        });
        let socket = UdpSocket::bind("[::]:0").unwrap();
        // One may be lost while the neighbours learn to know each other.
        let begun = Instant::now();
        let sends = || {
            socket.send_to(b"before", ("fd77::2", OPEN_PORT)).unwrap();
            arrives(&ipv6, BLOCKED)
        };
        while !sends() {
            assert!(begun.elapsed() < ARRIVES, "the cable works");
        }
        while arrives(&ipv6, BLOCKED) {}
        let firewall = without_marks_in(&Namespace::here(), backend, &["ip6tables-restore"]);
        assert_eq!(firewall.frames_pass(), None);
        run(&format!(
            "ip6{} -A OUTPUT -j ACCEPT",
            iptables(backend).trim_start_matches("ip")
        ));
        let _ = socket.send_to(b"after", ("fd77::2", OPEN_PORT));
        assert!(!arrives(&ipv6, BLOCKED));
        assert!(datagram(MARK, THERE, OPEN_PORT) && arrives(&service, ARRIVES));
    });
}
