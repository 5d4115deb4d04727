//! Which backend it is: the one that takes the first rules. Nothing is probed before, for that
//! would take time in which the network is open.

use std::path::Path;

use super::apply::{FailedLoad, Firewall, LOAD_INTERVAL, MAX_LOADS, of_v4, warn_of};
use super::backend::Backend;
use super::earlier_rules::EarlierRules;
use super::error::FirewallError;
use super::kernel_modules::KernelModule;
use super::policy::Policy;
use super::private_bin;
use super::programs::{self, Programs};
use super::tables::Family;
use super::wire::{EgressFilter, Wire};
use crate::system::cancellation::CancellationToken;

impl Firewall {
    /// Chooses the backend by loading the `first` policy with it: nf_tables if that works, else
    /// legacy, unless there is a `choice`. Without a first policy nothing is changed yet.
    /// `private_bin` gets links to the chosen iptables if plain `iptables` is another one. While
    /// others hold iptables' lock it waits, until `stop` at most. `owns_interface` is whether rules
    /// of wg-quick's for our interface are those of an earlier life, or somebody else's.
    ///
    /// # Errors
    /// When no backend takes the policy, not even without what kernel modules are missing for.
    pub fn open(
        choice: Option<Backend>,
        private_bin: &Path,
        first: Option<&Policy>,
        strict_rp_filter: bool,
        owns_interface: bool,
        stop: &CancellationToken,
    ) -> Result<Self, FirewallError> {
        let wanted = Backend::wanted(choice);
        let mut installed = Vec::new();
        for backend in &wanted {
            if let Some(mut programs) = Programs::find(*backend, private_bin) {
                programs.wait_until(stop);
                let mut firewall = Self::new(programs, private_bin, strict_rp_filter);
                firewall.owns_interface = owns_interface;
                installed.push(firewall);
            }
        }
        if installed.is_empty() {
            let names: Vec<String> = wanted.iter().map(Backend::to_string).collect();
            return Err(FirewallError::NotInstalled {
                wanted: names.join(" or "),
            });
        }
        Self::open_any(installed, first)
    }

    /// The first that takes the policy whole, or else the one that lacks least.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_any(
        mut firewalls: Vec<Self>,
        first: Option<&Policy>,
    ) -> Result<Self, FirewallError> {
        // Afterwards there may be what a backend has taken that is then not chosen.
        if let (Some(firewall), Some(_)) = (firewalls.first_mut(), first) {
            firewall.earlier = EarlierRules::look()
                .inspect_err(|error| log::debug!("what an earlier life left: {error}"))
                .ok();
        }
        // The rules that follow set its stamp, which spares them a load of its own.
        if first.is_some_and(|policy| policy.sealed)
            && let Some(filter) = EgressFilter::load_first()
        {
            for firewall in &mut firewalls {
                firewall.wire = Wire::Filtered(filter.clone());
            }
        }
        let mut refused = Vec::new();
        for mut firewall in firewalls {
            let failures = firewall.start(first)?;
            if failures.is_empty() {
                firewall.settle(first, &[]);
                return Ok(firewall);
            }
            firewall.earlier = None;
            refused.push((firewall, failures));
        }
        Self::open_weakened(refused, first)
    }

    /// No backend took everything: takes the one that lacks least, without what it lacks. What
    /// failed in passing is tried again. Chains at the network cards that were loaded first close
    /// the network meanwhile, and are replaced when the rules are in force.
    fn open_weakened(
        mut refused: Vec<(Self, Vec<FailedLoad>)>,
        first: Option<&Policy>,
    ) -> Result<Self, FirewallError> {
        for (firewall, _) in &mut refused {
            // It may be the stamp that cannot be set.
            firewall.wire = Wire::Untried;
        }
        for _ in 1..MAX_LOADS {
            if refused.iter().any(|(_, failures)| waited_in_vain(failures)) {
                break;
            }
            for (firewall, failures) in &mut refused {
                if let Some(failure) = of_v4(failures)
                    && programs::is_refusal(&failure.error)
                {
                    firewall.missing = firewall.programs.missing(&failure.modules);
                }
            }
            refused.sort_by_key(|(firewall, _)| KernelModule::weight(&firewall.missing));
            for index in 0..refused.len() {
                let (mut firewall, _) = refused.remove(index);
                let mut failures = firewall.start(first)?;
                if of_v4(&failures).is_none() {
                    firewall.judge(&mut failures)?;
                    firewall.missing.iter().for_each(|module| warn_of(*module));
                    firewall.settle(first, &failures);
                    return Ok(firewall);
                }
                refused.insert(index, (firewall, failures));
            }
            if let Some((firewall, _)) = refused.first() {
                firewall.programs.pause(LOAD_INTERVAL);
            }
        }
        let mut tried = Vec::new();
        for (firewall, failures) in &refused {
            if let Some(failure) = of_v4(failures) {
                tried.push(format!("with {}: {}", firewall.backend(), failure.error));
            }
        }
        Err(FirewallError::Unusable {
            tried: tried.join("; "),
        })
    }

    fn start(&mut self, first: Option<&Policy>) -> Result<Vec<FailedLoad>, FirewallError> {
        let mut failures = Vec::new();
        if let Some(policy) = first {
            failures = self.load(policy)?;
        }
        if failures.is_empty()
            && !self.is_loaded()
            && let Err(error) = self.programs.probe(&self.missing)
        {
            failures.push(FailedLoad {
                family: Family::V4,
                modules: KernelModule::ALWAYS_USED.into(),
                error,
            });
        }
        Ok(failures)
    }

    /// After the first load, for which nothing has to wait.
    fn settle(&mut self, first: Option<&Policy>, failures: &[FailedLoad]) {
        if let Some(policy) = first {
            self.finish(policy, failures);
        }
        let plain = programs::plain_backend(&self.private_bin);
        self.private_bin_needed = plain != Some(self.backend());
        let links = match self.private_bin_needed {
            true => private_bin::fill(&self.private_bin, &self.programs),
            false => private_bin::empty(&self.private_bin),
        };
        if let Err(error) = links {
            log::warn!(
                "{error}: wg-quick and scripts may use another iptables than {}",
                self.backend()
            );
        }
        log::info!("iptables backend: {}", self.backend());
    }
}

fn waited_in_vain(failures: &[FailedLoad]) -> bool {
    of_v4(failures).is_some_and(|failure| programs::is_final(&failure.error))
}
