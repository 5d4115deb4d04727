//! What whole environments mean.

use std::time::Duration;

use super::{Environment, RetryPolicy, ServerChoice, Settings};
use crate::port_clients::{ClientTarget, Method};

fn settings(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let environment: Environment = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let (settings, warnings) = Settings::from_environment(&environment);
    (settings, warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn nothing_set_is_the_defaults_without_a_warning() {
    let (settings, warnings) = settings(&[]);
    assert_eq!(warnings, [""; 0]);
    assert!(settings.firewall && !settings.exit_on_fatal && !settings.port_forwarding.enabled);
    assert_eq!(settings.destination, ServerChoice::Unset);
    assert_eq!(
        settings.retry,
        RetryPolicy {
            retries: 5,
            delay: Duration::from_secs(5),
            max_time: Duration::from_secs(120)
        }
    );
    assert_eq!(settings.monitor.interval, Duration::from_secs(60));
    assert_eq!(
        settings.port_forwarding.rebind_interval,
        Duration::from_secs(900)
    );
    assert_eq!(
        settings.probing.targets,
        ["www.privateinternetaccess.com", "1.1.1.1"]
    );
}

#[test]
fn beside_an_anchor_there_is_a_kill_switch_whatever_firewall_says() {
    let pairs = [("FIREWALL", "0"), ("LOCAL_PORTS", "8080")];
    let environment: Environment = pairs
        .map(|(name, value)| (name.into(), value.into()))
        .into_iter()
        .collect();
    let (alone, warnings) = Settings::of_network(&environment, false);
    assert!(!alone.firewall && warnings[0].variable == "LOCAL_PORTS");
    let (settings, warnings) = Settings::of_network(&environment, true);
    assert!(settings.firewall && settings.local_ports.is_some());
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "FIREWALL: it is 0, but an anchor (`wireguard-pia seal`) holds this network closed; \
             there is a kill switch"
        ]
    );
}

#[test]
fn bad_values_give_the_default_and_a_warning_each() {
    let (settings, warnings) = settings(&[
        ("FIREWALL", "yes"),
        ("KEEPALIVE", "-1"),
        ("MTU", "12"),
        ("MONITOR_RETRIES", "0"),
        ("LOCAL_NETWORK", "192.168.1.0/24, nonsense 10.1.2.3"),
        ("CYCLE_PORTS", "1 x 70000"),
    ]);
    assert!(settings.firewall);
    assert_eq!(settings.keepalive, None);
    assert_eq!(
        settings.local_network,
        [
            "192.168.1.0/24".parse().unwrap(),
            "10.1.2.3".parse().unwrap()
        ]
    );
    assert_eq!(settings.cycle_ports, [1]);
    assert_eq!(warnings.len(), 7, "{warnings:#?}");
    assert!(
        warnings
            .contains(&"FIREWALL: expected 0 or 1, not yes; the default, 1, is used".to_owned()),
        "{warnings:#?}"
    );
}

#[test]
fn empty_counts_as_unset_and_non_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let (settings, warnings) = settings(&[("FIREWALL", ""), ("LOC", "  ")]);
    assert_eq!(
        (settings.destination, warnings.len()),
        (ServerChoice::Unset, 0)
    );
    let odd = [("PASS".into(), std::ffi::OsString::from_vec(vec![0xff]))]
        .into_iter()
        .collect();
    assert_eq!(
        Settings::from_environment(&odd).1[0].to_string(),
        "PASS: not valid UTF-8 text; it is ignored"
    );
}

#[test]
fn a_manual_server_needs_all_three() {
    let all = settings(&[
        ("PIA_IP", "1.2.3.4"),
        ("PIA_CN", "x401"),
        ("PIA_PORT", "1337"),
        ("LOC", "swiss"),
    ])
    .0;
    assert!(matches!(
        all.destination,
        ServerChoice::Manual { port: 1337, .. }
    ));
    let (two, warnings) = settings(&[("PIA_IP", "1.2.3.4"), ("PIA_CN", "x401"), ("LOC", "swiss")]);
    assert_eq!(
        two.destination,
        ServerChoice::Locations(vec!["swiss".into()])
    );
    assert!(warnings[0].starts_with("PIA_PORT: missing"), "{warnings:?}");
}

#[test]
fn the_effective_settings_hide_secrets_and_shell_code() {
    let environment = [
        ("LOC", "swiss"),
        ("PASS", "geheim"),
        ("PRE_UP", "curl -u me:pw x"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into_iter()
    .collect();
    assert_eq!(
        Settings::effective(&environment),
        "LOC=swiss PASS=*** PRE_UP=(15 characters)"
    );
}

/// The firewall would refuse them later, which would end the start.
#[test]
fn an_interface_name_that_no_rule_can_hold_is_ignored_with_a_warning() {
    for name in ["-x", "e'1", "e#1", "much-too-long-name"] {
        let (settings, warnings) = settings(&[("FWD_IFACE", name)]);
        assert_eq!(settings.gateway, None, "{name}");
        assert!(warnings[0].starts_with("FWD_IFACE: "), "{warnings:?}");
    }
    let (found, _) = settings(&[
        ("FWD_IFACE", "eth0, eth1 a/b"),
        ("FWD_SOURCES", "10.1/16 x"),
    ]);
    let gateway = found.gateway.unwrap();
    assert_eq!(gateway.interfaces, ["eth0", "eth1"]);
    assert_eq!(gateway.sources, ["10.1.0.0/16".parse().unwrap()]);
    // A slip lets nobody in.
    let (found, warnings) = settings(&[("FWD_IFACE", "eth1"), ("FWD_SOURCES", "x")]);
    assert_eq!(found.gateway.unwrap().sources, []);
    assert!(warnings[0].starts_with("FWD_SOURCES: "), "{warnings:?}");
    for variable in ["FWD_SOURCES", "FWD_DNS", "PF_DEST_IP"] {
        let value = if variable == "FWD_DNS" {
            "1"
        } else {
            "10.1.2.3"
        };
        let (_, warnings) = settings(&[(variable, value)]);
        assert!(warnings[0].contains("FWD_IFACE is not set"), "{warnings:?}");
    }
    let (_, warnings) = settings(&[("FWD_IFACE", "eth1"), ("FWD_DNS", "1"), ("VPNDNS", "0")]);
    assert!(warnings[0].starts_with("FWD_DNS: "), "{warnings:?}");
    let (settings, warnings) = settings(&[("FWD_IFACE", "eth+")]);
    assert!(settings.gateway.is_some() && warnings.is_empty());
}

/// As the rules have it.
#[test]
fn a_gateway_keeps_the_port_unless_another_machine_is_named() {
    let listening = |pairs: &[_]| settings(pairs).0.listening_port(47047);
    let (gateway, redirect) = (("FWD_IFACE", "eth1"), ("PORT_REDIRECT", "6881"));
    assert_eq!(listening(&[]), Some(47047));
    assert_eq!(listening(&[gateway]), Some(47047));
    assert_eq!(listening(&[gateway, redirect]), Some(6881));
    assert_eq!(listening(&[gateway, ("PF_DEST_IP", "10.1.2.3")]), None);
}

#[test]
fn a_server_listens_on_a_port_or_on_an_address_and_a_port() {
    for (text, meant) in [
        (":8000", Some(":8000")),
        ("8000", Some(":8000")),
        ("127.0.0.1:8000", Some("127.0.0.1:8000")),
        ("[::1]:8000", Some("[::1]:8000")),
        (":0", None),
        ("localhost:8000", None),
    ] {
        let (settings, warnings) = settings(&[("STATUS_LISTEN", text)]);
        let found = settings.status_listen.map(|address| address.to_string());
        assert_eq!(found.as_deref(), meant, "{text}");
        assert_eq!(warnings.is_empty(), meant.is_some(), "{warnings:?}");
    }
}

#[test]
fn fastest_stands_before_a_list() {
    let choice = |text| settings(&[("LOC", text)]).0.destination;
    let of = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect();
    let both = ServerChoice::NearestOf(of(&["swiss", "CA Toronto"]));
    assert_eq!(choice("fastest: swiss, CA Toronto"), both);
    assert_eq!(choice("Fastest:auto"), ServerChoice::Nearest);
    assert_eq!(choice("fastest:"), ServerChoice::Unset);
    assert_eq!(choice("fastest"), ServerChoice::Locations(of(&["fastest"])));
}

#[test]
fn port_clients_are_named_once_and_unknown_ones_are_guessed_at() {
    let (settings, warnings) = settings(&[
        ("PORT_FORWARDING", "1"),
        (
            "PORT_CLIENTS",
            "qBittorrent, http deluge transmision deluge",
        ),
        ("DELUGE_URL", "http://me:geheim@nas/deluge"),
        ("PORT_REDIRECT", "6881"),
    ]);
    let clients = settings.port_clients.unwrap().clients;
    let names: Vec<&str> = clients.iter().map(|client| client.target.name()).collect();
    assert_eq!(names, ["qbittorrent", "deluge"]);
    for expected in [
        "PORT_CLIENTS: http needs PORT_HTTP_URL; it is left out",
        "PORT_CLIENTS: there is no client transmision (did you mean transmission?), only \
         qbittorrent, transmission, deluge, rtorrent, slskd, http; it is left out",
        "PORT_CLIENTS: PORT_REDIRECT leads connections to port 6881; clients are told the \
         forwarded port all the same, where nothing comes",
    ] {
        assert!(
            warnings.contains(&expected.to_owned()),
            "{expected}: {warnings:#?}"
        );
    }
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

#[test]
fn without_a_port_there_are_no_port_clients() {
    let (without, warnings) = settings(&[("PORT_CLIENTS", "slskd")]);
    assert!(without.port_clients.is_none());
    assert_eq!(
        warnings,
        ["PORT_CLIENTS: PORT_FORWARDING is not 1; it has no effect"]
    );
    let (unset, _) = settings(&[("PORT_FORWARDING", "1"), ("SLSKD_API_KEY", "x")]);
    assert!(unset.port_clients.is_none());
}

#[test]
fn a_request_that_does_not_tell_the_port_is_warned_of() {
    let warnings = |url: &str, body: &str| {
        let variables = [
            ("PORT_FORWARDING", "1"),
            ("PORT_CLIENTS", "http"),
            ("PORT_HTTP_URL", url),
            ("PORT_HTTP_BODY", body),
        ];
        settings(&variables).1
    };
    assert_eq!(
        warnings("nas:81", "{\"port\":{PORT}}"),
        [
            "PORT_HTTP_URL: neither it nor PORT_HTTP_BODY has {{PORT}} in it; requests are sent \
          that do not tell the port"
        ]
    );
    // The body's default has it.
    for (url, body) in [
        ("nas:81/{{PORT}}", "x"),
        ("nas:81", "{{PORT}}"),
        ("nas:81", ""),
    ] {
        assert_eq!(warnings(url, body), [""; 0], "{url} {body}");
    }
}

#[test]
fn the_http_clients_texts_are_taken_as_they_are() {
    let (settings, warnings) = settings(&[
        ("PORT_FORWARDING", "1"),
        ("PORT_CLIENTS", "http"),
        ("PORT_HTTP_URL", "nas:81/{{PORT}}?key=geheim"),
        ("PORT_HTTP_METHOD", "put"),
        ("PORT_HTTP_BODY", "\"{{PORT}}\""),
    ]);
    assert_eq!(warnings, [""; 0]);
    let clients = settings.port_clients.unwrap().clients;
    let ClientTarget::Http(hook) = &clients[0].target else {
        panic!("{clients:?}")
    };
    assert_eq!(
        (hook.method, hook.body.expose()),
        (Method::Put, "\"{{PORT}}\"")
    );
    let environment: Environment = [("PORT_HTTP_URL".into(), "nas:81/?key=geheim".into())]
        .into_iter()
        .collect();
    assert_eq!(
        Settings::effective(&environment),
        "PORT_HTTP_URL=nas:81/?***"
    );
}
