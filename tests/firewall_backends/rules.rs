//! What stands in the kernel after each policy, whatever stood there before and whatever the kernel
//! lacks.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use wireguard_pia::firewall_internals::{
    Backend, CancellationToken, Destination, EmbeddedDns, Firewall, FirewallError, ForwardedPort,
    Gateway, Policy, Programs, TrafficKind, TunnelPolicy,
};

use crate::namespace::{BOTH, MARK, Namespace, install, iptables, lacking, other, run, saved};

pub fn closed() -> Policy {
    Policy::closed(MARK)
}

pub fn bootstrap() -> Policy {
    Policy::bootstrap(MARK, [Destination::udp(Ipv4Addr::new(9, 9, 9, 9), 53)])
        .asking(EmbeddedDns::FromHere)
}

/// With a rule of every kind.
pub fn connected() -> Policy {
    let tunnel = TunnelPolicy {
        interface: "wg0".into(),
        name_servers: [Ipv4Addr::new(10, 0, 0, 243)].into(),
        attached: [("eth0", "172.18.0.2/16"), ("eth0", "fd18::2/64")]
            .map(|(name, network)| (name.to_owned(), network.parse().unwrap()))
            .into(),
        local: [
            "192.168.1.0/24",
            "in:192.168.2.0/24",
            "192.168.3.10:8096/tcp",
            "out:192.168.3.11:53-54",
            "fd77::/64",
            "in:[fd78::/64]:80",
            "out:fd78::1/udp",
        ]
        .map(|entry| ("eth0".to_owned(), entry.parse().unwrap()))
        .into(),
        local_ports: Some(vec![TrafficKind {
            protocol: None,
            ports: Some("8080-8081".parse().unwrap()),
        }]),
        forwarded: Some(ForwardedPort {
            port: 40000,
            redirect: Some(6881),
        }),
        gateway: Some(Gateway::of_all(&["eth1"])),
    };
    Policy::connected(
        MARK,
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 1337),
        tunnel,
    )
}

fn handing_on() -> Policy {
    let mut policy = connected();
    if let Some(gateway) = policy
        .tunnel
        .as_mut()
        .and_then(|tunnel| tunnel.gateway.as_mut())
    {
        gateway.destination = Some(Ipv4Addr::new(172, 20, 0, 3));
    }
    policy
}

#[test]
fn every_policy_is_taken_and_its_jumps_stand_once() {
    for backend in BOTH {
        let namespace = Namespace::enter();
        let mut firewall = Firewall::open(
            Some(backend),
            &namespace.bin(),
            Some(&closed()),
            true,
            true,
            &CancellationToken::never(),
        )
        .unwrap();
        assert_eq!(firewall.backend(), backend);
        for policy in [
            bootstrap(),
            connected(),
            connected(),
            handing_on(),
            bootstrap(),
            connected(),
        ] {
            firewall.apply(&policy).unwrap();
        }
        let saved = saved(backend);
        for jump in ["INPUT", "OUTPUT", "FORWARD"] {
            let expected = if jump == "FORWARD" { 1 } else { 2 };
            assert_eq!(
                saved.matches(&format!("-A {jump} -j PIA_{jump}\n")).count(),
                expected,
                "{backend}\n{saved}"
            );
            assert_eq!(
                saved.matches(&format!(":{jump} DROP\n")).count(),
                2,
                "{backend}\n{saved}"
            );
        }
        for jump in ["PREROUTING", "POSTROUTING"] {
            assert_eq!(
                saved.matches(&format!("-A {jump} -j PIA_{jump}\n")).count(),
                2,
                "{backend}\n{saved}"
            );
        }
        assert_eq!(
            saved.matches("REDIRECT --to-ports 6881").count(),
            2,
            "{saved}"
        );
        assert_eq!(saved.matches("-o wg0 -j MASQUERADE").count(), 1, "{saved}");
        firewall.apply(&closed()).unwrap();
        assert!(!self::saved(backend).contains("wg0"));
    }
}

#[test]
fn a_second_life_finds_its_way_whatever_the_first_left() {
    for backend in BOTH {
        let namespace = Namespace::enter();
        namespace
            .open(backend, &closed())
            .apply(&connected())
            .unwrap();
        let mut firewall = namespace.open(backend, &bootstrap());
        let after = saved(backend);
        for gone in ["wg0", "REDIRECT", "PIA_PREROUTING"] {
            assert!(!after.contains(gone), "{gone}\n{after}");
        }
        firewall.apply(&connected()).unwrap();
        let twice = saved(backend);

        let namespace = Namespace::enter();
        namespace
            .open(backend, &closed())
            .apply(&connected())
            .unwrap();
        assert_eq!(twice, saved(backend));
    }
}

/// The kernel says that there is nothing, so no program has to list it.
#[test]
fn rules_are_listed_only_where_an_earlier_life_may_have_left_some() {
    const DOCKER: &str = "iptables-nft-restore --noflush <<'END'
*nat
:DOCKER_OUTPUT - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
COMMIT
END";
    for (before, lists) in [
        ("true", false),
        (DOCKER, false),
        ("iptables-nft -N MINE", false),
        ("iptables-nft -N PIA_INPUT", true),
        ("ip6tables-nft -t mangle -N MINE", true),
        ("iptables-legacy -N PIA_INPUT", true),
    ] {
        let namespace = Namespace::enter();
        run(before);
        let mut programs = Programs::find(Backend::NfTables, Path::new("/nonexistent")).unwrap();
        let marker = namespace.directory.path().join("listed");
        let note = format!("touch {}", marker.display());
        for name in ["iptables-save", "ip6tables-save"] {
            install(&namespace, &mut programs, name, &note);
        }
        let firewall = Firewall::new(programs, &namespace.bin(), false);
        Firewall::open_any(vec![firewall], Some(&closed())).unwrap();
        assert_eq!(marker.exists(), lists, "{before}");
    }
}

#[test]
fn rules_of_the_other_backend_do_not_judge_once_more() {
    for backend in BOTH {
        let namespace = Namespace::enter();
        namespace
            .open(backend, &closed())
            .apply(&connected())
            .unwrap();
        run(&format!(
            "{} -A OUTPUT -d 192.0.2.99 -j DROP",
            iptables(backend)
        ));
        namespace.open(other(backend), &closed());
        let left = saved(backend);
        assert!(
            !left.contains("PIA_") && !left.contains(" DROP\n:"),
            "{left}"
        );
        assert!(
            left.contains("-A OUTPUT -d 192.0.2.99/32 -j DROP"),
            "{left}"
        );
        assert!(saved(other(backend)).contains(":OUTPUT DROP"));
    }
}

#[test]
fn without_the_kill_switch_an_earlier_one_goes_and_the_gateway_works() {
    for backend in BOTH {
        let namespace = Namespace::enter();
        namespace
            .open(backend, &closed())
            .apply(&connected())
            .unwrap();
        let mut firewall = namespace.open(backend, &closed().unsealed());
        let open = saved(backend);
        assert!(!open.contains("PIA_") && !open.contains("DROP"), "{open}");
        firewall.apply(&handing_on().unsealed()).unwrap();
        let open = saved(backend);
        assert!(
            open.contains("MASQUERADE") && open.contains("--to-destination 172.20.0.3:6881"),
            "{open}"
        );
        assert!(
            open.contains("-A FORWARD -j PIA_FORWARD") && !open.contains("DROP"),
            "{open}"
        );
    }
}

#[test]
fn a_policy_that_others_set_stays_without_the_kill_switch() {
    let namespace = Namespace::enter();
    run("iptables-nft -P FORWARD DROP; iptables-nft -A INPUT -p tcp --dport 22 -j DROP");
    let mut firewall = namespace.open(Backend::NfTables, &closed().unsealed());
    firewall.apply(&handing_on().unsealed()).unwrap();
    let kept = saved(Backend::NfTables);
    assert!(
        kept.contains(":FORWARD DROP") && kept.contains("--dport 22 -j DROP"),
        "{kept}"
    );
}

#[test]
fn rules_of_users_and_of_docker_are_never_touched() {
    for backend in BOTH {
        let namespace = Namespace::enter();
        let name = iptables(backend);
        run(&format!(
            "{name}-restore --noflush <<'END'
*nat
:DOCKER_OUTPUT - [0:0]
:DOCKER_POSTROUTING - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:41234
COMMIT
END
{name} -A INPUT -p tcp --dport 8080 -j ACCEPT"
        ));
        let mut firewall = namespace.open(backend, &closed());
        firewall.apply(&connected()).unwrap();
        run(&format!(
            "{name} -I OUTPUT -d 198.51.100.1 -j ACCEPT; {name} -A INPUT -s 198.51.100.1 -j ACCEPT
             {name} -t nat -I PREROUTING -i wg0 -p tcp --dport 81 -j REDIRECT --to-ports 82"
        ));
        firewall.apply(&handing_on()).unwrap();
        firewall.apply(&closed()).unwrap();
        namespace
            .open(backend, &bootstrap())
            .apply(&connected())
            .unwrap();
        namespace
            .open(other(backend), &bootstrap())
            .apply(&connected())
            .unwrap();
        let kept = saved(backend);
        for rule in [
            "-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT",
            "-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING",
            "-j DNAT --to-destination 127.0.0.11:41234",
            "-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT",
            "-A OUTPUT -d 198.51.100.1/32 -j ACCEPT",
            "-A INPUT -s 198.51.100.1/32 -j ACCEPT",
            "--dport 81 -j REDIRECT --to-ports 82",
        ] {
            assert_eq!(kept.matches(rule).count(), 1, "{rule}\n{kept}");
        }
    }
}

/// Made as wg-quick makes them, by nft where that is installed, else by iptables.
#[test]
fn the_rules_of_wg_quick_follow_the_address_and_go_with_the_next_life() {
    let (old, new) = (Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 9, 8, 7));
    for backend in BOTH {
        let by_iptables = format!(
            "{}-restore -n <<'END'
*raw
-I PREROUTING ! -i wg0 -d {old} -m addrtype ! --src-type LOCAL -j DROP -m comment --comment \
\"wg-quick(8) rule for wg0\"
COMMIT
*mangle
-I PREROUTING -p udp -j CONNMARK --restore-mark -m comment --comment \"wg-quick(8) rule for wg0\"
COMMIT
END",
            iptables(backend)
        );
        let by_nft = format!(
            "nft -f - <<'END'
add table ip wg-quick-wg0
add chain ip wg-quick-wg0 preraw {{ type filter hook prerouting priority -300; }}
add rule ip wg-quick-wg0 preraw iifname != \"wg0\" ip daddr {old} fib saddr type != local drop
END"
        );
        let saved_by_iptables = format!("{}-save", iptables(backend));
        let nft_table = "nft list table ip wg-quick-wg0".to_owned();
        for (made, list) in [(by_iptables, saved_by_iptables), (by_nft, nft_table)] {
            let namespace = Namespace::enter();
            let firewall = namespace.open(backend, &closed());
            let rule = firewall.wg_quick_rule();
            rule.follow("wg0", old, new).unwrap();
            run(&made);
            for (from, to) in [(old, new), (new, new), (old, new)] {
                rule.follow("wg0", from, to).unwrap();
                let rules = run(&list);
                assert_eq!(rules.matches(&new.to_string()).count(), 1, "{rules}");
                assert_eq!(rules.matches(&old.to_string()).count(), 0, "{rules}");
            }
            namespace.open(other(backend), &closed());
            let rules = saved(backend) + &run("nft list tables");
            assert!(!rules.contains("wg-quick"), "{rules}");
        }
    }
}

#[test]
fn the_backend_is_found_and_its_programs_come_first_only_where_they_must() {
    let namespace = Namespace::enter();
    let plain = if run("iptables --version").contains("nf_tables") {
        Backend::NfTables
    } else {
        Backend::Legacy
    };
    for backend in [other(plain), plain] {
        let firewall = Firewall::open(
            Some(backend),
            &namespace.bin(),
            None,
            false,
            true,
            &CancellationToken::never(),
        )
        .unwrap();
        assert_eq!(firewall.private_bin_needed(), backend != plain);
        let links = namespace.bin().join("iptables");
        assert_eq!(links.exists(), backend != plain);
        if backend != plain {
            let version = run(&format!("{} --version", links.display()));
            assert!(version.contains(&backend.to_string()), "{version}");
        }
    }
    assert!(!saved(Backend::NfTables).contains("PIA_") && !saved(Backend::Legacy).contains("PIA_"));
    let firewall = Firewall::open(
        None,
        &namespace.bin(),
        Some(&closed()),
        false,
        true,
        &CancellationToken::never(),
    )
    .unwrap();
    assert_eq!(firewall.backend(), Backend::NfTables);
}

fn open_lacking(namespace: &Namespace, words: &str) -> Result<Firewall, FirewallError> {
    let firewall = Firewall::new(lacking(namespace, words), &namespace.bin(), true);
    Firewall::open_any(vec![firewall], Some(&bootstrap()))
}

#[test]
fn without_a_module_the_rest_holds() {
    let namespace = Namespace::enter();
    let mut firewall = open_lacking(&namespace, "-m owner|-m mark|CONNMARK|MASQUERADE").unwrap();
    let first = saved(Backend::NfTables);
    assert!(
        first.contains(":OUTPUT DROP")
            && first.contains("-d 9.9.9.9/32 -p udp -m udp --dport 53 -j ACCEPT")
    );
    firewall.apply(&connected()).unwrap();
    let saved = saved(Backend::NfTables);
    assert!(
        saved.contains("-A PIA_OUTPUT -o wg0 -j ACCEPT") && saved.contains("REDIRECT"),
        "{saved}"
    );
    assert!(!saved.contains("PIA_PROBE"), "{saved}");
    assert_eq!(saved.matches("-A INPUT -j PIA_INPUT").count(), 2, "{saved}");
}

#[test]
fn what_cannot_be_closed_is_an_error_and_ipv6_alone_a_warning() {
    let namespace = Namespace::enter();
    let error = open_lacking(&namespace, "DROP").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("firewall: no rules can be set: with nf_tables: iptables-restore: "),
        "{error}"
    );
    // Only the IPv6 rules have no conntrack and close something.
    let mut programs = lacking(&namespace, "DROP");
    let real = Programs::find(Backend::NfTables, Path::new("/nonexistent")).unwrap();
    let of_ipv4 = real.path("iptables-restore").unwrap().to_owned();
    programs.replace("iptables-restore", of_ipv4);
    let firewall = Firewall::new(programs, &namespace.bin(), false);
    let mut firewall = Firewall::open_any(vec![firewall], Some(&closed())).unwrap();
    firewall.apply(&connected()).unwrap();
    assert!(saved(Backend::NfTables).contains("-A PIA_OUTPUT -o wg0 -j ACCEPT"));
}

#[test]
fn a_refused_policy_leaves_the_former_one_in_force() {
    let namespace = Namespace::enter();
    let mut firewall = open_lacking(&namespace, "192.0.2.7").unwrap();
    let filter = || run("iptables-nft-save -t filter | sed '/^#/d; s/ \\[.*//'");
    let before = filter();
    assert!(matches!(
        firewall.apply(&connected()),
        Err(FirewallError::NotLoaded { .. })
    ));
    assert_eq!(filter(), before);
    firewall.apply(&bootstrap()).unwrap();
    assert_eq!(filter(), before);
}

#[test]
fn legacy_takes_over_where_nf_tables_does_not_work() {
    let namespace = Namespace::enter();
    for lacks in [".", "-m conntrack"] {
        let candidates = [
            lacking(&namespace, lacks),
            Programs::find(Backend::Legacy, Path::new("/nonexistent")).unwrap(),
        ];
        let firewalls = candidates
            .into_iter()
            .map(|programs| Firewall::new(programs, &namespace.bin(), false))
            .collect();
        let firewall = Firewall::open_any(firewalls, Some(&bootstrap())).unwrap();
        assert_eq!(firewall.backend(), Backend::Legacy);
        assert!(!saved(Backend::NfTables).contains("PIA_"));
    }
}
