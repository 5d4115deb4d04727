//! What becomes of a step that fails: it is repeated, or waits, with the network closed.

use std::time::{Duration, Instant, SystemTime};

use super::supervisor::event::Event;
use super::{End, Life, Phase};
use crate::failure::{Failure, FailureKind, Retry};
use crate::status::{self, State};
use crate::system::backoff::{Backoff, pause_in_outage};

/// The shortest pause before a step whose failure may pass is tried again: with its jitter, and a
/// start after it, still less than a second and a half.
const MIN_PAUSE: Duration = Duration::from_millis(800);
/// The same where the credentials were to be sent: an account is not knocked at.
const MIN_PAUSE_OF_LOGINS: Duration = Duration::from_secs(5);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// What fails here may have cost a registration before, of which a few a minute must do.
const LOCAL_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(5),
    ceiling: MAX_PAUSE,
};
/// Where only PIA's server list is looked at again: locations have been away for hours.
const SELDOM_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(300),
    ceiling: Duration::from_secs(3600),
};

impl Life {
    /// Repeats a step for as long as its failure may pass; what will not pass by itself waits for a
    /// stop or a SIGHUP.
    pub(super) fn until_done<T>(
        &mut self,
        mut step: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, End> {
        let mut rng = fastrand::Rng::new();
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            if self.container.stop.is_cancelled() {
                return Err(End::Stopped);
            }
            let failure = match step(self) {
                Ok(value) => return Ok(value),
                Err(failure) if failure.is_cancelled() => return Err(End::Stopped),
                Err(failure) => failure,
            };
            failures += 1;
            self.container.reporter.count_failure(failure.kind.name());
            let delay = self.container.settings.retry.delay;
            let pause = pause_after(&failure, failures, begun.elapsed(), delay, &mut rng);
            self.close_kill_switch();
            // Without it `status` and the health check take no notice of a life.
            if let Err(failure) = self.take_lock() {
                log::debug!("{failure}");
            }
            if failures == 1 || pause.is_none() {
                self.handle_fatal(&failure, pause)?;
            } else {
                log::warn!("{failure}");
                self.note_blocked(&failure, pause);
            }
            self.wait_blocked(pause)?;
        }
    }

    /// Before and after the pre-up hooks too: what waits after a failure waits closed.
    fn close_kill_switch(&mut self) {
        let (kill_switch, was_open) = match &self.phase {
            Phase::Hooks(kill_switch) => (kill_switch.clone(), true),
            Phase::Sealed(kill_switch) => (kill_switch.clone(), false),
            Phase::Open | Phase::Connected(_) => return,
        };
        match kill_switch.close() {
            Ok(()) if was_open => {
                if self.container.settings.firewall {
                    log::info!("Kill switch closed");
                }
                self.phase = Phase::Sealed(kill_switch);
            }
            Ok(()) => {}
            Err(error) => log::warn!("{error}"),
        }
    }

    /// Says what is wrong, runs `FATAL_SCRIPT`, and ends the life if the user wants it so.
    pub(super) fn handle_fatal(
        &mut self,
        failure: &Failure,
        pause: Option<Duration>,
    ) -> Result<(), End> {
        // First, for those who read the status when they see the line.
        self.note_blocked(failure, pause);
        log::error!("Fatal error: {failure}");
        log::info!("`wireguard-pia doctor` checks everything that a start needs");
        if let Some(exit) = self.container.run_fatal_script() {
            return Err(End::ByHook(exit));
        }
        if self.container.stop.is_cancelled() {
            return Err(End::Stopped);
        }
        if self.container.settings.exit_on_fatal {
            Err(End::Fatal)
        } else {
            Ok(())
        }
    }

    fn note_blocked(&self, failure: &Failure, pause: Option<Duration>) {
        let reporter = &self.container.reporter;
        reporter.enter(State::Blocked, failure.text.clone());
        reporter.update(|status| {
            status.note_error(&failure.text);
            status.next_attempt =
                pause.and_then(|pause| status::seconds_from(SystemTime::now(), pause));
        });
    }

    fn wait_blocked(&mut self, pause: Option<Duration>) -> Result<(), End> {
        let is_sealed = match &self.phase {
            Phase::Sealed(kill_switch) => kill_switch.is_sealed(),
            Phase::Open | Phase::Hooks(_) | Phase::Connected(_) => false,
        };
        match pause {
            Some(pause) => log::info!("Trying again in {:.0} s", pause.as_secs_f64()),
            None if is_sealed => {
                log::info!("Waiting, sealed, to be stopped; SIGHUP tries again");
            }
            None => log::info!("Waiting to be stopped; SIGHUP tries again"),
        }
        let begun = Instant::now();
        loop {
            let event = match pause {
                Some(pause) => {
                    let left = pause.saturating_sub(begun.elapsed());
                    self.inbox.recv_timeout(left).ok()
                }
                None => self.inbox.recv().ok(),
            };
            match event {
                Some(Event::StopRequested) => return Err(End::Stopped),
                // No reason to ask PIA again.
                Some(Event::NetworksChanged) => {}
                // However many there are, one attempt is what they ask for.
                Some(Event::Reconnect) => {
                    self.forget_requests();
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
    }
}

/// `None` for what does not pass by itself. `failures` in a row, for so long; after an answer not
/// before `delay`.
fn pause_after(
    failure: &Failure,
    failures: u32,
    lasted: Duration,
    delay: Duration,
    rng: &mut fastrand::Rng,
) -> Option<Duration> {
    if matches!(failure.retry, Retry::Never | Retry::LogIn) {
        return None;
    }
    let pause = match failure.kind {
        _ if failure.retry == Retry::Seldom => SELDOM_BACKOFF.pause(failures, rng),
        FailureKind::Local => LOCAL_BACKOFF.pause(failures, rng),
        FailureKind::Login => pause_in_outage(lasted, MIN_PAUSE_OF_LOGINS..=MAX_PAUSE, rng),
        _ => pause_in_outage(lasted, MIN_PAUSE..=MAX_PAUSE, rng),
    };
    Some(pause.max(failure.least_pause(delay)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(5);

    fn total_of_six(kind: FailureKind) -> Duration {
        let failure = Failure::new(kind, Retry::Later(None), "x");
        let mut rng = fastrand::Rng::with_seed(1);
        (1..=6).fold(Duration::ZERO, |lasted, failures| {
            lasted + pause_after(&failure, failures, lasted, DELAY, &mut rng).unwrap()
        })
    }

    #[test]
    fn what_passes_at_once_is_tried_soon_and_what_costs_registrations_seldom() {
        assert!(total_of_six(FailureKind::Network) < Duration::from_secs(10));
        assert!(total_of_six(FailureKind::Login) > Duration::from_secs(20));
        assert!(total_of_six(FailureKind::Local) > Duration::from_secs(180));
        let unlikely = Failure::new(FailureKind::Location, Retry::Seldom, "x");
        let lasted = Duration::from_secs(24 * 3600);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut minutes = |failures| {
            let pause = pause_after(&unlikely, failures, lasted, DELAY, &mut rng).unwrap();
            pause.as_secs_f64() / 60.0
        };
        assert!((4.0..6.0).contains(&minutes(1)));
        assert!((48.0..72.0).contains(&minutes(30)));
        let lasting = Failure::new(FailureKind::Network, Retry::Never, "x");
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(
            pause_after(&lasting, 1, Duration::ZERO, DELAY, &mut rng),
            None
        );
    }
}
