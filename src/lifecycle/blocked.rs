//! What becomes of a step that fails: it is repeated, or waits, with the network closed.

use std::time::{Duration, Instant, SystemTime};

use super::supervisor::event::Event;
use super::{End, Life, Phase};
use crate::failure::{Failure, FailureKind, Retry};
use crate::status::{self, State};
use crate::system::backoff;

/// The shortest pause before a step whose failure may pass is tried again: with its jitter, and a
/// start after it, still less than a second and a half.
const MIN_PAUSE: Duration = Duration::from_millis(800);
/// The same where the credentials were to be sent: an account is not knocked at.
const MIN_PAUSE_OF_LOGINS: Duration = Duration::from_secs(5);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(300);

impl Life {
    /// Repeats a step for as long as its failure may pass; what will not pass by itself waits for a
    /// stop or a SIGHUP.
    pub(super) fn until_done<T>(
        &mut self,
        mut step: impl FnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, End> {
        let mut rng = fastrand::Rng::new();
        let begun = Instant::now();
        let mut is_first = true;
        loop {
            if self.container.stop.is_cancelled() {
                return Err(End::Stopped);
            }
            let failure = match step(self) {
                Ok(value) => return Ok(value),
                Err(failure) if failure.is_cancelled() => return Err(End::Stopped),
                Err(failure) => failure,
            };
            let pause = match failure.retry {
                Retry::Never | Retry::LogIn => None,
                Retry::Later(_) | Retry::NextServer => {
                    let least = match failure.kind {
                        FailureKind::Login => MIN_PAUSE_OF_LOGINS,
                        _ => MIN_PAUSE,
                    };
                    let limits = least..=MAX_PAUSE;
                    let pause = backoff::pause_in_outage(begun.elapsed(), limits, &mut rng);
                    Some(pause.max(failure.not_before().unwrap_or_default()))
                }
            };
            self.close_kill_switch();
            // Without it `status` and the health check take no notice of a life.
            if let Err(failure) = self.take_lock() {
                log::debug!("{failure}");
            }
            if std::mem::take(&mut is_first) || pause.is_none() {
                self.handle_fatal(&failure, pause)?;
            } else {
                log::warn!("{failure}");
                self.note_blocked(&failure, pause);
            }
            self.wait_blocked(pause)?;
        }
    }

    fn close_kill_switch(&self) {
        if let Phase::Sealed(kill_switch) = &self.phase
            && let Err(error) = kill_switch.close()
        {
            log::warn!("{error}");
        }
    }

    /// Says what is wrong, runs `FATAL_SCRIPT`, and ends the life if the user wants it so.
    pub(super) fn handle_fatal(
        &mut self,
        failure: &Failure,
        pause: Option<Duration>,
    ) -> Result<(), End> {
        log::error!("Fatal error: {failure}");
        log::info!("`wireguard-pia doctor` checks everything that a start needs");
        self.note_blocked(failure, pause);
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
            status.last_error = Some(failure.text.clone());
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
                _ => return Ok(()),
            }
        }
    }
}
