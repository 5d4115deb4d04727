//! Which backend it is: the one that takes the first rules. Nothing is probed before, for that
//! would take time in which the network is open.

use super::apply::{FailedLoad, of_v4, warn_of};
use super::kernel_modules::KernelModule;
use super::policy::Policy;
use super::rules::Family;
use super::{Firewall, FirewallError, backend, private_bin};

impl Firewall {
    /// The first that takes the policy whole; `None` where there is none to try.
    pub(super) fn open_any(
        firewalls: impl Iterator<Item = Self>,
        first: Option<&Policy>,
    ) -> Result<Option<Self>, FirewallError> {
        let mut refused = Vec::new();
        for mut firewall in firewalls {
            let failures = firewall.start(first)?;
            if failures.is_empty() {
                firewall.settle(first, &[]);
                return Ok(Some(firewall));
            }
            refused.push((firewall, failures));
        }
        if refused.is_empty() {
            Ok(None)
        } else {
            Self::open_weakened(refused, first).map(Some)
        }
    }

    /// No backend took everything: takes the one that lacks least, without what it lacks.
    fn open_weakened(
        mut refused: Vec<(Self, Vec<FailedLoad>)>,
        first: Option<&Policy>,
    ) -> Result<Self, FirewallError> {
        for (firewall, failures) in &mut refused {
            if let Some(failure) = of_v4(failures) {
                firewall.missing = firewall.programs.missing(&failure.text);
            }
        }
        refused.sort_by_key(|(firewall, _)| KernelModule::weight(&firewall.missing));
        let mut tried = Vec::new();
        for (mut firewall, _) in refused {
            let mut failures = firewall.start(first)?;
            match firewall.judge(&mut failures) {
                Ok(()) => {
                    firewall.missing.iter().for_each(|module| warn_of(*module));
                    firewall.settle(first, &failures);
                    return Ok(firewall);
                }
                Err(FirewallError::NotLoaded { backend, source }) => {
                    tried.push(format!("with {backend}: {source}"));
                }
                Err(error) => return Err(error),
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
        if failures.is_empty() && self.loaded.is_empty() {
            let text = KernelModule::strip(&self.missing, backend::PROBE);
            let probe = self.programs.probe(&text);
            failures.extend(probe.err().map(|error| FailedLoad {
                family: Family::V4,
                text,
                error,
            }));
        }
        Ok(failures)
    }

    /// After the first load, for which nothing has to wait.
    fn settle(&mut self, first: Option<&Policy>, failures: &[FailedLoad]) {
        if first.is_some() {
            self.clean(failures);
        }
        self.private_bin_needed = backend::plain_backend(&self.private_bin) != Some(self.backend());
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
