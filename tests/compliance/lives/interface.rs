//! The tunnel's interface.

use crate::life::Life;
use crate::see::{
    Check, closed, file_has, file_is, file_lacks, healthy, leaves_by, logged, now, shell, so,
};

pub fn lives() -> Vec<Life> {
    vec![
        interface(),
        mtu_out_of_range(),
        cycle_ports(),
        own_wireguard(),
        own_wireguard_by_pre_up(),
        wg_quick_by_hand(),
    ]
}

fn interface() -> Life {
    Life::of("interface")
        .env("KEEPALIVE", "25")
        .env("MTU", "1333")
        .env("QDISC", "pfifo limit 77")
        .connects()
        .sees(
            "keepalive_is_set",
            shell("wg show wg0 persistent-keepalive", 0, "\t25"),
        )
        .sees(
            "keepalive_is_in_the_file",
            file_has("/etc/wireguard/wg0.conf", "PersistentKeepalive = 25"),
        )
        .sees("mtu_is_set", shell("cat /sys/class/net/wg0/mtu", 0, "1333"))
        .sees(
            "qdisc_is_set",
            shell("tc qdisc show dev wg0", 0, "limit 77p"),
        )
        .sees(
            "the_mark_is_wg_quicks",
            shell("wg show wg0 fwmark", 0, "0xca6c"),
        )
        .sees(
            "the_key_is_hidden_in_the_log",
            logged("private key: (hidden)"),
        )
        .sees(
            "the_server_is_named_in_the_file",
            file_has_prefix("#cn: amsterdam"),
        )
        .sees("the_gateway_too", file_has_prefix("#pf api ip: 10."))
}

/// A line of wg0.conf that begins so.
fn file_has_prefix(prefix: &'static str) -> Check {
    now(move |stage| {
        let text = stage
            .container
            .read("/etc/wireguard/wg0.conf")
            .unwrap_or_default();
        so(text.lines().any(|line| line.starts_with(prefix)), || {
            text.clone()
        })
    })
}

fn mtu_out_of_range() -> Life {
    Life::of("values_out_of_range")
        .env("MTU", "500")
        .env("KEEPALIVE", "0")
        .connects()
        .sees(
            "an_mtu_below_576_is_the_default",
            shell("cat /sys/class/net/wg0/mtu", 0, "1420"),
        )
        .differs("Original: an MTU below 576")
        .sees(
            "keepalive_0_is_off",
            file_lacks("/etc/wireguard/wg0.conf", "PersistentKeepalive"),
        )
}

fn cycle_ports() -> Life {
    Life::of("cycle_ports")
        .env("CYCLE_PORTS", "50001 50002")
        .env("CYCLE_INTERVAL", "1")
        .connects()
        .sees(
            "the_first_is_used",
            shell("wg show wg0 listen-port", 0, "50001"),
        )
        .sees(
            "then_the_second",
            shell("wg show wg0 listen-port", 0, "50002"),
        )
        .sees(
            "then_the_first_again",
            shell("wg show wg0 listen-port", 0, "50001"),
        )
        .sees("traffic_goes_on", leaves_by("nl_amsterdam"))
}

fn own_wireguard() -> Life {
    uses_my_wireguard(
        Life::of("own_user_space_wireguard")
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "my-wireguard"),
    )
}

/// wg-quick gets what the hook has left.
fn own_wireguard_by_pre_up() -> Life {
    uses_my_wireguard(Life::of("own_user_space_wireguard_by_pre_up").env(
        "PRE_UP",
        "export WG_QUICK_USERSPACE_IMPLEMENTATION=my-wireguard",
    ))
}

fn uses_my_wireguard(life: Life) -> Life {
    life.script(
        "/usr/local/bin/my-wireguard",
        "#!/bin/sh\ntouch /pia/mine\nexec wireguard-go \"$@\"\n",
    )
    .connects()
    .sees("is_used", file_is("/pia/mine", ""))
    .sees("carries", leaves_by("nl_amsterdam"))
}

fn wg_quick_by_hand() -> Life {
    Life::of("wg_quick_by_hand")
        .connects()
        .sees("takes_it_down", shell("wg-quick down wg0", 0, ""))
        .sees("which_opens_nothing", closed())
        .sees("brings_it_up", shell("wg-quick up wg0", 0, ""))
        .sees("carries_again", leaves_by("nl_amsterdam"))
        .sees("is_healthy_again", healthy())
}
