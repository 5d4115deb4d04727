//! What is let through, by which backend.

use std::process::Command;

use harness::world::World;
use harness::world::network::ELSEWHERE_V6;
use nix::sys::signal::Signal;

use crate::life::Life;
use crate::see::{
    Check, closed, ends_with, filter_has, leaves_by, logged, not_logged, now, open, routing_rule,
    shell, so, soon, stops_by, wait_for_port,
};

pub fn lives() -> Vec<Life> {
    vec![
        no_firewall(),
        ipv6(),
        own_rules(),
        legacy(),
        nf_tables(),
        backend_of_another_word(),
        strict_filter(),
        strict_filter_unmarked(),
        missing_rules(),
        missing_rules_allowed(),
    ]
}

fn no_firewall() -> Life {
    Life::of("no_firewall")
        .env("FIREWALL", "0")
        .env("PORT_FORWARDING", "1")
        .env("PORT_SCRIPT", "echo told >/pia-shared/told")
        .connects()
        .sees("still_uses_the_tunnel", leaves_by("nl_amsterdam"))
        .sees("stops_nothing_else", open())
        .sees("has_a_port", logged("Forwarding on port"))
        .stops()
        .sees("the_network_is_as_before", open())
}

fn ipv6() -> Life {
    let ping = |address: String| format!("ping -6 -c 1 -W 1 {address}");
    Life::of("ipv6")
        .connects()
        .sees(
            "does_not_get_out",
            shell(ping(ELSEWHERE_V6.to_string()), 1, ""),
        )
        .sees("loopback_works", shell(ping("::1".to_owned()), 0, ""))
        .differs("Loopback is admitted in IPv6, too")
}

fn own_rules() -> Life {
    Life::of("own_rules")
        .env("PORT_FORWARDING", "1")
        .env("PRE_UP", "iptables -A INPUT -p tcp --dport 4712 -j ACCEPT")
        .env(
            "POST_UP",
            "iptables -I OUTPUT -d 203.0.113.66 -o eth0 -j ACCEPT; iptables -P FORWARD ACCEPT; ip \
             rule add to 198.18.0.0/15 lookup main pref 10",
        )
        .connects()
        .does(|stage| {
            wait_for_port(stage);
        })
        .sees("appended_rules_hold", open())
        .sees("those_of_before_too", filter_has("--dport 4712 -j ACCEPT"))
        .sees("a_policy_holds", filter_has(":FORWARD ACCEPT"))
        .sees(
            "a_routing_rule_holds",
            routing_rule("to 198.18.0.0/15 lookup main"),
        )
        .sees("the_stop_works", stops_by(Signal::SIGTERM, 0))
        .sees("they_stay_after_the_stop", open())
        .sees(
            "the_routing_rule_too",
            routing_rule("to 198.18.0.0/15 lookup main"),
        )
}

/// Which backend has the rules.
fn rules_are_in(program: &'static str) -> Check {
    now(move |stage| {
        let save = |program: &str| {
            let mut command = Command::new(format!("{program}-save"));
            let output = stage.world.client().output(command.args(["-t", "filter"]));
            String::from_utf8_lossy(&output.expect("iptables is installed").stdout).into_owned()
        };
        let (legacy, nft) = (save("iptables-legacy"), save("iptables-nft"));
        let (has, has_not) = match program {
            "iptables-legacy" => (legacy, nft),
            _ => (nft, legacy),
        };
        let closed = ":OUTPUT DROP";
        so(has.contains(closed) && !has_not.contains(closed), || {
            format!("{has}{has_not}")
        })
    })
}

fn legacy() -> Life {
    Life::of("nftables_0")
        .env("NFTABLES", "0")
        .env(
            "POST_UP",
            "iptables -V >/pia/backend; /usr/sbin/iptables -V >/pia/absolute",
        )
        .connects()
        .sees("rules_are_in_legacy", rules_are_in("iptables-legacy"))
        .sees("carries", leaves_by("nl_amsterdam"))
        .sees("lets_nothing_out", closed())
        .sees(
            "hooks_have_legacy",
            soon(|stage| {
                let text = stage.container.read("/pia/backend").unwrap_or_default();
                so(text.contains("legacy"), || text.clone())
            }),
        )
        .sees(
            "not_by_the_absolute_path",
            soon(|stage| {
                let text = stage.container.read("/pia/absolute").unwrap_or_default();
                so(text.contains("nf_tables"), || text.clone())
            }),
        )
        .differs("iptables by its absolute path")
}

fn nf_tables() -> Life {
    Life::of("nftables_1")
        .env("NFTABLES", "1")
        .connects()
        .sees("rules_are_in_nf_tables", rules_are_in("iptables-nft"))
        .sees("lets_nothing_out", closed())
}

fn backend_of_another_word() -> Life {
    Life::of("nftables_of_another_word")
        .env("NFTABLES", "auto")
        .connects()
        .sees("is_as_unset", rules_are_in("iptables-nft"))
        .differs("`NFTABLES` of any other word is legacy. Here: the default, with a warning.")
}

fn strict_filter() -> Life {
    Life::of("strict_reverse_path_filter")
        .in_world(|| {
            World::builder()
                .sysctl("net/ipv4/conf/all/rp_filter", "1")
                .sysctl("net/ipv4/conf/default/rp_filter", "1")
                .sysctl("net/ipv4/conf/all/src_valid_mark", "1")
                .build()
        })
        .connects()
        .sees("works_with_src_valid_mark", leaves_by("nl_amsterdam"))
        .sees("is_not_warned_of", not_logged("src_valid_mark=1"))
}

fn strict_filter_unmarked() -> Life {
    Life::of("strict_reverse_path_filter_without_src_valid_mark")
        .in_world(|| {
            World::builder()
                .sysctl("net/ipv4/conf/all/rp_filter", "1")
                .sysctl("net/ipv4/conf/default/rp_filter", "1")
                .build()
        })
        .starts()
        .sees("is_warned_of", logged("net.ipv4.conf.all.src_valid_mark=1"))
}

/// The kernel refuses a rule of wg-quick's.
fn lacking(name: &'static str) -> Life {
    Life::of(name).given(|_, mut recipe| {
        // What the kernel has no module for neither backend can load.
        for program in [
            "iptables-restore",
            "iptables-nft-restore",
            "iptables-legacy-restore",
        ] {
            let script = format!(
                "#!/bin/bash\nrules=$(cat)\n\
                 [[ $rules != *addrtype* ]] || {{ echo {program}: no module >&2; exit 2; }}\n\
                 exec /usr/sbin/{program} \"$@\" <<<\"$rules\"\n"
            );
            recipe = recipe.script(format!("/usr/local/sbin/{program}"), script);
        }
        recipe
    })
}

fn missing_rules() -> Life {
    lacking("missing_iptables_rules")
        .env("EXIT_ON_FATAL", "1")
        .starts()
        .sees("are_fatal", ends_with(1))
        .sees(
            "the_variable_is_named",
            logged("ALLOW_MISSING_IPTABLES_RULES"),
        )
}

fn missing_rules_allowed() -> Life {
    lacking("missing_iptables_rules_that_are_allowed")
        .env("ALLOW_MISSING_IPTABLES_RULES", "1")
        .starts()
        .sees("do_no_harm", leaves_by("nl_amsterdam"))
        .sees("nothing_gets_out", closed())
}
