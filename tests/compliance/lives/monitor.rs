//! Health, and what happens when the server no longer answers.

use std::sync::Arc;
use std::time::Instant;

use harness::simulator::faults::Api;
use harness::simulator::server::Server;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::internet::Outage;
use harness::world::network::LAN;
use nix::sys::signal::Signal;

use crate::life::{Life, Stage};
use crate::see::{
    Check, asked, closed, file_has, file_is, filter_has, healthy, leaves_by, name_servers, now,
    port_leads_to, reaches_lan, registered_with, route, routing_rule, shell, so, soon, unhealthy,
    wait_for_port,
};

pub fn lives() -> Vec<Life> {
    vec![
        reconnect(),
        location_at_a_reconnect(),
        location_by_a_hook(),
        own_healthcheck(),
        interval(),
        same_server(),
        active(),
        passive(),
        many_silent_targets(),
        interface_gone(),
        sighup(),
        retries_0(),
        cycle_ports(),
    ]
}

fn monitored(name: &'static str) -> Life {
    Life::of(name)
        .in_world(two_servers)
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "3")
        .env("HEALTHCHECK_PING_TARGET", "1.1.1.1")
        .env("HEALTHCHECK_PING_TIMEOUT", "2")
}

/// Two servers in the first location. Both name the client's address without a length, of which the
/// original makes a rule of its own.
fn two_servers() -> World {
    World::builder()
        .servers("nl_amsterdam", Kind::Stable, 1)
        .servers("swiss", Kind::Stable, 1)
        .servers("nl_amsterdam", Kind::Stable, 1)
        .build()
}

/// The server in use disappears from the list, as the original may draw it again.
fn unlist(stage: &Stage) -> Arc<Server> {
    let server = stage.world.server_in_use();
    let lists = stage.world.pia.lists();
    lists.edit(&server.plan().location, |region| {
        region.servers.retain(|listed| listed.cn != server.cn());
    });
    server
}

/// The server in use falls silent, and another one takes its place.
fn another_server(stage: &mut Stage) {
    unlist(stage).silence_endpoint();
    wait_until("a reconnect", LATER, || {
        stage.container.logs().contains("the reconnect is over")
    });
}

/// Facts about the interface, separated by blanks.
const INTERFACE: &str = "cat /sys/class/net/wg0/ifindex; ip -4 -o addr show dev wg0 | wc -l; ip -4 \
                         -o addr show dev wg0 | cut -d' ' -f7";

fn reconnect() -> Life {
    monitored("reconnect")
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .env("QDISC", "pfifo limit 77")
        .env("PORT_FORWARDING", "1")
        .env("PORT_SCRIPT", "echo told >>/pia-shared/told; true")
        .env(
            "POST_UP",
            "iptables -P FORWARD ACCEPT; ip rule add to 198.18.0.0/15 lookup main pref 10",
        )
        .env("PRE_RECONNECT", "echo before $PWD >>/pia/order")
        .env(
            "POST_RECONNECT",
            "echo after $PWD >>/pia/order; echo the reconnect is ove''r",
        )
        .connects()
        .does(|stage| {
            let port = wait_for_port(stage).to_string();
            stage.note(port);
            let interface = stage.container.shell(INTERFACE);
            stage.note(interface);
        })
        .sees("is_healthy_before", healthy())
        .does(another_server)
        .sees(
            "hooks_run_around_it",
            file_is("/pia/order", "before /scripts\nafter /scripts\n"),
        )
        .sees("traffic_flows_again", leaves_by("nl_amsterdam"))
        .sees(
            "one_more_key_is_registered",
            registered_with(&["nl_amsterdam", "nl_amsterdam"]),
        )
        .sees(
            "the_interface_is_the_same_with_another_address",
            now(|stage| {
                let now = stage.container.shell(INTERFACE);
                let (now, then) = (now.lines(), stage.noted[1].lines());
                let same: Vec<bool> = now.zip(then).map(|(now, then)| now == then).collect();
                so(same == [true, true, false], || format!("{same:?}"))
            }),
        )
        .sees(
            "only_the_new_peer_is_left",
            now(|stage| {
                let peers = stage.container.shell("wg show wg0 peers");
                so(peers.lines().count() == 1, || peers.clone())
            }),
        )
        .sees(
            "wg_quicks_rule_is_moved",
            now(|stage| {
                let address = stage
                    .container
                    .shell("ip -4 -o addr show dev wg0 | awk '{print $4}'");
                let address = address.trim().trim_end_matches("/32").to_owned();
                let rules = stage.world.look("iptables-save -t raw");
                let rules: Vec<&str> = rules
                    .lines()
                    .filter(|line| line.starts_with("-A"))
                    .collect();
                so(rules.len() == 1 && rules[0].contains(&address), || {
                    format!("{rules:?}")
                })
            }),
        )
        .sees(
            "the_qdisc_is_kept",
            shell("tc qdisc show dev wg0", 0, "limit 77p"),
        )
        .sees(
            "name_servers_are_pias",
            name_servers(&["10.0.0.243", "10.0.0.242"]),
        )
        .sees("the_lan_stays_in_reach", reaches_lan())
        .sees("the_lan_stays_routed", route(LAN.to_string(), "eth0"))
        .sees("a_hooks_routing_rule_stays", routing_rule("198.18.0.0/15"))
        .sees("a_hooks_policy_stays", filter_has(":FORWARD ACCEPT"))
        .sees("nothing_gets_out", closed())
        .sees(
            "the_port_script_is_run_again",
            file_is("/pia-shared/told", "told\ntold\n"),
        )
        .sees(
            "a_port_leads_to_the_container",
            port_leads_to(|world| world.client()),
        )
        .sees(
            "it_is_the_same_port",
            now(|stage| {
                let port = wait_for_port(stage).to_string();
                so(port == stage.noted[0], || port.clone())
            }),
        )
        .differs("The same port is kept over reconnects within a life")
        .sees("is_healthy_again", healthy())
        .sees("no_second_list_is_needed", asked(Api::List, 1))
        .differs("a list is used for as long as it leads to a server")
        .sees("no_second_login_is_needed", asked(Api::Token, 1))
}

fn location_at_a_reconnect() -> Life {
    monitored("location_at_a_reconnect")
        .env("LOC", "nl_amsterdam swiss")
        .env("POST_RECONNECT", "echo the reconnect is ove''r")
        .connects()
        .does(|stage| {
            for server in stage.world.pia.servers_of("nl_amsterdam") {
                server.refuse_registration("no room");
            }
        })
        .does(another_server)
        .sees("may_be_the_next", leaves_by("swiss"))
}

fn location_by_a_hook() -> Life {
    monitored("location_by_a_hook")
        .env("PRE_RECONNECT", "LOC=swiss")
        .env("POST_RECONNECT", "echo the reconnect is ove''r")
        .connects()
        .does(another_server)
        .sees("leads_there", leaves_by("swiss"))
}

fn own_healthcheck() -> Life {
    let script = "#!/bin/bash\n[ ! -e /pia/sick ] || exit 5\n[ ! -e /pia/fault ] || { rm \
                  /pia/fault; exit 1; }\n";
    monitored("own_healthcheck")
        .env("KEEPALIVE", "25")
        .env("MONITOR_RETRIES", "1")
        .env("POST_RECONNECT", "echo the reconnect is ove''r")
        .script("/scripts/healthcheck.sh", script)
        .connects()
        .sees(
            "is_the_health_check",
            shell(
                "touch /pia/sick; /scripts/healthcheck.sh; s=$?; rm /pia/sick; exit $s",
                5,
                "",
            ),
        )
        .does(|stage| {
            unlist(stage);
            stage.container.shell("touch /pia/fault");
        })
        .sees("is_the_monitors_probe", reconnected())
        .sees(
            "keepalive_is_kept",
            shell("wg show wg0 persistent-keepalive", 0, "\t25"),
        )
}

fn interval() -> Life {
    Life::of("monitor_interval")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "3")
        .env("PRE_RECONNECT", "wc -l </pia/probes >/pia/count")
        .script(
            "/scripts/healthcheck.sh",
            "echo \"$ACTIVE_HEALTHCHECKS $PORT_FORWARDING\" >>/pia/probes\n[ -e /pia/count ]\n",
        )
        .connects()
        .sees(
            "three_failures_make_a_reconnect",
            file_is("/pia/count", "3\n"),
        )
        .sees(
            "the_probe_is_active_and_asks_for_no_port",
            file_has("/pia/probes", "1 0"),
        )
}

fn same_server() -> Life {
    Life::of("same_server_again")
        .in_world(|| {
            World::builder()
                .servers("nl_amsterdam", Kind::Stable, 1)
                .build()
        })
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "1")
        .env("POST_RECONNECT", "echo the reconnect is ove''r")
        .script(
            "/scripts/healthcheck.sh",
            "[ ! -e /pia/fault ] || { rm /pia/fault; exit 1; }\n",
        )
        .connects()
        .does(|stage| {
            stage.container.shell("touch /pia/fault");
        })
        .sees("is_registered_with_again", reconnected())
        .sees("carries", leaves_by("nl_amsterdam"))
        .differs("A server that names the same key, or the same address, as before still works")
}

fn active() -> Life {
    Life::of("active_healthcheck")
        .env("ACTIVE_HEALTHCHECKS", "1")
        .env(
            "HEALTHCHECK_PING_TARGET",
            "203.0.113.99, inside.test 1.1.1.1",
        )
        .env("HEALTHCHECK_PING_TIMEOUT", "1")
        .connects()
        .sees("one_target_that_answers_is_enough", healthy())
        .does(|stage| stage.world.server_in_use().silence_endpoint())
        .sees("a_silent_server_is_unhealthy", unhealthy())
}

fn passive() -> Life {
    Life::of("passive_healthcheck")
        .env("ACTIVE_HEALTHCHECKS", "yes")
        .connects()
        .does(|stage| stage.world.begin(Outage::Pings))
        .sees("pings_nobody", healthy())
        .does(|stage| {
            stage.container.shell("ip link delete wg0");
        })
        .sees("an_interface_that_is_gone_is_unhealthy", unhealthy())
}

fn many_silent_targets() -> Life {
    let targets = "1.1.1.1 203.0.113.10 ".repeat(4);
    Life::of("many_silent_targets")
        .env("ACTIVE_HEALTHCHECKS", "1")
        .env("HEALTHCHECK_PING_TARGET", targets)
        .env("HEALTHCHECK_PING_TIMEOUT", "3")
        .connects()
        .does(|stage| stage.world.begin(Outage::Pings))
        .sees(
            "are_waited_for_together",
            now(|stage| {
                let begun = Instant::now();
                let (status, _) = stage.shell("/scripts/healthcheck.sh");
                so(status == Some(1) && begun.elapsed() < SOON, || {
                    format!("{status:?} after {:?}", begun.elapsed())
                })
            }),
        )
        .differs("Here: for all together, as they are asked at the same time")
}

fn interface_gone() -> Life {
    monitored("interface_that_is_gone")
        .connects()
        .does(|stage| {
            stage.container.shell("ip link delete wg0");
        })
        .sees("comes_back", leaves_by("nl_amsterdam"))
        .differs("A wg0 that is gone, down or without its default route is brought up anew.")
}

fn sighup() -> Life {
    Life::of("sighup")
        .env("POST_RECONNECT", "echo the reconnect is ove''r")
        .connects()
        .does(|stage| stage.container.signal(Signal::SIGHUP))
        .sees("leads_to_another_server", reconnected())
        .differs("Original: ends it, status 129. Here: reconnects.")
}

fn reconnected() -> Check {
    soon(|stage| {
        let log = stage.container.logs();
        so(log.contains("the reconnect is over"), || {
            "no reconnect".to_owned()
        })
    })
}

fn retries_0() -> Life {
    monitored("monitor_retries_0")
        .env("MONITOR_RETRIES", "0")
        .connects()
        .sees(
            "is_at_least_1",
            now(|stage| {
                let records = stage.world.pia.records();
                let again = records.wait_for(Api::AddKey, 2, std::time::Duration::from_secs(3));
                so(!again, || "it reconnects for nothing".to_owned())
            }),
        )
        .differs("mended: at least 1")
}

fn cycle_ports() -> Life {
    monitored("cycle_ports_and_monitor")
        .env("CYCLE_PORTS", "50001 50002")
        .env("POST_RECONNECT", "echo the reconnect is ove''r")
        .connects()
        .does(|stage| stage.world.server_in_use().silence_endpoint())
        .sees("the_monitor_works", reconnected())
        .differs("With `CYCLE_PORTS` the monitor works, too.")
}
