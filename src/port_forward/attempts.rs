//! Failures in a row of one kind of request, and when the next one is due.

use std::time::Duration;

use crate::system::backoff::Backoff;

/// The first pause after a failure.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Counts failures in a row. Times are those of the machine's own clock.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
    not_before: Duration,
}

impl Attempts {
    /// Failures so far, in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next attempt is due, at the earliest.
    pub(super) fn not_before(&self) -> Duration {
        self.not_before
    }

    /// Nothing before this moment, though nothing failed.
    pub(super) fn hold_until(&mut self, moment: Duration) {
        self.not_before = moment;
    }

    /// Another failure: the pause that it calls for, growing up to `ceiling`.
    pub(super) fn next_pause(&self, ceiling: Duration, rng: &mut fastrand::Rng) -> Duration {
        let backoff = Backoff {
            first: FIRST_PAUSE,
            ceiling,
        };
        backoff.pause(self.failures.saturating_add(1), rng)
    }

    /// Notes the failure, and that the next attempt is due after `pause`.
    pub(super) fn fail(&mut self, now: Duration, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(pause);
    }
}
