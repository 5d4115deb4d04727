//! Progress of a long wait, for a person who sits before a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A line on standard error that rewrites itself, and is gone in the end; nothing where that is no
/// terminal.
#[derive(Debug)]
pub struct Progress {
    all: usize,
    least: AtomicUsize,
    is_seen: bool,
}

impl Progress {
    /// Of so many steps; unless somebody `may_look`, nothing is shown.
    pub fn of(all: usize, may_look: bool) -> Self {
        Self {
            all,
            least: AtomicUsize::new(all),
            is_seen: may_look && io::stderr().is_terminal(),
        }
    }

    /// Several threads tell how many are left, not always in order.
    pub fn show(&self, left: usize) {
        if self.is_seen && self.least.fetch_min(left, Ordering::Relaxed) > left {
            // To show progress is not worth a failure.
            let done = self.all.saturating_sub(left);
            let _ = write!(io::stderr(), "\rmeasured {done} of {} ", self.all);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_seen {
            let _ = write!(io::stderr(), "\r{:40}\r", "");
        }
    }
}
