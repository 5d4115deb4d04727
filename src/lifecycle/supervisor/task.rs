//! A long task: a thread that ends when it is told to.

use std::thread::JoinHandle;

use crate::system::cancellation::{CancellationToken, Guard};

/// A running long task.
pub(super) struct Task {
    stop: CancellationToken,
    _guard: Guard,
    thread: JoinHandle<()>,
}

impl Task {
    /// Starts `work`, which has to obey its [`CancellationToken`]; a stop of `parent` is one of the task.
    pub(super) fn start(
        name: &str,
        parent: &CancellationToken,
        work: impl FnOnce(&CancellationToken) + Send + 'static,
    ) -> Option<Self> {
        let (stop, registration) = parent.child();
        let its_stop = stop.clone();
        match std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&its_stop))
        {
            Ok(thread) => Some(Self {
                stop,
                _guard: registration,
                thread,
            }),
            Err(error) => {
                log::warn!("{name} cannot be started: {error}");
                None
            }
        }
    }

    /// Tells it to end, and waits until it has.
    pub(super) fn end(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            log::warn!("a long task ended badly");
        }
    }
}
