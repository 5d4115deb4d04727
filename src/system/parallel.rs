//! Work on threads that end with it, as far as threads can be had.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
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

/// The first good result of `work`, which is begun once more beside itself each time that a pause
/// of these has passed without a result: what hangs may do so for a cause that is over. It is told
/// when to stop, as those are that are no longer needed. Where a thread is refused, this one does
/// it.
///
/// # Errors
/// When all that was begun has failed: what the last one says.
pub fn overtaking<R: Send, E: Send>(
    pauses: &[Duration],
    stop: &CancellationToken,
    work: impl Fn(&CancellationToken) -> Result<R, E> + Sync,
) -> Result<R, E> {
    let (enough, _guard) = stop.child();
    let (sender, results) = mpsc::channel();
    let (work, enough, sender) = (&work, &enough, &sender);
    scope(|scope| {
        // Nobody listens any more once one has a result.
        let do_it = || drop(sender.send(to_its_end(|| work(enough))));
        let begin = || Builder::new().spawn_scoped(scope, do_it).is_ok();
        if !begin() {
            return work(enough);
        }
        let mut going_on: usize = 1;
        let mut pauses = pauses.iter();
        loop {
            let result = match pauses.next() {
                Some(pause) => results.recv_timeout(*pause),
                None => results.recv().map_err(RecvTimeoutError::from),
            };
            match result {
                Ok(Err(error)) if going_on == 1 => return Err(error),
                Ok(Err(_)) => going_on = going_on.saturating_sub(1),
                Ok(good) => {
                    enough.cancel();
                    return good;
                }
                Err(_) => going_on = going_on.saturating_add(usize::from(begin())),
            }
        }
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
    fn what_hangs_is_overtaken_and_what_fails_is_not_begun_again() {
        const SOON: Duration = Duration::from_millis(20);
        let begun = AtomicUsize::new(0);
        let result = overtaking(&[SOON; 3], &CancellationToken::new(), |stop| {
            match begun.fetch_add(1, Ordering::SeqCst) {
                // Ends only as it is told to.
                0 => stop.pause(Duration::from_secs(60)).map(|()| 0),
                number => Ok(number),
            }
        });
        assert_eq!((result, begun.into_inner()), (Ok(1), 2));
        let begun = AtomicUsize::new(0);
        let result = overtaking(&[SOON; 3], &CancellationToken::new(), |_| {
            match begun.fetch_add(1, Ordering::SeqCst) {
                0 => Err::<(), _>("first"),
                _ => Err("further"),
            }
        });
        assert_eq!((result, begun.into_inner()), (Err("first"), 1));
    }

    #[test]
    fn the_last_failure_of_all_that_was_begun_counts() {
        let begun = AtomicUsize::new(0);
        let short = [Duration::from_millis(20)];
        let result = overtaking(&short, &CancellationToken::new(), |stop| {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            let _ = stop.pause(Duration::from_millis(200) * (2 - u32::try_from(number).unwrap()));
            Err::<(), _>(number)
        });
        assert_eq!(result, Err(0));
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
