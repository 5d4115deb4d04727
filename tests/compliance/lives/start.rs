//! A life as most users have it, and how it ends.

use harness::simulator::account::PASSWORD;
use harness::simulator::faults::Api;
use harness::world::network::{CLIENT, GATEWAY, LAN};
use nix::sys::signal::Signal;

use crate::life::Life;
use crate::see::{
    apart, asked, closed, closed_to_marked, file_lacks, healthy, leaves_by, logged, mutual,
    name_servers, no_file, not_logged, now, owned, route, so, stops_by,
};

pub fn lives() -> Vec<Life> {
    vec![usual(), again(), killed()]
}

fn usual() -> Life {
    Life::of("usual")
        .env("LOC", "swiss")
        .connects()
        .sees(
            "says_that_it_has_started",
            logged("WireGuard successfully started"),
        )
        .sees("shows_no_password", not_logged(PASSWORD))
        .sees(
            "says_its_steps_in_words_of_its_own",
            not_logged("[#] ip link add"),
        )
        .differs("wg-quick's `[#]` lines, do not appear in this form")
        .sees("logs_in_once", asked(Api::Token, 1))
        .sees("registers_once", asked(Api::AddKey, 1))
        .sees("fetches_the_list", asked(Api::List, 1))
        .sees(
            "keeps_the_token_to_itself",
            owned("/pia/.token", (0, 0), 0o600),
        )
        .sees(
            "stores_the_token_without_a_newline",
            file_lacks("/pia/.token", "\n"),
        )
        .sees(
            "keeps_the_key_to_itself",
            owned("/etc/wireguard/wg0.conf", (0, 0), 0o600),
        )
        .differs("everybody in the container can read the private key")
        .sees(
            "sends_everything_into_the_tunnel",
            route("203.0.113.66", "wg0"),
        )
        .sees("leaves_by_the_location", leaves_by("swiss"))
        .sees(
            "uses_pias_name_servers",
            name_servers(&["10.0.0.243", "10.0.0.242"]),
        )
        .sees("lets_nothing_out_beside_the_tunnel", closed())
        .sees("the_tunnels_mark_is_no_way_out", closed_to_marked())
        .differs("any container that shares the network and has `NET_RAW`")
        .sees(
            "reaches_and_is_reached_by_its_networks",
            mutual(|world| world.router(), GATEWAY, CLIENT),
        )
        .sees(
            "is_apart_from_the_lan",
            apart(|world| world.lan(), LAN, CLIENT),
        )
        .sees("is_healthy", healthy())
        .sees("has_no_port", no_file("/pia-shared/port.dat"))
        .sees(
            "exits_with_0_when_it_is_stopped",
            stops_by(Signal::SIGTERM, 0),
        )
        .sees("lets_nothing_out_after_the_stop", closed())
}

fn again() -> Life {
    Life::of("again")
        .connects()
        .sees("sigint_ends_it_with_0", stops_by(Signal::SIGINT, 0))
        .connects()
        .sees("a_second_life_needs_no_login", asked(Api::Token, 1))
        .sees(
            "no_rule_stands_there_twice",
            now(|stage| {
                let twice = stage.world.repeated_rules();
                so(twice.is_empty(), || twice.join(", "))
            }),
        )
        .differs("In the original rules stand there twice, and where wg0 is still there")
        .sees("sigquit_ends_it_with_0", stops_by(Signal::SIGQUIT, 0))
}

/// As in a pod, where other processes survive the program.
fn killed() -> Life {
    Life::of("killed")
        .given(|_, recipe| recipe.shared_pid_namespace())
        .connects()
        .does(|stage| stage.container.kill())
        .sees("leaves_the_network_closed", closed())
        .starts()
        .sees("starts_again", logged("the start is over"))
        .differs("In the original rules stand there twice, and where wg0 is still there")
}
