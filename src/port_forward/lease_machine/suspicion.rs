//! A failure that repeats is of something. While there is no port, the lease in use is suspected
//! first: another one is tried beside it, and whichever is bound first is kept. If both fail, or no
//! lease can be had, it is the server, and another one is asked for, if the user lets us. What is
//! left is PIA: the same is tried again after growing pauses.

use std::time::Duration;

use super::{Attempt, LeaseMachine};
use crate::failure::{Failure, FailureKind};
use crate::port_forward::step::Effect;

/// The longest pause where nobody listens: a server without port forwarding seldom gets it.
const MAX_PAUSE_WITHOUT_SERVICE: Duration = Duration::from_secs(3600);
/// Failures in a row, without a port, that are of something once they have gone on for a while.
const TELLING_FAILURES: u32 = 3;
/// How long binding fails before another lease is tried: a service that starts again takes as long.
const TIME_OF_A_LEASE: Duration = Duration::from_secs(30);
/// Failures in a row to bind the other lease as well, after which it is not the lease.
const BINDINGS_OF_A_SUBSTITUTE: u32 = 2;
/// How long binding fails, with both leases, before it is the server.
const TIME_OF_TWO_LEASES: Duration = Duration::from_secs(60);
/// How long no lease can be had, or nobody listens, before it is the server.
const TIME_OF_A_SERVER: Duration = Duration::from_secs(12);
/// Between two trials of another lease at one server.
const TRIAL_INTERVAL: Duration = Duration::from_secs(3600);

/// What a failed request means for the port.
enum Meaning {
    /// It may pass.
    Passing,
    /// This server forwards no ports.
    Absent,
}

impl LeaseMachine {
    /// Where PIA says that there is no port forwarding, a failure of any kind confirms it. Where
    /// there has been some, a closed port is that of a server that starts again.
    fn meaning(&self, failure: &Failure) -> Meaning {
        let was_bound = self.server.bound_at.is_some();
        match failure.kind {
            FailureKind::NoPortForwarding if was_bound => Meaning::Passing,
            FailureKind::NoPortForwarding => Meaning::Absent,
            _ if !self.server.is_supported && !was_bound => Meaning::Absent,
            _ => Meaning::Passing,
        }
    }

    pub(super) fn fail(&mut self, attempt: Attempt, failure: Failure, effects: &mut Vec<Effect>) {
        let ceiling = match self.meaning(&failure) {
            Meaning::Absent => {
                if !std::mem::replace(&mut self.server.is_absence_told, true) {
                    let why = failure.text.clone();
                    effects.push(Effect::NotHere { why });
                }
                MAX_PAUSE_WITHOUT_SERVICE
            }
            Meaning::Passing => self.max_pause(),
        };
        self.suspect(attempt, &failure, effects);
        self.pause(attempt, ceiling, failure, effects);
        if self.server.is_on_trial && matches!(attempt, Attempt::Succession) {
            // After the next failure to bind the lease in use, which is the better one if it works.
            self.succession.hold_until(self.server.binding.not_before());
        }
    }

    /// Moves on to the next explanation of failures that repeat. One that asks for patience, and a
    /// server of which PIA says that it forwards no ports, are explained.
    fn suspect(&mut self, attempt: Attempt, failure: &Failure, effects: &mut Vec<Effect>) {
        let is_explained = failure.not_before().is_some() || !self.server.is_supported;
        if is_explained || self.announced.is_some() {
            return;
        }
        let now = self.time.apparent;
        let is_of_server = match attempt {
            Attempt::Binding => {
                self.server.vain_bindings = self.server.vain_bindings.saturating_add(1);
                let is_heard = failure.kind != FailureKind::NoPortForwarding;
                let time = if is_heard {
                    TIME_OF_A_LEASE
                } else {
                    TIME_OF_A_SERVER
                };
                let is_enough = self.server.vain_bindings >= TELLING_FAILURES
                    && self.server.binding.lasted(now) >= time;
                if is_enough && is_heard && self.left(self.server.no_trial_before).is_zero() {
                    self.server.is_on_trial = true;
                }
                is_enough && !is_heard
            }
            Attempt::Succession => {
                let failures = self.succession.failures().saturating_add(1);
                let is_enough = self.server.is_on_trial
                    && failures >= BINDINGS_OF_A_SUBSTITUTE
                    && self.server.binding.lasted(now) >= TIME_OF_TWO_LEASES;
                if is_enough {
                    self.end_trial();
                    self.successor = None;
                }
                is_enough
            }
            Attempt::Lease => {
                let leasing = &self.server.leasing;
                let failures = leasing.failures().saturating_add(1);
                failures >= TELLING_FAILURES && leasing.lasted(now) >= TIME_OF_A_SERVER
            }
        };
        if is_of_server {
            self.ask_another_server(&failure.text, effects);
        }
    }

    pub(super) fn end_trial(&mut self) {
        if std::mem::take(&mut self.server.is_on_trial) {
            self.server.no_trial_before = self.time.apparent.saturating_add(TRIAL_INTERVAL);
        }
    }

    /// Returns whether another server was asked for: not where the user has only this one, nor
    /// too often.
    pub(super) fn ask_another_server(&mut self, why: &str, effects: &mut Vec<Effect>) -> bool {
        let may = self.options.other_servers && self.other_servers.ask(self.time.apparent);
        if may {
            let why = why.to_owned();
            effects.push(Effect::AskAnotherServer { why });
        }
        may
    }
}
