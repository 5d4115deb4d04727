//! The kill switch and what it lets through.
//!
//! `policy` says what may flow now, `rules` renders it whole from `templates/`, and
//! [`Firewall::apply`] loads it in one step a family. Nothing is ever added or removed rule by
//! rule, so there is no moment with half of it, and what is loaded is known without asking the
//! kernel. Chains of ours hold our rules; what others have in the built-in chains stays as it is.

mod apply;
mod backend;
mod backend_selection;
mod cleanup;
pub mod diagnose;
mod kernel_modules;
pub mod kill_switch;
mod policy;
mod private_bin;
mod rules;
mod wg_quick_rule;

#[cfg(test)]
mod namespace_tests;
#[cfg(test)]
mod packet_tests;
#[cfg(test)]
mod rules_tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use self::backend::Programs;
use self::kernel_modules::KernelModule;
use self::rules::{Family, TableName};
use crate::system::command::CommandError;

pub use self::backend::Backend;
pub use self::policy::{Destination, ForwardedPort, Gateway, Policy, TunnelPolicy};

/// The firewall could not be set as it should.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// There is nothing to set it with.
    #[error(
        "firewall: no iptables program for {wanted}: install iptables, or choose the other \
         backend with NFTABLES"
    )]
    NotInstalled { wanted: String },
    /// No backend takes even what is left without missing modules.
    #[error(
        "firewall: no rules can be set: {tried}: on the host load nf_tables and nft_compat, or \
         ip_tables and iptable_filter \
         (modprobe), and give the container `cap_add: [NET_ADMIN, NET_RAW]` (legacy wants the \
         second too)"
    )]
    Unusable { tried: String },
    /// The rules were refused; those of before stay in force.
    #[error(
        "firewall: loading rules with {backend}: {source}: the former rules stay in force; \
         DEBUG=1 shows more"
    )]
    NotLoaded {
        backend: Backend,
        source: CommandError,
    },
    /// A name that cannot stand in a rule.
    #[error("firewall: interface {name:?}: not a name that an interface can have: check FWD_IFACE")]
    Interface { name: String },
    /// A template failed.
    #[error("firewall: rendering rules: {0}")]
    NotRendered(#[from] askama::Error),
    /// The rule against spoofed packets still names the old address.
    #[error("firewall: moving wg-quick's rule to {address}: {source}: the tunnel works without it")]
    NotMoved {
        address: Ipv4Addr,
        source: CommandError,
    },
}

/// The packet filter of this network namespace, as far as it is ours.
#[derive(Debug)]
pub struct Firewall {
    programs: Programs,
    private_bin: PathBuf,
    families: Vec<Family>,
    strict_rp_filter: bool,
    missing: Vec<KernelModule>,
    /// What each table of ours holds.
    loaded: BTreeMap<(Family, TableName), String>,
    /// No jump stands twice.
    tidy: bool,
    /// Nothing of an earlier life is left.
    alone: bool,
    private_bin_needed: bool,
}

impl Firewall {
    /// Chooses the backend by loading the `first` policy with it: nf_tables if that works, else
    /// legacy, unless there is a `choice`. Without a first policy nothing is changed yet.
    /// `private_bin` gets links to the chosen iptables if plain `iptables` is another one.
    ///
    /// # Errors
    /// When no backend takes the policy, not even without what kernel modules are missing for.
    pub fn open(
        choice: Option<Backend>,
        private_bin: &Path,
        first: Option<&Policy>,
        strict_rp_filter: bool,
    ) -> Result<Self, FirewallError> {
        let wanted = choice.map_or(vec![Backend::NfTables, Backend::Legacy], |backend| {
            vec![backend]
        });
        let installed = wanted
            .iter()
            .filter_map(|backend| Programs::find(*backend, private_bin));
        let firewalls =
            installed.map(|programs| Self::new(programs, private_bin, strict_rp_filter));
        Self::open_any(firewalls, first)?.ok_or_else(|| {
            let wanted = wanted
                .iter()
                .map(Backend::to_string)
                .collect::<Vec<_>>()
                .join(" or ");
            FirewallError::NotInstalled { wanted }
        })
    }

    /// Loads the policy: one step a family, and only what has changed since the last time. Even a
    /// stop does not interrupt it.
    ///
    /// # Errors
    /// When the IPv4 rules are refused: those of before then stay in force. IPv6 failing is a
    /// warning.
    pub fn apply(&mut self, policy: &Policy) -> Result<(), FirewallError> {
        let mut failures = self.load(policy)?;
        if let Some(failure) = apply::of_v4(&failures)
            && self.learn_missing(&failure.text.clone())
        {
            failures = self.load(policy)?;
        }
        self.judge(&mut failures)?;
        self.clean(&failures);
        Ok(())
    }

    /// Moves wg-quick's rule against spoofed packets to the tunnel's new address.
    ///
    /// # Errors
    /// When it is there and cannot be replaced.
    pub fn move_wg_quick_rule(
        &self,
        interface: &str,
        old: Ipv4Addr,
        new: Ipv4Addr,
    ) -> Result<(), FirewallError> {
        wg_quick_rule::move_rule(&self.programs, interface, old, new).map_err(|source| {
            FirewallError::NotMoved {
                address: new,
                source,
            }
        })
    }

    /// The backend that was chosen.
    pub fn backend(&self) -> Backend {
        self.programs.backend
    }

    /// Whether plain `iptables` is another backend, so that the private directory has to come first in
    /// PATH.
    pub fn private_bin_needed(&self) -> bool {
        self.private_bin_needed
    }

    /// Whether any rules of ours are known to be in force.
    pub fn is_loaded(&self) -> bool {
        !self.loaded.is_empty()
    }

    fn new(programs: Programs, private_bin: &Path, strict_rp_filter: bool) -> Self {
        // Of this thread: a process may have threads in several namespaces.
        let ipv6 = Path::new("/proc/thread-self/net/if_inet6").exists();
        Self {
            programs,
            private_bin: private_bin.to_owned(),
            families: if ipv6 {
                vec![Family::V4, Family::V6]
            } else {
                vec![Family::V4]
            },
            strict_rp_filter,
            missing: Vec::new(),
            loaded: BTreeMap::new(),
            tidy: false,
            alone: false,
            private_bin_needed: false,
        }
    }
}
