//! Whether the tunnel's own counters speak against the endpoint: packets went out, and nothing but
//! cries for a handshake came back. No more than a suspicion, which a probe has to confirm.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::{Duration, SystemTime};

use crate::wireguard::show::{Counters, Traffic};

/// Until the next look after a first sign that something passes.
const BUSY_INTERVAL: Duration = Duration::from_secs(2);
/// Until the next look where life has been seen twice in a row.
const LIVELY_INTERVAL: Duration = Duration::from_secs(3);
/// After something has passed a tunnel at rest: for the answer.
pub(super) const AFTER_REST: Duration = BUSY_INTERVAL;
/// Where it cannot be waited for that something passes a tunnel at rest, it is looked at so often.
pub(super) const IDLE_INTERVAL: Duration = Duration::from_secs(6);
/// Where nothing came for so long, what is not counted may go unanswered: handshakes and keepalives
/// in user space. Asking then also renews WireGuard's keys before they end, after 180 seconds, so
/// that no question ever has to wait for a handshake which may get lost.
const QUIET: Duration = Duration::from_secs(150);
/// For the answer to what was sent just before a look.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// For the answer to a question that is asked on suspicion: time for two handshakes. With the looks
/// before, a dead endpoint is known within 15 seconds.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(6);
/// WireGuard tries one every five seconds, and repeats what it may.
const HANDSHAKES_PER_CHECK: u64 = 3;
/// For a way to be there again.
const WAYLESS_PATIENCE: Duration = Duration::from_secs(10);
/// For the first of many handshakes that a lossy link lets through.
const KEYLESS_PATIENCE: Duration = Duration::from_secs(66);
/// After an answered suspicion.
pub(super) const CALM_INTERVAL: Duration = Duration::from_millis(500);
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
    /// Nothing passes. The next look is due when something does, after this at the latest.
    Rest(Duration),
    /// Only a probe can tell now.
    Suspect,
}

/// What the last looks have shown.
#[derive(Debug, Default)]
pub(super) struct Silence {
    last: Option<(Moment, Counters)>,
    is_unanswered: bool,
    /// The last look has shown life.
    is_lively: bool,
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
        let was_lively = std::mem::replace(&mut self.is_lively, false);
        if has_slept(then, now) {
            self.is_unanswered = false;
            self.waking_until = now.steady.saturating_add(WAKING_PERIOD);
        }
        if is_life(before.received, counters.received) {
            self.life_at = now.steady;
            if !is_mostly_unanswered(before, counters) {
                self.is_unanswered = false;
                self.is_lively = true;
                return Verdict::LookAgain(if was_lively {
                    LIVELY_INTERVAL
                } else {
                    BUSY_INTERVAL
                });
            }
        }
        if now.steady < self.waking_until {
            return Verdict::LookAgain(BUSY_INTERVAL);
        }
        if self.is_unanswered {
            return self.suspect(now);
        }
        if asks_for_an_answer(before.sent, counters.sent) {
            self.is_unanswered = true;
            return Verdict::LookAgain(ANSWER_TIMEOUT);
        }
        let quiet = now.steady.saturating_sub(self.life_at);
        if quiet >= QUIET {
            self.life_at = now.steady;
            return self.suspect(now);
        }
        Verdict::Rest(QUIET.saturating_sub(quiet))
    }

    /// Not again at once, as an upload may look so for hours.
    fn suspect(&mut self, now: Moment) -> Verdict {
        self.is_unanswered = false;
        self.waking_until = now.steady.saturating_add(LIVELY_INTERVAL);
        Verdict::Suspect
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

/// Whether what came is so little that it may be what a server repeats that hears nothing, such as
/// the end of a TCP connection, again and again for a minute. An upload looks the same at times.
fn is_mostly_unanswered(before: Counters, now: Counters) -> bool {
    let sent = now.sent.packets.saturating_sub(before.sent.packets);
    let received = now.received.packets.saturating_sub(before.received.packets);
    sent >= received.saturating_mul(3) && asks_for_an_answer(before.sent, now.sent)
}

/// Whether what was sent was answered, by all that the counters say.
pub(super) fn was_answered(
    before: Option<Counters>,
    now: Option<Counters>,
    counts_handshakes: bool,
) -> bool {
    let (Some(before), Some(now)) = (before, now) else {
        return false;
    };
    asks_for_an_answer(before.sent, now.sent)
        && now
            .received
            .has_data_since(before.received, counts_handshakes)
        && !is_mostly_unanswered(before, now)
}

/// Whether more than keepalives was sent.
pub(super) fn asks_for_an_answer(before: Traffic, now: Traffic) -> bool {
    let packets = now.packets.saturating_sub(before.packets);
    let bytes = now.bytes.saturating_sub(before.bytes);
    bytes > packets.saturating_mul(KEEPALIVE_BYTES)
}

/// What a time of unanswered questions says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Alive,
    Dead,
    /// They may not have left yet.
    AskOn,
}

/// What the counters say before and after those inside were asked in vain for so long. Far less
/// that came than was sent means a dead endpoint: a server that hears nothing still passes on what
/// others repeat, such as the end of a TCP connection.
pub(super) fn judge(before: Counters, after: Counters, asked_for: Duration) -> Judgement {
    let sent = after.sent.packets.saturating_sub(before.sent.packets);
    let received = after
        .received
        .packets
        .saturating_sub(before.received.packets);
    if received >= sent / 4 && is_life(before.received, after.received) {
        return Judgement::Alive;
    }
    // The kernel counts nothing that it has no key or no way for, but for the handshakes that it
    // tries, of which two may be lost on the way.
    // It tries none where there is no way at all.
    let patience = match sent {
        0 => WAYLESS_PATIENCE,
        _ => KEYLESS_PATIENCE,
    };
    if sent > HANDSHAKES_PER_CHECK || asked_for >= patience {
        Judgement::Dead
    } else {
        Judgement::AskOn
    }
}

#[cfg(test)]
#[path = "silence_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "silence_timelines.rs"]
mod timelines;
