//! Whether the endpoint in use is there: the interface's own counters are looked at now and then,
//! which costs no process, and only where they speak against it those inside are asked.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use super::event::Event;
use super::silence::{Moment, Silence, Verdict};
use crate::status::Reporter;
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::system::paths;
use crate::underlay::first_sign::Witnesses;
use crate::wireguard::show::{self, Counters};

/// For an answer where the counters have shown silence already. With the looks before, a dead
/// endpoint is known within 15 seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(6);
/// After an answered suspicion.
const CALM_INTERVAL: Duration = Duration::from_millis(500);
/// Between two questions to an endpoint that is known to be silent.
const SILENT_INTERVAL: Duration = Duration::from_secs(5);

/// One endpoint under watch.
pub(super) struct EndpointWatch {
    pub witnesses: Witnesses,
    pub reporter: Reporter,
    pub events: Sender<Event>,
    /// `RECONNECT`: another server is asked for where this one is dead.
    pub reconnects: bool,
}

impl EndpointWatch {
    /// Keeps the status true until it is stopped, or until the main loop has to act.
    pub(super) fn run(&self, stop: &CancellationToken) {
        if let Ok(why) = self.watch(stop) {
            // The loop may be gone already.
            let _ = self.events.send(Event::Unresponsive(why));
        }
    }

    /// Says why the main loop has to act.
    fn watch(&self, stop: &CancellationToken) -> Result<String, Cancelled> {
        // Those that have never answered by this endpoint do not speak against it.
        let mut have_answered = self.witnesses.any_answers(CHECK_TIMEOUT, stop)?;
        let begun = Instant::now();
        let mut silence = Silence::default();
        loop {
            let Ok(counters) = show::counters() else {
                return Ok(format!("the interface {} is gone", paths::INTERFACE));
            };
            let now = Moment {
                steady: begun.elapsed(),
                wall: SystemTime::now(),
            };
            let pause = match silence.look(now, counters) {
                Verdict::LookAgain(pause) => pause,
                Verdict::Suspect => {
                    let is_dead = self.is_dead(counters, stop)?;
                    if is_dead && have_answered {
                        if self.reconnects {
                            return Ok("nothing comes through the tunnel any more".to_owned());
                        }
                        self.wait_for_life(stop)?;
                    }
                    have_answered |= !is_dead;
                    CALM_INTERVAL
                }
            };
            stop.pause(pause)?;
        }
    }

    /// Asks, often, whether a suspicion is true.
    fn is_dead(&self, before: Counters, stop: &CancellationToken) -> Result<bool, Cancelled> {
        log::debug!("packets were sent and nothing came back; probing");
        if self.witnesses.any_answers(CHECK_TIMEOUT, stop)? {
            log::debug!("there is an answer");
            return Ok(false);
        }
        Ok(hardly_anything_came(before, show::counters().ok()))
    }

    /// Says that the endpoint is silent for as long as it is.
    fn wait_for_life(&self, stop: &CancellationToken) -> Result<(), Cancelled> {
        log::warn!("The endpoint is silent: packets are sent, and nothing comes back");
        self.reporter.update(|status| status.endpoint_silent = true);
        while show::exists() && !self.witnesses.any_answers(CALM_INTERVAL, stop)? {
            stop.pause(SILENT_INTERVAL)?;
        }
        log::info!("The endpoint answers again");
        self.reporter
            .update(|status| status.endpoint_silent = false);
        Ok(())
    }
}

/// Whether far less came than was sent: a server that hears nothing still passes on what others
/// repeat, such as the end of a TCP connection. An interface that is gone carries nothing.
fn hardly_anything_came(before: Counters, after: Option<Counters>) -> bool {
    let Some(after) = after else { return true };
    let sent = after.sent.packets.saturating_sub(before.sent.packets);
    let received = after
        .received
        .packets
        .saturating_sub(before.received.packets);
    received < sent / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::show::Traffic;

    #[test]
    fn what_others_repeat_is_no_sign_that_the_endpoint_hears() {
        let counters = |received: u64, sent: u64| Counters {
            received: Traffic {
                packets: received,
                bytes: received * 52,
            },
            sent: Traffic {
                packets: sent,
                bytes: sent * 28,
            },
        };
        let came =
            |packets: u64| !hardly_anything_came(counters(9, 9), Some(counters(9 + packets, 49)));
        assert!(!came(0) && !came(3));
        assert!(came(10) && came(100));
        assert!(hardly_anything_came(counters(9, 9), None));
    }
}
