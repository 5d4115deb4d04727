//! Failures in a row of one kind of request, and when the next one is due.

use std::time::Duration;

use crate::system::backoff::{self, Backoff};

/// The first pause after a refusal.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The first pause after a failure that may pass at any moment: ten such requests in 25 seconds.
const FIRST_PAUSE_OF_OUTAGE: Duration = Duration::from_millis(2500);

/// How pauses grow.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pauses {
    /// With the time that it lasts: nobody answers, or not now.
    Outage,
    /// Twofold with each failure: what was said once is likely to be said again.
    Refusal,
}

/// Counts failures in a row. Times are those of the machine's own clock.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
    /// When the first of them was.
    since: Option<Duration>,
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

    /// How long they have gone on, at this moment.
    pub(super) fn lasted(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since.unwrap_or(now))
    }

    /// The next failure is the first again. What is held until later stays so.
    pub(super) fn forget_failures(&mut self) {
        self.failures = 0;
        self.since = None;
    }

    /// Another failure: the pause that it calls for, growing up to `ceiling`.
    pub(super) fn next_pause(
        &self,
        pauses: Pauses,
        now: Duration,
        ceiling: Duration,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        match pauses {
            Pauses::Outage => {
                let limits = FIRST_PAUSE_OF_OUTAGE..=ceiling;
                backoff::pause_in_outage(self.lasted(now), limits, rng)
            }
            Pauses::Refusal => {
                let first = FIRST_PAUSE;
                Backoff { first, ceiling }.pause(self.failures.saturating_add(1), rng)
            }
        }
    }

    /// Notes the failure, and that the next attempt is due after `pause`.
    pub(super) fn fail(&mut self, now: Duration, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
        self.not_before = now.saturating_add(pause);
    }
}
