//! The request to stop, shared by everything that can block.
//!
//! A stop must be answered within a second at any moment, whatever is under way. So every wait in
//! this program takes a [`Stop`]: a pause ends early, a child's process group gets SIGTERM, a
//! socket is shut down. The blocked call then returns [`Stopped`] (or an error) and the story
//! unwinds with `?`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The work was given up because a stop was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by a request to stop")]
pub struct Stopped;

type Interrupt = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    requested: bool,
    next_id: u64,
    interrupts: Vec<(u64, Interrupt)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    // A panic elsewhere must not make a stop impossible, so a poisoned lock is used all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to stop that many threads can wait for; clones are the same request.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stop(requested: {})", self.is_requested())
    }
}

/// Keeps an interrupt registered; dropping it takes the interrupt back.
#[must_use]
pub struct Registration {
    stop: Stop,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.stop
            .0
            .lock()
            .interrupts
            .retain(|(id, _)| *id != self.id);
    }
}

impl Stop {
    /// A request that nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop: wakes all pauses and runs all interrupts. Further calls do nothing.
    pub fn request(&self) {
        let interrupts = {
            let mut state = self.0.lock();
            state.requested = true;
            std::mem::take(&mut state.interrupts)
        };
        self.0.changed.notify_all();
        for (_, interrupt) in interrupts {
            interrupt();
        }
    }

    /// Whether the stop has been asked for.
    pub fn is_requested(&self) -> bool {
        self.0.lock().requested
    }

    /// `Err(Stopped)` once the stop has been asked for: for the top of a loop.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_requested() {
            Err(Stopped)
        } else {
            Ok(())
        }
    }

    /// Pauses for `duration`, or until the stop is asked for.
    pub fn pause(&self, duration: Duration) -> Result<(), Stopped> {
        let deadline = Instant::now() + duration;
        let mut state = self.0.lock();
        loop {
            if state.requested {
                return Err(Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Runs `interrupt` when the stop is asked for, at once if it has been already.
    pub fn on_request(&self, interrupt: impl FnOnce() + Send + 'static) -> Registration {
        let mut state = self.0.lock();
        let id = state.next_id;
        state.next_id += 1;
        if state.requested {
            drop(state);
            interrupt();
        } else {
            state.interrupts.push((id, Box::new(interrupt)));
        }
        Registration {
            stop: self.clone(),
            id,
        }
    }

    /// A narrower request: it is made when this one is, or on its own.
    pub fn narrower(&self) -> (Self, Registration) {
        let child = Self::new();
        let of_parent = child.clone();
        let registration = self.on_request(move || of_parent.request());
        (child, registration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_pause_ends_when_the_stop_is_asked_for() {
        let stop = Stop::new();
        let waiting = stop.clone();
        let thread = std::thread::spawn(move || waiting.pause(Duration::from_secs(60)));
        stop.request();
        assert_eq!(thread.join().unwrap(), Err(Stopped));
    }

    #[test]
    fn an_interrupt_runs_once_and_late_ones_run_at_once() {
        let stop = Stop::new();
        let (sender, receiver) = mpsc::channel();
        let late = sender.clone();
        let early = stop.on_request(move || sender.send("early").unwrap());
        stop.request();
        stop.request();
        let _late = stop.on_request(move || late.send("late").unwrap());
        drop(early);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["early", "late"]);
    }

    #[test]
    fn a_dropped_registration_is_not_run() {
        let stop = Stop::new();
        let (sender, receiver) = mpsc::channel();
        drop(stop.on_request(move || sender.send(()).unwrap()));
        stop.request();
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn a_narrower_stop_follows_the_wider_one_and_not_the_reverse() {
        let stop = Stop::new();
        let (child, _registration) = stop.narrower();
        let (other, _registration) = stop.narrower();
        child.request();
        assert!(!stop.is_requested());
        stop.request();
        assert!(other.is_requested());
    }
}
