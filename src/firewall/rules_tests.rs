//! What each policy looks like as rules, word by word; and that none ever opens more than it names.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::error::FirewallError;
use super::kernel_modules::KernelModule;
use super::local_access::{Direction, LocalAccess};
use super::policy::{
    Destination, EmbeddedDns, EmbeddedDnsAskers, ForwardedPort, Gateway, GatewayDns, Policy,
    TunnelPolicy,
};
use super::rule::Rule;
use super::rules::render;
use super::table::Table;
use super::tables::{Family, TableName};
use super::traffic::{Protocol, TrafficKind};
use super::wire::{EgressInterface, Stamping};

const MARK: u32 = 51820;

fn tunnel() -> TunnelPolicy {
    TunnelPolicy {
        interface: "wg0".into(),
        ..TunnelPolicy::default()
    }
}

fn network(interface: &str, network: &str) -> (String, IpNet) {
    (interface.into(), network.parse().unwrap())
}

fn access(interface: &str, entry: &str) -> (String, LocalAccess) {
    (interface.into(), entry.parse().unwrap())
}

fn connected(tunnel: TunnelPolicy) -> Policy {
    Policy::connected(
        MARK,
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 1337),
        tunnel,
    )
}

fn find(policy: &Policy, name: TableName, strict: bool) -> Table {
    render(policy, Family::V4, strict, Stamping::default())
        .unwrap()
        .into_iter()
        .find(|table| table.name == name)
        .unwrap()
}

/// The rules in chains of ours.
fn rules(policy: &Policy, name: TableName) -> String {
    let text = find(policy, name, false).without_jumps().to_string();
    text.lines()
        .filter(|line| line.starts_with("-A"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Nobody is somebody else on lo.
const STRANGERS: [&str; 4] = [
    "-A PIA_OUTPUT -o lo -m addrtype ! --src-type LOCAL -m conntrack --ctdir ORIGINAL -j DROP",
    "-A PIA_INPUT -i lo -m addrtype ! --src-type LOCAL -m conntrack --ctdir ORIGINAL -j DROP",
    "-A PIA_INPUT -i lo -p udp --sport 53 -m addrtype ! --src-type LOCAL -m conntrack \
     ! --ctstate DNAT -j DROP",
    "-A PIA_INPUT -i lo -p tcp --sport 53 -m addrtype ! --src-type LOCAL -m conntrack \
     ! --ctstate DNAT -j DROP",
];

fn strangers() -> String {
    STRANGERS.map(|rule| format!("{rule}\n")).concat()
}

#[test]
fn the_first_load_closes_everything_and_jumps_to_our_chains() {
    let to = [
        Destination::udp(Ipv4Addr::new(9, 9, 9, 9), 53),
        Destination::tcp(Ipv4Addr::new(192, 0, 2, 1), 443),
    ];
    let table = find(&Policy::bootstrap(MARK, to), TableName::Filter, false);
    let head = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\n\
        :PIA_INPUT - [0:0]\n:PIA_OUTPUT - [0:0]\n:PIA_FORWARD - [0:0]\n";
    let jumps = "-A INPUT -j PIA_INPUT\n-A OUTPUT -j PIA_OUTPUT\n-A FORWARD -j PIA_FORWARD\n";
    let rules = "-A PIA_INPUT -i lo -j ACCEPT\n\
        -A PIA_INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A PIA_OUTPUT -s 127.0.0.11/32 -m conntrack --ctdir ORIGINAL -j DROP\n\
        -A PIA_OUTPUT -d 127.0.0.11/32 -m mark ! --mark 0xca6c -j DROP\n\
        -A PIA_OUTPUT -m conntrack --ctorigdst 127.0.0.11 -m conntrack --ctdir ORIGINAL \
        -m mark ! --mark 0xca6c -j DROP\n\
        -A PIA_OUTPUT -o lo -j ACCEPT\n\
        -A PIA_OUTPUT -d 192.0.2.1/32 -p tcp -m mark --mark 0xca6c --dport 443 -j ACCEPT\n\
        -A PIA_OUTPUT -d 9.9.9.9/32 -p udp -m mark --mark 0xca6c --dport 53 -j ACCEPT\nCOMMIT\n";
    let rules = strangers() + rules;
    assert_eq!(table.to_string(), format!("{head}{jumps}{rules}"));
    assert_eq!(table.without_jumps().to_string(), format!("{head}{rules}"));
}

#[test]
fn an_ipv6_name_server_has_exact_rules_and_its_neighbours() {
    let policy = Policy {
        name_servers_v6: vec!["2001:db8::53".parse().unwrap()],
        ..Policy::closed(MARK)
    };
    let tables = render(&policy, Family::V6, false, Stamping::default()).unwrap();
    let text = tables[0].without_jumps().to_string();
    let of = |server: &str, rest: &str| format!("-A PIA_OUTPUT -d {server} -p {rest} -j ACCEPT");
    let mut expected: Vec<String> = [
        &[
            "-A PIA_INPUT -i lo -s ::1/128 -j ACCEPT",
            "-A PIA_OUTPUT -o lo -s ::1/128 -j ACCEPT",
        ],
        &STRANGERS[..],
        &[
            "-A PIA_INPUT -i lo -j ACCEPT",
            "-A PIA_OUTPUT -o lo -j ACCEPT",
            "-A PIA_INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    for kind in ["135", "136"] {
        let neighbour = format!("ipv6-icmp --icmpv6-type {kind}");
        expected.push(format!("-A PIA_INPUT -p {neighbour} -j ACCEPT"));
        for to in ["ff02::/16", "fe80::/10", "2001:db8::53/128"] {
            expected.push(of(to, &neighbour));
        }
    }
    for protocol in ["udp", "tcp"] {
        let question = format!("{protocol} -m mark --mark 0xca6c --dport 53");
        expected.push(of("2001:db8::53/128", &question));
    }
    let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("-A")).collect();
    assert_eq!(rules, expected);
}

#[test]
fn ipv6_has_lo_and_nothing_else() {
    let tables = render(&connected(tunnel()), Family::V6, true, Stamping::default()).unwrap();
    assert_eq!(
        tables
            .into_iter()
            .filter(Table::matters)
            .map(|table| table.without_jumps().to_string())
            .collect::<String>(),
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\n:PIA_INPUT - \
         [0:0]\n:PIA_OUTPUT - [0:0]\n\
         -A PIA_INPUT -i lo -j ACCEPT\n-A PIA_OUTPUT -o lo -j ACCEPT\nCOMMIT\n"
    );
}

#[test]
fn the_stamp_comes_last_and_is_read_by_nobody() {
    let eth0 = EgressInterface {
        name: "eth0".into(),
        index: 2,
    };
    let stamping = Stamping {
        stamp: 0xabcd,
        interfaces: &[eth0],
    };
    let tables = render(&connected(tunnel()), Family::V4, true, stamping).unwrap();
    let mangle = tables.last().unwrap().without_jumps().to_string();
    assert_eq!(
        mangle,
        "*mangle\n:PIA_PREROUTING - [0:0]\n:PIA_POSTROUTING - [0:0]\n\
         -A PIA_PREROUTING -m mark --mark 0xabcd -j MARK --set-mark 0x0\n\
         -A PIA_POSTROUTING -p tcp -m mark --mark 0xca6c -j CONNMARK --save-mark\n\
         -A PIA_PREROUTING -p tcp -j CONNMARK --restore-mark\n\
         -A PIA_POSTROUTING -o eth0 -j MARK --set-mark 0xabcd\nCOMMIT\n"
    );
    let ipv6 = render(&connected(tunnel()), Family::V6, true, stamping).unwrap();
    assert!(!ipv6.last().unwrap().to_string().contains("CONNMARK"));
    assert!(ipv6.last().unwrap().matters());
}

#[test]
fn old_docker_lets_root_ask_for_names() {
    let policy = Policy::bootstrap(MARK, []).asking(EmbeddedDns::FromHere);
    assert!(
        rules(&policy, TableName::Filter)
            .contains("-A PIA_OUTPUT -p udp -m owner --uid-owner 0 --dport 53 -j ACCEPT\n")
    );
}

#[test]
fn connected_opens_the_tunnel_the_endpoint_and_the_named_networks() {
    let policy = connected(TunnelPolicy {
        attached: vec![network("eth0", "172.18.0.0/16")],
        local: vec![access("eth0", "192.168.1.0/24")],
        forwarded: Some(ForwardedPort {
            port: 40000,
            redirect: None,
        }),
        ..tunnel()
    });
    assert_eq!(
        rules(&policy, TableName::Filter),
        strangers()
            + "-A PIA_INPUT -i lo -j ACCEPT\n\
         -A PIA_INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A PIA_OUTPUT -s 127.0.0.11/32 -m conntrack --ctdir ORIGINAL -j DROP\n\
         -A PIA_OUTPUT -d 127.0.0.11/32 -j DROP\n\
         -A PIA_OUTPUT -m conntrack --ctorigdst 127.0.0.11 -m conntrack --ctdir ORIGINAL \
         -j DROP\n\
         -A PIA_OUTPUT -o lo -j ACCEPT\n\
         -A PIA_OUTPUT -d 192.0.2.7/32 -p udp -m mark --mark 0xca6c --dport 1337 -j ACCEPT\n\
         -A PIA_OUTPUT -o wg0 -j ACCEPT\n\
         -A PIA_INPUT -i eth0 -s 172.18.0.0/16 -j ACCEPT\n\
         -A PIA_OUTPUT -o eth0 -d 172.18.0.0/16 -j ACCEPT\n\
         -A PIA_INPUT -i eth0 -s 192.168.1.0/24 -j ACCEPT\n\
         -A PIA_OUTPUT -o eth0 -d 192.168.1.0/24 -j ACCEPT\n\
         -A PIA_INPUT -i wg0 -p tcp --dport 40000 -j ACCEPT\n\
         -A PIA_INPUT -i wg0 -p udp --dport 40000 -j ACCEPT\n"
    );
    assert!(!find(&policy, TableName::Nat, false).matters());
    assert!(!find(&policy, TableName::Mangle, false).matters());
}

#[test]
fn reconnecting_keeps_what_is_open_and_adds_the_way_to_a_new_server() {
    let policy =
        connected(tunnel()).reconnecting([Destination::tcp(Ipv4Addr::new(192, 0, 2, 8), 1337)]);
    let rules = rules(&policy, TableName::Filter);
    assert!(
        rules.contains("-d 192.0.2.7/32 -p udp -m mark --mark 0xca6c --dport 1337 -j ACCEPT\n")
    );
    assert!(
        rules.contains("-d 192.0.2.8/32 -p tcp -m mark --mark 0xca6c --dport 1337 -j ACCEPT\n")
    );
    assert!(rules.contains("-A PIA_OUTPUT -o wg0 -j ACCEPT\n"));
}

#[test]
fn strict_rp_filter_needs_the_mark_back_once_there_is_a_tunnel() {
    let table = find(&connected(tunnel()), TableName::Mangle, true);
    assert_eq!(
        table.to_string(),
        "*mangle\n:PIA_PREROUTING - [0:0]\n:PIA_POSTROUTING - [0:0]\n\
         -A PREROUTING -j PIA_PREROUTING\n-A POSTROUTING -j PIA_POSTROUTING\n\
         -A PIA_POSTROUTING -p tcp -m mark --mark 0xca6c -j CONNMARK --save-mark\n\
         -A PIA_PREROUTING -p tcp -j CONNMARK --restore-mark\nCOMMIT\n"
    );
    assert!(!find(&Policy::closed(MARK), TableName::Mangle, true).matters());
}

#[test]
fn a_redirected_port_is_open_only_to_what_was_redirected() {
    let forwarded = Some(ForwardedPort {
        port: 40000,
        redirect: Some(6881),
    });
    let policy = connected(TunnelPolicy {
        forwarded,
        ..tunnel()
    });
    let filter = rules(&policy, TableName::Filter);
    assert!(filter.contains(
        "-A PIA_INPUT -i wg0 -p udp -m conntrack --ctorigdstport 40000 --dport 6881 -j ACCEPT\n"
    ));
    assert!(!filter.contains("--dport 40000"));
    assert_eq!(
        rules(&policy, TableName::Nat),
        "-A PIA_PREROUTING -i wg0 -p tcp --dport 40000 -j REDIRECT --to-ports 6881\n\
         -A PIA_PREROUTING -i wg0 -p udp --dport 40000 -j REDIRECT --to-ports 6881\n"
    );
}

#[test]
fn a_gateway_lends_the_tunnel_and_hands_the_port_on_with_and_without_the_kill_switch() {
    let gateway = Some(Gateway {
        destination: Some(Ipv4Addr::new(172, 20, 0, 3)),
        ..Gateway::of_all(&["eth1"])
    });
    let forwarded = Some(ForwardedPort {
        port: 40000,
        redirect: None,
    });
    let policy = connected(TunnelPolicy {
        gateway,
        forwarded,
        ..tunnel()
    });
    let clamp = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n";
    let answer = |protocol: &str| {
        format!(
            "-A PIA_FORWARD -i eth1 -s 172.20.0.3/32 -o wg0 -p {protocol} --sport 40000 -m \
             conntrack --ctstate ESTABLISHED -m conntrack --ctdir REPLY -j ACCEPT\n"
        )
    };
    let (by_tcp, by_udp) = (answer("tcp"), answer("udp"));
    let forward = format!(
        "-A PIA_FORWARD -o wg0 {clamp}\
        -A PIA_FORWARD -i wg0 {clamp}\
        -A PIA_FORWARD -i eth1 -s 0.0.0.0/0 -o wg0 -j ACCEPT\n\
        -A PIA_FORWARD -i wg0 -o eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A PIA_FORWARD -i wg0 -o eth1 -d 172.20.0.3/32 -p tcp --dport 40000 -j ACCEPT\n\
        {by_tcp}\
        -A PIA_FORWARD -i wg0 -o eth1 -d 172.20.0.3/32 -p udp --dport 40000 -j ACCEPT\n\
        {by_udp}"
    );
    let nat = "-A PIA_PREROUTING -i wg0 -p tcp --dport 40000 -j DNAT --to-destination \
               172.20.0.3:40000\n\
        -A PIA_PREROUTING -i wg0 -p udp --dport 40000 -j DNAT --to-destination 172.20.0.3:40000\n\
        -A PIA_POSTROUTING -o wg0 -j MASQUERADE\n";
    assert!(rules(&policy, TableName::Filter).ends_with(&forward));
    assert_eq!(rules(&policy, TableName::Nat), nat);
    let unsealed = policy.unsealed();
    assert_eq!(
        find(&unsealed, TableName::Filter, false).to_string(),
        format!("*filter\n:PIA_FORWARD - [0:0]\n-A FORWARD -j PIA_FORWARD\n{forward}COMMIT\n")
    );
    assert_eq!(rules(&unsealed, TableName::Nat), nat);
    assert_eq!(
        render(&unsealed, Family::V6, true, Stamping::default()).unwrap(),
        []
    );
}

#[test]
fn a_gateway_lets_in_whom_it_is_told_to_by_every_interface_and_answers_their_look_ups() {
    let gateway = Some(Gateway {
        sources: vec![
            "172.20.0.3/32".parse().unwrap(),
            "172.21.0.0/24".parse().unwrap(),
        ],
        dns: GatewayDns::Server(Ipv4Addr::new(10, 0, 0, 243)),
        ..Gateway::of_all(&["eth1", "eth2"])
    });
    let policy = connected(TunnelPolicy {
        gateway,
        ..tunnel()
    });
    let filter = rules(&policy, TableName::Filter);
    let nat = rules(&policy, TableName::Nat);
    for interface in ["eth1", "eth2"] {
        for source in ["172.20.0.3/32", "172.21.0.0/24"] {
            let who = format!("-i {interface} -s {source}");
            assert!(filter.contains(&format!("-A PIA_FORWARD {who} -o wg0 -j ACCEPT\n")));
            for protocol in ["udp", "tcp"] {
                assert!(nat.contains(&format!(
                    "-A PIA_PREROUTING {who} -p {protocol} --dport 53 -j DNAT --to-destination \
                     10.0.0.243\n"
                )));
            }
        }
        assert!(!filter.contains(&format!("-i {interface} -s 0.0.0.0/0")));
    }
}

#[test]
fn a_gateway_whose_sources_make_no_sense_lets_nobody_in() {
    let gateway = Some(Gateway {
        sources: Vec::new(),
        dns: GatewayDns::Server(Ipv4Addr::new(10, 0, 0, 243)),
        ..Gateway::of_all(&["eth1"])
    });
    let policy = connected(TunnelPolicy {
        gateway,
        ..tunnel()
    });
    assert!(!rules(&policy, TableName::Filter).contains("-i eth1"));
    assert!(!rules(&policy, TableName::Nat).contains("-i eth1"));
}

#[test]
fn without_the_kill_switch_nothing_is_done_unasked() {
    let tables = render(
        &connected(tunnel()).unsealed(),
        Family::V4,
        false,
        Stamping::default(),
    )
    .unwrap();
    assert!(tables.iter().all(|table| !table.matters()));
}

#[test]
fn an_interface_cannot_smuggle_in_a_rule() {
    for name in [
        "eth0 -j ACCEPT",
        "eth0\n-A INPUT",
        "",
        "-j",
        "a-name-too-long-",
        "\"",
        "#",
    ] {
        let gateway = Some(Gateway {
            ..Gateway::of_all(&[name])
        });
        let rendered = render(
            &connected(TunnelPolicy {
                gateway,
                ..tunnel()
            }),
            Family::V4,
            false,
            Stamping::default(),
        );
        assert!(
            matches!(rendered, Err(FirewallError::Interface { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn without_a_module_a_rule_goes_or_still_names_address_and_port() {
    let table = find(
        &Policy::bootstrap(MARK, [Destination::tcp(Ipv4Addr::LOCALHOST, 443)])
            .asking(EmbeddedDns::FromHere),
        TableName::Filter,
        false,
    );
    let text = table
        .without(&[
            KernelModule::Mark,
            KernelModule::Owner,
            KernelModule::Conntrack,
        ])
        .without_jumps()
        .to_string();
    let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("-A")).collect();
    assert_eq!(
        rules,
        [
            "-A PIA_INPUT -i lo -j ACCEPT",
            "-A PIA_OUTPUT -d 127.0.0.11/32 -j ACCEPT",
            "-A PIA_OUTPUT -d 127.0.0.11/32 -j DROP",
            "-A PIA_OUTPUT -o lo -j ACCEPT",
            "-A PIA_OUTPUT -d 127.0.0.1/32 -p tcp --dport 443 -j ACCEPT",
            "-A PIA_OUTPUT -p udp --dport 53 -j ACCEPT"
        ]
    );
    let mangle = find(&connected(tunnel()), TableName::Mangle, true);
    assert!(!mangle.without(&[KernelModule::Connmark]).matters());
}

fn destination() -> impl Strategy<Value = Destination> {
    (any::<bool>(), any::<u32>(), any::<u16>()).prop_map(|(tcp, address, port)| match tcp {
        true => Destination::tcp(address.into(), port),
        false => Destination::udp(address.into(), port),
    })
}

fn networks(interface: &'static str) -> impl Strategy<Value = Vec<(String, IpNet)>> {
    let network = (any::<u32>(), 0..=32_u8);
    let network = network
        .prop_map(|(address, length)| IpNet::V4(Ipv4Net::new(address.into(), length).unwrap()));
    proptest::collection::vec(
        network.prop_map(move |network| (interface.to_owned(), network)),
        0..3,
    )
}

fn traffic() -> impl Strategy<Value = TrafficKind> {
    let traffic = |protocol, ports: &str| TrafficKind {
        protocol,
        ports: (!ports.is_empty()).then(|| ports.parse().unwrap()),
    };
    let protocols = [None, Some(Protocol::Tcp), Some(Protocol::Udp)];
    let all = protocols.map(|protocol| ["", "80", "80-90"].map(|ports| traffic(protocol, ports)));
    proptest::sample::select(all.concat())
}

fn accesses() -> impl Strategy<Value = Vec<(String, LocalAccess)>> {
    let directions = vec![Direction::Both, Direction::In, Direction::Out];
    let one = (
        networks("eth1"),
        proptest::sample::select(directions),
        traffic(),
    );
    one.prop_map(|(networks, direction, traffic)| {
        let access = |(interface, range)| {
            let access = LocalAccess {
                range,
                direction,
                traffic,
            };
            (interface, access)
        };
        networks.into_iter().map(access).collect()
    })
}

fn any_tunnel() -> impl Strategy<Value = TunnelPolicy> {
    let forwarded = (any::<u16>(), any::<Option<u16>>());
    let forwarded = forwarded.prop_map(|(port, redirect)| ForwardedPort { port, redirect });
    let gateway = any::<Option<u32>>();
    let gateway = gateway.prop_map(|address| Gateway {
        destination: address.map(Ipv4Addr::from),
        ..Gateway::of_all(&["eth2"])
    });
    let name_servers = proptest::collection::btree_set(any::<u32>().prop_map(Into::into), 0..3);
    let parts = (
        name_servers,
        networks("eth0"),
        accesses(),
        proptest::option::of(proptest::collection::vec(traffic(), 0..2)),
        proptest::option::of(forwarded),
        proptest::option::of(gateway),
    );
    parts.prop_map(
        |(name_servers, attached, local, local_ports, forwarded, gateway)| TunnelPolicy {
            interface: "wg0".into(),
            name_servers,
            attached,
            local,
            local_ports,
            forwarded,
            gateway,
        },
    )
}

#[test]
fn docker_s_resolver_is_ours_on_the_way_to_pia_unless_the_user_leaves_it_to_all() {
    let nobodys = "-d 127.0.0.11/32 -j DROP\n";
    let ours = "-d 127.0.0.11/32 -m mark ! --mark 0xca6c -j DROP\n";
    for (policy, guard) in [
        (Policy::closed(MARK), nobodys),
        (Policy::bootstrap(MARK, []), ours),
        (connected(tunnel()), nobodys),
        (connected(tunnel()).reconnecting([]), ours),
    ] {
        let rules = rules(&policy, TableName::Filter);
        let lo = rules.find("-o lo -j ACCEPT").unwrap();
        assert!(rules.find(guard).is_some_and(|at| at < lo), "{rules}");
        let open = Policy {
            embedded_dns_askers: EmbeddedDnsAskers::All,
            ..policy
        };
        assert!(!self::rules(&open, TableName::Filter).contains("127.0.0.11"));
    }
}

#[test]
fn the_endpoint_s_rule_stays_whatever_is_missing() {
    let table = find(&connected(tunnel()), TableName::Filter, false);
    let lacking = |missing: &[KernelModule]| table.without(missing).to_string();
    let of_host = "-A PIA_OUTPUT -d 192.0.2.7/32 -p udp";
    for (missing, left) in [
        (vec![KernelModule::Mark], " --dport 1337 -j ACCEPT\n"),
        (
            vec![KernelModule::Ports],
            " -m mark --mark 0xca6c -j ACCEPT\n",
        ),
        (
            vec![KernelModule::Ports, KernelModule::Mark],
            " -j ACCEPT\n",
        ),
    ] {
        let rules = lacking(&missing);
        assert!(rules.contains(&format!("{of_host}{left}")), "{rules}");
    }
}

/// Every line that the templates hold, with something in each place.
fn template_lines() -> Vec<String> {
    let templates = [
        include_str!("../../templates/filter.rules"),
        include_str!("../../templates/filter6.rules"),
        include_str!("../../templates/lan.rules"),
        include_str!("../../templates/strangers.rules"),
        include_str!("../../templates/nat.rules"),
        include_str!("../../templates/mangle.rules"),
    ];
    let mut lines = Vec::new();
    for line in templates.iter().flat_map(|template| template.lines()) {
        let mut line = line.to_owned();
        while let (Some(start), Some(end)) = (line.find("{{"), line.find("}}")) {
            line.replace_range(start..end + 2, "x1");
        }
        lines.push(line);
    }
    lines
}

#[test]
fn every_rule_of_a_template_comes_back_word_for_word_and_its_modules_are_known() {
    // Whether a mark can be set is tried apart (wire.rs).
    let basic = ["ACCEPT", "DROP", "MARK"];
    for line in template_lines() {
        if !line.starts_with("-A") {
            continue;
        }
        let rule = Rule::parse(&line).expect(&line);
        assert_eq!(rule.to_string(), line);
        let modules: Vec<KernelModule> = rule.modules().collect();
        let words: Vec<&str> = line.split(' ').collect();
        for pair in words.windows(2) {
            let needed = match *pair {
                ["-m", name] => KernelModule::of_match(name),
                ["--dport" | "--sport", _] => Some(KernelModule::Ports),
                ["-j", name] if name.starts_with("PIA_") || basic.contains(&name) => continue,
                ["-j", name] => KernelModule::of_target(name),
                _ => continue,
            };
            assert!(modules.contains(&needed.expect(&line)), "{line}");
        }
    }
}

#[test]
fn a_table_comes_back_line_for_line() {
    let policy = connected(tunnel());
    for name in [TableName::Filter, TableName::Nat, TableName::Mangle] {
        let text = find(&policy, name, true).to_string();
        assert_eq!(Table::parse(name, &text).unwrap().to_string(), text);
    }
    assert!(matches!(
        Table::parse(TableName::Filter, "*filter\n-D INPUT 1\nCOMMIT\n"),
        Err(FirewallError::NotARule { line }) if line == "-D INPUT 1"
    ));
}

/// What rules say of traffic, `option` being that of its ports.
fn conditions(traffic: TrafficKind, option: &str) -> impl Iterator<Item = String> {
    let ports = traffic
        .ports
        .map(|ports| ports.to_string().replace('-', ":"));
    let protocols = match (traffic.protocol, &ports) {
        (None, None) => vec![String::new()],
        (Some(protocol), _) => vec![format!(" -p {protocol}")],
        (None, Some(_)) => vec![" -p tcp".to_owned(), " -p udp".to_owned()],
    };
    let ports = ports
        .map(|ports| format!(" {option} {ports}"))
        .unwrap_or_default();
    protocols
        .into_iter()
        .map(move |protocol| format!("{protocol}{ports}"))
}

/// What may go out for an entry of the LAN.
fn may_leave(
    interface: &str,
    access: &LocalAccess,
    local_ports: Option<&[TrafficKind]>,
    lacking: &[KernelModule],
) -> Vec<String> {
    let all = TrafficKind::default();
    let to = format!("-A PIA_OUTPUT -o {interface} -d {}", access.range);
    let mut rules = Vec::new();
    if access.direction != Direction::In {
        let begun = conditions(access.traffic, "--dport");
        rules.extend(begun.map(|what| format!("{to}{what} -j ACCEPT")));
    }
    if access.direction == Direction::Out || lacking.contains(&KernelModule::Conntrack) {
        return rules;
    }
    let here = match local_ports {
        Some(ports) if access.traffic == all => ports.to_vec(),
        _ => vec![access.traffic],
    };
    for traffic in here {
        let state = match traffic == all {
            true => "RELATED,ESTABLISHED",
            false => "ESTABLISHED",
        };
        let answered = conditions(traffic, "--sport");
        rules.extend(answered.map(|what| {
            format!(
                "{to}{what} -m conntrack --ctstate {state} -m conntrack --ctdir REPLY -j ACCEPT"
            )
        }));
    }
    rules
}

/// The rules of the LAN side in these families' filter tables.
fn lan_rules(tunnel: TunnelPolicy) -> Vec<String> {
    let policy = connected(TunnelPolicy {
        interface: "wg0".into(),
        ..tunnel
    });
    let base = connected(self::tunnel());
    let of = |policy: &Policy| {
        [Family::V4, Family::V6].map(|family| {
            let tables = render(policy, family, false, Stamping::default()).unwrap();
            tables[0].without_jumps().to_string()
        })
    };
    let (base, all) = (of(&base).concat(), of(&policy).concat());
    let is_more = |line: &&str| line.starts_with("-A") && !base.contains(&format!("{line}\n"));
    all.lines().filter(is_more).map(str::to_owned).collect()
}

#[test]
fn an_entry_on_a_leash_opens_its_direction_and_ports_and_answers_alone() {
    let of = |entry: &str| {
        lan_rules(TunnelPolicy {
            local: vec![access("eth0", entry)],
            ..TunnelPolicy::default()
        })
    };
    assert_eq!(
        of("out:192.168.1.5:53/udp"),
        ["-A PIA_OUTPUT -o eth0 -d 192.168.1.5/32 -p udp --dport 53 -j ACCEPT"]
    );
    assert_eq!(
        of("in:192.168.1.0/24"),
        [
            "-A PIA_OUTPUT -s 192.168.1.0/24 -m addrtype ! --src-type LOCAL -j DROP",
            "-A PIA_INPUT -i eth0 -s 192.168.1.0/24 -j ACCEPT",
            "-A PIA_OUTPUT -o eth0 -d 192.168.1.0/24 -m conntrack --ctstate RELATED,ESTABLISHED \
             -m conntrack --ctdir REPLY -j ACCEPT",
        ]
    );
    assert_eq!(
        of("192.168.1.10:8096-8097/tcp"),
        [
            "-A PIA_OUTPUT -s 192.168.1.10/32 -m addrtype ! --src-type LOCAL -j DROP",
            "-A PIA_INPUT -i eth0 -s 192.168.1.10/32 -p tcp --dport 8096:8097 -j ACCEPT",
            "-A PIA_OUTPUT -o eth0 -d 192.168.1.10/32 -p tcp --dport 8096:8097 -j ACCEPT",
            "-A PIA_OUTPUT -o eth0 -d 192.168.1.10/32 -p tcp --sport 8096:8097 -m conntrack \
             --ctstate ESTABLISHED -m conntrack --ctdir REPLY -j ACCEPT",
        ]
    );
    assert_eq!(of("out:192.168.1.0/24").len(), 1);
    assert_eq!(of("192.168.1.0/24:80").len(), 7, "of both protocols");
    assert_eq!(of("in:192.168.1.0/24/tcp").len(), 3);
}

#[test]
fn the_tunnel_s_name_servers_are_asked_by_it_alone_whatever_the_lan_has() {
    let rules = lan_rules(TunnelPolicy {
        name_servers: [Ipv4Addr::new(10, 0, 0, 243)].into(),
        local: vec![access("eth0", "out:10.0.0.0/8")],
        ..TunnelPolicy::default()
    });
    assert_eq!(
        rules,
        [
            "-A PIA_OUTPUT -d 10.0.0.243/32 -j DROP",
            "-A PIA_OUTPUT -o eth0 -d 10.0.0.0/8 -j ACCEPT",
        ]
    );
}

#[test]
fn local_ports_are_all_that_is_reached_here_but_for_entries_with_ports() {
    let rules = lan_rules(TunnelPolicy {
        attached: vec![network("eth0", "172.18.0.0/16")],
        local: vec![
            access("eth0", "192.168.1.0/24"),
            access("eth0", "in:192.168.2.1:22/tcp"),
        ],
        local_ports: Some(vec![TrafficKind::of_ports("8080/tcp").unwrap()]),
        ..TunnelPolicy::default()
    });
    let inwards: Vec<&String> = rules
        .iter()
        .filter(|rule| rule.starts_with("-A PIA_INPUT -i eth0"))
        .collect();
    assert_eq!(
        inwards,
        [
            "-A PIA_INPUT -i eth0 -s 172.18.0.0/16 -p tcp --dport 8080 -j ACCEPT",
            "-A PIA_INPUT -i eth0 -s 192.168.1.0/24 -p tcp --dport 8080 -j ACCEPT",
            "-A PIA_INPUT -i eth0 -s 192.168.2.1/32 -p tcp --dport 22 -j ACCEPT",
        ]
    );
    for network in ["172.18.0.0/16", "192.168.1.0/24"] {
        let out = format!("-A PIA_OUTPUT -o eth0 -d {network} -j ACCEPT");
        assert!(rules.contains(&out), "{rules:#?}");
    }
    let none = lan_rules(TunnelPolicy {
        attached: vec![network("eth0", "172.18.0.0/16")],
        local_ports: Some(vec![]),
        ..TunnelPolicy::default()
    });
    assert_eq!(none, ["-A PIA_OUTPUT -o eth0 -d 172.18.0.0/16 -j ACCEPT"]);
}

#[test]
fn without_a_module_the_leash_does_not_get_longer() {
    let policy = connected(TunnelPolicy {
        local: vec![
            access("eth0", "192.168.1.10:80/tcp"),
            access("eth0", "in:192.168.2.0/24"),
        ],
        ..tunnel()
    });
    let left = |missing: &[KernelModule]| {
        let text = find(&policy, TableName::Filter, false)
            .without(missing)
            .to_string();
        let lines = text.lines().filter(|line| line.contains("192.168."));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let all = left(&[]);
    for missing in [
        KernelModule::Ports,
        KernelModule::Conntrack,
        KernelModule::AddressType,
    ] {
        let left = left(&[missing]);
        assert!(left.len() < all.len(), "{left:#?}");
        assert!(left.iter().all(|rule| all.contains(rule)), "{left:#?}");
    }
}

#[test]
fn an_ipv6_range_has_its_neighbours_and_no_route_by_advertisement() {
    let rules = lan_rules(TunnelPolicy {
        attached: vec![network("eth0", "fd18::/64")],
        local: vec![
            access("eth0", "in:[fd77::/64]:80/tcp"),
            access("eth0", "out:fd77::/64"),
        ],
        ..TunnelPolicy::default()
    });
    let mut expected = vec![
        "-A PIA_INPUT -i lo -s ::1/128 -j ACCEPT".to_owned(),
        "-A PIA_OUTPUT -o lo -s ::1/128 -j ACCEPT".to_owned(),
        "-A PIA_OUTPUT -s fd77::/64 -m addrtype ! --src-type LOCAL -j DROP".to_owned(),
        "-A PIA_OUTPUT -p ipv6-icmp --icmpv6-type 137 -j DROP".to_owned(),
        "-A PIA_INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned(),
    ];
    for kind in ["135", "136"] {
        let neighbour = format!("-p ipv6-icmp --icmpv6-type {kind} -j ACCEPT");
        expected.push(format!("-A PIA_INPUT -i eth0 {neighbour}"));
        for to in ["ff02::/16", "fe80::/10", "fd18::/64", "fd77::/64"] {
            expected.push(format!("-A PIA_OUTPUT -o eth0 -d {to} {neighbour}"));
        }
    }
    for rule in [
        "-A PIA_INPUT -i eth0 -p ipv6-icmp --icmpv6-type 130 -j ACCEPT",
        "-A PIA_OUTPUT -o eth0 -d ff02::16/128 -p ipv6-icmp --icmpv6-type 143 -j ACCEPT",
        "-A PIA_INPUT -i eth0 -s fd18::/64 -j ACCEPT",
        "-A PIA_OUTPUT -o eth0 -d fd18::/64 -j ACCEPT",
        "-A PIA_INPUT -i eth0 -s fd77::/64 -p tcp --dport 80 -j ACCEPT",
        "-A PIA_OUTPUT -o eth0 -d fd77::/64 -p tcp --sport 80 -m conntrack --ctstate ESTABLISHED \
         -m conntrack --ctdir REPLY -j ACCEPT",
        "-A PIA_OUTPUT -o eth0 -d fd77::/64 -j ACCEPT",
    ] {
        expected.push(rule.to_owned());
    }
    // That rule of IPv4 is among those of every policy.
    expected.remove(4);
    assert_eq!(rules, expected);
}

proptest! {
    #[test]
    fn nothing_goes_out_but_by_a_rule_that_says_where(
        to in proptest::collection::btree_set(destination(), 0..4),
        tunnel in proptest::option::of(any_tunnel()),
        sealed: bool,
        strict: bool,
        lacking in proptest::sample::subsequence(
            vec![
                KernelModule::Conntrack,
                KernelModule::Mark,
                KernelModule::Owner,
                KernelModule::AddressType,
            ],
            0..4,
        ),
    ) {
        let policy = Policy {
            sealed,
            mark: MARK,
            untunnelled: to.clone(),
            embedded_dns_askers: EmbeddedDnsAskers::Nobody,
            embedded_dns: EmbeddedDns::Unused,
            name_servers_v6: Vec::new(),
            tunnel: tunnel.clone(),
        };
        let mut allowed = vec![
            "-A PIA_OUTPUT -o lo -j ACCEPT".to_owned(),
            "-A OUTPUT -j PIA_OUTPUT".to_owned(),
        ];
        for Destination { protocol, address, port } in to {
            let mark = match lacking.contains(&KernelModule::Mark) {
                true => "",
                false => " -m mark --mark 0xca6c",
            };
            allowed.push(format!("-A PIA_OUTPUT -d {address}/32 -p {protocol}{mark} --dport \
                                  {port} -j ACCEPT"));
        }
        if let Some(tunnel) = tunnel {
            allowed.push("-A PIA_OUTPUT -o wg0 -j ACCEPT".to_owned());
            for (name, network) in &tunnel.attached {
                allowed.push(format!("-A PIA_OUTPUT -o {name} -d {network} -j ACCEPT"));
            }
            for (name, access) in &tunnel.local {
                allowed.extend(may_leave(name, access, tunnel.local_ports.as_deref(), &lacking));
            }
        }
        for table in render(&policy, Family::V4, strict, Stamping::default()).unwrap() {
            let chains = ["-A PIA_OUTPUT", "-A OUTPUT"];
            let out = |line: &&str| {
                chains.iter().any(|chain| line.starts_with(chain)) && !line.ends_with(" -j DROP")
            };
            for line in table.without(&lacking).to_string().lines().filter(out) {
                prop_assert!(allowed.iter().any(|rule| rule == line), "{}", line);
            }
        }
    }
}
