//! The time that passes, whoever sets the clock.

use rustix::time::{ClockId, clock_gettime};

/// Seconds since the machine was started, those that it slept included: the same for all of its
/// processes.
pub fn seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or_default()
}
