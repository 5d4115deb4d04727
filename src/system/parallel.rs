//! Work on threads that end with it, as far as threads can be had.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Builder, Scope, scope};
use std::time::Duration;

use super::cancellation::CancellationToken;

thread_local! {
    /// Whether this thread ends with the work that it was made for.
    static ENDS_SOON: Cell<bool> = const { Cell::new(false) };
}

/// Does the work of a thread that ends with it.
fn to_its_end<R>(work: impl FnOnce() -> R) -> R {
    ENDS_SOON.set(true);
    work()
}

/// The results of `work` in the order of `items`. Where a thread is refused, as `pids_limit` does,
/// the work is done on this one.
pub fn map<T: Copy + Send, R: Send>(items: &[T], work: impl Fn(T) -> R + Sync) -> Vec<R> {
    scope(|scope| {
        let work = &work;
        let mut begun = Vec::new();
        for item in items {
            let item = *item;
            let thread = Builder::new().spawn_scoped(scope, move || to_its_end(|| work(item)));
            begun.push((item, thread));
        }
        let mut results = Vec::new();
        for (item, thread) in begun {
            results.push(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(error) => {
                    log::debug!("no further thread: {error}");
                    work(item)
                }
            });
        }
        results
    })
}

/// The result of `work`, done on a thread of its own: what the work needed of a stack, and of the
/// heap that is a thread's, is given back when it ends. Where a thread is refused, this one does
/// it, as it does where it is such a thread itself.
pub fn aside<R: Send>(mut work: impl FnMut() -> R + Send) -> R {
    if ENDS_SOON.get() {
        return work();
    }
    let done = scope(
        |scope| match Builder::new().spawn_scoped(scope, || to_its_end(&mut work)) {
            Ok(thread) => Some(thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
            Err(error) => {
                log::debug!("no further thread: {error}");
                None
            }
        },
    );
    done.unwrap_or_else(work)
}

/// Work that is begun piece by piece, and whose outcomes come as each piece ends.
pub struct Beside<'scope, 'env, R> {
    scope: &'scope Scope<'scope, 'env>,
    running: usize,
    sender: Sender<thread::Result<R>>,
    outcomes: Receiver<thread::Result<R>>,
}

impl<'scope, 'env, R: Send + 'scope> Beside<'scope, 'env, R> {
    /// Nothing is begun yet. The scope ends when all is that was.
    pub fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        let (sender, outcomes) = mpsc::channel();
        Self {
            scope,
            running: 0,
            sender,
            outcomes,
        }
    }

    /// Whether `work` is begun. Where a thread is refused, this one does it at once; but not while
    /// other work runs, whose outcome would have to wait.
    pub fn begin(&mut self, work: impl FnOnce() -> R + Send + Clone + 'scope) -> bool {
        let sender = self.sender.clone();
        let aside = work.clone();
        let do_it = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| to_its_end(aside)));
            // Nobody listens any more where this outcome is not needed.
            drop(sender.send(outcome));
        };
        if let Err(error) = Builder::new().spawn_scoped(self.scope, do_it) {
            log::debug!("no further thread: {error}");
            if self.running > 0 {
                return false;
            }
            drop(self.sender.send(Ok(work())));
        }
        self.running = self.running.saturating_add(1);
        true
    }

    /// The next outcome, if one is to come and does so within `limit`.
    pub fn next(&mut self, limit: Option<Duration>) -> Option<R> {
        if self.running == 0 {
            return None;
        }
        let outcome = match limit {
            Some(limit) => self.outcomes.recv_timeout(limit).ok(),
            None => self.outcomes.recv().ok(),
        }?;
        self.running = self.running.saturating_sub(1);
        Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

/// The first outcome of `work`, which is begun once more beside itself each time that a pause of
/// these has passed without one, if it `hangs` then: that may have a cause that is over. It is told
/// when to stop, as those are that are no longer needed. Where a thread is refused, this one does
/// it.
pub fn overtaking<R: Send>(
    pauses: &[Duration],
    stop: &CancellationToken,
    hangs: impl Fn() -> bool,
    work: impl Fn(&CancellationToken) -> R + Sync,
) -> R {
    let (enough, _guard) = stop.child();
    let work = || work(&enough);
    let first = scope(|scope| {
        let mut beside = Beside::new(scope);
        beside.begin(&work);
        for pause in pauses {
            if let Some(outcome) = beside.next(Some(*pause)) {
                enough.cancel();
                return Some(outcome);
            }
            if hangs() {
                beside.begin(&work);
            }
        }
        let outcome = beside.next(None);
        enough.cancel();
        outcome
    });
    first.unwrap_or_else(work)
}

/// The results of both, done at the same time; the first, which is done on a thread of its own, is
/// done before the other where a thread is refused.
pub fn both<A: Send, B>(aside: impl Fn() -> A + Sync, here: impl FnOnce() -> B) -> (A, B) {
    scope(
        |scope| match Builder::new().spawn_scoped(scope, || to_its_end(&aside)) {
            Ok(thread) => {
                let here = here();
                let aside = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                (aside, here)
            }
            Err(error) => {
                log::debug!("no further thread: {error}");
                (aside(), here())
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn both_are_done_at_once() {
        let meeting = Barrier::new(2);
        let number = |number| {
            meeting.wait();
            number
        };
        assert_eq!(both(|| number(1), || number(2)), (1, 2));
    }

    #[test]
    fn what_hangs_is_overtaken_and_what_does_not_is_waited_for() {
        const SOON: Duration = Duration::from_millis(20);
        let outcome = |hangs: bool, first_takes: Duration| {
            let begun = AtomicUsize::new(0);
            let work = |stop: &CancellationToken| {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                if number == 0 {
                    let _ = stop.pause(first_takes);
                }
                number
            };
            let first = overtaking(&[SOON; 3], &CancellationToken::new(), || hangs, work);
            (first, begun.into_inner())
        };
        // The first ends only as it is told to.
        assert_eq!(outcome(true, Duration::from_secs(60)), (1, 2));
        assert_eq!(outcome(false, 10 * SOON), (0, 1));
        assert_eq!(outcome(true, Duration::ZERO), (0, 1));
    }

    #[test]
    fn what_is_done_aside_is_done_on_another_thread() {
        let id = || thread::current().id();
        assert_ne!(aside(id), id());
        let (outer, inner) = aside(|| (id(), aside(id)));
        assert_eq!(outer, inner);
        assert_ne!(aside(id), id());
    }

    #[test]
    fn all_are_worked_on_at_once_and_in_order() {
        let all = Barrier::new(3);
        let doubled = map(&[1, 2, 3], |number| {
            all.wait();
            2 * number
        });
        assert_eq!(doubled, [2, 4, 6]);
        assert_eq!(map(&[], |number: u8| number), [0; 0]);
    }
}
