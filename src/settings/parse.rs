//! As typed → as meant.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::environment::Environment;
use super::values::{Flag, Mask, Value, Warning, list};
use super::variables::SECRETS;
use super::{
    CredentialSources, HookCommands, Meta, Monitor, PortForwarding, Probing, ServerChoice,
    Settings, VpnDns,
};
use crate::firewall::Gateway;
use crate::pia::retry::RetryPolicy;
use crate::system::files::Ownership;
use crate::system::paths;
use crate::system::secret::Secret;

/// Shared by the readers of all variables, which collect in it while others are being read.
type Warnings = RefCell<Vec<Warning>>;

/// Reads a variable of `$variables`, or the default with a warning that bears the variable's name.
macro_rules! take {
    ($warnings:ident, $variables:ident.$field:ident) => {
        optional($warnings, stringify!($field), $variables.$field)
    };
    ($warnings:ident, $variables:ident.$field:ident, $default:expr) => {
        optional($warnings, stringify!($field), $variables.$field).unwrap_or($default)
    };
}

#[allow(clippy::too_many_lines, reason = "a table: a line a variable")]
pub(super) fn parse(environment: &Environment) -> (Settings, Vec<Warning>) {
    let (v, unreadable) = environment.variables();
    let warnings = &Warnings::new(unreadable);
    let flag = |value: Option<Flag>, default: bool| value.map_or(default, |flag| flag.0);
    let settings = Settings {
        stable_ip: flag(take!(warnings, v.stable_ip), false),
        credentials: CredentialSources {
            user: v.user.map(Secret::new),
            password: v.pass.map(Secret::new),
            user_file: v.user_file.map(PathBuf::from),
            password_file: v.pass_file.map(PathBuf::from),
        },
        meta: meta(warnings, v.meta_ip, v.meta_cn, v.meta_port),
        destination: destination(
            warnings,
            (v.pia_ip, v.pia_cn, v.pia_port),
            v.pia_dip_token,
            v.loc,
        ),
        local_network: ranges(
            warnings,
            "LOCAL_NETWORK",
            v.local_network.as_deref().unwrap_or_default(),
        ),
        keepalive: take!(warnings, v.keepalive).filter(|seconds| *seconds > 0),
        mtu: within(warnings, "MTU", take!(warnings, v.mtu), 576, 65_535),
        dns: dns(warnings, v.vpndns.as_deref()),
        port_forwarding: PortForwarding {
            enabled: flag(take!(warnings, v.port_forwarding), false),
            file: PathBuf::from(v.port_file.unwrap_or_else(|| paths::PORT_FILE.to_owned())),
            cleanup: flag(take!(warnings, v.port_file_cleanup), false),
            persist: flag(take!(warnings, v.port_persist), false),
            fatal: flag(take!(warnings, v.port_fatal), false),
            script: v.port_script,
            down_script: v.port_down_script,
            redirect: within(
                warnings,
                "PORT_REDIRECT",
                take!(warnings, v.port_redirect),
                1,
                u16::MAX,
            ),
            rebind_interval: seconds(
                warnings,
                "PORT_REBIND_INTERVAL",
                take!(warnings, v.port_rebind_interval),
                900,
            ),
            ownership: Ownership {
                user: take!(warnings, v.puid),
                group: take!(warnings, v.pgid),
                mode: take!(warnings, v.umask).map_or(0o644, |Mask(mask)| 0o666 & !mask),
            },
        },
        firewall: flag(take!(warnings, v.firewall), true),
        exit_on_fatal: flag(take!(warnings, v.exit_on_fatal), false),
        fatal_script: v.fatal_script,
        gateway: gateway(warnings, v.fwd_iface, take!(warnings, v.pf_dest_ip)),
        hooks: HookCommands {
            pre_up: v.pre_up,
            post_up: v.post_up,
            pre_down: v.pre_down,
            post_down: v.post_down,
            pre_reconnect: v.pre_reconnect,
            post_reconnect: v.post_reconnect,
        },
        probing: Probing {
            active_healthchecks: flag(take!(warnings, v.active_healthchecks), false),
            targets: list(
                v.healthcheck_ping_target
                    .as_deref()
                    .unwrap_or("www.privateinternetaccess.com 1.1.1.1"),
            )
            .map(str::to_owned)
            .collect(),
            timeout: seconds(
                warnings,
                "HEALTHCHECK_PING_TIMEOUT",
                take!(warnings, v.healthcheck_ping_timeout),
                3,
            ),
        },
        nf_tables: take!(warnings, v.nftables).map(|Flag(nf_tables)| nf_tables),
        allow_missing_iptables_rules: flag(take!(warnings, v.allow_missing_iptables_rules), false),
        monitor: Monitor {
            enabled: flag(take!(warnings, v.reconnect), false),
            interval: seconds(
                warnings,
                "MONITOR_INTERVAL",
                take!(warnings, v.monitor_interval),
                60,
            ),
            retries: within(
                warnings,
                "MONITOR_RETRIES",
                take!(warnings, v.monitor_retries),
                1,
                u32::MAX,
            )
            .unwrap_or(3),
        },
        qdisc: v.qdisc,
        cycle_ports: ports(
            warnings,
            "CYCLE_PORTS",
            v.cycle_ports.as_deref().unwrap_or_default(),
        ),
        cycle_interval: seconds(
            warnings,
            "CYCLE_INTERVAL",
            take!(warnings, v.cycle_interval),
            180,
        ),
        retry: RetryPolicy {
            retries: take!(warnings, v.curl_retry, 5),
            delay: Duration::from_secs(take!(warnings, v.curl_retry_delay, 5)),
            // Zero is no limit, as for curl.
            max_time: Duration::from_secs(take!(warnings, v.curl_max_time, 120)),
        },
        pia_ca_file: v
            .pia_ca_file
            .map_or_else(|| PathBuf::from(paths::PIA_CA), PathBuf::from),
        server_list_key_file: v
            .pia_serverlist_key_file
            .map_or_else(|| PathBuf::from(paths::SERVER_LIST_KEY), PathBuf::from),
    };
    (settings, warnings.take())
}

fn warn(warnings: &Warnings, variable: &str, message: impl Into<String>) {
    warnings.borrow_mut().push(Warning {
        variable: variable.to_uppercase(),
        message: message.into(),
    });
}

fn optional<T: Value>(warnings: &Warnings, name: &str, text: Option<String>) -> Option<T> {
    let text = text?;
    let value = T::parse(text.trim());
    if value.is_none() {
        let shown = if SECRETS.contains(&name) {
            "***".into()
        } else {
            text.escape_debug().to_string()
        };
        warn(
            warnings,
            name,
            format!("={shown}: {}; the default is used", T::EXPECTED),
        );
    }
    value
}

/// A number outside its range is as bad as no number.
fn within<T: PartialOrd + std::fmt::Display>(
    warnings: &Warnings,
    name: &str,
    value: Option<T>,
    least: T,
    most: T,
) -> Option<T> {
    let value = value?;
    if value >= least && value <= most {
        return Some(value);
    }
    warn(
        warnings,
        name,
        format!("={value}: expected a number from {least} to {most}; the default is used"),
    );
    None
}

/// Durations of zero would spin; a century is as good as forever and cannot overflow.
fn seconds(warnings: &Warnings, name: &str, value: Option<u64>, default: u64) -> Duration {
    Duration::from_secs(within(warnings, name, value, 1, 3_153_600_000).unwrap_or(default))
}

fn destination(
    warnings: &Warnings,
    (ip, cn, port): (Option<String>, Option<String>, Option<String>),
    dedicated_ip: Option<String>,
    loc: Option<String>,
) -> ServerChoice {
    let some = ip.is_some() || cn.is_some() || port.is_some();
    let ip = optional::<Ipv4Addr>(warnings, "pia_ip", ip);
    let port = optional::<u16>(warnings, "pia_port", port).filter(|port| *port > 0);
    if let Some(token) = dedicated_ip {
        return ServerChoice::DedicatedIp(Secret::new(token.trim().to_owned()));
    }
    match (ip, cn, port) {
        (Some(ip), Some(cn), Some(port)) => {
            return ServerChoice::Manual {
                ip,
                cn: cn.trim().to_owned(),
                port,
            };
        }
        (ip, cn, port) if some => {
            let missing: Vec<&str> = [
                ("PIA_IP", ip.is_none()),
                ("PIA_CN", cn.is_none()),
                ("PIA_PORT", port.is_none()),
            ]
            .into_iter()
            .filter_map(|(name, missing)| missing.then_some(name))
            .collect();
            let message = format!(
                ": PIA_IP, PIA_CN and PIA_PORT work only together; LOC is used. Set {}",
                missing.join(", ")
            );
            warn(warnings, "PIA_*", message);
        }
        _ => {}
    }
    ServerChoice::from_locations(loc.as_deref().unwrap_or_default())
}

fn meta(
    warnings: &Warnings,
    ip: Option<String>,
    cn: Option<String>,
    port: Option<String>,
) -> Option<Meta> {
    let some = ip.is_some() || cn.is_some();
    let ip = optional::<Ipv4Addr>(warnings, "meta_ip", ip);
    let port = optional::<u16>(warnings, "meta_port", port)
        .filter(|port| *port > 0)
        .unwrap_or(443);
    match (ip, cn) {
        (Some(ip), Some(cn)) => Some(Meta {
            ip,
            cn: cn.trim().to_owned(),
            port,
        }),
        (ip, _) if some => {
            let missing = if ip.is_none() { "META_IP" } else { "META_CN" };
            warn(
                warnings,
                "META_*",
                format!(": {missing} is needed too; PIA's usual hosts are used"),
            );
            None
        }
        _ => None,
    }
}

fn gateway(
    warnings: &Warnings,
    interface: Option<String>,
    destination: Option<Ipv4Addr>,
) -> Option<Gateway> {
    let Some(interface) = interface else {
        if destination.is_some() {
            warn(warnings, "PF_DEST_IP", " has no effect without FWD_IFACE");
        }
        return None;
    };
    let interface = interface.trim().to_owned();
    // The kernel's rule for names; anything else would also break the rule set that it is written
    // into.
    let valid = interface.len() < 16
        && interface
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\\' | '!'));
    if !valid {
        warn(
            warnings,
            "FWD_IFACE",
            format!(
                "={}: is no interface name; it is ignored",
                interface.escape_debug()
            ),
        );
        return None;
    }
    Some(Gateway {
        interface,
        destination,
    })
}

fn ranges(warnings: &Warnings, name: &str, text: &str) -> Vec<Ipv4Net> {
    list(text)
        .filter_map(|part| {
            let range = part
                .parse::<Ipv4Net>()
                .or_else(|_| part.parse::<Ipv4Addr>().map(Ipv4Net::from));
            if range.is_err() {
                warn(
                    warnings,
                    name,
                    format!(
                        ": {}: expected an IPv4 range such as 192.168.1.0/24; it is left out",
                        part.escape_debug()
                    ),
                );
            }
            range.ok().map(|range| range.trunc())
        })
        .collect()
}

fn ports(warnings: &Warnings, name: &str, text: &str) -> Vec<u16> {
    list(text)
        .filter_map(|part| {
            let port = <u16 as Value>::parse(part).filter(|port| *port > 0);
            if port.is_none() {
                warn(
                    warnings,
                    name,
                    format!(
                        ": {}: expected a port from 1 to 65535; it is left out",
                        part.escape_debug()
                    ),
                );
            }
            port
        })
        .collect()
}

fn dns(warnings: &Warnings, text: Option<&str>) -> VpnDns {
    let Some(text) = text else { return VpnDns::Pia };
    if text.trim() == "0" {
        return VpnDns::Unchanged;
    }
    let servers: Vec<Ipv4Addr> = list(text)
        .filter_map(|part| {
            let server = part.parse().ok();
            if server.is_none() {
                warn(
                    warnings,
                    "VPNDNS",
                    format!(
                        ": {}: expected an IPv4 address; it is left out",
                        part.escape_debug()
                    ),
                );
            }
            server
        })
        .collect();
    if servers.is_empty() {
        warn(
            warnings,
            "VPNDNS",
            ": no usable address; PIA's DNS servers are used",
        );
        return VpnDns::Pia;
    }
    VpnDns::Custom(servers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::variables::NAMES;

    fn settings(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let environment = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let (settings, warnings) = parse(&environment);
        (settings, warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_set_is_the_contracts_defaults_without_a_warning() {
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
                "10.1.2.3/32".parse().unwrap()
            ]
        );
        assert_eq!(settings.cycle_ports, [1]);
        assert_eq!(warnings.len(), 7, "{warnings:#?}");
        assert!(
            warnings.contains(&"FIREWALL=yes: expected 0 or 1; the default is used".to_owned()),
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
            parse(&odd).1[0].to_string(),
            "PASS is not valid UTF-8 text; it is ignored"
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
        let (two, warnings) =
            settings(&[("PIA_IP", "1.2.3.4"), ("PIA_CN", "x401"), ("LOC", "swiss")]);
        assert_eq!(
            two.destination,
            ServerChoice::Locations(vec!["swiss".into()])
        );
        assert!(warnings[0].contains("Set PIA_PORT"), "{warnings:?}");
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

    #[test]
    fn every_secret_is_a_variable() {
        assert!(SECRETS.iter().all(|name| NAMES.contains(name)));
    }
}
