//! `RECONNECT=1`: probes the endpoint at the user's interval, until it no longer responds.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::event::Event;
use super::probe::Probe;
use super::silence;
use crate::settings::Monitor;
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::underlay::ping::Unanswered;
use crate::wireguard::show::{self, Counters};

/// Between failed probes when the counters agree that the endpoint is gone: the probe itself has
/// taken seconds.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Probes at once and then as `monitor` says; reports the endpoint once, and ends.
pub(super) fn run(
    probe: &Probe,
    monitor: &Monitor,
    events: &Sender<Event>,
    stop: &CancellationToken,
) {
    let mut watch = Watch {
        probe,
        stop,
        failed: FailedProbes::new(monitor),
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
}

impl Watch<'_> {
    /// Says why the endpoint is thought to be dead.
    fn until_unresponsive(&mut self) -> Result<String, Cancelled> {
        loop {
            match self.probe()? {
                AfterProbe::ProbeAgain(pause) => self.stop.pause(pause)?,
                AfterProbe::GiveUp(why) => return Ok(why),
            }
        }
    }

    /// Probes once, and says what follows from it.
    fn probe(&mut self) -> Result<AfterProbe, Cancelled> {
        let before = show::counters().ok();
        let (outcome, why) = match self.probe.run(self.stop) {
            Ok(target) => {
                log::debug!("{target} answers through the tunnel");
                (Outcome::Answered, String::new())
            }
            Err(Unanswered::Cancelled(cancelled)) => return Err(cancelled),
            Err(Unanswered::NotAsked { why, .. }) => {
                log::debug!("not probed: {why}");
                return Ok(AfterProbe::ProbeAgain(RETRY_INTERVAL));
            }
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
        Ok(match next {
            Some(pause) => AfterProbe::ProbeAgain(pause),
            None => AfterProbe::GiveUp(why),
        })
    }
}

/// What follows from a probe.
enum AfterProbe {
    /// After this pause.
    ProbeAgain(Duration),
    /// The endpoint is thought to be dead, for this reason.
    GiveUp(String),
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
}
