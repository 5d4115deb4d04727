//! What the kernel and the container offer: capabilities, programs, WireGuard, iptables, kernel
//! variables.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use super::finding::Finding;
use super::subject::Subject;
use crate::firewall::diagnose::{self, Diagnosis, Features};
use crate::firewall::{Backend, GatewayDns};
use crate::settings::Settings;
use crate::system::cancellation::CancellationToken;
use crate::system::capabilities::{self, Capabilities};
use crate::system::command::Command;
use crate::system::paths;
use crate::underlay::name_servers::NameServer;
use crate::wireguard::sysctl;

/// The name of the interface that is made for a moment to try the kernel.
const TRIAL: &str = "wgdoctor";
const USER_SPACE: &str = "wireguard-go";

pub(super) fn check(subject: &Subject, report: &mut impl FnMut(Finding)) {
    let capabilities = capabilities::from_process();
    report(judge_capabilities(capabilities));
    report(programs(
        &["ip", "wg", "wg-quick", "bash"].map(|name| (name, which::which(name).is_ok())),
    ));
    let privileged = capabilities.has_net_admin();
    report(judge_wireguard(&WireGuard::find(subject, privileged)));
    report(if privileged {
        let wanted = wanted(&subject.settings);
        let mut diagnoses =
            diagnose::diagnose(Path::new(paths::PRIVATE_BIN), wanted, features(subject));
        if wanted.is_some()
            && diagnoses
                .iter()
                .all(|diagnosis| diagnosis.unusable.is_some())
        {
            // Would the other one do?
            diagnoses.extend(diagnose::diagnose(
                Path::new(paths::PRIVATE_BIN),
                None,
                features(subject),
            ));
        }
        judge_iptables(&diagnoses, &subject.settings)
    } else {
        Finding::skipped(IPTABLES, "cannot be tried without NET_ADMIN")
    });
    report(judge_reverse_path(
        sysctl::reverse_path(),
        is_writable("/proc/sys/net/ipv4/conf/all/src_valid_mark"),
    ));
    if let Some(gateway) = &subject.settings.gateway {
        for interface in &gateway.interfaces {
            let exists =
                interface.ends_with('+') || Path::new("/sys/class/net").join(interface).exists();
            report(judge_gateway(interface, exists, sysctl::forwards()));
        }
    }
}

fn judge_capabilities(capabilities: Capabilities) -> Finding {
    const CHECK: &str = "capabilities";
    if let Some(cure) = capabilities.cure() {
        return Finding::failure(
            CHECK,
            "NET_ADMIN is missing, without which no tunnel can be set up",
            cure,
        );
    }
    match capabilities {
        Capabilities::All => Finding::ok(
            CHECK,
            "all of them (privileged?); NET_ADMIN alone is enough",
        ),
        _ => Finding::ok(CHECK, "NET_ADMIN is there"),
    }
}

fn programs(found: &[(&str, bool)]) -> Finding {
    const CHECK: &str = "programs";
    let missing: Vec<&str> = found
        .iter()
        .filter_map(|(name, is_there)| (!is_there).then_some(*name))
        .collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, "ip, wg, wg-quick and bash are installed");
    }
    Finding::failure(
        CHECK,
        format!("not in PATH: {}", missing.join(", ")),
        "install iproute2, wireguard-tools and bash, or use the image, which has them",
    )
}

/// What can make a WireGuard interface.
#[derive(Debug)]
struct WireGuard {
    /// Whether the kernel made one; `None` where it could not be tried.
    kernel: Option<bool>,
    tun: Result<(), io::ErrorKind>,
    /// The user-space program, and whether it is installed.
    program: String,
    is_installed: bool,
}

impl WireGuard {
    fn find(subject: &Subject, privileged: bool) -> Self {
        let program = subject
            .environment
            .text("WG_QUICK_USERSPACE_IMPLEMENTATION")
            .unwrap_or(USER_SPACE)
            .to_owned();
        let tun = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun");
        Self {
            kernel: privileged.then(kernel_makes_one),
            tun: tun.map(drop).map_err(|error| error.kind()),
            is_installed: which::which(&program).is_ok(),
            program,
        }
    }
}

fn kernel_makes_one() -> bool {
    let ip = |verb| {
        Command::new("ip", ["link", verb, "dev", TRIAL, "type", "wireguard"])
            .run(&CancellationToken::never())
            .is_ok()
    };
    let made = ip("add");
    if made {
        ip("delete");
    }
    made
}

fn judge_wireguard(found: &WireGuard) -> Finding {
    const CHECK: &str = "wireguard";
    if found.kernel == Some(true) {
        return Finding::ok(CHECK, "the kernel has it");
    }
    let kernel = if found.kernel.is_some() {
        "the kernel has none"
    } else {
        "the kernel could not be tried"
    };
    let on_host = "load the kernel's module on the host (`modprobe wireguard`)";
    match (found.tun, found.is_installed) {
        (Ok(()), true) => Finding::ok(
            CHECK,
            format!("{kernel}; {} and /dev/net/tun are there", found.program),
        ),
        (Ok(()), false) => Finding::failure(
            CHECK,
            format!("{kernel}, and {} is not installed", found.program),
            format!("{on_host}, or install wireguard-go"),
        ),
        (Err(why), _) => {
            let why = if why == io::ErrorKind::NotFound {
                "missing".to_owned()
            } else {
                format!("unusable ({why})")
            };
            let cure = format!("{on_host}, or add `devices: [/dev/net/tun:/dev/net/tun]`");
            match found.kernel {
                Some(_) => {
                    Finding::failure(CHECK, format!("{kernel}, and /dev/net/tun is {why}"), cure)
                }
                None => Finding::warning(
                    CHECK,
                    format!("{kernel}; if it has none: /dev/net/tun is {why}"),
                    cure,
                ),
            }
        }
    }
}

fn features(subject: &Subject) -> Features {
    let settings = &subject.settings;
    let gateway = settings.gateway.as_ref();
    Features {
        gateway: gateway.is_some(),
        handed_on: gateway.is_some_and(|gateway| {
            gateway.destination.is_some() || gateway.dns != GatewayDns::Untouched
        }),
        redirect: settings.port_forwarding.redirect.is_some(),
        strict_rp_filter: sysctl::reverse_path().strict,
        embedded_dns: subject
            .underlay_dns
            .servers
            .contains(&NameServer::EmbeddedUnmarked),
    }
}

fn wanted(settings: &Settings) -> Option<Backend> {
    settings.nf_tables.map(|nf_tables| {
        if nf_tables {
            Backend::NfTables
        } else {
            Backend::Legacy
        }
    })
}

const IPTABLES: &str = "iptables";

fn judge_iptables(diagnoses: &[Diagnosis], settings: &Settings) -> Finding {
    let wanted = wanted(settings);
    let is_candidate = |backend: Backend| wanted.is_none_or(|wanted| wanted == backend);
    let usable = diagnoses
        .iter()
        .filter(|diagnosis| is_candidate(diagnosis.backend) && diagnosis.unusable.is_none())
        .min_by_key(|diagnosis| diagnosis.missing.len());
    match usable {
        Some(chosen) => judge_backend(chosen, settings),
        None if diagnoses.is_empty() => Finding::failure(
            IPTABLES,
            "no iptables program is installed",
            "install iptables, or use the image",
        ),
        None => no_backend(diagnoses, wanted),
    }
}

fn no_backend(diagnoses: &[Diagnosis], wanted: Option<Backend>) -> Finding {
    const LOAD: &str =
        "on the host load nf_tables and nft_compat, or ip_tables and iptable_filter (modprobe)";
    let mut reasons = Vec::new();
    let mut cure = LOAD.to_owned();
    for diagnosis in diagnoses {
        if wanted.is_none_or(|wanted| wanted == diagnosis.backend) {
            let why = diagnosis.unusable.as_deref().unwrap_or_default();
            reasons.push(format!("{}: {why}", diagnosis.backend));
        } else if diagnosis.unusable.is_none() {
            cure = format!("unset NFTABLES, as the other backend works; or {LOAD}");
        }
    }
    if reasons.is_empty() {
        reasons.push("the backend that NFTABLES names is not installed".to_owned());
    }
    let what = format!("no rules can be loaded: {}", reasons.join("; "));
    Finding::failure(IPTABLES, what, cure)
}

fn judge_backend(chosen: &Diagnosis, settings: &Settings) -> Finding {
    let backend = chosen.backend;
    if let Some(why) = &chosen.wg_quick_refused
        && !settings.allow_missing_iptables_rules
    {
        return Finding::failure(
            IPTABLES,
            format!("{backend} works for us, but wg-quick's own rules are refused: {why}"),
            "load xt_addrtype, xt_comment and xt_connmark on the host (modprobe), or set \
             ALLOW_MISSING_IPTABLES_RULES=1",
        );
    }
    if let Some((name, _)) = chosen.missing.first() {
        let mut lost = Vec::new();
        for (name, consequence) in &chosen.missing {
            lost.push(format!("no {name}, so {consequence}"));
        }
        return Finding::warning(
            IPTABLES,
            format!("{backend}: the kernel has {}", lost.join("; ")),
            format!("load it on the host (modprobe {name})"),
        );
    }
    if let Some(why) = &chosen.ipv6_unusable {
        return Finding::warning(
            IPTABLES,
            format!("IPv6 cannot be blocked: {why}"),
            "set the sysctls net.ipv6.conf.all.disable_ipv6=1 and \
             net.ipv6.conf.default.disable_ipv6=1 on the container, \
             or load ip6_tables and ip6table_filter on the host",
        );
    }
    Finding::ok(
        IPTABLES,
        format!("{backend} works, with all that is needed"),
    )
}

/// wg-quick sets the variable itself where it may.
fn judge_reverse_path(path: sysctl::ReversePath, settable: bool) -> Finding {
    const CHECK: &str = "reverse path";
    match path {
        sysctl::ReversePath { strict: false, .. } => Finding::ok(CHECK, "rp_filter is not strict"),
        sysctl::ReversePath {
            obeys_mark: true, ..
        } => Finding::ok(CHECK, "rp_filter is strict and obeys the mark"),
        _ if settable => Finding::ok(
            CHECK,
            "rp_filter is strict; wg-quick can set src_valid_mark",
        ),
        _ => Finding::failure(
            CHECK,
            "rp_filter is strict and src_valid_mark is off, so the tunnel's packets are dropped",
            "add `sysctls: [net.ipv4.conf.all.src_valid_mark=1]` to the service",
        ),
    }
}

fn is_writable(path: &str) -> bool {
    OpenOptions::new().write(true).open(path).is_ok()
}

fn judge_gateway(interface: &str, exists: bool, forwards: bool) -> Finding {
    const CHECK: &str = "gateway";
    if !exists {
        return Finding::warning(
            CHECK,
            format!("FWD_IFACE={interface}: there is no such interface"),
            "name the one that the others' network is on; `ip link` lists them",
        );
    }
    if !forwards {
        return Finding::warning(
            CHECK,
            "FWD_IFACE is set, but the kernel forwards nothing",
            "add `sysctls: [net.ipv4.ip_forward=1]` to the service",
        );
    }
    Finding::ok(
        CHECK,
        format!("{interface} is there, and the kernel forwards"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;
    use crate::settings::Environment;

    fn diagnosis(backend: Backend) -> Diagnosis {
        Diagnosis {
            backend,
            unusable: None,
            missing: vec![],
            wg_quick_refused: None,
            ipv6_unusable: None,
        }
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let environment: Environment = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Settings::from_environment(&environment).0
    }

    fn assert_cure(finding: &Finding, level: Level, cure: &str) {
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(
            finding.cure.as_deref().unwrap_or_default().contains(cure),
            "{finding:?}"
        );
    }

    #[test]
    fn without_kernel_and_tun_there_is_no_tunnel() {
        let found = |kernel, tun, is_installed| WireGuard {
            kernel,
            tun,
            is_installed,
            program: USER_SPACE.into(),
        };
        let nothing = io::ErrorKind::NotFound;
        assert_eq!(
            judge_wireguard(&found(Some(true), Err(nothing), false)).level,
            Level::Ok
        );
        assert_eq!(
            judge_wireguard(&found(Some(false), Ok(()), true)).level,
            Level::Ok
        );
        assert_cure(
            &judge_wireguard(&found(Some(false), Err(nothing), true)),
            Level::Failure,
            "/dev/net/tun",
        );
        assert_cure(
            &judge_wireguard(&found(Some(false), Ok(()), false)),
            Level::Failure,
            "wireguard-go",
        );
        assert_cure(
            &judge_wireguard(&found(None, Err(nothing), true)),
            Level::Warning,
            "/dev/net/tun",
        );
    }

    #[test]
    fn a_backend_that_does_not_work_is_no_matter_if_the_other_does() {
        let broken = Diagnosis {
            unusable: Some("no chain".into()),
            ..diagnosis(Backend::NfTables)
        };
        let both = [broken, diagnosis(Backend::Legacy)];
        assert_eq!(judge_iptables(&both, &settings(&[])).level, Level::Ok);
        assert_cure(
            &judge_iptables(&both, &settings(&[("NFTABLES", "1")])),
            Level::Failure,
            "unset NFTABLES",
        );
        assert_cure(
            &judge_iptables(&both[..1], &settings(&[])),
            Level::Failure,
            "modprobe",
        );
        assert_cure(
            &judge_iptables(&both[1..], &settings(&[("NFTABLES", "1")])),
            Level::Failure,
            "unset NFTABLES",
        );
        assert_cure(
            &judge_iptables(&[], &settings(&[])),
            Level::Failure,
            "install iptables",
        );
    }

    #[test]
    fn missing_modules_are_named() {
        let lacking = Diagnosis {
            missing: vec![("xt_mark", "x")],
            ..diagnosis(Backend::Legacy)
        };
        assert_cure(
            &judge_iptables(&[lacking], &settings(&[])),
            Level::Warning,
            "modprobe xt_mark",
        );
        let refused = Diagnosis {
            wg_quick_refused: Some("x".into()),
            ..diagnosis(Backend::Legacy)
        };
        let allowed = settings(&[("ALLOW_MISSING_IPTABLES_RULES", "1")]);
        assert_eq!(
            judge_iptables(std::slice::from_ref(&refused), &allowed).level,
            Level::Ok
        );
        assert_cure(
            &judge_iptables(&[refused], &settings(&[])),
            Level::Failure,
            "ALLOW_MISSING_IPTABLES_RULES=1",
        );
        let open = Diagnosis {
            ipv6_unusable: Some("x".into()),
            ..diagnosis(Backend::Legacy)
        };
        assert_cure(
            &judge_iptables(&[open], &settings(&[])),
            Level::Warning,
            "disable_ipv6=1",
        );
    }

    #[test]
    fn strict_filtering_needs_the_mark() {
        let path = |strict, obeys_mark| sysctl::ReversePath { strict, obeys_mark };
        assert_eq!(
            judge_reverse_path(path(false, false), false).level,
            Level::Ok
        );
        assert_eq!(judge_reverse_path(path(true, true), false).level, Level::Ok);
        assert_eq!(judge_reverse_path(path(true, false), true).level, Level::Ok);
        assert_cure(
            &judge_reverse_path(path(true, false), false),
            Level::Failure,
            "src_valid_mark=1",
        );
    }

    #[test]
    fn a_gateway_needs_its_interface_and_forwarding() {
        assert_eq!(judge_gateway("eth1", true, true).level, Level::Ok);
        assert_cure(
            &judge_gateway("eth1", false, true),
            Level::Warning,
            "ip link",
        );
        assert_cure(
            &judge_gateway("eth1", true, false),
            Level::Warning,
            "ip_forward=1",
        );
    }
}
