//! Work on threads that end with it, as far as threads can be had.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Sender};
use std::thread::{Builder, scope};
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
    let (sender, outcomes) = mpsc::channel();
    let (work, enough) = (&work, &enough);
    scope(|scope| {
        let begin = |sender: Sender<R>| {
            // Nobody listens any more once there is an outcome.
            let do_it = move || drop(sender.send(to_its_end(|| work(enough))));
            Builder::new().spawn_scoped(scope, do_it)
        };
        if let Err(error) = begin(sender.clone()) {
            log::debug!("no further thread: {error}");
            return work(enough);
        }
        for pause in pauses {
            match outcomes.recv_timeout(*pause) {
                Ok(outcome) => {
                    enough.cancel();
                    return outcome;
                }
                Err(_) if hangs() => drop(begin(sender.clone())),
                Err(_) => {}
            }
        }
        // What panicked has no outcome, and the scope passes that on.
        drop(sender);
        let outcome = outcomes.recv();
        enough.cancel();
        outcome.unwrap_or_else(|_| work(enough))
    })
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
        let id = || std::thread::current().id();
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
