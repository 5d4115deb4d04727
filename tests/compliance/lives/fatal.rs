//! What cannot go on.

use harness::simulator::faults::Api;
use nix::sys::signal::Signal;

use crate::life::Life;
use crate::see::{
    asked, closed, ends_with, file_has, file_is, file_lacks, leaves_by, logged, name_servers,
    not_logged, stays_until_stopped, stops_by, unhealthy,
};

pub fn lives() -> Vec<Life> {
    vec![
        stays(),
        exit_in_fatal_script(),
        without_net_admin(),
        wg_quick_fails(),
        what_passes(),
        stop_while_the_list_hangs(),
        debug(),
        flags(),
        proxy(),
    ]
}

fn stays() -> Life {
    Life::of("fatal_error_without_exit_on_fatal")
        .env("LOC", "nowhere")
        .env(
            "FATAL_SCRIPT",
            "ping -c 1 -W 1 172.18.0.1 || touch /pia/apart; echo fatal >/pia/fatal",
        )
        .env("POST_DOWN", "echo down >/pia/down")
        .starts()
        .until("Fatal error")
        .sees("runs_the_fatal_script", file_has("/pia/fatal", "fatal"))
        .sees("which_has_no_network", file_is("/pia/apart", ""))
        .sees("is_unhealthy", unhealthy())
        .sees("leaves_the_network_closed", closed())
        .sees("stays_until_it_is_stopped", stays_until_stopped())
        .sees("down_hooks_run", file_has("/pia/down", "down"))
}

fn exit_in_fatal_script() -> Life {
    Life::of("exit_in_fatal_script")
        .env("LOC", "nowhere")
        .env("FATAL_SCRIPT", "sleep 1; exit 3")
        .starts()
        .sees("ends_the_container_with_its_status", ends_with(3))
        .sees("the_network_is_closed_then", closed())
}

fn without_net_admin() -> Life {
    Life::of("without_net_admin")
        .env("EXIT_ON_FATAL", "1")
        .env("FATAL_SCRIPT", "touch /pia/fatal")
        .given(|_, recipe| recipe.cap_drop("net_admin"))
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("names_the_capability", logged("NET_ADMIN"))
        .sees("runs_the_fatal_script", file_is("/pia/fatal", ""))
}

fn wg_quick_fails() -> Life {
    Life::of("wg_quick_that_fails")
        .env("EXIT_ON_FATAL", "1")
        .given(|_, recipe| recipe.without_tun())
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("the_network_is_closed_then", closed())
}

fn what_passes() -> Life {
    Life::of("servers_that_are_down_for_a_while")
        .env("CURL_RETRY", "0")
        .does(|stage| {
            for server in stage.world.pia.servers() {
                server.close_registration();
            }
        })
        .starts()
        .sees("are_a_fatal_error", logged("Fatal error"))
        .does(|stage| {
            for server in stage.world.pia.servers() {
                server.open_registration();
            }
        })
        .sees("and_tried_again", leaves_by("nl_amsterdam"))
        .differs("is tried again with growing pauses up to 5 minutes")
}

fn stop_while_the_list_hangs() -> Life {
    Life::of("stop_while_the_list_hangs")
        .env("POST_DOWN", "touch /pia/down")
        .does(|stage| stage.world.pia.hang(Api::List))
        .starts()
        .does(|stage| {
            let records = stage.world.pia.records();
            assert!(records.wait_for(Api::List, 1, harness::waiting::SOON));
        })
        .sees("is_obeyed", stops_by(Signal::SIGTERM, 0))
        .differs("a stop is obeyed within a second at any moment")
        .sees("runs_down_hooks", file_is("/pia/down", ""))
        .differs("a stop is obeyed within a second at any moment")
}

fn debug() -> Life {
    Life::of("debug")
        .env("DEBUG", "1")
        .connects()
        .sees("connects", leaves_by("nl_amsterdam"))
        .sees("shows_no_password", not_logged("p&s+w%d"))
        .differs("mended: debug log without secrets")
}

fn flags() -> Life {
    Life::of("values_that_are_none")
        .env("FIREWALL", "yes")
        .env("PORT_FORWARDING", "true")
        .env("EXIT_ON_FATAL", "maybe")
        .env("KEEPALIVE", "often")
        .env("MONITOR_INTERVAL", "1m")
        .env("META_PORT", "https")
        .env("VPNDNS", "")
        .env("MTU", "")
        .connects()
        .sees("are_not_fatal", leaves_by("nl_amsterdam"))
        .sees("firewall_is_on", closed())
        .sees(
            "keepalive_is_off",
            file_lacks("/etc/wireguard/wg0.conf", "PersistentKeepalive"),
        )
        .sees("port_forwarding_is_off", asked(Api::GetSignature, 0))
        .sees(
            "name_servers_are_pias",
            name_servers(&["10.0.0.243", "10.0.0.242"]),
        )
        .sees("each_is_warned_of", logged("EXIT_ON_FATAL"))
        .differs("a warning names the variable, the value and what was expected")
}

fn proxy() -> Life {
    Life::of("proxy_in_the_environment")
        .env("HTTPS_PROXY", "http://203.0.113.66:9")
        .env("CURL_RETRY", "0")
        .starts()
        .sees("is_not_used", leaves_by("nl_amsterdam"))
        .differs("Proxies and curl's own settings")
}
