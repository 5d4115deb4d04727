//! What the kernel and the installed programs offer, found out without changing what flows: for
//! `doctor`.

use std::collections::BTreeSet;
use std::path::Path;

use super::backend::Backend;
use super::kernel_modules::KernelModule;
use super::programs::Programs;
use super::tables::Family;
use crate::system::network_table;

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

const PLAIN: &str = "*filter\n:PIA_PROBE - [0:0]\n-A PIA_PROBE -o lo -j ACCEPT\nCOMMIT\n";
const PLAIN_REMOVED: &str = "*filter\n:PIA_PROBE - [0:0]\n-X PIA_PROBE\nCOMMIT\n";

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
    let mut diagnoses = Vec::new();
    for backend in Backend::wanted(wanted) {
        let Some(programs) = Programs::find(backend, private_bin) else {
            continue;
        };
        let diagnosis = of(&programs, features);
        let is_whole = diagnosis.is_whole();
        diagnoses.push(diagnosis);
        if is_whole {
            break;
        }
    }
    diagnoses
}

fn of(programs: &Programs, features: Features) -> Diagnosis {
    let missing = programs.missing(&features.modules());
    let unusable = programs.probe(&missing).err();
    let mut wg_quick_refused = None;
    if unusable.is_none() {
        wg_quick_refused = refused(programs, Family::V4, WG_QUICK, WG_QUICK_REMOVED);
    }
    let has_ipv6 = network_table::has_ipv6();
    let mut ipv6_unusable = None;
    if has_ipv6 {
        ipv6_unusable = refused(programs, Family::V6, PLAIN, PLAIN_REMOVED);
    }
    Diagnosis {
        backend: programs.backend,
        unusable: unusable.map(|error| error.to_string()),
        missing: missing
            .iter()
            .map(|module| (module.kernel_name(), module.consequence()))
            .collect(),
        wg_quick_refused,
        ipv6_unusable,
    }
}

/// Why this text is not taken, or what removes it.
fn refused(programs: &Programs, family: Family, text: &str, removed: &str) -> Option<String> {
    programs
        .load(family, text)
        .and_then(|()| programs.load(family, removed))
        .err()
        .map(|error| error.to_string())
}

impl Features {
    /// What rules with these features need.
    fn modules(self) -> BTreeSet<KernelModule> {
        let mut modules = BTreeSet::from(KernelModule::ALWAYS_USED);
        let wanted = [
            (self.gateway, KernelModule::Masquerade),
            (self.gateway, KernelModule::TcpMss),
            (self.handed_on, KernelModule::Dnat),
            (self.redirect, KernelModule::Redirect),
            (self.strict_rp_filter, KernelModule::Connmark),
            (self.embedded_dns, KernelModule::Owner),
        ];
        modules.extend(
            wanted
                .iter()
                .filter_map(|(is_wanted, module)| is_wanted.then_some(module)),
        );
        modules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_name_the_modules_that_they_need() {
        let all = Features {
            gateway: true,
            handed_on: true,
            redirect: true,
            strict_rp_filter: true,
            embedded_dns: true,
        };
        assert_eq!(all.modules().len(), 9);
        assert_eq!(Features::default().modules().len(), 3);
    }
}
