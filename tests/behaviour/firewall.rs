//! The firewall on kernels of all kinds, and beside what others do with it.

use std::fs;
use std::process::Command;

use harness::log_lines::{RECONNECTED, UP};
use harness::netns::Namespace;
use harness::waiting::{LATER, SOON};
use harness::world::World;
use harness::world::container::Container;
use harness::world::docker_dns::Docker;
use harness::world::network::{CLIENT, GATEWAY, LAN};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

const BACKENDS: [&str; 2] = ["nft", "legacy"];

// With and without.

#[test]
fn without_the_firewall_there_are_no_rules_of_ours_and_a_warning() {
    let world = World::new();
    let container = life(&world).env("FIREWALL", "0").connect();
    container.wait_for_log("FIREWALL=0: there is no kill switch", SOON);
    assert!(
        policies(&world, "nft")
            .iter()
            .all(|policy| policy.ends_with("ACCEPT"))
    );
    assert!(!container.logs().contains("Kill switch closed"));
    world.assert_carries();
    container.stop();
    // Nothing keeps it from leaving now.
    let (_lan, port) = world.lan().listen();
    assert!(world.client().reaches((LAN, port)));
}

/// "until the network namespace is gone, also after the program has ended" (README.md)
#[test]
fn the_policies_drop_from_the_start_to_after_the_stop() {
    let world = World::new();
    let container = life(&world).connect();
    let dropping = ["-P INPUT DROP", "-P FORWARD DROP", "-P OUTPUT DROP"];
    assert_eq!(policies(&world, "nft"), [dropping, dropping].concat());
    container.stop();
    assert_eq!(policies(&world, "nft"), [dropping, dropping].concat());
}

/// Each load is ten milliseconds in which nothing else goes on: the way to PIA, the candidates, the
/// tunnel; in a reconnect the candidates, wg-quick's rule, the tunnel.
#[test]
fn a_start_and_a_reconnect_take_three_loads_each() {
    for nf_tables in ["1", "0"] {
        let world = World::builder().usual_ports().build();
        let recipe = life(&world).env("DEBUG", "1").env("NFTABLES", nf_tables);
        let container = recipe.connect();
        let loads_after = |line: &str| {
            let lines = container.lines();
            let after = lines
                .iter()
                .skip_while(|logged| !logged.text.contains(line));
            after
                .filter(|logged| logged.text.contains("loading for V4"))
                .count()
        };
        assert_eq!(loads_after("Kill switch closed"), 3, "{nf_tables}");
        container.signal(Signal::SIGHUP);
        container.wait_for_log(RECONNECTED, LATER);
        assert_eq!(loads_after("Reconnecting: "), 3, "{nf_tables}");
        world.assert_carries();
    }
}

// The backends.

/// "`0`: the legacy iptables backend; `1`: nf_tables; unset: nf_tables where it works" (README.md)
#[test]
fn nftables_1_is_nf_tables_for_the_program_its_hooks_and_the_user() {
    let world = World::new();
    let container = life(&world)
        .env("NFTABLES", "1")
        .env("POST_UP", "iptables --version")
        .connect();
    expect_backend(&world, &container, "nf_tables");
}

#[test]
fn nftables_0_is_legacy_for_the_program_its_hooks_and_the_user() {
    let world = World::new();
    let container = life(&world)
        .env("NFTABLES", "0")
        .env("POST_UP", "iptables --version")
        .connect();
    expect_backend(&world, &container, "legacy");
}

/// Nothing of the image is changed at run time, which also works where it is read-only.
#[test]
fn by_its_absolute_path_iptables_stays_what_the_image_has() {
    let world = World::new();
    let container = life(&world)
        .env("NFTABLES", "0")
        .env("POST_UP", "/usr/sbin/iptables --version")
        .start();
    let line = container.wait_for_log("[post-up] iptables v", SOON).text;
    assert!(line.ends_with("(nf_tables)"), "{line}");
}

#[test]
fn nf_tables_is_the_default() {
    let world = World::new();
    let container = life(&world).env("POST_UP", "iptables --version").connect();
    expect_backend(&world, &container, "nf_tables");
}

#[test]
fn a_kernel_without_nf_tables_gets_legacy() {
    let world = World::new();
    let container = without_nf_tables(life(&world))
        .env("POST_UP", "iptables --version")
        .connect();
    expect_backend(&world, &container, "legacy");
}

#[test]
fn nftables_1_on_a_kernel_without_it_is_fatal_and_says_what_to_do() {
    let world = World::new();
    let container = without_nf_tables(life(&world))
        .env("NFTABLES", "1")
        .env("EXIT_ON_FATAL", "1")
        .start();
    assert_eq!(container.wait(SOON).code(), Some(1));
    let line = container.wait_for_log("Fatal error", SOON).text;
    assert!(
        line.contains("no rules can be set") && line.contains("modprobe"),
        "{line}"
    );
}

#[test]
fn an_image_with_legacy_alone_is_good_enough() {
    let world = World::new();
    let mut recipe = life(&world).without("/usr/sbin/xtables-nft-multi");
    for name in [
        "iptables",
        "iptables-restore",
        "iptables-save",
        "ip6tables",
        "ip6tables-restore",
        "ip6tables-save",
    ] {
        recipe = recipe.without(format!(
            "/usr/sbin/{}",
            name.replacen("tables", "tables-nft", 1)
        ));
    }
    let container = recipe.env("POST_UP", "iptables --version").connect();
    expect_backend(&world, &container, "legacy");
}

#[test]
fn changing_the_backend_in_a_used_network_leaves_no_rule_of_the_former() {
    let world = World::new();
    let mut container = life(&world).env("NFTABLES", "0").connect();
    for (choice, now, former) in [
        ("1", "nft", "legacy"),
        ("0", "legacy", "nft"),
        ("1", "nft", "legacy"),
    ] {
        container.kill();
        container.set_env("NFTABLES", choice);
        container.restart();
        container.wait_for_log(UP, SOON);
        assert!(
            policies(&world, now)
                .iter()
                .all(|policy| policy.ends_with("DROP")),
            "{now}"
        );
        assert!(
            policies(&world, former)
                .iter()
                .all(|policy| policy.ends_with("ACCEPT")),
            "{former}"
        );
        assert!(
            !saved(&world, former).contains("PIA"),
            "{}",
            saved(&world, former)
        );
        world.assert_carries();
    }
}

// What a kernel may lack.

#[test]
fn a_rule_of_wg_quick_that_the_kernel_refuses_is_fatal_with_advice() {
    let world = World::new();
    let container = lacking(life(&world), "addrtype")
        .env("EXIT_ON_FATAL", "1")
        .start();
    assert_eq!(container.wait(SOON).code(), Some(1));
    let line = container.wait_for_log("Fatal error", SOON).text;
    assert!(line.contains("ALLOW_MISSING_IPTABLES_RULES=1"), "{line}");
    assert_eq!(
        output(world.client(), "ip", &["-o", "link", "show", "type", "tun"]),
        ""
    );
}

/// "leave out, with a warning, those rules of wg-quick that the kernel has no module for"
/// (README.md)
#[test]
fn with_the_users_leave_such_a_rule_is_skipped_with_a_warning() {
    let world = World::new();
    let container = lacking(life(&world), "addrtype")
        .env("ALLOW_MISSING_IPTABLES_RULES", "1")
        .connect();
    assert!(
        container
            .logs()
            .contains("skipped, as ALLOW_MISSING_IPTABLES_RULES=1"),
        "{}",
        container.logs()
    );
    world.assert_carries();
    // The others are there.
    assert!(saved(&world, "nft").contains("--restore-mark"));
}

#[test]
fn a_kernel_that_cannot_match_marks_gets_rules_by_destination_and_a_warning() {
    let world = World::new();
    let container = lacking(life(&world), "mark")
        .env("ALLOW_MISSING_IPTABLES_RULES", "1")
        .connect();
    let log = container.logs();
    assert!(
        log.contains("the kernel has no xt_mark") && log.contains("modprobe xt_mark"),
        "{log}"
    );
    world.assert_carries();
}

#[test]
fn a_container_that_has_nft_is_no_other() {
    let world = World::new();
    let mut container = life(&world).with_nft().connect();
    world.assert_carries();
    assert!(nft_tables(&world).contains("wg-quick-wg0"));
    container.kill();
    container.restart();
    container.wait_for_log(UP, SOON);
    world.assert_carries();
    container.stop();
    assert!(!nft_tables(&world).contains("wg-quick-wg0"));
}

#[test]
fn nftables_0_keeps_wg_quick_from_nft() {
    let world = World::new();
    let _container = life(&world).with_nft().env("NFTABLES", "0").connect();
    world.assert_carries();
    assert!(!nft_tables(&world).contains("wg-quick-wg0"));
    assert!(saved(&world, "legacy").contains("wg-quick(8) rule for wg0"));
}

// Beside others.

/// "Your own `iptables -A` and `-I` rules go into the built-in chains and stay" (README.md)
#[test]
fn rules_that_users_append_after_the_start_fit_and_survive_the_stop() {
    let world = World::new();
    let hook = format!(
        "ip route add {LAN} via {GATEWAY}; iptables -A OUTPUT -d {LAN} -j ACCEPT; iptables -I \
         INPUT -s {LAN} -j ACCEPT"
    );
    let container = life(&world).env("POST_UP", hook + "; echo done").connect();
    container.wait_for_log("done", SOON);
    let (_lan, port) = world.lan().listen();
    let (_inside, open) = world.client().listen();
    assert!(world.client().reaches((LAN, port)) && world.lan().reaches((CLIENT, open)));
    container.stop();
    assert!(world.client().reaches((LAN, port)) && world.lan().reaches((CLIENT, open)));
}

#[test]
fn rules_that_users_add_before_the_start_survive_every_load() {
    let world = World::new();
    let hook = format!(
        "iptables -I OUTPUT -d {LAN} -j ACCEPT; iptables -t nat -A POSTROUTING -d {LAN} -j \
         MASQUERADE"
    );
    let container = life(&world).env("PRE_UP", hook).connect();
    let ours = |text: String| {
        text.lines()
            .filter(|line| line.contains(&LAN.to_string()))
            .count()
    };
    assert_eq!(ours(saved(&world, "nft")), 2, "{}", saved(&world, "nft"));
    container.stop();
    assert_eq!(ours(saved(&world, "nft")), 2, "{}", saved(&world, "nft"));
}

#[test]
fn dockers_chains_stay_as_they_are() {
    let world = World::new();
    let resolv_conf = world.docker_dns(Docker::AsksFromHost);
    let chains = || -> Vec<String> {
        let text = saved(&world, "nft");
        text.lines()
            .filter(|line| line.contains("DOCKER"))
            .map(str::to_owned)
            .collect()
    };
    let before = chains();
    let container = life(&world)
        .resolv_conf(resolv_conf)
        .env("PORT_FORWARDING", "1")
        .connect();
    assert_eq!(chains(), before);
    container.stop();
    assert_eq!(chains(), before);
    assert_eq!(before.len(), 8);
}

// Strict reverse path filtering.

#[test]
fn strict_reverse_path_filtering_works_with_src_valid_mark() {
    let strict = World::builder().sysctl("net/ipv4/conf/all/rp_filter", "1");
    let world = strict
        .sysctl("net/ipv4/conf/all/src_valid_mark", "1")
        .build();
    let container = life(&world).connect();
    world.assert_carries();
    assert!(!container.logs().contains("rp_filter"));
}

/// The stamp of the second wall must not come between the tunnel's mark and who remembers it:
/// wg-quick, by nft where it finds that.
#[test]
fn strict_reverse_path_filtering_works_beside_the_wall_whichever_wg_quick_uses() {
    for nft in ["/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft"] {
        let strict = World::builder().sysctl("net/ipv4/conf/all/rp_filter", "1");
        let world = strict
            .sysctl("net/ipv4/conf/all/src_valid_mark", "1")
            .build();
        let recipe = life(&world).with_nft().env("PORT_FORWARDING", "1");
        let container = match nft {
            "/usr/sbin/nft" => recipe.connect(),
            elsewhere => life(&world)
                .env("PORT_FORWARDING", "1")
                .bind("/usr/sbin/nft", elsewhere)
                .connect(),
        };
        container.wait_for_log("Forwarding on port", SOON);
        world.assert_carries();
        container.signal(Signal::SIGHUP);
        container.wait_for_log("Reconnected to", SOON);
        world.assert_carries();
        assert!(!container.logs().contains("AF_PACKET"), "{nft}");
    }
}

/// Since 1.0.20250521 wg-quick adds the default route after the rules that lead to it, before that
/// it did so first.
#[test]
fn the_tunnel_is_brought_up_whatever_comes_first_in_wg_quick() {
    let installed = fs::read_to_string("/usr/bin/wg-quick").unwrap();
    let lines = |start: &str| {
        let lines = installed.lines().map(|line| format!("{line}\n"));
        let found = lines.filter(|line| line.starts_with(&format!("\tcmd ip $proto {start}")));
        let lines: Vec<String> = found.collect();
        assert!(!lines.is_empty(), "{start}");
        lines
    };
    let route = lines("route add \"$1\" dev \"$INTERFACE\" table $table");
    let rules = lines("rule add");
    for order in [[&route[..], &rules[..]], [&rules[..], &route[..]]] {
        let mut script = installed.clone();
        for line in &rules {
            script = script.replacen(line, "", 1);
        }
        script = script.replacen(&route[0], &order.concat().concat(), 1);
        assert_eq!(script.len(), installed.len());
        let world = World::new();
        let container = life(&world).script("/usr/bin/wg-quick", script).connect();
        world.assert_carries();
        assert!(container.stop().status.success());
    }
}

#[test]
fn strict_reverse_path_filtering_without_src_valid_mark_is_a_failure_with_its_cure() {
    for name in ["all", "eth0"] {
        let strict = World::builder().sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1");
        let world = strict
            .sysctl("net/ipv4/conf/all/src_valid_mark", "0")
            .build();
        let container = life(&world).start();
        let failure = "Fatal error: rp_filter is strict";
        let line = container.wait_for_log(failure, LATER).text;
        assert!(
            line.contains("net.ipv4.conf.all.src_valid_mark=1"),
            "{line}"
        );
        assert!(!container.logs().contains(UP));
    }
}

fn life(world: &World) -> Recipe {
    let path =
        "/run/wireguard-pia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("PATH", path)
}

/// The log names the backend, hooks and `docker exec` have its programs, the other backend holds
/// nothing.
#[track_caller]
fn expect_backend(world: &World, container: &Container, name: &str) {
    let (this, other) = if name == "legacy" {
        ("legacy", "nft")
    } else {
        ("nft", "legacy")
    };
    assert!(
        container
            .logs()
            .contains(&format!("iptables backend: {name}")),
        "{}",
        container.logs()
    );
    let line = container.wait_for_log("[post-up] iptables v", SOON).text;
    assert!(line.ends_with(&format!("({name})")), "{line}");
    let version = container.shell("iptables --version");
    assert!(version.trim().ends_with(&format!("({name})")), "{version}");
    assert!(
        saved(world, this).contains("PIA_OUTPUT")
            && saved(world, this).contains("wg-quick(8) rule for wg0")
    );
    assert!(!saved(world, other).contains("PIA") && !saved(world, other).contains("wg-quick"));
    world.assert_carries();
}

/// The programs of nf_tables fail as they do where the kernel has none.
fn without_nf_tables(mut recipe: Recipe) -> Recipe {
    for name in [
        "iptables-nft",
        "iptables-nft-restore",
        "iptables-nft-save",
        "ip6tables-nft",
        "ip6tables-nft-restore",
    ] {
        let script = "#!/bin/sh\necho \"${0##*/}: Could not fetch rule set generation id: Invalid \
                      argument\" >&2\nexit 4\n";
        recipe = recipe.script(format!("/usr/local/sbin/{name}"), script);
    }
    recipe
}

/// The kernel refuses rules that use this match, with both backends.
fn lacking(mut recipe: Recipe, name: &str) -> Recipe {
    for program in [
        "iptables-restore",
        "iptables-nft-restore",
        "iptables-legacy-restore",
    ] {
        let script = format!(
            "#!/bin/bash\nrules=$(cat)\nif [[ $rules == *'-m {name} '* ]]; then\n\
             echo '{program}: Extension {name} revision 0 not supported, missing kernel module?' \
             >&2\nexit 2\nfi\n\
             exec /usr/sbin/{program} \"$@\" <<<\"$rules\"\n"
        );
        recipe = recipe.script(format!("/usr/local/sbin/{program}"), script);
    }
    recipe
}

/// `-P` of the filter table, IPv4 and then IPv6.
fn policies(world: &World, backend: &str) -> Vec<String> {
    let of = |program: String| -> Vec<String> {
        let text = output(world.client(), &program, &["-S"]);
        text.lines()
            .filter(|line| line.starts_with("-P"))
            .map(str::to_owned)
            .collect()
    };
    [
        of(format!("iptables-{backend}")),
        of(format!("ip6tables-{backend}")),
    ]
    .concat()
}

/// All IPv4 and IPv6 rules that a backend holds, without counters.
fn saved(world: &World, backend: &str) -> String {
    assert!(BACKENDS.contains(&backend));
    let all = ["iptables", "ip6tables"]
        .map(|name| output(world.client(), &format!("{name}-{backend}-save"), &[]));
    let lines: Vec<String> = all
        .concat()
        .lines()
        .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
        .collect();
    lines.join("\n")
}

fn nft_tables(world: &World) -> String {
    output(world.client(), "nft", &["list", "tables"])
}

fn output(place: &Namespace, program: &str, words: &[&str]) -> String {
    let output = place.output(Command::new(program).args(words));
    let output =
        output.unwrap_or_else(|error| panic!("cannot run {program}: {error}: is it installed?"));
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}
