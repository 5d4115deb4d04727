//! What the kernel and the installed programs offer, found out without changing what flows: for
//! `doctor`.

use std::path::Path;

use super::backend::{Backend, PROBE, Programs};
use super::kernel_modules::KernelModule;
use super::rules::Family;

/// What wg-quick loads for itself, in a chain that nothing jumps to.
const WG_QUICK: &str = "*raw
:PIA_PROBE - [0:0]
-A PIA_PROBE -d 192.0.2.1/32 ! -i wg0 -m addrtype ! --src-type LOCAL -m comment --comment probe \
-j DROP
COMMIT
*mangle
:PIA_PROBE - [0:0]
-A PIA_PROBE -p udp -m mark --mark 0x1 -j CONNMARK --save-mark
COMMIT
";
const WG_QUICK_REMOVED: &str = "*raw
:PIA_PROBE - [0:0]
-X PIA_PROBE
COMMIT
*mangle
:PIA_PROBE - [0:0]
-X PIA_PROBE
COMMIT
";

/// One backend, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub backend: Backend,
    /// Why no policy can be loaded with it; `None` if it works.
    pub unusable: Option<String>,
    /// Kernel modules that are missing, with what is lost without each.
    pub missing: Vec<(&'static str, &'static str)>,
    /// Why wg-quick's own rules cannot be loaded.
    pub wg_quick_refused: Option<String>,
    /// Why IPv6 cannot be blocked, where there is IPv6.
    pub ipv6_unusable: Option<String>,
}

impl Diagnosis {
    fn is_whole(&self) -> bool {
        self.unusable.is_none() && self.missing.is_empty() && self.wg_quick_refused.is_none()
    }
}

/// What the rules need that come with these features, besides what all need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    pub gateway: bool,
    pub handed_on: bool,
    pub redirect: bool,
    pub strict_rp_filter: bool,
    pub embedded_dns: bool,
}

/// The installed backends, the `wanted` one or all; those that need not be tried are not, for even
/// to look at legacy tables makes them.
pub fn diagnose(private_bin: &Path, wanted: Option<Backend>, features: Features) -> Vec<Diagnosis> {
    let backends = wanted.map_or(vec![Backend::NfTables, Backend::Legacy], |backend| {
        vec![backend]
    });
    let mut diagnoses = Vec::new();
    for programs in backends
        .into_iter()
        .filter_map(|backend| Programs::find(backend, private_bin))
    {
        diagnoses.push(of(&programs, features));
        if diagnoses.last().is_some_and(Diagnosis::is_whole) {
            break;
        }
    }
    diagnoses
}

fn of(programs: &Programs, features: Features) -> Diagnosis {
    let missing = programs.missing(&features.text());
    let unusable = programs
        .probe(&KernelModule::strip(&missing, PROBE))
        .err()
        .map(|error| error.to_string());
    let refused = |family, text: &str, removed: &str| {
        programs
            .load(family, text)
            .and_then(|()| programs.load(family, removed))
            .err()
            .map(|error| error.to_string())
    };
    // Of this thread: a process may have threads in several namespaces.
    let has_ipv6 = Path::new("/proc/thread-self/net/if_inet6").exists();
    let scrap = "*filter\n:PIA_PROBE - [0:0]\n-X PIA_PROBE\nCOMMIT\n";
    let plain = "*filter\n:PIA_PROBE - [0:0]\n-A PIA_PROBE -o lo -j ACCEPT\nCOMMIT\n";
    Diagnosis {
        backend: programs.backend,
        missing: missing
            .iter()
            .map(|module| (module.kernel_name(), module.consequence()))
            .collect(),
        wg_quick_refused: unusable
            .is_none()
            .then(|| refused(Family::V4, WG_QUICK, WG_QUICK_REMOVED))
            .flatten(),
        ipv6_unusable: has_ipv6
            .then(|| refused(Family::V6, plain, scrap))
            .flatten(),
        unusable,
    }
}

impl Features {
    /// Rules that need what these features need.
    fn text(self) -> String {
        let of = |wanted: bool, module: KernelModule| {
            let (_, rule) = module.probe();
            if wanted {
                format!("-A PIA_PROBE {rule} \n")
            } else {
                String::new()
            }
        };
        [
            PROBE.to_owned(),
            of(self.gateway, KernelModule::Masquerade),
            of(self.handed_on, KernelModule::Dnat),
            of(self.redirect, KernelModule::Redirect),
            of(self.strict_rp_filter, KernelModule::Connmark),
            of(self.embedded_dns, KernelModule::Owner),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_name_the_modules_that_they_need() {
        let all = Features {
            gateway: true,
            handed_on: true,
            redirect: true,
            strict_rp_filter: true,
            embedded_dns: true,
        };
        assert_eq!(KernelModule::used_in(&all.text()).count(), 8);
        assert_eq!(
            KernelModule::used_in(&Features::default().text()).count(),
            3
        );
    }
}
