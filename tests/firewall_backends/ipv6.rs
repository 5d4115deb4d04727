//! Where ip6tables does not work, IPv6 is blocked by other means, or it is said that it is not.

use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use wireguard_pia::firewall_internals::{Backend, Firewall, Policy, Programs, Sealing};

use crate::namespace::{MARK, Namespace, install, run};
use crate::packets::{ARRIVES, BLOCKED, Far, gets_out, ip};

const DNS: u16 = 53;
const FAR: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A cable with IPv6 on it, and a default route.
fn cable() -> Far {
    let far = Far::connect("eth0");
    ip("address add fd77::1/64 dev eth0 nodad");
    ip("-6 route add default via fd77::2");
    far.run(|| {
        ip("address add fd77::2/64 dev far nodad");
        ip("address add 2001:db8::1/128 dev far nodad");
    });
    far
}

/// Mounts of this thread and its children alone.
fn mounts_of_its_own() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

fn bind(source: &str, target: &str) {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
}

/// As Docker does it.
fn make_settings_read_only() {
    bind("/proc/sys", "/proc/sys");
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/proc/sys", None::<&str>, flags, None::<&str>).unwrap();
}

/// The kill switch with an ip6tables that fails.
fn open(namespace: &Namespace) -> Firewall {
    let mut programs = Programs::find(Backend::NfTables, Path::new("/nonexistent")).unwrap();
    install(namespace, &mut programs, "ip6tables-restore", "exit 1");
    let firewall = Firewall::new(programs, &namespace.bin(), false);
    Firewall::open_any(vec![firewall], Some(&Policy::closed(MARK))).unwrap()
}

#[test]
fn ipv6_is_switched_off_where_the_setting_can_be_written() {
    let far = cable();
    assert!(
        gets_out(&far, FAR, DNS, ARRIVES) && gets_out(&far, ELSEWHERE, DNS, ARRIVES),
        "the cable works"
    );
    let firewall = open(&Namespace::here());
    assert_eq!(firewall.sealing(), &Sealing::Whole);
    assert!(!gets_out(&far, FAR, DNS, BLOCKED) && !gets_out(&far, ELSEWHERE, DNS, BLOCKED));
    assert!(UdpSocket::bind("[::1]:0").is_ok(), "lo keeps it");
}

#[test]
fn else_a_routing_rule_drops_it_and_a_later_life_takes_the_rule_back() {
    mounts_of_its_own();
    let far = cable();
    make_settings_read_only();
    let namespace = Namespace::here();
    let mut firewall = open(&namespace);
    assert_eq!(firewall.sealing(), &Sealing::Whole);
    assert!(!gets_out(&far, FAR, DNS, BLOCKED) && !gets_out(&far, ELSEWHERE, DNS, BLOCKED));
    firewall.apply(&Policy::bootstrap(MARK, [])).unwrap();
    assert_eq!(open(&namespace).sealing(), &Sealing::Whole);
    assert_eq!(run("ip -6 rule list").matches("blackhole").count(), 1);
    namespace.open(Backend::NfTables, &Policy::closed(MARK));
    assert!(!run("ip -6 rule list").contains("blackhole"));
    assert!(!gets_out(&far, FAR, DNS, BLOCKED));
}

#[test]
fn else_it_is_dropped_at_the_network_card() {
    mounts_of_its_own();
    let far = cable();
    make_settings_read_only();
    assert!(gets_out(&far, FAR, DNS, ARRIVES));
    let path = run("type -P ip");
    bind("/bin/false", path.trim());
    let namespace = Namespace::here();
    let mut firewall = open(&namespace);
    assert_eq!(firewall.sealing(), &Sealing::Whole);
    assert!(!gets_out(&far, FAR, DNS, BLOCKED));
    firewall.apply(&Policy::bootstrap(MARK, [])).unwrap();
    assert_eq!(firewall.sealing(), &Sealing::Whole);
    assert!(!gets_out(&far, FAR, DNS, BLOCKED));
}

#[test]
fn what_stays_open_is_said() {
    mounts_of_its_own();
    let far = cable();
    make_settings_read_only();
    let path = run("type -P ip");
    bind("/bin/false", path.trim());
    bind("/bin/false", "/usr/sbin/nft");
    let firewall = open(&Namespace::here());
    let Sealing::WithoutIpv6(why) = firewall.sealing() else {
        panic!("it is not blocked")
    };
    assert!(
        why.starts_with("IPv6 is not blocked: ip6tables-restore: "),
        "{why}"
    );
    assert!(gets_out(&far, FAR, DNS, ARRIVES));
}

#[test]
fn a_network_without_ipv6_needs_nothing() {
    mounts_of_its_own();
    let namespace = Namespace::enter();
    run("for name in all default; do echo 1 >/proc/sys/net/ipv6/conf/$name/disable_ipv6; done");
    make_settings_read_only();
    bind("/bin/false", run("type -P ip").trim());
    assert_eq!(open(&namespace).sealing(), &Sealing::Whole);
}
