//! What users type that is not quite what was meant.

use super::{Environment, ServerChoice, Settings};

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
        "fd00::/8",
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
