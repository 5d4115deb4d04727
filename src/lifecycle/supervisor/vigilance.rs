//! When is an endpoint unresponsive? Pure: probes and the clock are arguments.

use std::time::Duration;

use crate::settings::Monitor;

/// What the counters of the tunnel say beside a failed probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Packets went out and nothing at all came back.
    Gone,
    /// Something came back, so it is rather the targets that do not answer.
    Alive,
}

impl Evidence {
    /// From the bytes received and sent in all, before and after the probe.
    pub fn from_counters(before: Counters, after: Counters) -> Self {
        if after.received > before.received {
            Self::Alive
        } else {
            Self::Gone
        }
    }
}

/// Bytes that went through the tunnel since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: u64,
    pub sent: u64,
}

/// What a probe brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    Answered,
    Silent(Evidence),
}

/// What is to be done after a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextProbe {
    /// Probe again after this pause.
    ProbeAfter(Duration),
    /// The endpoint no longer responds.
    Unresponsive,
}

/// Counts failed probes in a row.
#[derive(Debug)]
pub struct Vigilance {
    interval: Duration,
    retries: u32,
    failures: u32,
}

/// Between failed probes when the counters agree that the endpoint is gone: the probe itself has
/// taken seconds.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

impl Vigilance {
    /// As `MONITOR_INTERVAL` and `MONITOR_RETRIES` say.
    pub fn new(monitor: &Monitor) -> Self {
        Self {
            interval: monitor.interval,
            retries: monitor.retries,
            failures: 0,
        }
    }

    /// What follows from a probe.
    pub fn judge(&mut self, probed: Probed) -> NextProbe {
        match probed {
            Probed::Answered => {
                self.failures = 0;
                NextProbe::ProbeAfter(self.interval)
            }
            Probed::Silent(evidence) => {
                self.failures += 1;
                if self.failures >= self.retries {
                    NextProbe::Unresponsive
                } else {
                    NextProbe::ProbeAfter(match evidence {
                        Evidence::Gone => RETRY_INTERVAL.min(self.interval),
                        Evidence::Alive => self.interval,
                    })
                }
            }
        }
    }

    /// Failed probes in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vigilance(retries: u32) -> Vigilance {
        Vigilance::new(&Monitor {
            enabled: true,
            interval: Duration::from_secs(60),
            retries,
        })
    }

    const GONE: Probed = Probed::Silent(Evidence::Gone);
    const ODD: Probed = Probed::Silent(Evidence::Alive);

    #[test]
    fn a_dead_endpoint_is_known_within_seconds_of_the_first_failed_probe() {
        let mut vigilance = vigilance(3);
        assert_eq!(vigilance.judge(GONE), NextProbe::ProbeAfter(RETRY_INTERVAL));
        assert_eq!(vigilance.judge(GONE), NextProbe::ProbeAfter(RETRY_INTERVAL));
        assert_eq!(vigilance.judge(GONE), NextProbe::Unresponsive);
    }

    #[test]
    fn targets_that_do_not_answer_while_others_do_take_the_whole_interval() {
        let mut vigilance = vigilance(2);
        assert_eq!(
            vigilance.judge(ODD),
            NextProbe::ProbeAfter(Duration::from_secs(60))
        );
        assert_eq!(vigilance.judge(ODD), NextProbe::Unresponsive);
    }

    #[test]
    fn an_answer_forgives() {
        let mut vigilance = vigilance(2);
        vigilance.judge(GONE);
        assert_eq!(
            vigilance.judge(Probed::Answered),
            NextProbe::ProbeAfter(Duration::from_secs(60))
        );
        assert_eq!(vigilance.judge(GONE), NextProbe::ProbeAfter(RETRY_INTERVAL));
    }

    #[test]
    fn anything_received_speaks_for_the_endpoint() {
        let before = Counters {
            received: 10,
            sent: 20,
        };
        assert_eq!(
            Evidence::from_counters(
                before,
                Counters {
                    received: 10,
                    sent: 900
                }
            ),
            Evidence::Gone
        );
        assert_eq!(
            Evidence::from_counters(
                before,
                Counters {
                    received: 11,
                    sent: 20
                }
            ),
            Evidence::Alive
        );
    }
}
