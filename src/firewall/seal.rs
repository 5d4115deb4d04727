//! A network that is closed for others, who come later: nothing leaves it, not by what is attached
//! to it afterwards either, until a life with a tunnel replaces the rules by its own.

use std::path::Path;

use super::apply::{Firewall, Sealing};
use super::backend::Backend;
use super::error::FirewallError;
use super::policy::Policy;
use super::wire::{self, EgressInterface};
use crate::system::cancellation::CancellationToken;
use crate::system::paths;

/// A closed network.
#[derive(Debug)]
pub struct Seal {
    firewall: Firewall,
    /// Interfaces that have a chain.
    shut: Vec<EgressInterface>,
}

impl Seal {
    /// Closes it, with this backend or the first that works. While others hold iptables' lock it
    /// waits, until `stop` at most.
    ///
    /// # Errors
    /// As [`Firewall::open`].
    pub fn load(choice: Option<Backend>, stop: &CancellationToken) -> Result<Self, FirewallError> {
        let (bin, closed) = (Path::new(paths::PRIVATE_BIN), Policy::closed(paths::FWMARK));
        // A tunnel that is there is none of ours, and there are no packets of ours to be answered.
        let (strict, owns_interface) = (false, false);
        let firewall = Firewall::open(choice, bin, Some(&closed), strict, owns_interface, stop)?;
        let mut seal = Self {
            firewall,
            shut: Vec::new(),
        };
        // What fails is tried again, and told then.
        let _ = seal.shut_new_interfaces();
        Ok(seal)
    }

    /// What is open all the same, and why.
    pub fn not_blocked(&self) -> Option<&str> {
        match self.firewall.sealing() {
            Sealing::Whole => None,
            Sealing::WithoutIpv6(why) => Some(why),
        }
    }

    /// Why frames that a program writes by itself pass, and what to do about it; `None` where they
    /// do not.
    pub fn frames_pass(&self) -> Option<String> {
        self.firewall.frames_pass().map(wire::consequence)
    }

    /// Gives interfaces that came since the last time a chain which lets out ARP alone. That is all
    /// that is ever loaded again, for the rules may be another's by now: what an interface has
    /// already stays in force, and a life that begins replaces it.
    ///
    /// # Errors
    /// Why an interface has none yet: this is to be called again.
    pub fn shut_new_interfaces(&mut self) -> Result<(), String> {
        let now = wire::interfaces();
        let new: Vec<EgressInterface> = now
            .iter()
            .filter(|interface| !self.shut.contains(interface))
            .cloned()
            .collect();
        self.shut.retain(|interface| now.contains(interface));
        if !new.is_empty() && self.firewall.frames_pass().is_none() {
            wire::shut(&new)?;
        }
        self.shut = now;
        Ok(())
    }
}
