//! Name servers: the container's own, the tunnel's, the user's.

use std::net::{TcpListener, UdpSocket};

use harness::world::docker_dns::Docker;
use harness::world::network::LAN;

use crate::life::Life;
use crate::see::{
    closed, file_has, healthy, leaves_by, name_servers, reaches_lan, route, so, soon,
};

pub fn lives() -> Vec<Life> {
    vec![
        vpndns_0(),
        vpndns(),
        vpndns_in_the_lan(),
        vpndns_attached(),
        vpndns_ipv6(),
        resolver_of_docker_26(),
        resolver_of_docker_before_26(),
    ]
}

fn vpndns_0() -> Life {
    Life::of("vpndns_0")
        .env("VPNDNS", "0")
        .connects()
        .sees(
            "leaves_the_name_servers_alone",
            name_servers(&["203.0.113.53"]),
        )
        .sees(
            "which_are_asked",
            soon(|stage| {
                stage.shell("getent ahostsv4 inside.test");
                let asked = stage.world.pia.records().questions();
                let there = asked
                    .iter()
                    .any(|it| it.name == "inside.test" && it.through.is_none());
                so(there, || format!("{asked:?}"))
            }),
        )
}

fn vpndns() -> Life {
    Life::of("vpndns")
        .env("VPNDNS", "9.9.9.9, 10.0.0.242, home.lan")
        .connects()
        .sees(
            "names_the_servers",
            name_servers(&["9.9.9.9", "10.0.0.242"]),
        )
        .sees(
            "and_search_domains",
            file_has("/etc/resolv.conf", "search home.lan"),
        )
        .sees(
            "public_ones_are_asked_in_the_tunnel",
            route("9.9.9.9", "wg0"),
        )
        .stops()
        .sees("they_go_with_the_tunnel", name_servers(&["203.0.113.53"]))
}

fn vpndns_in_the_lan() -> Life {
    Life::of("vpndns_in_the_lan")
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .env("VPNDNS", "192.168.77.10")
        .env("ACTIVE_HEALTHCHECKS", "1")
        .env("HEALTHCHECK_PING_TARGET", "one.one.one.one")
        .does(|stage| {
            let bound = || (UdpSocket::bind((LAN, 53)), TcpListener::bind((LAN, 53)));
            let (udp, tcp) = stage.world.lan().run(bound);
            let pia = &stage.world.pia;
            pia.serve_dns(udp.expect("it is free"), tcp.expect("it is free"));
        })
        .connects()
        .sees("is_asked_there", route("192.168.77.10", "eth0"))
        .sees("its_host_stays_in_reach", reaches_lan())
        .sees("names_to_ping_are_asked_for_there", healthy())
}

fn vpndns_attached() -> Life {
    Life::of("vpndns_on_an_attached_network")
        .env("VPNDNS", "172.18.0.1")
        .connects()
        .sees("is_asked_there", route("172.18.0.1", "eth0"))
}

fn vpndns_ipv6() -> Life {
    Life::of("vpndns_with_ipv6")
        .env("VPNDNS", "9.9.9.9, 2001:db8::9")
        .connects()
        .sees("leaves_it_out", name_servers(&["9.9.9.9"]))
        .differs("Search domains and IPv6 addresses in VPNDNS")
}

fn resolver_of_docker_26() -> Life {
    Life::of("resolver_of_docker_26")
        .given(|world, recipe| recipe.resolv_conf(world.docker_dns(Docker::AsksFromContainer)))
        .connects()
        .sees("is_asked", leaves_by("nl_amsterdam"))
        .sees(
            "name_servers_are_pias_then",
            name_servers(&["10.0.0.243", "10.0.0.242"]),
        )
        .sees("nothing_gets_out", closed())
}

fn resolver_of_docker_before_26() -> Life {
    Life::of("resolver_of_docker_before_26")
        .given(|world, recipe| recipe.resolv_conf(world.docker_dns(Docker::Old)))
        .connects()
        .sees("is_asked", leaves_by("nl_amsterdam"))
        .sees("nothing_gets_out", closed())
}
