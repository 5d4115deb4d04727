//! `RECONNECT=1`: probes the endpoint at the user's interval, and at once where the tunnel's own
//! counters speak against it, until it no longer responds.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use super::event::Event;
use super::probe::Probe;
use super::silence::{self, Moment, Silence, Verdict};
use crate::settings::Monitor;
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::underlay::ping::Unanswered;
use crate::wireguard::show::{self, Counters};

/// Between failed probes when the counters agree that the endpoint is gone: the probe itself has
/// taken seconds.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// For an answer where the counters have shown silence already. With the looks before, a dead
/// endpoint is known within 15 seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(6);

/// Probes at once and then as `monitor` says; reports the endpoint once, and ends.
pub(super) fn run(
    probe: &Probe,
    monitor: &Monitor,
    events: &Sender<Event>,
    stop: &CancellationToken,
) {
    let begun = Instant::now();
    let mut watch = Watch {
        probe,
        stop,
        failed: FailedProbes::new(monitor),
        silence: Silence::default(),
        begun,
        next_look: begun,
        has_answered: false,
    };
    if let Ok(why) = watch.until_unresponsive() {
        // The loop may be gone already.
        let _ = events.send(Event::Unresponsive(why));
    }
}

/// One endpoint under watch.
struct Watch<'a> {
    probe: &'a Probe,
    stop: &'a CancellationToken,
    failed: FailedProbes,
    silence: Silence,
    begun: Instant,
    next_look: Instant,
    /// Targets that have never answered by this endpoint do not speak against it.
    has_answered: bool,
}

impl Watch<'_> {
    /// Says why the endpoint is thought to be dead.
    fn until_unresponsive(&mut self) -> Result<String, Cancelled> {
        loop {
            let pause = match self.probe()? {
                Ok(pause) => pause,
                Err(why) => return Ok(why),
            };
            if let Some(why) = self.look_on(pause)? {
                return Ok(why);
            }
        }
    }

    /// The pause before the next probe, or why the endpoint is thought to be dead.
    fn probe(&mut self) -> Result<Result<Duration, String>, Cancelled> {
        let before = show::counters().ok();
        let (outcome, why) = match self.probe.run(self.stop) {
            Ok(target) => {
                log::debug!("{target} answers through the tunnel");
                self.has_answered = true;
                (Outcome::Answered, String::new())
            }
            Err(Unanswered::Cancelled(cancelled)) => return Err(cancelled),
            Err(silent) => {
                let evidence = evidence(before, show::counters().ok());
                (Outcome::Silent(evidence), silent.to_string())
            }
        };
        let next = self.failed.judge(outcome);
        if let Outcome::Silent(_) = outcome {
            let (count, retries) = (self.failed.count, self.failed.retries);
            log::warn!("Probe {count} of {retries} failed: {why}");
        }
        Ok(next.ok_or(why))
    }

    /// Looks at the counters now and then for so long; says why if the endpoint turns out to be
    /// dead.
    fn look_on(&mut self, duration: Duration) -> Result<Option<String>, Cancelled> {
        let begun = Instant::now();
        loop {
            let left = duration.saturating_sub(begun.elapsed());
            let until_look = self.next_look.saturating_duration_since(Instant::now());
            self.stop.pause(until_look.min(left))?;
            if until_look >= left {
                return Ok(None);
            }
            let pause = match self.look() {
                Verdict::LookAgain(pause) => pause,
                Verdict::Suspect => {
                    if let Some(why) = self.check()? {
                        return Ok(Some(why));
                    }
                    RETRY_INTERVAL
                }
            };
            let now = Instant::now();
            self.next_look = now.checked_add(pause).unwrap_or(now);
        }
    }

    fn look(&mut self) -> Verdict {
        // An interface that is gone carries nothing.
        let Ok(counters) = show::counters() else {
            return Verdict::Suspect;
        };
        let now = Moment {
            steady: self.begun.elapsed(),
            wall: SystemTime::now(),
        };
        self.silence.look(now, counters)
    }

    /// Asks once, and often, whether a suspicion is true.
    fn check(&mut self) -> Result<Option<String>, Cancelled> {
        if !self.has_answered {
            return Ok(None);
        }
        log::debug!("packets were sent and nothing came back; probing");
        let before = show::counters().ok();
        match self.probe.check(CHECK_TIMEOUT, self.stop) {
            Ok(target) => {
                log::debug!("{target} answers through the tunnel");
                Ok(None)
            }
            Err(Unanswered::Cancelled(cancelled)) => Err(cancelled),
            Err(silent) if hardly_anything_came(before, show::counters().ok()) => {
                Ok(Some(silent.to_string()))
            }
            Err(_) => Ok(None),
        }
    }
}

/// What the counters of the tunnel say beside a failed probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Packets went out, and nothing came back that an endpoint sends which hears us.
    Gone,
    /// Something came back, so it is rather the targets that do not answer; or nothing went out.
    Unclear,
}

/// From the counters before and after the probe; an interface that is not there is no endpoint.
fn evidence(before: Option<Counters>, after: Option<Counters>) -> Evidence {
    let (Some(before), Some(after)) = (before, after) else {
        return Evidence::Gone;
    };
    let was_sent = silence::asks_for_an_answer(before.sent, after.sent);
    if was_sent && !silence::is_life(before.received, after.received) {
        Evidence::Gone
    } else {
        Evidence::Unclear
    }
}

/// Whether far less came than was sent: a server that hears nothing still passes on what others
/// repeat, such as the end of a TCP connection.
fn hardly_anything_came(before: Option<Counters>, after: Option<Counters>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return true;
    };
    let sent = after.sent.packets.saturating_sub(before.sent.packets);
    let received = after
        .received
        .packets
        .saturating_sub(before.received.packets);
    received < sent / 4
}

/// What a probe brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answered,
    Silent(Evidence),
}

/// Failed probes in a row, and what follows from them.
#[derive(Debug)]
struct FailedProbes {
    interval: Duration,
    retries: u32,
    count: u32,
}

impl FailedProbes {
    /// As `MONITOR_INTERVAL` and `MONITOR_RETRIES` say.
    fn new(monitor: &Monitor) -> Self {
        Self {
            interval: monitor.interval,
            retries: monitor.retries,
            count: 0,
        }
    }

    /// The pause before the next probe; `None` when the endpoint no longer responds.
    fn judge(&mut self, outcome: Outcome) -> Option<Duration> {
        let Outcome::Silent(evidence) = outcome else {
            self.count = 0;
            return Some(self.interval);
        };
        self.count = self.count.saturating_add(1);
        if self.count >= self.retries {
            return None;
        }
        Some(match evidence {
            Evidence::Gone => RETRY_INTERVAL.min(self.interval),
            Evidence::Unclear => self.interval,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::show::Traffic;

    const INTERVAL: Duration = Duration::from_secs(60);
    const GONE: Outcome = Outcome::Silent(Evidence::Gone);
    const UNCLEAR: Outcome = Outcome::Silent(Evidence::Unclear);

    fn failed(retries: u32) -> FailedProbes {
        FailedProbes::new(&Monitor {
            enabled: true,
            interval: INTERVAL,
            retries,
        })
    }

    #[test]
    fn a_dead_endpoint_is_known_within_seconds_of_the_first_failed_probe() {
        let mut failed = failed(3);
        assert_eq!(failed.judge(GONE), Some(RETRY_INTERVAL));
        assert_eq!(failed.judge(GONE), Some(RETRY_INTERVAL));
        assert_eq!(failed.judge(GONE), None);
    }

    #[test]
    fn targets_that_do_not_answer_while_others_do_take_the_whole_interval() {
        let mut failed = failed(2);
        assert_eq!(failed.judge(UNCLEAR), Some(INTERVAL));
        assert_eq!(failed.judge(UNCLEAR), None);
    }

    #[test]
    fn an_answer_forgives() {
        let mut failed = failed(2);
        failed.judge(GONE);
        assert_eq!(failed.judge(Outcome::Answered), Some(INTERVAL));
        assert_eq!(failed.judge(GONE), Some(RETRY_INTERVAL));
    }

    #[test]
    fn only_packets_that_went_out_and_brought_nothing_speak_against_the_endpoint() {
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let counters = |received, sent| Some(Counters { received, sent });
        let (received, sent) = (traffic(3, 300), traffic(5, 500));
        let seen = |r, s| evidence(counters(received, sent), counters(r, s));
        assert_eq!(seen(received, traffic(8, 800)), Evidence::Gone);
        assert_eq!(seen(traffic(4, 380), traffic(8, 800)), Evidence::Unclear);
        assert_eq!(seen(received, sent), Evidence::Unclear);
        assert_eq!(evidence(None, None), Evidence::Gone);
        // Only cries for a handshake.
        let cries = traffic(5, 300 + 2 * 148);
        assert_eq!(seen(cries, traffic(8, 800)), Evidence::Gone);
    }

    #[test]
    fn what_others_repeat_is_no_sign_that_the_endpoint_hears() {
        let counters = |received, sent| {
            Some(Counters {
                received: Traffic {
                    packets: received,
                    bytes: received * 52,
                },
                sent: Traffic {
                    packets: sent,
                    bytes: sent * 28,
                },
            })
        };
        let came = |packets: u64| !hardly_anything_came(counters(9, 9), counters(9 + packets, 49));
        assert!(!came(0) && !came(3));
        assert!(came(10) && came(100));
        assert!(hardly_anything_came(counters(9, 9), None));
    }
}
