//! Loading a policy: what has changed, one step a family, and once more without what the kernel
//! turns out to lack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backend::Backend;
use super::changes::{Begun, Change, Changer};
use super::cleanup::{self, InUse};
use super::earlier_rules::EarlierRules;
use super::error::FirewallError;
use super::ipv6;
use super::kernel_modules::KernelModule;
use super::policy::Policy;
use super::programs::{self, Programs};
use super::rule_counters::RuleCounters;
use super::rules;
use super::table::Table;
use super::tables::{Family, TableName};
use super::wg_quick_rule::WgQuickRule;
use super::wire::Wire;
use crate::system::cancellation::CancellationToken;
use crate::system::command::CommandError;
use crate::system::network_table;
use crate::system::paths;

/// How often a policy is loaded before its failure counts: what fails in passing does no harm.
pub(super) const MAX_LOADS: usize = 5;
pub(super) const LOAD_INTERVAL: Duration = Duration::from_millis(100);

/// Whether everything is closed that the policy closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    Whole,
    /// IPv6 goes where it wants; with the reason and the cure.
    WithoutIpv6(String),
}

/// The packet filter of this network namespace, as far as it is ours.
#[derive(Debug)]
pub struct Firewall {
    pub(super) programs: Programs,
    pub(super) private_bin: PathBuf,
    /// Who loads each family's rules, with nf_tables.
    changers: BTreeMap<Family, Changer>,
    families: Vec<Family>,
    strict_rp_filter: bool,
    pub(super) missing: Vec<KernelModule>,
    /// What each table of ours holds; `None` after a load that failed, for it may have been taken
    /// or not.
    loaded: BTreeMap<(Family, TableName), Option<Table>>,
    /// The next load sets the policies of the built-in chains again.
    policies_due: bool,
    pub(super) sealing: Sealing,
    /// The last of it that was logged.
    pub(super) sealing_said: Sealing,
    /// No jump stands twice.
    tidy: bool,
    /// Nothing of an earlier life is left.
    alone: bool,
    /// What may be left of one, by a look before the first load, as long as no load has failed.
    pub(super) earlier: Option<EarlierRules>,
    pub(super) wire: Wire,
    /// An interface has no chain yet, as none could be loaded.
    pub(super) lacks_chain: bool,
    /// IPv6's last load has failed, and earlier rules of ours hold.
    ipv6_is_former: bool,
    /// Whether rules of wg-quick's for our interface are ours.
    pub(super) owns_interface: bool,
    pub(super) private_bin_needed: bool,
}

/// A family's load that failed.
pub(super) struct FailedLoad {
    pub family: Family,
    /// What the kernel may have lacked for it.
    pub modules: BTreeSet<KernelModule>,
    pub error: CommandError,
}

/// A family's load that is to be done.
struct Load {
    family: Family,
    tables: Vec<Table>,
    /// The same for iptables-restore, with the jumps where there are none yet.
    text: String,
}

impl Firewall {
    /// With these programs, and nothing loaded or known to be missing yet.
    pub fn new(programs: Programs, private_bin: &Path, strict_rp_filter: bool) -> Self {
        let ipv6 = network_table::has_ipv6();
        Self {
            programs,
            private_bin: private_bin.to_owned(),
            changers: BTreeMap::new(),
            families: if ipv6 {
                vec![Family::V4, Family::V6]
            } else {
                vec![Family::V4]
            },
            strict_rp_filter,
            missing: Vec::new(),
            loaded: BTreeMap::new(),
            policies_due: false,
            sealing: Sealing::Whole,
            sealing_said: Sealing::Whole,
            tidy: false,
            alone: false,
            earlier: None,
            wire: Wire::default(),
            lacks_chain: false,
            ipv6_is_former: false,
            owns_interface: true,
            private_bin_needed: false,
        }
    }

    /// Loads the policy: one step a family, and only what has changed since the last time. Even a
    /// stop does not interrupt it.
    ///
    /// # Errors
    /// When the IPv4 rules are refused: those of before then stay in force. For IPv6 see
    /// [`Self::sealing`].
    pub fn apply(&mut self, policy: &Policy) -> Result<(), FirewallError> {
        let mut failures = self.load(policy)?;
        for round in 1..MAX_LOADS {
            let Some(failure) = of_v4(&failures) else {
                // IPv6 has other means, so one more try is enough.
                let Some(failure) = failures.first().filter(|_| round == 1) else {
                    break;
                };
                // Asked once: it takes a dozen loads, and each later change fails likewise.
                if programs::is_refusal(&failure.error) && !self.ipv6_is_former {
                    let modules = failure.modules.clone();
                    self.learn_missing(&modules);
                }
                failures = self.load(policy)?;
                continue;
            };
            if programs::is_final(&failure.error) {
                break;
            }
            let may_lack = programs::is_refusal(&failure.error);
            if !may_lack || !self.learn_missing(&failure.modules) {
                self.programs.pause(LOAD_INTERVAL);
            }
            failures = self.load(policy)?;
        }
        if let Err(error) = self.judge(&mut failures) {
            // It takes no iptables.
            if policy.sealed {
                self.cover_new_interfaces();
            }
            return Err(error);
        }
        self.finish(policy, &failures);
        Ok(())
    }

    /// Where the kernel counts what is dropped, and what comes in.
    pub fn rule_counters(&self) -> RuleCounters {
        RuleCounters {
            programs: self.programs.clone(),
            families: self.families.clone(),
            nft: self.wire.nft(),
        }
    }

    /// The next load sets the policies of the built-in chains again, which a user may have opened
    /// since the first.
    pub fn set_policies_again(&mut self) {
        self.policies_due = true;
    }

    /// What ends its pauses.
    pub fn stop(&self) -> &CancellationToken {
        self.programs.stop()
    }

    /// Takes every module to be there again: the next load shows which are not.
    pub fn forget_missing(&mut self) {
        self.missing.clear();
    }

    /// Whether rules cannot tell by the mark who sends.
    pub fn lacks_marks(&self) -> bool {
        self.missing.contains(&KernelModule::Mark)
    }

    /// Whether the rules close all that they should.
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// The rule that wg-quick makes for the tunnel's address.
    pub fn wg_quick_rule(&self) -> WgQuickRule {
        WgQuickRule {
            programs: self.programs.clone(),
        }
    }

    /// The backend that was chosen.
    pub fn backend(&self) -> Backend {
        self.programs.backend
    }

    /// Whether plain `iptables` is another backend, so that the private directory has to come
    /// first in PATH.
    pub fn private_bin_needed(&self) -> bool {
        self.private_bin_needed
    }

    /// Whether nothing of the last policy is left to be loaded. A failure for IPv6, whose former
    /// rules stay in force then, and one for a new interface's chain are no errors of a load.
    pub fn is_settled(&self) -> bool {
        let lacks_filter = self.lacks_chain || matches!(self.wire, Wire::Owed(_));
        !lacks_filter && self.loaded.values().all(Option::is_some)
    }

    /// Whether any rules of ours are known to be in force.
    pub fn is_loaded(&self) -> bool {
        !self.loaded.is_empty()
    }

    /// One load a family, of the tables that differ from what is there.
    pub(super) fn load(&mut self, policy: &Policy) -> Result<Vec<FailedLoad>, FirewallError> {
        let mut loads = Vec::new();
        for family in &self.families {
            let tables = self.changed(policy, *family)?;
            if !tables.is_empty() {
                loads.push(self.plan(*family, tables));
            }
        }
        let mut failures = Vec::new();
        let results = self.run_loads(&loads);
        for (load, result) in loads.into_iter().zip(results) {
            let family = load.family;
            let Err(error) = result else {
                for table in load.tables {
                    self.loaded.insert((family, table.name), Some(table));
                }
                continue;
            };
            // Each table is loaded whole or not at all, but which of them were is not known. The
            // jumps of former loads stand in any case.
            for ((_, _), table) in self.loaded.iter_mut().filter(|((of, _), _)| *of == family) {
                *table = None;
            }
            self.tidy = false;
            self.earlier = None;
            failures.push(FailedLoad {
                family,
                modules: load.tables.iter().flat_map(Table::modules).collect(),
                error,
            });
        }
        self.policies_due &= !failures.is_empty();
        Ok(failures)
    }

    /// Both families at once with nf_tables, where each waits for the kernel, and only until the
    /// rules are in force; legacy has one lock for both.
    fn run_loads(&mut self, loads: &[Load]) -> Vec<Result<(), CommandError>> {
        if self.backend() == Backend::Legacy {
            let run = |load: &Load| self.programs.load(load.family, &load.text);
            return loads.iter().map(run).collect();
        }
        let mut begun = Vec::new();
        for load in loads {
            let names = load.tables.iter().map(|table| table.name.name().to_owned());
            log::debug!("loading for {:?}:\n{}", load.family, load.text);
            let change = Change {
                command: self.programs.loading(load.family),
                text: load.text.clone(),
                tables: names.collect(),
                is_kept: true,
            };
            begun.push(self.changers.entry(load.family).or_default().begin(change));
        }
        begun.into_iter().map(Begun::outcome).collect()
    }

    fn changed(&self, policy: &Policy, family: Family) -> Result<Vec<Table>, FirewallError> {
        let mut changed = Vec::new();
        for table in rules::render(
            policy,
            family,
            self.strict_rp_filter,
            self.wire.stamping(family),
        )? {
            let table = table.without(&self.missing);
            let differs = match self.loaded.get(&(family, table.name)) {
                Some(loaded) => loaded.as_ref() != Some(&table),
                None => table.matters(),
            };
            if differs || self.policies_due && table.has_policies() {
                changed.push(table);
            }
        }
        Ok(changed)
    }

    fn plan(&self, family: Family, tables: Vec<Table>) -> Load {
        let mut text = String::new();
        for table in &tables {
            let mut part = table.clone();
            if self.loaded.contains_key(&(family, table.name)) {
                part = part.without_jumps();
                if !self.policies_due {
                    part = part.without_policies();
                }
            }
            text += &part.to_string();
        }
        Load {
            family,
            tables,
            text,
        }
    }

    /// Whether something is missing that was thought to be there.
    fn learn_missing(&mut self, modules: &BTreeSet<KernelModule>) -> bool {
        let missing = self.programs.missing(modules);
        missing.iter().for_each(|module| warn_of(*module));
        self.missing.extend(&missing);
        !missing.is_empty()
    }

    fn has_rules_of(&self, family: Family) -> bool {
        self.loaded.keys().any(|(of, _)| *of == family)
    }

    /// Takes IPv4's failure out as the error; blocks IPv6 by other means where its first load
    /// failed.
    pub(super) fn judge(&mut self, failures: &mut Vec<FailedLoad>) -> Result<(), FirewallError> {
        let of_v4 = |failure: &FailedLoad| failure.family == Family::V4;
        if let Some(index) = failures.iter().position(of_v4) {
            let source = failures.swap_remove(index).error;
            return Err(FirewallError::NotLoaded {
                backend: self.backend(),
                source,
            });
        }
        let is_former = !failures.is_empty() && self.has_rules_of(Family::V6);
        let was_former = std::mem::replace(&mut self.ipv6_is_former, is_former);
        let sealing = match failures.first() {
            None => Sealing::Whole,
            // By the rules of before.
            Some(failure) if is_former => {
                if !was_former {
                    log::warn!(
                        "firewall: the rules for IPv6 cannot be changed: {}; those of before hold \
                         until they can, which is tried again and again",
                        failure.error
                    );
                }
                Sealing::Whole
            }
            Some(failure) => match ipv6::shut_off() {
                Ok(()) => Sealing::Whole,
                Err(why) => Sealing::WithoutIpv6(format!(
                    "IPv6 is not blocked: {}, and without it: {why}: switch it off with the \
                     sysctls net.ipv6.conf.all.disable_ipv6=1 and \
                     net.ipv6.conf.default.disable_ipv6=1 on the container, or load ip6_tables \
                     and ip6table_filter on the host",
                    failure.error
                )),
            },
        };
        self.sealing = sealing;
        Ok(())
    }

    /// Whether nothing of an earlier life is left.
    pub(super) fn is_cleaned(&self) -> bool {
        self.alone
    }

    /// Takes away what an earlier life left, in the families where our own rules hold now.
    pub(super) fn clean(&mut self, failures: &[FailedLoad]) {
        if self.tidy && self.alone {
            return;
        }
        let mut in_use = Vec::new();
        for family in &self.families {
            if failures.iter().all(|failure| failure.family != *family) {
                let loaded = self.loaded.iter().filter(|((of, _), _)| of == family);
                let tables = loaded.filter_map(|(_, table)| table.clone()).collect();
                in_use.push((*family, InUse::new(tables)));
            }
        }
        if self.alone {
            cleanup::remove_surplus(&self.programs, &in_use);
        } else {
            let interface = self.owns_interface.then_some(paths::INTERFACE);
            cleanup::remove_leftovers(
                &self.programs,
                &self.private_bin,
                &in_use,
                interface,
                self.earlier.take().as_ref(),
            );
        }
        self.tidy = failures.is_empty();
        self.alone = true;
    }
}

/// The failure that counts.
pub(super) fn of_v4(failures: &[FailedLoad]) -> Option<&FailedLoad> {
    failures.iter().find(|failure| failure.family == Family::V4)
}

/// Says what will not work, and what to do about it.
pub(super) fn warn_of(module: KernelModule) {
    let name = module.kernel_name();
    log::warn!(
        "firewall: the kernel has no {name}: {}: load it on the host (modprobe {name})",
        module.consequence()
    );
}
