//! A long task: a thread that ends when it is told to, and then gives back what it was given.

use std::thread::{Builder, JoinHandle};

use log::Level;

use crate::system::cancellation::{CancellationToken, Guard};
use crate::system::command::advice_on_spawning;

/// A running long task.
pub struct Task<T> {
    stop: CancellationToken,
    _guard: Guard,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts `work`, which has to obey its token; a stop of `parent` is one of the task.
    pub fn start(
        name: &str,
        parent: &CancellationToken,
        work: impl FnOnce(&CancellationToken) -> T + Send + 'static,
    ) -> Option<Self> {
        Self::start_at(Level::Warn, name, parent, work)
    }

    /// Likewise; that there is no thread is logged at this level, as it is of interest once.
    pub fn start_at(
        level: Level,
        name: &str,
        parent: &CancellationToken,
        work: impl FnOnce(&CancellationToken) -> T + Send + 'static,
    ) -> Option<Self> {
        let (stop, guard) = parent.child();
        let its_stop = stop.clone();
        let spawned = Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&its_stop));
        match spawned {
            Ok(thread) => Some(Self {
                stop,
                _guard: guard,
                thread,
            }),
            Err(error) => {
                let advice = advice_on_spawning(&error);
                log::log!(level, "{name} cannot be started: {error}{advice}");
                None
            }
        }
    }

    /// Tells it to end, waits until it has, and returns what it gives back.
    pub fn end(self) -> Option<T> {
        self.stop.cancel();
        let outcome = self.thread.join();
        if outcome.is_err() {
            log::warn!("a long task ended badly");
        }
        outcome.ok()
    }
}
