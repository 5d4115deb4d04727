//! Whether the tunnel's own counters speak against the endpoint: packets went out, and nothing but
//! cries for a handshake came back. No more than a suspicion, which a probe has to confirm.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::{Duration, SystemTime};

use crate::wireguard::show::{Counters, Traffic};

/// Until the next look where nothing has been sent or received for two looks, and else.
const IDLE_INTERVAL: Duration = Duration::from_secs(6);
const BUSY_INTERVAL: Duration = Duration::from_secs(2);
/// Where nothing came for so long, what is not counted may go unanswered: handshakes and keepalives
/// in user space.
const QUIET: Duration = Duration::from_secs(180);
/// For the answer to what was sent just before a look.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// A machine that woke up needs a while until its own network is there again.
const WAKING_PERIOD: Duration = Duration::from_secs(15);
/// How much further than the steady clock the wall clock goes in a sleep, at least.
const SLEEP: Duration = Duration::from_secs(5);
/// A server that hears nothing of us keeps sending these. They do come, but prove nothing.
const INITIATION_BYTES: u64 = 148;
/// What a keepalive counts for among the bytes sent. It asks for no answer.
const KEEPALIVE_BYTES: u64 = 16;

/// The time of a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Since any moment in the past, without the time in which the machine slept.
    pub steady: Duration,
    pub wall: SystemTime,
}

/// What follows from a look at the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to be said; the next look is due after this.
    LookAgain(Duration),
    /// Only a probe can tell now.
    Suspect,
}

/// What the last looks have shown.
#[derive(Debug, Default)]
pub(super) struct Silence {
    last: Option<(Moment, Counters)>,
    is_unanswered: bool,
    is_idle: bool,
    /// Steady time of the last sign of life.
    life_at: Duration,
    /// Steady time before which nothing is suspected.
    waking_until: Duration,
}

impl Silence {
    /// Judges the counters as they are `now`.
    pub(super) fn look(&mut self, now: Moment, counters: Counters) -> Verdict {
        let Some((then, before)) = self.last.replace((now, counters)) else {
            self.life_at = now.steady;
            return Verdict::LookAgain(BUSY_INTERVAL);
        };
        let was_idle = std::mem::replace(&mut self.is_idle, false);
        if has_slept(then, now) {
            self.is_unanswered = false;
            self.waking_until = now.steady.saturating_add(WAKING_PERIOD);
        }
        if is_life(before.received, counters.received) {
            self.is_unanswered = false;
            self.life_at = now.steady;
            return Verdict::LookAgain(BUSY_INTERVAL);
        }
        if now.steady < self.waking_until {
            return Verdict::LookAgain(BUSY_INTERVAL);
        }
        if self.is_unanswered {
            self.is_unanswered = false;
            return Verdict::Suspect;
        }
        if asks_for_an_answer(before.sent, counters.sent) {
            self.is_unanswered = true;
            return Verdict::LookAgain(ANSWER_TIMEOUT);
        }
        if now.steady.saturating_sub(self.life_at) >= QUIET {
            self.life_at = now.steady;
            return Verdict::Suspect;
        }
        self.is_idle = true;
        Verdict::LookAgain(if was_idle {
            IDLE_INTERVAL
        } else {
            BUSY_INTERVAL
        })
    }
}

/// A clock that was set forward looks the same, and does no harm.
fn has_slept(then: Moment, now: Moment) -> bool {
    let steady = now.steady.saturating_sub(then.steady);
    let wall = now.wall.duration_since(then.wall).unwrap_or_default();
    wall > steady.saturating_add(SLEEP)
}

/// Whether anything came that only an endpoint sends that hears us: data, keepalives, answers to
/// handshakes. An interface that was made anew counts from nought, and is given the doubt.
pub(super) fn is_life(before: Traffic, now: Traffic) -> bool {
    let (Some(packets), Some(bytes)) = (
        now.packets.checked_sub(before.packets),
        now.bytes.checked_sub(before.bytes),
    ) else {
        return true;
    };
    packets > 0 && bytes != packets.saturating_mul(INITIATION_BYTES)
}

/// Whether more than keepalives was sent.
pub(super) fn asks_for_an_answer(before: Traffic, now: Traffic) -> bool {
    let packets = now.packets.saturating_sub(before.packets);
    let bytes = now.bytes.saturating_sub(before.bytes);
    bytes > packets.saturating_mul(KEEPALIVE_BYTES)
}

#[cfg(test)]
#[path = "silence_tests.rs"]
mod tests;
