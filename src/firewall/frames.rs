//! The filter at the network card, as a part of loading a policy.

use std::thread;

use log::Level;

use super::apply::{FailedLoad, Firewall, LOAD_INTERVAL, Sealing, of_v4};
use super::kernel_modules::KernelModule;
use super::policy::Policy;
use super::wire::{self, EgressFilter, Unfiltered, Wire};

impl Firewall {
    /// Why a program with `NET_RAW` can write frames past the rules; `None` where it cannot.
    pub fn frames_pass(&self) -> Option<&str> {
        match &self.wire {
            Wire::Open(why) | Wire::Owed(why) => Some(why),
            _ => None,
        }
    }

    /// What follows a load that succeeded: the filter at the network card, and meanwhile the
    /// removal of what an earlier life left.
    pub(super) fn finish(&mut self, policy: &Policy, failures: &[FailedLoad]) {
        self.filter_frames(policy, failures);
        if let (Sealing::WithoutIpv6(_), Wire::Filtered(filter)) = (&self.sealing, &self.wire)
            && !filter.ipv6
            && filter.covers_all()
        {
            self.sealing = Sealing::Whole;
        }
        if self.sealing != self.sealing_said {
            if let Sealing::WithoutIpv6(why) = &self.sealing {
                log::error!("{why}");
            }
            self.sealing_said = self.sealing.clone();
        }
    }

    fn filter_frames(&mut self, policy: &Policy, failures: &[FailedLoad]) {
        if !policy.sealed {
            if !matches!(self.wire, Wire::Filtered(_)) && !self.is_cleaned() {
                wire::remove();
            }
            self.clean(failures);
            return;
        }
        let lacks_filter = matches!(self.wire, Wire::Untried | Wire::Owed(_));
        let wanted = lacks_filter && !wire::interfaces().is_empty();
        if !wanted {
            self.clean(failures);
            if self.cover_new_interfaces() {
                self.reload(policy);
            }
            return;
        }
        let loaded = if self.missing.contains(&KernelModule::Mark) {
            self.clean(failures);
            Err(Unfiltered::lastingly("the kernel has no xt_mark"))
        } else {
            thread::scope(|scope| {
                let thread = thread::Builder::new().spawn_scoped(scope, EgressFilter::load);
                self.clean(failures);
                match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(result)) => result,
                    // No further thread.
                    _ => EgressFilter::load(),
                }
            })
        };
        let was_owed = matches!(self.wire, Wire::Owed(_));
        let stamp = |filter| {
            let stamped = self.stamp(filter, policy);
            stamped.map_err(Unfiltered::lastingly)
        };
        if let Err(Unfiltered { why, may_pass }) = loaded.and_then(stamp) {
            wire::remove();
            let level = match was_owed && may_pass {
                true => Level::Debug,
                false => Level::Warn,
            };
            log::log!(level, "firewall: {}", wire::consequence(&why));
            self.wire = match may_pass {
                true => Wire::Owed(why),
                false => Wire::Open(why),
            };
            self.reload(policy);
        }
    }

    /// Has the rules set the stamp that the chains wait for.
    fn stamp(&mut self, filter: EgressFilter, policy: &Policy) -> Result<(), String> {
        self.wire = Wire::Filtered(filter);
        let mut failures = self.reload(policy);
        for _ in 1..wire::MAX_TRIES {
            if failures.is_empty() {
                break;
            }
            self.programs.pause(LOAD_INTERVAL);
            failures = self.reload(policy);
        }
        if let Some(failure) = of_v4(&failures) {
            return Err(format!("no mark can be set: {}", failure.error));
        }
        if let (Some(failure), Wire::Filtered(filter)) = (failures.first(), &mut self.wire) {
            log::warn!(
                "firewall: IPv6 packets cannot be marked ({}): none leaves, not even what rules \
                 of others admit",
                failure.error
            );
            filter.ipv6 = false;
            self.reload(policy);
        }
        Ok(())
    }

    /// Interfaces that came since the last load get chains too, and those that are gone are
    /// forgotten. Whether rules have to set the stamp for another one.
    pub(super) fn cover_new_interfaces(&mut self) -> bool {
        let Wire::Filtered(filter) = &mut self.wire else {
            return false;
        };
        let now = wire::interfaces();
        // One that comes back has no chain, in older kernels.
        filter.interfaces.retain(|known| now.contains(known));
        if now
            .iter()
            .all(|interface| filter.interfaces.contains(interface))
        {
            self.lacks_chain = false;
            return false;
        }
        let covered = filter.cover();
        let lacked = std::mem::replace(&mut self.lacks_chain, covered.is_err());
        let is_covered = covered.is_ok();
        match covered {
            Ok(()) => {}
            Err(error) if lacked => log::debug!("firewall: a new interface: {error}"),
            Err(error) => log::warn!(
                "firewall: frames by a new interface pass: {error}; it is tried again until they \
                 do not"
            ),
        }
        is_covered
    }

    fn reload(&mut self, policy: &Policy) -> Vec<FailedLoad> {
        // The same policy was rendered just now.
        self.load(policy).unwrap_or_default()
    }
}
