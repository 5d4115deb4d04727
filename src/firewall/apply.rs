//! Loading a policy: what has changed, one step a family, and once more without what the kernel
//! turns out to lack.

use std::fs;
use std::panic::resume_unwind;
use std::thread;

use super::backend::{Backend, Programs};
use super::kernel_modules::KernelModule;
use super::policy::Policy;
use super::rules::{self, Family, Table};
use super::{Firewall, FirewallError};
use crate::system::command::CommandError;

/// A family's load that failed.
pub(super) struct FailedLoad {
    pub family: Family,
    pub text: String,
    pub error: CommandError,
}

impl Firewall {
    /// One load a family, of the tables that differ from what is there.
    pub(super) fn load(&mut self, policy: &Policy) -> Result<Vec<FailedLoad>, FirewallError> {
        let mut work = Vec::new();
        for family in &self.families {
            let tables = self.changed(policy, *family)?;
            if !tables.is_empty() {
                let text = |table: &Table| match self.loaded.contains_key(&(*family, table.name)) {
                    true => table.text.clone(),
                    false => table.first_text.clone(),
                };
                let text: String = tables.iter().map(text).collect();
                work.push((*family, tables, text));
            }
        }
        let mut failures = Vec::new();
        for ((family, tables, text), result) in run_loads(&self.programs, work) {
            match result {
                Ok(()) => self.loaded.extend(
                    tables
                        .into_iter()
                        .map(|table| ((family, table.name), table.text)),
                ),
                Err(error) => {
                    // Each table is loaded whole or not at all, but which of them were is not
                    // known.
                    self.loaded.retain(|(of, _), _| *of != family);
                    self.tidy = false;
                    failures.push(FailedLoad {
                        family,
                        text,
                        error,
                    });
                }
            }
        }
        Ok(failures)
    }

    fn changed(&self, policy: &Policy, family: Family) -> Result<Vec<Table>, FirewallError> {
        let tables = rules::render(policy, family, self.strict_rp_filter)?;
        let differs = |table: &Table| match self.loaded.get(&(family, table.name)) {
            Some(text) => *text != table.text,
            None => table.matters(),
        };
        Ok(tables
            .into_iter()
            .map(|table| table.without(&self.missing))
            .filter(differs)
            .collect())
    }

    /// Whether something is missing that was thought to be there.
    pub(super) fn learn_missing(&mut self, text: &str) -> bool {
        let missing = self.programs.missing(text);
        missing.iter().for_each(|module| warn_of(*module));
        self.missing.extend(&missing);
        !missing.is_empty()
    }

    /// Takes IPv4's failure out as the error; warns of IPv6's.
    pub(super) fn judge(&self, failures: &mut Vec<FailedLoad>) -> Result<(), FirewallError> {
        if let Some(index) = failures
            .iter()
            .position(|failure| failure.family == Family::V4)
        {
            let source = failures.swap_remove(index).error;
            return Err(FirewallError::NotLoaded {
                backend: self.backend(),
                source,
            });
        }
        let disabled =
            fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap_or_default();
        for failure in failures.iter().filter(|_| disabled.trim() != "1") {
            log::warn!(
                "IPv6 is NOT blocked: {}: switch it off with the sysctls \
                 net.ipv6.conf.all.disable_ipv6=1 and \
                 net.ipv6.conf.default.disable_ipv6=1 on the container, or load ip6_tables and \
                 ip6table_filter on the host",
                failure.error
            );
        }
        Ok(())
    }
}

type Work = (Family, Vec<Table>, String);

/// Both families at once with nf_tables, where each waits for the kernel; legacy has one lock for
/// both.
fn run_loads(programs: &Programs, work: Vec<Work>) -> Vec<(Work, Result<(), CommandError>)> {
    let load = |(family, _, text): &Work| programs.load(*family, text);
    let results: Vec<_> = match programs.backend {
        Backend::Legacy => work.iter().map(load).collect(),
        Backend::NfTables => thread::scope(|scope| {
            let threads: Vec<_> = work
                .iter()
                .map(|one| scope.spawn(move || load(one)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        }),
    };
    work.into_iter().zip(results).collect()
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
