//! What users type that is not quite what was meant.

use std::net::Ipv4Addr;

use super::{Environment, ServerChoice, Settings, VpnDns};

fn settings(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let environment: Environment = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let (settings, warnings) = Settings::from_environment(&environment);
    (settings, warnings.iter().map(ToString::to_string).collect())
}

/// The ranges of `LOCAL_NETWORK`, and the warnings.
fn local(text: &str) -> (Vec<String>, Vec<String>) {
    let (settings, warnings) = settings(&[("LOCAL_NETWORK", text)]);
    let ranges = settings.local_network.iter().map(ToString::to_string);
    (ranges.collect(), warnings)
}

#[test]
fn a_local_network_that_would_switch_the_vpn_off_is_left_out() {
    for text in [
        "0.0.0.0/0",
        "192.168.1.10/0",
        "0.0.0.0/1,128.0.0.0/1",
        "10.0.0.0/7",
        "0/0",
    ] {
        let (ranges, warnings) = local(&format!("{text} 192.168.1.0/24"));
        assert_eq!(ranges, ["192.168.1.0/24"], "{text}");
        let wide = |warning: &&String| warning.contains("outside the tunnel; it is left out");
        let parts = text.split(',').count();
        assert_eq!(warnings.iter().filter(wide).count(), parts, "{warnings:#?}");
        assert_eq!(warnings.len(), parts, "{warnings:#?}");
    }
    let (ranges, warnings) = local("10.0.0.0/8");
    assert_eq!((ranges, warnings), (vec!["10.0.0.0/8".into()], vec![]));
}

#[test]
fn host_bits_of_a_local_network_are_told() {
    let (ranges, warnings) = local("192.168.1.10/24");
    assert_eq!(ranges, ["192.168.1.0/24"]);
    assert_eq!(
        warnings,
        [
            "LOCAL_NETWORK: 192.168.1.10/24 is one host of a range; the whole range, \
          192.168.1.0/24, is reached outside the tunnel"
        ]
    );
}

#[test]
fn a_local_network_that_is_public_is_kept_with_a_warning() {
    let (ranges, warnings) = local("8.8.8.8 172.16.0.0/11");
    assert_eq!(ranges, ["8.8.8.8/32", "172.0.0.0/11"]);
    assert!(
        warnings[0].contains("8.8.8.8/32 is no private range"),
        "{warnings:#?}"
    );
    let private = "10.1.0.0/16 172.20.0.0/16 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16";
    let (ranges, warnings) = local(private);
    assert_eq!(ranges.join(" "), private);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn ranges_may_have_netmasks_and_missing_zeros() {
    let (ranges, warnings) = local("192.168.77.0/255.255.255.0, 10/8 172.20/16 192.168.5.1");
    assert_eq!(
        ranges,
        [
            "192.168.77.0/24",
            "10.0.0.0/8",
            "172.20.0.0/16",
            "192.168.5.1/32"
        ]
    );
    assert_eq!(warnings, [""; 0]);
    for bad in [
        "192.168.77.0/255.0.255.0",
        "192.168.1",
        "10/33",
        "10.0.0.0/",
        "1.2.3.4.5/8",
        "fd00::/129",
        "2000::/3",
        "::/0",
        "IN:10/8",
        "10/8:0",
        "10/8:80/sctp",
        "192.168.1.10:http",
        "out:",
        "a/8",
        "256/8",
        "+1/8",
    ] {
        let (ranges, warnings) = local(bad);
        assert_eq!(
            (ranges.len(), warnings.len()),
            (0, 1),
            "{bad}: {warnings:?}"
        );
        assert!(warnings[0].ends_with("it is left out"), "{warnings:?}");
    }
}

#[test]
fn quotes_around_a_value_come_off_with_a_warning() {
    let (settings, warnings) = settings(&[
        ("LOC", "\"swiss\""),
        ("FIREWALL", "'0'"),
        ("PASS", "\"geheim\""),
        ("MTU", "\"\""),
        ("PORT_FILE", "\"/pia-shared/port\""),
    ]);
    assert_eq!(
        settings.destination,
        ServerChoice::Locations(vec!["swiss".into()])
    );
    assert!(!settings.firewall);
    assert_eq!(settings.credentials.password.unwrap().expose(), "geheim");
    assert_eq!(
        settings.port_forwarding.file.to_str(),
        Some("/pia-shared/port")
    );
    assert_eq!(
        warnings,
        [
            "LOC: there are quotes around the value; they are taken off",
            "PASS: there are quotes around the value; they are taken off. If they belong to it, \
             write it to a file and name that instead",
            "MTU: there are quotes around the value; they are taken off",
            "PORT_FILE: there are quotes around the value; they are taken off",
            "FIREWALL: there are quotes around the value; they are taken off",
        ]
    );
}

#[test]
fn quotes_that_are_no_pair_around_the_value_stay() {
    for password in ["\"geheim", "\"a\"b\"", "\"", "'a\"", "it's"] {
        let (settings, warnings) = settings(&[("PASS", password)]);
        assert_eq!(settings.credentials.password.unwrap().expose(), password);
        assert_eq!(warnings, [""; 0]);
    }
}

/// `"/pia/my script"` is a program whose name has a space; bash needs the quotes.
#[test]
fn quotes_around_shell_code_stay() {
    let (settings, warnings) = settings(&[("PRE_UP", "\"/pia/my script\"")]);
    assert_eq!(settings.hooks.pre_up.as_deref(), Some("\"/pia/my script\""));
    assert_eq!(warnings, [""; 0]);
    let (settings, warnings) = self::settings(&[("POST_UP", "\"echo it is up\"")]);
    assert_eq!(settings.hooks.post_up.as_deref(), Some("\"echo it is up\""));
    assert_eq!(
        warnings,
        [
            "POST_UP: there are quotes around all of it, so bash takes it for the name of one \
          program; it is run as it is"
        ]
    );
}

#[test]
fn variables_that_are_read_elsewhere_lose_their_quotes_too() {
    let environment: Environment = [("RUST_LOG".into(), "\"debug\"".into())]
        .into_iter()
        .collect();
    assert_eq!(environment.text("RUST_LOG"), Some("debug"));
}

#[test]
fn locations_with_spaces_in_their_names_are_parted_by_commas() {
    for text in [
        "CA Toronto, swiss  de_berlin",
        "\"CA Toronto\",'swiss de_berlin'",
        "CA  Toronto\nswiss de_berlin\n",
    ] {
        let (settings, warnings) = settings(&[("LOC", text)]);
        assert_eq!(
            settings.destination,
            ServerChoice::Locations(vec!["CA Toronto".into(), "swiss de_berlin".into()]),
            "{text}"
        );
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn a_port_file_that_is_a_folder_lies_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let existing = folder.path().to_str().unwrap().to_owned();
    for typed in [
        existing.clone(),
        format!("{existing}/"),
        "/nowhere/new/".to_owned(),
    ] {
        let (settings, warnings) = settings(&[("PORT_FILE", &typed)]);
        let file = format!("{}/port.dat", typed.trim_end_matches('/'));
        assert_eq!(settings.port_forwarding.file.to_str(), Some(file.as_str()));
        assert_eq!(
            warnings,
            [format!(
                "PORT_FILE: {typed} is a folder; the file in it, {file}, is used"
            )]
        );
    }
    for typed in ["/nowhere/port", "/dev/stdout"] {
        let (settings, warnings) = settings(&[("PORT_FILE", typed)]);
        assert_eq!(settings.port_forwarding.file.to_str(), Some(typed));
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn name_servers_may_have_search_domains_beside_them() {
    let dns = |text: &str| {
        let (settings, warnings) = settings(&[("VPNDNS", text)]);
        (settings.dns, warnings)
    };
    let custom = |servers: &[&str], search: &[&str]| VpnDns::Custom {
        servers: servers
            .iter()
            .map(|server| server.parse().unwrap())
            .collect(),
        search: search.iter().map(|&domain| domain.to_owned()).collect(),
    };
    assert_eq!(
        dns("192.168.1.1,home.lan example.org"),
        (
            custom(&["192.168.1.1"], &["home.lan", "example.org"]),
            vec![]
        )
    );
    // PIA's servers, with a search domain.
    assert_eq!(dns("home.lan"), (custom(&[], &["home.lan"]), vec![]));
    assert!(dns("home.lan").0.uses_pia() && !dns("9.9.9.9 home.lan").0.uses_pia());
    assert_eq!(
        dns("9.9.9.9 fd00::53"),
        (
            custom(&["9.9.9.9"], &[]),
            vec![
                "VPNDNS: fd00::53 is an IPv6 address, and the tunnel carries IPv4 alone; it is \
                 left out"
                    .to_owned()
            ]
        )
    );
    let (bad, warnings) = dns("fd00::53");
    assert_eq!((bad, warnings.len()), (VpnDns::Pia, 2), "{warnings:?}");
    for bad in ["1.1.1", "1.1.1.256", "home lan!", "-", ".", "a..b", "#x"] {
        let last = bad.split(' ').next_back().unwrap();
        let (_, warnings) = dns(&format!("9.9.9.9 {last}"));
        assert_eq!(warnings.len(), 1, "{bad}: {warnings:?}");
    }
}

/// "the program alone may ask it, unless `VPNDNS=0`; in `VPNDNS` it is left out" (README.md)
#[test]
fn dockers_resolver_is_no_server_that_the_kill_switch_lets_anybody_ask() {
    let servers = |variables: &[(&str, &str)]| {
        let (settings, warnings) = settings(variables);
        let VpnDns::Custom { servers, .. } = settings.dns else {
            panic!("{:?}", settings.dns)
        };
        (servers, warnings)
    };
    let (left, warnings) = servers(&[("VPNDNS", "127.0.0.11 9.9.9.9")]);
    assert_eq!(left, ["9.9.9.9".parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(
        warnings,
        [
            "VPNDNS: 127.0.0.11 is Docker's own resolver, which may ask outside the tunnel, so the \
          kill switch shuts it; it is left out (VPNDNS=0 leaves the container's DNS as it is, and \
          Docker's resolver open)"
        ]
    );
    // Then PIA's servers are used.
    let (alone, _) = settings(&[("VPNDNS", "127.0.0.11")]);
    assert!(alone.dns.uses_pia());
    let (unshut, warnings) = servers(&[("VPNDNS", "127.0.0.11"), ("FIREWALL", "0")]);
    assert_eq!((unshut.len(), warnings.len()), (1, 0));
    // Another program of the network may listen on another address of its own.
    let (_, warnings) = servers(&[("VPNDNS", "127.0.0.1")]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn durations_cannot_overflow() {
    let most = u64::MAX.to_string();
    let durations = [
        "CURL_RETRY_DELAY",
        "CURL_MAX_TIME",
        "MONITOR_INTERVAL",
        "CYCLE_INTERVAL",
        "PORT_REBIND_INTERVAL",
        "HEALTHCHECK_PING_TIMEOUT",
    ];
    let (usual, _) = settings(&[]);
    for name in durations {
        for value in [&most, "99999999999999999999999", "3153600001"] {
            let (settings, warnings) = settings(&[(name, value)]);
            assert_eq!(warnings.len(), 1, "{name}");
            assert_eq!(settings.retry, usual.retry);
        }
    }
    // As for curl.
    let (settings, warnings) = settings(&[("CURL_MAX_TIME", "0")]);
    assert!(settings.retry.max_time.is_zero() && warnings.is_empty());
}

#[test]
fn a_port_that_would_be_refreshed_too_seldom_is_told() {
    let (_, warnings) = settings(&[("PORT_REBIND_INTERVAL", "3600")]);
    assert_eq!(
        warnings,
        [
            "PORT_REBIND_INTERVAL: 3600 s are too long, for PIA forgets a port that was not \
             refreshed for 20 minutes; it is refreshed every 900 s (900 is the most)"
        ]
    );
    let (_, warnings) = settings(&[("PORT_REBIND_INTERVAL", "900")]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn entries_of_the_lan_may_say_less_than_a_range() {
    let text = "in:192.168.1.0/24 192.168.1.10:8096/tcp,out:192.168.1.5:53/udp fd00::/8 \
                in:[fd77::/64]:80-90";
    let (entries, warnings) = local(&format!("{text} 10.0.0.0/24:99999 in:192.168.1.0/24"));
    assert_eq!(
        entries,
        [
            "in:192.168.1.0/24",
            "192.168.1.10/32:8096/tcp",
            "out:192.168.1.5/32:53/udp",
            "fd00::/8",
            "in:[fd77::/64]:80-90",
        ]
    );
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("not 10.0.0.0/24:99999; it is left out"));
    // A colon wants what follows, or the range would be open both ways.
    let (entries, warnings) = local("in: 10.0.0.0/24, out:\t10.0.1.1: 53/udp, fd00:: 10.0.2.0/24");
    assert_eq!(
        entries,
        [
            "in:10.0.0.0/24",
            "out:10.0.1.1/32:53/udp",
            "fd00::/128",
            "10.0.2.0/24"
        ]
    );
    assert_eq!(warnings, [""; 0]);
    // What is no entry costs no other.
    let (entries, warnings) = local("LAN: 10.0.0.0/24 10.0.1.0/24: 10.0.2.0/24");
    assert_eq!(entries, ["10.0.0.0/24", "10.0.2.0/24"]);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    // But for one whose direction is gone with it.
    assert_eq!(local("in: in: 10.0.0.0/24").0, [""; 0]);
    let (entries, warnings) = local("fd00::1/64 2001:db8::/48 2001:db8::/47 fe80::/10");
    assert_eq!(entries, ["fd00::/64", "2001:db8::/48", "fe80::/10"]);
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

#[test]
fn local_ports_that_are_none_open_nothing() {
    let ports = |text: &str| {
        let (settings, warnings) = settings(&[("LOCAL_PORTS", text)]);
        (settings.local_ports.map(|ports| ports.len()), warnings)
    };
    assert_eq!(ports(""), (None, vec![]));
    assert_eq!(ports("0"), (Some(0), vec![]));
    assert_eq!(
        ports("8080, 9091/tcp 6881-6889/udp 8080"),
        (Some(3), vec![])
    );
    let (left, warnings) = ports("808O 9091-80 /tcp 80");
    assert_eq!((left, warnings.len()), (Some(1), 3), "{warnings:#?}");
    assert!(
        warnings[0].contains("not 808O; it is left out"),
        "{warnings:#?}"
    );
    let (_, warnings) = settings(&[("LOCAL_PORTS", "80"), ("FIREWALL", "0")]);
    assert_eq!(
        warnings,
        ["LOCAL_PORTS: FIREWALL is 0; every port is reached"]
    );
}

/// An allow list that is wider than it was typed is told, as `LOCAL_NETWORK` tells it.
#[test]
fn host_bits_of_a_gateway_s_source_are_told() {
    let (settings, warnings) = settings(&[
        ("FWD_IFACE", "eth0"),
        ("FWD_SOURCES", "192.168.1.50/24 10.0.0.9 192.168.2.0/24"),
    ]);
    let sources = settings.gateway.unwrap().sources;
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["192.168.1.0/24", "10.0.0.9/32", "192.168.2.0/24"]);
    assert_eq!(
        warnings,
        [
            "FWD_SOURCES: 192.168.1.50/24 is one host of a range; the whole range, \
             192.168.1.0/24, may use the tunnel"
        ]
    );
}

/// Without one nothing would ever be healthy.
#[test]
fn there_is_always_somebody_to_ping() {
    let targets = |text| {
        let (settings, warnings) = settings(&[("HEALTHCHECK_PING_TARGET", text)]);
        (settings.probing.targets, warnings)
    };
    let default = ["www.privateinternetaccess.com", "1.1.1.1"];
    let (of_nothing, warnings) = targets(",");
    assert_eq!(of_nothing, default);
    assert_eq!(
        warnings,
        [
            "HEALTHCHECK_PING_TARGET: nothing is left of it; the default, \
             www.privateinternetaccess.com 1.1.1.1, is used"
        ]
    );
    let (of_an_address, warnings) = targets("https://1.1.1.1");
    assert_eq!(
        (of_an_address.as_slice(), warnings.len()),
        (&default.map(String::from)[..], 2)
    );
    assert_eq!(
        warnings[0],
        "HEALTHCHECK_PING_TARGET: expected an IPv4 address or a host's name, not \
         https://1.1.1.1; it is left out"
    );
    let quoted = targets("\"9.9.9.9\",'dns.example'");
    assert_eq!(
        quoted,
        (vec!["9.9.9.9".to_owned(), "dns.example".to_owned()], vec![])
    );
}

/// White space within an entry makes no two of it: the first would open more than the whole.
#[test]
fn white_space_within_an_entry_opens_no_more_of_the_lan() {
    for (text, meant) in [
        ("192.168.1.10 :8096/tcp", "192.168.1.10/32:8096/tcp"),
        ("192.168.1.10:8096 /tcp", "192.168.1.10/32:8096/tcp"),
        ("in: 192.168.1.0/24 : 80 / udp", "in:192.168.1.0/24:80/udp"),
        ("192.168.1.0 / 24", "192.168.1.0/24"),
    ] {
        let (ranges, warnings) = local(&format!("10.0.0.1, {text} 10.0.0.2"));
        let expected = ["10.0.0.1/32", meant, "10.0.0.2/32"];
        assert_eq!(ranges, expected, "{text}: {warnings:?}");
        assert_eq!(warnings, [""; 0], "{text}");
    }
    let (ranges, warnings) = local("192.168.1.10 :http");
    assert_eq!((ranges, warnings.len()), (vec![], 1), "{warnings:?}");
    // No other address comes of it, and a remark costs no range its place.
    for (text, range) in [
        ("fd00::10 :80/tcp", "fd00::10/128"),
        ("fd00::10 : 80", "fd00::10/128"),
        ("192.168.1.0/24 // home", "192.168.1.0/24"),
        ("192.168.1.0/24 : home", "192.168.1.0/24"),
    ] {
        let (ranges, warnings) = local(text);
        assert_eq!(ranges, [range], "{text}");
        assert!(!warnings.is_empty(), "{text}");
    }
    let (ranges, _) = local("192.168.1.0/24 ::1 fd00:: /8");
    assert_eq!(ranges, ["192.168.1.0/24", "::1/128", "fd00::/8"]);
    let (settings, warnings) = settings(&[("LOCAL_PORTS", "8080 /tcp, 9091 / udp 6881")]);
    let ports = format!("{:?}", settings.local_ports);
    assert_eq!(settings.local_ports.unwrap().len(), 3, "{ports}");
    assert!(ports.contains("Tcp") && ports.contains("Udp"), "{ports}");
    assert_eq!(warnings, [""; 0]);
}

/// "A value that cannot be used is answered with a warning" (README.md)
#[test]
fn what_no_request_to_a_client_can_hold_is_told() {
    let told = |name: &str, value: &str| {
        let (_, warnings) = settings(&[
            ("PORT_FORWARDING", "1"),
            ("PORT_CLIENTS", "http rtorrent"),
            ("PORT_HTTP_URL", "http://192.168.1.2/{{PORT}}"),
            (name, value),
        ]);
        assert!(warnings.iter().all(|warning| !warning.contains("hunter2")));
        warnings
            .iter()
            .filter(|text| text.starts_with(name))
            .count()
    };
    for (name, value) in [
        ("PORT_HTTP_HEADER", "Bearer hunter2"),
        ("PORT_HTTP_HEADER", "X Key: hunter2"),
        ("PORT_HTTP_HEADER", ": hunter2"),
        ("PORT_HTTP_HEADER", "X-Key: hunter2\nX-Other: 1"),
        ("PORT_HTTP_TYPE", "text/plain\nX-Other: 1"),
        ("RTORRENT_URL", "scgi://[fd00::1]:5000"),
        ("RTORRENT_URL", "scgi://me@nas:5000"),
    ] {
        assert_eq!(told(name, value), 1, "{name}={value}");
    }
    for (name, value) in [
        ("PORT_HTTP_HEADER", "Authorization: Bearer hunter2"),
        ("PORT_HTTP_HEADER", "X-Key:hunter2"),
        ("PORT_HTTP_TYPE", "text/plain; charset=utf-8"),
        ("RTORRENT_URL", "scgi://nas_1.lan:5000"),
    ] {
        assert_eq!(told(name, value), 0, "{name}={value}");
    }
}
