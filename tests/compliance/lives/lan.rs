//! The local network, other attached networks, and hosts behind the container.

use std::net::{Ipv4Addr, TcpListener};

use harness::waiting::bind_when_free;
use harness::world::World;
use harness::world::network::{BEHIND, CLIENT, CLIENT_SECOND, ELSEWHERE, LAN};

use crate::life::{Life, Stage};
use crate::see::{
    Check, apart, closed, leaves_by, logged, mutual, no_routing_rule, now, port_leads_to,
    reaches_lan, route, routing_rule, so, soon, wait_for_port,
};

pub fn lives() -> Vec<Life> {
    vec![
        lan(),
        lan_notations(),
        lan_end_of_range(),
        lan_wide(),
        lan_with_pias_dns(),
        second_network(),
        gateway(),
        gateway_without_firewall(),
        gateway_that_keeps_the_port(),
    ]
}

fn lan() -> Life {
    Life::of("local_network")
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .connects()
        .sees(
            "is_reached_both_ways",
            mutual(|world| world.lan(), LAN, CLIENT),
        )
        .sees("is_routed_past_the_tunnel", route("192.168.77.10", "eth0"))
        .sees(
            "by_a_rule_of_preference_10",
            routing_rule("10:\tfrom all to 192.168.77.0/24 lookup main"),
        )
        .sees("the_rest_is_in_the_tunnel", leaves_by("nl_amsterdam"))
        .sees("nothing_else_gets_out", closed())
        .stops()
        .sees(
            "the_rule_goes_with_the_tunnel",
            no_routing_rule("192.168.77.0/24"),
        )
        .differs("Original: routing rules at preference 10 stay")
}

fn lan_notations() -> Life {
    let ranges = "192.168.300.0/24,lan 192.168.77.10 10.1.0.0/33, 10.9.0.0/255.255.0.0 11/8 \
                  192.0.2.9/24";
    Life::of("local_network_notations")
        .env("LOCAL_NETWORK", ranges)
        .connects()
        .sees("bad_ones_do_not_spoil_the_others", reaches_lan())
        .sees(
            "a_bare_address_is_itself",
            routing_rule("to 192.168.77.10 lookup main"),
        )
        .sees("a_netmask_is_understood", route("10.9.3.4", "eth0"))
        .sees("so_are_missing_zeros", route("11.3.4.5", "eth0"))
        .sees("and_bits_of_a_host", route("192.0.2.77", "eth0"))
        .sees("the_rest_is_in_the_tunnel", route("10.10.3.4", "wg0"))
}

fn lan_end_of_range() -> Life {
    Life::of("local_network_elsewhere")
        .env("LOCAL_NETWORK", "192.168.77.11, 192.168.78.0/24")
        .connects()
        .sees(
            "lets_nothing_else_through",
            apart(|world| world.lan(), LAN, CLIENT),
        )
}

fn lan_wide() -> Life {
    Life::of("local_network_of_everything")
        .env("LOCAL_NETWORK", "0.0.0.0/0")
        .connects()
        .sees("is_left_out", closed())
        .differs("Mended: a range wider than `/8`, which would switch the VPN off in silence")
}

fn lan_with_pias_dns() -> Life {
    Life::of("local_network_with_pias_name_servers")
        .env("LOCAL_NETWORK", "10.0.0.0/8")
        .connects()
        .sees("is_warned_of", logged("10.0.0.243"))
        .sees("they_are_in_the_tunnel", route("10.0.0.243", "wg0"))
        .differs("PIA's name servers and gateway are routed into the tunnel also where")
        .sees("the_rest_is_past_it", route("10.1.2.3", "eth0"))
}

fn second_network() -> Life {
    Life::of("second_network")
        .in_world(|| World::builder().second_network(None).build())
        .connects()
        .sees(
            "is_reached_both_ways",
            mutual(
                |world| world.router(),
                Ipv4Addr::new(172, 19, 0, 1),
                CLIENT_SECOND,
            ),
        )
}

fn forwarding_world() -> World {
    World::builder()
        .behind()
        .sysctl("net/ipv4/ip_forward", "1")
        .build()
}

fn seen_from_behind(stage: &Stage) -> Option<Ipv4Addr> {
    stage.world.address_seen_from(stage.world.behind())
}

/// A host behind the container is seen as a server of PIA's.
fn serves_behind() -> Check {
    soon(|stage| {
        let seen = seen_from_behind(stage);
        let servers = stage.world.pia.servers();
        let by = |address| {
            servers
                .iter()
                .any(|server| server.exits().contains(&address))
        };
        so(seen.is_some_and(by), || format!("{seen:?}"))
    })
}

fn gateway() -> Life {
    Life::of("gateway")
        .in_world(forwarding_world)
        .env("FWD_IFACE", "eth1")
        .env("PF_DEST_IP", BEHIND.to_string())
        .env("PORT_FORWARDING", "1")
        .connects()
        .sees("hosts_behind_use_the_tunnel", serves_behind())
        .sees(
            "the_port_leads_behind",
            port_leads_to(|world| world.behind()),
        )
        .stops()
        .sees(
            "hosts_behind_get_nowhere_after_the_stop",
            now(|stage| {
                let behind = stage.world.behind();
                so(behind.is_kept_from((ELSEWHERE, 7)), || {
                    "they get out".to_owned()
                })
            }),
        )
}

fn gateway_without_firewall() -> Life {
    Life::of("gateway_without_firewall")
        .in_world(forwarding_world)
        .env("FWD_IFACE", "eth1")
        .env("PF_DEST_IP", BEHIND.to_string())
        .env("PORT_FORWARDING", "1")
        .env("FIREWALL", "0")
        .connects()
        .sees("hosts_behind_use_the_tunnel", serves_behind())
        .sees(
            "the_port_leads_behind",
            port_leads_to(|world| world.behind()),
        )
        .sees(
            "only_the_tunnels_does",
            now(|stage| {
                let port = wait_for_port(stage);
                let any = (Ipv4Addr::UNSPECIFIED, port);
                let behind = stage.world.behind();
                let _listener = behind.run(|| bind_when_free(|| TcpListener::bind(any)));
                let kept = stage.world.router().is_kept_from((CLIENT, port));
                so(kept, || {
                    "it is reached from the attached network".to_owned()
                })
            }),
        )
        .differs("Where DNAT applies")
}

fn gateway_that_keeps_the_port() -> Life {
    Life::of("gateway_that_keeps_the_port")
        .in_world(forwarding_world)
        .env("FWD_IFACE", "eth1")
        .env("PORT_FORWARDING", "1")
        .connects()
        .sees("hosts_behind_use_the_tunnel", serves_behind())
        .sees(
            "the_port_leads_to_the_container",
            port_leads_to(|world| world.client()),
        )
}
