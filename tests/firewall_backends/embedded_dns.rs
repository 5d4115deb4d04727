//! Docker's resolver at 127.0.0.11: who may ask it, and what may go out while it is asked.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wireguard_pia::firewall_internals::{
    Backend, EmbeddedDns, EmbeddedDnsAskers, Firewall, KillSwitch, NameServerAccess, Policy,
    TunnelPolicy, first_policy,
};

use crate::namespace::{MARK, Namespace, iptables, lacking, run};
use crate::packets::{ARRIVES, BLOCKED, Far, THERE, both, gets_out, hears};

const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 1337);

/// A resolver behind the redirection that Docker makes, which answers every question.
fn embedded_resolver(backend: Backend) {
    let socket = UdpSocket::bind("127.0.0.11:0").unwrap();
    let at = socket.local_addr().unwrap();
    let iptables = iptables(backend);
    run(&format!(
        "{iptables} -t nat -A OUTPUT -d 127.0.0.11/32 -p udp --dport 53 -j DNAT --to {at}"
    ));
    thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
            if socket.send_to(b"answer", from).is_err() {
                break;
            }
        }
    });
}

/// Whether a question with this mark is answered.
fn is_answered(mark: u32, wait: Duration) -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    SockRef::from(&socket).set_mark(mark).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    match socket.send_to(b"question", "127.0.0.11:53") {
        Ok(_) => hears(|| socket.recv(&mut [0; 16])),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            false
        }
    }
}

fn tunnel() -> TunnelPolicy {
    TunnelPolicy {
        interface: "wg0".into(),
        ..TunnelPolicy::default()
    }
}

#[test]
fn nobody_but_us_asks_docker_s_resolver_in_any_state() {
    both(|backend| {
        let namespace = Namespace::enter();
        run("ip link set lo up");
        embedded_resolver(backend);
        assert!(is_answered(0, ARRIVES), "the resolver answers");
        let mut firewall = namespace.open(backend, &Policy::closed(MARK));
        for (policy, to_us) in [
            (Policy::closed(MARK), false),
            (Policy::bootstrap(MARK, []), true),
            (
                Policy::bootstrap(MARK, []).asking(EmbeddedDns::ByHost),
                true,
            ),
            (
                Policy::bootstrap(MARK, []).asking(EmbeddedDns::FromHere),
                true,
            ),
            (Policy::connected(MARK, ENDPOINT, tunnel()), false),
        ] {
            firewall.apply(&policy).unwrap();
            assert!(!is_answered(0, BLOCKED), "{policy:?}");
            let wait = if to_us { ARRIVES } else { BLOCKED };
            assert_eq!(is_answered(MARK, wait), to_us, "{policy:?}");
        }
        let open = Policy {
            embedded_dns_askers: EmbeddedDnsAskers::All,
            ..Policy::closed(MARK)
        };
        firewall.apply(&open).unwrap();
        assert!(is_answered(0, ARRIVES));
    });
}

/// To him, our question would look like the answer to a datagram of his, which Docker's redirection
/// leaves alone.
#[test]
fn who_binds_the_resolvers_address_is_not_asked() {
    both(|backend| {
        let namespace = Namespace::enter();
        run("ip link set lo up");
        embedded_resolver(backend);
        let mut firewall = namespace.open(backend, &Policy::closed(MARK));
        let sibling = UdpSocket::bind("127.0.0.11:53").unwrap();
        let is_asked = |wait| {
            let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
            SockRef::from(&asker).set_mark(MARK).unwrap();
            let _ = sibling.send_to(b"lure", asker.local_addr().unwrap());
            let _ = asker.send_to(b"question", "127.0.0.11:53");
            sibling.set_read_timeout(Some(wait)).unwrap();
            hears(|| sibling.recv(&mut [0; 16]))
        };
        let open = Policy {
            embedded_dns_askers: EmbeddedDnsAskers::All,
            ..Policy::closed(MARK)
        };
        firewall.apply(&open).unwrap();
        assert!(is_asked(ARRIVES), "nothing but the rule stops it");
        firewall.apply(&Policy::bootstrap(MARK, [])).unwrap();
        assert!(!is_asked(BLOCKED));
        assert!(is_answered(MARK, ARRIVES));
    });
}

#[test]
fn beside_a_tunnel_we_ask_docker_s_resolver_only_while_a_look_up_runs() {
    both(|backend| {
        let namespace = Namespace::enter();
        run("ip link set lo up");
        embedded_resolver(backend);
        let first = first_policy(true, &access(EmbeddedDns::ByHost));
        let kill_switch = kill_switch(namespace.open(backend, &first), EmbeddedDns::ByHost);
        assert!(is_answered(MARK, ARRIVES));
        kill_switch.connected(ENDPOINT, tunnel()).unwrap();
        assert!(!is_answered(MARK, BLOCKED));
        let lookup = kill_switch.open_lookup().unwrap();
        assert!(is_answered(MARK, ARRIVES) && !is_answered(0, BLOCKED));
        drop(lookup);
        assert!(!is_answered(MARK, BLOCKED));
    });
}

fn kill_switch(firewall: Firewall, embedded: EmbeddedDns) -> KillSwitch {
    KillSwitch::new(firewall, true, &access(embedded))
}

fn access(embedded: EmbeddedDns) -> NameServerAccess {
    NameServerAccess {
        embedded,
        ..NameServerAccess::default()
    }
}

#[test]
fn without_marks_all_may_ask_it_but_only_while_we_do() {
    let namespace = Namespace::enter();
    run("ip link set lo up");
    embedded_resolver(Backend::NfTables);
    let programs = lacking(&namespace, "-m mark");
    let first = first_policy(true, &access(EmbeddedDns::ByHost));
    let firewall = Firewall::new(programs, &namespace.bin(), false);
    let firewall = Firewall::open_any(vec![firewall], Some(&first)).unwrap();
    let kill_switch = kill_switch(firewall, EmbeddedDns::ByHost);
    assert!(!is_answered(0, BLOCKED));
    let lookup = kill_switch.open_lookup().unwrap();
    assert!(is_answered(0, ARRIVES));
    drop(lookup);
    assert!(!is_answered(0, BLOCKED));
}

#[test]
fn what_docker_before_26_needs_is_open_only_while_a_look_up_runs_and_never_beside_a_tunnel() {
    both(|backend| {
        let far = Far::connect("eth0");
        let namespace = Namespace::here();
        assert!(gets_out(&far, THERE, 53, ARRIVES), "the cable works");
        let first = first_policy(true, &access(EmbeddedDns::FromHere));
        let kill_switch = kill_switch(namespace.open(backend, &first), EmbeddedDns::FromHere);
        assert!(!gets_out(&far, THERE, 53, BLOCKED));
        let lookup = kill_switch.open_lookup().unwrap();
        let second = kill_switch.open_lookup().unwrap();
        assert!(gets_out(&far, THERE, 53, ARRIVES) && !gets_out(&far, THERE, 54, BLOCKED));
        drop(lookup);
        assert!(gets_out(&far, THERE, 53, ARRIVES));
        drop(second);
        kill_switch.admit([]).unwrap();
        assert!(!gets_out(&far, THERE, 53, BLOCKED));
        kill_switch.connected(ENDPOINT, tunnel()).unwrap();
        for change in [KillSwitch::settle, KillSwitch::close] {
            let _lookup = kill_switch.open_lookup().unwrap();
            kill_switch.admit([]).unwrap();
            assert!(!gets_out(&far, THERE, 53, BLOCKED));
            change(&kill_switch).unwrap();
            assert!(!gets_out(&far, THERE, 53, BLOCKED));
        }
    });
}

#[test]
fn docker_before_26_connects_on_a_kernel_without_xt_owner() {
    let far = Far::connect("eth0");
    let namespace = Namespace::here();
    let programs = lacking(&namespace, "-m owner");
    let first = first_policy(true, &access(EmbeddedDns::FromHere));
    let firewall = Firewall::new(programs, &namespace.bin(), false);
    let firewall = Firewall::open_any(vec![firewall], Some(&first)).unwrap();
    let kill_switch = kill_switch(firewall, EmbeddedDns::FromHere);
    let lookup = kill_switch.open_lookup().unwrap();
    assert!(gets_out(&far, THERE, 53, ARRIVES) && !gets_out(&far, THERE, 54, BLOCKED));
    drop(lookup);
    assert!(!gets_out(&far, THERE, 53, BLOCKED));
}
