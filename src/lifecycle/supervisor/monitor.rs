//! `RECONNECT=1`: probes the endpoint until it no longer responds.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::event::Event;
use super::probe::Probe;
use crate::settings::Monitor;
use crate::system::cancellation::CancellationToken;
use crate::system::command::CommandError;
use crate::underlay::ping::Unanswered;
use crate::wireguard::show;

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
    let mut failed = FailedProbes::new(monitor);
    loop {
        let before = counters(stop);
        let (outcome, why) = match probe.run(stop) {
            Ok(target) => {
                log::debug!("{target} answers through the tunnel");
                (Outcome::Answered, String::new())
            }
            Err(Unanswered::Cancelled(_)) => return,
            Err(silent) => {
                let evidence = evidence(before, counters(stop));
                (Outcome::Silent(evidence), silent.to_string())
            }
        };
        let next = failed.judge(outcome);
        if let Outcome::Silent(_) = outcome {
            let count = failed.count;
            log::warn!("Probe {count} of {} failed: {why}", monitor.retries);
        }
        let Some(pause) = next else {
            // The loop may be gone already.
            let _ = events.send(Event::Unresponsive(why));
            return;
        };
        if stop.pause(pause).is_err() {
            return;
        }
    }
}

/// Bytes that went through the tunnel since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    received: u64,
    sent: u64,
}

fn counters(stop: &CancellationToken) -> Result<Counters, CommandError> {
    let peers = show::peers(stop)?;
    let mut counters = Counters::default();
    for peer in &peers {
        counters.received = counters.received.saturating_add(peer.received);
        counters.sent = counters.sent.saturating_add(peer.sent);
    }
    Ok(counters)
}

/// What the counters of the tunnel say beside a failed probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Packets went out and nothing at all came back.
    Gone,
    /// Something came back, so it is rather the targets that do not answer; or nothing went out.
    Unclear,
}

/// From the counters before and after the probe; an interface that cannot even be shown is no
/// endpoint.
fn evidence(
    before: Result<Counters, CommandError>,
    after: Result<Counters, CommandError>,
) -> Evidence {
    let (Ok(before), Ok(after)) = (before, after) else {
        return Evidence::Gone;
    };
    if after.sent > before.sent && after.received == before.received {
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
        let counters = |received, sent| Ok(Counters { received, sent });
        let seen = |received, sent| evidence(counters(10, 20), counters(received, sent));
        assert_eq!(seen(10, 900), Evidence::Gone);
        assert_eq!(seen(11, 900), Evidence::Unclear);
        assert_eq!(seen(10, 20), Evidence::Unclear);
    }
}
