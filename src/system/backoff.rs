//! Growing pauses between attempts: pure, the randomness is an argument.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How pauses grow: the first one, doubled after each failure, up to a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub ceiling: Duration,
}

/// The largest deviation of a pause from its nominal length, in percent: many containers that lost
/// the same server should not come back in step.
const JITTER_PERCENT: u32 = 20;

/// The part of an outage's length that may pass between its end and the next attempt.
const PART_OF_OUTAGE: u32 = 24;

/// The pause between two attempts in an outage that has lasted so long, within `limits`: it grows
/// with the outage, so that one of seconds is over within a second and one of hours is no reason
/// to hammer.
pub fn pause_in_outage(
    lasted: Duration,
    limits: RangeInclusive<Duration>,
    rng: &mut fastrand::Rng,
) -> Duration {
    let nominal = lasted / PART_OF_OUTAGE;
    jittered(nominal.max(*limits.start()).min(*limits.end()), rng)
}

fn jittered(nominal: Duration, rng: &mut fastrand::Rng) -> Duration {
    let percent = rng.u32(100 - JITTER_PERCENT..=100 + JITTER_PERCENT);
    // Divided first, as a pause of years must not overflow; a hundredth is fine enough.
    (nominal / 100).saturating_mul(percent)
}

impl Backoff {
    /// The pause after `failures` failures in a row, counted from 1, without jitter.
    pub fn nominal(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 2_u32.saturating_pow(doublings);
        self.first.saturating_mul(factor).min(self.ceiling)
    }

    /// The pause after `failures` failures in a row, counted from 1.
    pub fn pause(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        jittered(self.nominal(failures), rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(5),
        ceiling: Duration::from_secs(300),
    };

    #[test]
    fn pauses_double_up_to_the_ceiling() {
        let seconds = |failures| BACKOFF.nominal(failures).as_secs();
        assert_eq!([1, 2, 3, 4, 7, 8].map(seconds), [5, 10, 20, 40, 300, 300]);
        assert_eq!(seconds(0), 5);
        assert_eq!(seconds(u32::MAX), 300);
    }

    #[test]
    fn pauses_differ_from_container_to_container() {
        let pauses: std::collections::BTreeSet<Duration> = (0..20)
            .map(|seed| BACKOFF.pause(3, &mut fastrand::Rng::with_seed(seed)))
            .collect();
        assert!(pauses.len() > 5, "{pauses:?}");
    }

    #[test]
    fn pauses_grow_with_an_outage_and_stay_at_seconds_for_two_minutes() {
        let mut rng = fastrand::Rng::with_seed(1);
        let limits = Duration::from_secs(1)..=Duration::from_secs(300);
        let (mut lasted, mut attempts) = (Duration::ZERO, 0);
        while lasted < Duration::from_secs(120) {
            let pause = pause_in_outage(lasted, limits.clone(), &mut rng);
            let most = if lasted.as_secs() < 24 { 1.2 } else { 6.0 };
            assert!(
                (0.8..=most).contains(&pause.as_secs_f32()),
                "{lasted:?}: {pause:?}"
            );
            lasted += pause;
            attempts += 1;
        }
        assert!(attempts < 75, "{attempts}");
        let long = pause_in_outage(Duration::MAX, limits, &mut rng);
        assert!((240..=360).contains(&long.as_secs()), "{long:?}");
    }

    proptest! {
        #[test]
        fn a_pause_is_near_its_nominal_length(
            first: u64, ceiling: u64, failures: u32, seed: u64,
        ) {
            let (first, ceiling) = (Duration::from_secs(first), Duration::from_secs(ceiling));
            let backoff = Backoff { first, ceiling };
            let (nominal, mut rng) = (backoff.nominal(failures), fastrand::Rng::with_seed(seed));
            let pause = backoff.pause(failures, &mut rng);
            prop_assert!(nominal <= ceiling);
            prop_assert!(pause >= nominal / 10 * 7 && pause <= nominal.saturating_mul(2));
        }
    }
}
