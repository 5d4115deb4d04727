//! Whether the endpoint in use is there: the interface's own counters are looked at while something
//! passes, which costs no process, and only where they speak against it those inside are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use super::event::Event;
use super::silence::{self, CALM_INTERVAL, CHECK_TIMEOUT, Judgement, Moment, Silence, Verdict};
use crate::status::Reporter;
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::system::paths;
use crate::tunnel::{Lack, WayIn};
use crate::underlay::first_sign::Witnesses;
use crate::underlay::passing::Passing;
use crate::wireguard::peers;
use crate::wireguard::routing_rules;
use crate::wireguard::show::{self, Counters, Traffic};

/// Between two questions to an endpoint that is known to be silent.
const SILENT_INTERVAL: Duration = Duration::from_secs(5);

/// Between two questions to those inside that have not answered yet, while the tunnel carries.
const UNHEARD_INTERVAL: Duration = Duration::from_secs(60);

/// For an interface that was taken down by hand to be up again.
const BY_HAND_PATIENCE: Duration = Duration::from_secs(10);

/// One endpoint under watch.
pub(super) struct EndpointWatch {
    pub witnesses: Witnesses,
    /// They have, since this registration began, whatever watched it then. Those that never did do
    /// not speak against the endpoint.
    pub has_answered: Arc<AtomicBool>,
    pub reporter: Reporter,
    pub events: Sender<Event>,
    pub way_in: Arc<WayIn>,
    /// `RECONNECT`: another server is asked for where this one is dead.
    pub reconnects: bool,
}

impl EndpointWatch {
    /// Keeps the status true until it is stopped, or until the main loop has to act.
    pub(super) fn run(&self, stop: &CancellationToken) {
        if let Ok(event) = self.watch(stop) {
            // The loop may be gone already.
            let _ = self.events.send(event);
        }
    }

    /// Says what the main loop has to act on.
    fn watch(&self, stop: &CancellationToken) -> Result<Event, Cancelled> {
        if !self.has_answered() {
            self.ask(stop)?;
        }
        let begun = Instant::now();
        let mut last_question = LastQuestion::default();
        let mut silence = Silence::default();
        loop {
            let lack = self.way_in.lack();
            let Some(counters) = show::counters().ok().filter(|_| lack.is_none()) else {
                if lack.is_none() && self.way_in.lack().is_none() {
                    // The counters cannot be read, as where no file can be opened.
                    stop.pause(CALM_INTERVAL)?;
                    continue;
                }
                if self.comes_back(stop)? {
                    silence = Silence::default();
                    // wg-quick has taken our routing rules away with its own.
                    let _ = self.events.send(Event::NetworksChanged);
                    continue;
                }
                return Ok(Event::InterfaceLost(lack.unwrap_or(Lack::Interface)));
            };
            let now = Moment {
                steady: begun.elapsed(),
                wall: SystemTime::now(),
            };
            if !self.has_answered() && last_question.is_due(now.steady, counters.received) {
                self.ask(stop)?;
                continue;
            }
            let is_suspicious = match silence.look(now, counters) {
                Verdict::LookAgain(pause) => stop.pause(pause).map(|()| false)?,
                Verdict::Rest(at_most) => self.rest(counters, at_most, stop)?,
                Verdict::Suspect => true,
            };
            if !is_suspicious {
                continue;
            }
            let is_dead = self.is_dead(counters, stop)?;
            if is_dead && self.has_answered() {
                if self.reconnects {
                    let why = "nothing comes through the tunnel any more";
                    return Ok(Event::Unresponsive(why.to_owned()));
                }
                self.wait_for_life(stop)?;
                // What was seen until now was silence.
                silence = Silence::default();
            }
            stop.pause(CALM_INTERVAL)?;
        }
    }

    fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Asks those inside, and notes an answer.
    fn ask(&self, stop: &CancellationToken) -> Result<(), Cancelled> {
        if self.witnesses.any_answers(CHECK_TIMEOUT, stop)? {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Somebody who takes the interface down by hand is likely to bring it up again, as after a
    /// change of the configuration, and is left the time for it.
    fn comes_back(&self, stop: &CancellationToken) -> Result<bool, Cancelled> {
        let noticed = Instant::now();
        let mut said = None;
        while let Some(lack) = self.way_in.lack() {
            let is_gone = lack == Lack::Interface;
            let is_deleted = is_gone && routing_rules::lead_into_tunnel(self.way_in.mark());
            if is_deleted || noticed.elapsed() >= BY_HAND_PATIENCE {
                return Ok(false);
            }
            // An interface that is being deleted is down first.
            if said != Some(lack) && (is_gone || noticed.elapsed() >= CALM_INTERVAL) {
                say_by_hand(lack);
                said = Some(lack);
            }
            stop.pause(CALM_INTERVAL)?;
        }
        if said.is_some() {
            log::info!("{} is up again", paths::INTERFACE);
        }
        Ok(true)
    }

    /// Asks, often, whether a suspicion is true.
    fn is_dead(&self, before: Counters, stop: &CancellationToken) -> Result<bool, Cancelled> {
        log::debug!("packets were sent and nothing came back; probing");
        let begun = Instant::now();
        let mut before = before;
        loop {
            if self.witnesses.any_answers(CHECK_TIMEOUT, stop)? {
                log::debug!("there is an answer");
                self.has_answered.store(true, Ordering::Relaxed);
                return Ok(false);
            }
            // It is not the endpoint's silence where the interface is gone, or is not known.
            let Some(after) = show::counters().ok() else {
                return Ok(false);
            };
            if self.way_in.lack().is_some() {
                return Ok(false);
            }
            match silence::judge(before, after, begun.elapsed()) {
                Judgement::Alive => return Ok(false),
                Judgement::Dead => return Ok(true),
                Judgement::AskOn => before = after,
            }
        }
    }

    /// Says that the endpoint is silent for as long as it is.
    fn wait_for_life(&self, stop: &CancellationToken) -> Result<(), Cancelled> {
        log::warn!("The endpoint is silent: packets are sent, and nothing comes back");
        self.reporter.update(|status| status.endpoint_silent = true);
        let begun = SystemTime::now();
        while self.way_in.lack().is_none() {
            // On a slow way it takes its time.
            if self.witnesses.any_answers(CHECK_TIMEOUT, stop)? {
                log::info!("The endpoint answers again");
                break;
            }
            let before = show::counters().ok();
            stop.pause(SILENT_INTERVAL)?;
            // Those inside may have fallen silent for good, while others are answered. Only a new
            // handshake says that the endpoint hears us, and only data that it carries.
            let now = show::counters().ok();
            if silence::was_answered(before, now, show::counts_handshakes())
                && has_shaken_hands_since(begun, stop)
            {
                // They say nothing against it until they are heard again.
                self.has_answered.store(false, Ordering::Relaxed);
                log::info!("The tunnel carries again");
                break;
            }
        }
        // It is not the endpoint's silence that counts where the interface is gone.
        self.reporter
            .update(|status| status.endpoint_silent = false);
        Ok(())
    }

    /// Waits until something passes, which `before` does not count yet, for `at_most`. Without the
    /// right to see packets the wait is short, and the counters tell. Whether something passes and
    /// nothing is counted: the kernel counts nothing that it cannot send, and a program that
    /// carries the interface nothing that it has not taken.
    fn rest(
        &self,
        before: Counters,
        at_most: Duration,
        stop: &CancellationToken,
    ) -> Result<bool, Cancelled> {
        let begun = Instant::now();
        let passing = match Passing::watch(paths::INTERFACE) {
            Ok(passing) => passing,
            Err(error) => {
                log::debug!("packets of {} cannot be seen: {error}", paths::INTERFACE);
                let pause = at_most.min(silence::IDLE_INTERVAL);
                return stop.pause(pause).map(|()| false);
            }
        };
        if show::counters().is_ok_and(|now| now == before) && self.way_in.lack().is_none() {
            passing.wait(at_most, stop)?;
        }
        // It is not to cost anything while much passes.
        drop(passing);
        if begun.elapsed() >= at_most {
            return Ok(false);
        }
        stop.pause(silence::AFTER_REST)?;
        Ok(show::counters().is_ok_and(|now| now == before))
    }
}

/// Whether a handshake was completed after this time.
fn has_shaken_hands_since(begun: SystemTime, stop: &CancellationToken) -> bool {
    let peers = peers::list(stop).unwrap_or_default();
    peers
        .iter()
        .any(|peer| peer.last_handshake.is_some_and(|at| at > begun))
}

/// When those inside that have not answered were asked last, and what had come by then.
#[derive(Debug, Default)]
struct LastQuestion {
    asked_at: Duration,
    received: Traffic,
}

impl LastQuestion {
    /// Whether to ask them again `now`: where nothing else came since, their silence says nothing.
    fn is_due(&mut self, now: Duration, received: Traffic) -> bool {
        let is_due = now.saturating_sub(self.asked_at) >= UNHEARD_INTERVAL
            && silence::is_life(self.received, received);
        if is_due {
            (self.asked_at, self.received) = (now, received);
        }
        is_due
    }
}

fn say_by_hand(lack: Lack) {
    let what = match lack {
        Lack::Interface | Lack::Link => format!("{} was taken down by hand", paths::INTERFACE),
        Lack::Route => lack.to_string(),
    };
    let patience = BY_HAND_PATIENCE.as_secs();
    log::warn!("{what}; unless it is up again within {patience} s, it is brought up anew");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_not_answered_are_asked_again_while_the_tunnel_carries() {
        let mut last_question = LastQuestion::default();
        let mut is_due = |seconds, packets| {
            let bytes = packets * 100;
            last_question.is_due(Duration::from_secs(seconds), Traffic { packets, bytes })
        };
        assert!(!is_due(59, 10));
        assert!(is_due(60, 10));
        assert!(!is_due(119, 20));
        assert!(!is_due(120, 10), "nothing came");
        assert!(is_due(130, 20));
    }
}
