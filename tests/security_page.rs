//! docs/security.md: its rules are those that the templates give, and the tests that it names are
//! there, as are those of docs/original-behaviour.md and of the tables in docs/pia-api.md.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use harness::world::prober::Probe;
use harness::world::ways_out::{Setup, State, Table, way};
use wireguard_pia::firewall_internals::{
    Destination, EmbeddedDns, EmbeddedDnsAskers, ForwardedPort, Gateway, Policy, TrafficKind,
    TunnelPolicy,
};
use wireguard_pia::parser_internals::firewall::rule_set;

const MARK: u32 = 0xca6c;
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const API: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 13);
const NEXT_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 14);

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn way_to_pia(server: Ipv4Addr) -> [Destination; 5] {
    [
        Destination::udp(NAME_SERVER, 53),
        Destination::tcp(NAME_SERVER, 53),
        Destination::tcp(API, 443),
        Destination::tcp(server, 1337),
        Destination::udp(server, 1337),
    ]
}

fn tunnel() -> TunnelPolicy {
    TunnelPolicy {
        interface: "wg0".to_owned(),
        attached: vec![("eth0".to_owned(), "172.18.0.0/16".parse().unwrap())],
        local: vec![("eth0".to_owned(), "192.168.1.0/24".parse().unwrap())],
        ..TunnelPolicy::default()
    }
}

fn connected(tunnel: TunnelPolicy) -> Policy {
    Policy::connected(MARK, "198.51.100.13:1337".parse().unwrap(), tunnel)
}

/// Our rules in the filter tables of IPv4 and IPv6, in their order.
fn rules_of_families(policy: &Policy) -> [Vec<String>; 2] {
    let text = rule_set(policy, false).unwrap();
    // Without mangle, which admits nothing.
    let mut tables = text
        .split("*filter\n")
        .skip(1)
        .map(|of_family| of_family.split("*mangle").next().unwrap());
    [(); 2].map(|()| {
        let lines = tables.next().unwrap().lines();
        let ours = lines.filter(|line| line.starts_with("-A PIA_"));
        ours.map(str::to_owned).collect()
    })
}

fn rules(policy: &Policy) -> Vec<String> {
    let [ours, _] = rules_of_families(policy);
    ours
}

/// What this one has and that one has not.
fn beyond(policy: &Policy, base: &Policy) -> Vec<String> {
    let base = rules(base);
    let more = rules(policy).into_iter();
    more.filter(|rule| !base.contains(rule)).collect()
}

fn of_states() -> Vec<(&'static str, Vec<String>)> {
    let closed = Policy::closed(MARK);
    let bootstrap = Policy::bootstrap(MARK, way_to_pia(SERVER));
    let up = connected(tunnel());
    let port = |redirect| {
        let forwarded = Some(ForwardedPort {
            port: 41634,
            redirect,
        });
        connected(TunnelPolicy {
            forwarded,
            ..tunnel()
        })
    };
    let gateway = Some(Gateway::of_all(&["eth1"]));
    let gateway = connected(TunnelPolicy {
        gateway,
        ..tunnel()
    });
    let given_up = Policy {
        tunnel: Some(tunnel()),
        ..Policy::closed(MARK)
    };
    let old_docker = bootstrap.clone().asking(EmbeddedDns::FromHere);
    let for_all = Policy {
        embedded_dns_askers: EmbeddedDnsAskers::All,
        ..up.clone()
    };
    let missing = beyond(&up, &for_all);
    vec![
        ("closed", rules(&closed)),
        ("ipv6", rules_of_families(&up)[1].clone()),
        ("connecting", beyond(&bootstrap, &closed)),
        ("connected", beyond(&up, &closed)),
        ("port", beyond(&port(None), &up)),
        ("redirected", beyond(&port(Some(6881)), &up)),
        ("gateway", beyond(&gateway, &up)),
        (
            "reconnecting",
            beyond(&up.clone().reconnecting(way_to_pia(NEXT_SERVER)), &up),
        ),
        ("stopped", beyond(&given_up, &closed)),
        ("old-docker", beyond(&old_docker, &bootstrap)),
        ("vpndns-0", missing),
    ]
    .into_iter()
    .chain(of_the_lan())
    .collect()
}

/// Where `LOCAL_NETWORK` and `LOCAL_PORTS` say more than ranges of IPv4.
fn of_the_lan() -> [(&'static str, Vec<String>); 3] {
    let with = |entries: &[&str], local_ports: Option<&str>| {
        let of_eth0 = |entry: &&str| ("eth0".to_owned(), entry.parse().unwrap());
        connected(TunnelPolicy {
            local: entries.iter().map(of_eth0).collect(),
            local_ports: local_ports.map(|ports| vec![TrafficKind::of_ports(ports).unwrap()]),
            ..tunnel()
        })
    };
    let leash = with(&["in:192.168.1.0/24", "out:192.168.1.5:53/udp"], None);
    let ports = with(&["192.168.1.0/24"], Some("8080/tcp"));
    let [_, mut ipv6] = rules_of_families(&with(&["out:fd77::/64"], None));
    ipv6.retain(|rule| !rule.contains(" lo "));
    [
        ("leash", beyond(&leash, &with(&[], None))),
        ("local-ports", beyond(&ports, &connected(tunnel()))),
        ("ipv6-lan", ipv6),
    ]
}

#[test]
fn its_rules_are_those_of_the_templates() {
    let page = read("docs/security.md");
    let block = |(state, rules): (&str, Vec<String>)| {
        format!(
            "<!-- rules: {state} -->\n\n```text\n{}\n```\n",
            rules.join("\n")
        )
    };
    let blocks: Vec<String> = of_states().into_iter().map(block).collect();
    let missing: Vec<String> = blocks
        .iter()
        .filter(|block| !page.contains(*block))
        .cloned()
        .collect();
    assert!(
        missing.is_empty(),
        "docs/security.md should have:\n{}",
        missing.join("\n")
    );
    assert_eq!(page.matches("<!-- rules: ").count(), of_states().len());
}

/// Names of tests: words in code's letters with three or more parts.
fn named_tests(text: &str) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.chars().all(is_letter) && word.matches('_').count() >= 2
    };
    text.split('`').skip(1).step_by(2).filter(is_name).collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "bash")
        {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_tests_that_it_names_are_there() {
    let mut all = String::new();
    for folder in ["src", "tests"] {
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut all,
        );
    }
    let original = read("docs/original-behaviour.md");
    let (_, held) = original.split_once("## Held by tests").unwrap();
    let page = read("docs/security.md") + held + &tables_of_failures().concat();
    let named = named_tests(&page);
    assert!(named.len() > 50, "{named:?}");
    let is_there = |name: &&&str| {
        all.contains(&format!("fn {name}(")) || all.contains(&format!("\n{name}() {{"))
    };
    let missing: Vec<_> = named.iter().filter(|name| !is_there(name)).collect();
    assert_eq!(missing, [&""; 0]);
}

#[test]
fn its_table_has_every_way_by_whoever_can_send_so() {
    let table = Table::read();
    let mut ways = BTreeSet::new();
    for probe in Probe::every() {
        for setup in Setup::every().filter(|_| probe.is_possible()) {
            for state in State::ALL {
                table.cell(probe, state, setup);
            }
        }
        ways.insert(way(probe));
    }
    ways.extend(["hosts", "resolv.conf"].map(str::to_owned));
    for row in table.0 {
        assert!(row.ways.iter().all(|way| ways.contains(way)), "{row:?}");
        let mut probes = Probe::every().filter(|probe| row.ways.contains(&way(*probe)));
        let needs_right = probes.any(|probe| !probe.is_possible());
        assert_eq!(row.who.contains("NET_RAW"), needs_right, "{row:?}");
    }
}

/// What the program makes of answers, and on which side a failure lies.
fn tables_of_failures() -> [String; 2] {
    let page = read("docs/pia-api.md");
    ["answers", "sides"].map(|name| {
        let (_, table) = page.split_once(&format!("<!-- {name} -->")).unwrap();
        let end = format!("<!-- end of {name} -->");
        table.split_once(&end).unwrap().0.to_owned()
    })
}

#[test]
fn each_failure_of_the_tables_names_a_test() {
    for table in tables_of_failures() {
        let rows = items(&table).into_iter().skip(1);
        let bare: Vec<String> = rows.filter(|row| named_tests(row).is_empty()).collect();
        assert_eq!(bare, [""; 0]);
    }
}

/// The items of lists, with the lines that belong to each, and the rows of tables.
fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line, items.last_mut()) {
            (row, _) if row.starts_with("- ") || row.starts_with("| ") => {
                items.push(row.to_owned());
            }
            (more, Some(item)) if more.starts_with("  ") => item.push_str(more),
            _ => (),
        }
    }
    items
}

/// A promise without a test is none.
#[test]
fn each_item_of_its_lists_and_tables_names_a_test_or_is_a_limit() {
    let page = read("docs/security.md");
    let (promises, _) = page.split_once("\n## How it is tested").unwrap();
    // Those of the other table are one promise.
    let (before, table) = promises.split_once("<!-- ways out -->").unwrap();
    let (_, after) = table.split_once("<!-- end of ways out -->").unwrap();
    let promises = &[before, after].concat();
    let is_bare = |item: &String| {
        !item.contains("| tests |") && named_tests(item).is_empty() && !item.contains("Limit:")
    };
    let bare: Vec<String> = items(promises).into_iter().filter(is_bare).collect();
    assert_eq!(bare, [""; 0]);
}

#[test]
fn a_pod_has_net_admin_alone() {
    let pod = read("docs/kubernetes.yaml");
    let of_containers = pod.matches("capabilities:").count();
    assert_eq!(pod.matches("drop: [ALL]").count(), of_containers);
    assert_eq!(pod.matches("add: ").count(), 1);
    assert!(pod.contains("add: [NET_ADMIN]\n"));
}

#[test]
fn what_is_built_is_locked_and_what_is_published_is_signed() {
    for (file, says) in [
        ("scripts/build-static", "cargo build --release --locked"),
        ("scripts/check", "cargo deny --locked check"),
        (".github/workflows/test.yml", "cargo-deny-action@"),
        (".github/workflows/image.yml", "provenance: mode=max"),
        (".github/workflows/image.yml", "sbom: true"),
        (
            ".github/workflows/image.yml",
            "cosign sign --yes --recursive",
        ),
    ] {
        assert!(read(file).contains(says), "{file}: {says}");
    }
}
