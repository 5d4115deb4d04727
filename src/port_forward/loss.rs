//! How long there has been no port: with `PORT_FATAL=1` a loss becomes fatal.

use std::time::Duration;

/// How long a port may be lost before that is fatal.
pub(super) const FATAL_AFTER: Duration = Duration::from_secs(600);

/// A time without a port, counted while the machine was awake: a night's sleep is nobody's failure.
#[derive(Debug)]
pub(super) struct Loss {
    since: Duration,
    is_fatal_told: bool,
}

impl Loss {
    /// It begins now.
    pub(super) fn new(awake: Duration) -> Self {
        Self {
            since: awake,
            is_fatal_told: false,
        }
    }

    /// Until it is fatal.
    pub(super) fn left(&self, awake: Duration) -> Duration {
        self.since.saturating_add(FATAL_AFTER).saturating_sub(awake)
    }

    /// Whether it may be told as fatal, which is done once.
    pub(super) fn tell_fatal(&mut self) -> bool {
        !std::mem::replace(&mut self.is_fatal_told, true)
    }
}
