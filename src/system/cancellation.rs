//! Cancellation tokens: how a stop reaches everything that can block.
//!
//! A stop must be answered within a second at any moment, whatever is under way. So every wait in
//! this program takes a [`CancellationToken`]: a pause ends early, a child's process group gets
//! SIGTERM, a socket is shut down. The blocked call then returns [`Cancelled`] (or an error), and
//! its callers return with `?`. This module knows no signals and nothing of what is cancelled.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// The work was given up because its token was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by a request to stop")]
pub struct Cancelled;

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct CancellationState {
    is_cancelled: bool,
    next_id: u64,
    callbacks: Vec<(u64, Callback)>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<CancellationState>,
    changed: Condvar,
}

impl Shared {
    // A panic elsewhere must not make a stop impossible, so a poisoned lock is used all the same.
    fn lock(&self) -> MutexGuard<'_, CancellationState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cancelled once, by anybody; any number of threads can wait for that. Clones are the same token.
#[derive(Clone, Default)]
pub struct CancellationToken(Arc<Shared>);

impl std::fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancellationToken({})", self.is_cancelled())
    }
}

/// Keeps a callback registered; dropping it takes the callback back.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    token: CancellationToken,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut inner = self.token.0.lock();
        inner.callbacks.retain(|(id, _)| *id != self.id);
    }
}

impl CancellationToken {
    /// A token that nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that nobody else holds, for work that must not be interrupted.
    pub fn never() -> Self {
        Self::default()
    }

    /// Cancels: wakes all pauses and runs all callbacks. Further calls do nothing.
    pub fn cancel(&self) {
        let callbacks = {
            let mut inner = self.0.lock();
            inner.is_cancelled = true;
            std::mem::take(&mut inner.callbacks)
        };
        self.0.changed.notify_all();
        for (_, callback) in callbacks {
            callback();
        }
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().is_cancelled
    }

    /// `Err(Cancelled)` once it has been cancelled: for the top of a loop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Pauses for `duration`, or until it is cancelled.
    pub fn pause(&self, duration: Duration) -> Result<(), Cancelled> {
        // A duration that the clock cannot count to is as good as for ever.
        let deadline = Instant::now().checked_add(duration);
        let mut inner = self.0.lock();
        while !inner.is_cancelled {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return Ok(());
            }
            let woken = self.0.changed.wait_timeout(inner, left);
            inner = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(Cancelled)
    }

    /// Runs `callback` when it is cancelled, at once if it has been already.
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> Guard {
        let mut inner = self.0.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        if inner.is_cancelled {
            drop(inner);
            callback();
        } else {
            inner.callbacks.push((id, Box::new(callback)));
        }
        Guard {
            token: self.clone(),
            id,
        }
    }

    /// Does what is cancelled where it takes longer than `limit`. Where no thread can be had that
    /// sees to it, nothing cancels it.
    pub fn within<T>(limit: Duration, work: impl FnOnce(&Self) -> T) -> T {
        let (stop, done) = (Self::new(), Self::new());
        thread::scope(|scope| {
            let watched = Builder::new().spawn_scoped(scope, || {
                if done.pause(limit).is_ok() {
                    stop.cancel();
                }
            });
            drop(watched);
            let outcome = work(&stop);
            done.cancel();
            outcome
        })
    }

    /// [`Self::within`], ended by this token as well.
    pub fn limited<T>(&self, limit: Duration, work: impl FnOnce(&Self) -> T) -> T {
        Self::within(limit, |limited| {
            let too_late = limited.clone();
            let _guard = self.on_cancel(move || too_late.cancel());
            work(limited)
        })
    }

    /// A child: cancelled with this one, or on its own.
    pub fn child(&self) -> (Self, Guard) {
        let child = Self::new();
        let of_parent = child.clone();
        let guard = self.on_cancel(move || of_parent.cancel());
        (child, guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn what_takes_too_long_is_cancelled_and_what_does_not_is_not() {
        let long = Duration::from_secs(60);
        let pause = |limit, time| CancellationToken::within(limit, |stop| stop.pause(time));
        assert_eq!(pause(Duration::from_millis(1), long), Err(Cancelled));
        assert_eq!(pause(long, Duration::from_millis(1)), Ok(()));
    }

    #[test]
    fn a_pause_ends_when_it_is_cancelled() {
        let stop = CancellationToken::new();
        let waiting = stop.clone();
        let thread = thread::spawn(move || waiting.pause(Duration::from_secs(60)));
        stop.cancel();
        assert_eq!(thread.join().unwrap(), Err(Cancelled));
    }

    #[test]
    fn a_pause_longer_than_the_clock_can_count_is_one_that_ends_by_a_cancel() {
        let stop = CancellationToken::new();
        let waiting = stop.clone();
        let thread = thread::spawn(move || waiting.pause(Duration::MAX));
        stop.cancel();
        assert_eq!(thread.join().unwrap(), Err(Cancelled));
    }

    #[test]
    fn a_callback_runs_once_and_late_ones_run_at_once() {
        let stop = CancellationToken::new();
        let (sender, receiver) = mpsc::channel();
        let late = sender.clone();
        let early = stop.on_cancel(move || sender.send("early").unwrap());
        stop.cancel();
        stop.cancel();
        let _late = stop.on_cancel(move || late.send("late").unwrap());
        drop(early);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["early", "late"]);
    }

    #[test]
    fn a_dropped_guard_takes_its_callback_back() {
        let stop = CancellationToken::new();
        let (sender, receiver) = mpsc::channel();
        drop(stop.on_cancel(move || sender.send(()).unwrap()));
        stop.cancel();
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn a_child_is_cancelled_with_its_parent_and_not_the_reverse() {
        let stop = CancellationToken::new();
        let (child, _guard) = stop.child();
        let (other, _guard) = stop.child();
        child.cancel();
        assert!(!stop.is_cancelled());
        stop.cancel();
        assert!(other.is_cancelled());
    }
}
