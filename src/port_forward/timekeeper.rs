//! How much time has passed, when one clock may jump and the other stands still in a machine that
//! sleeps.

use std::time::{Duration, Instant, SystemTime};

/// The time, by two clocks: the first may jump either way, the second stands still while the
/// machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub wall: SystemTime,
    pub steady: Instant,
}

impl Now {
    /// This moment.
    pub fn read() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }
}

/// Adds up the time between two looks at the clocks.
#[derive(Debug, Default)]
pub struct Timekeeper {
    last: Option<Now>,
    /// By the clock that advanced further since the last look: never less than what really passed,
    /// as far as either clock can tell.
    pub apparent: Duration,
    /// Without the time that the machine slept.
    pub awake: Duration,
}

impl Timekeeper {
    /// Looks at the clocks.
    pub fn advance(&mut self, now: Now) {
        if let Some(last) = self.last.replace(now) {
            let awake = now.steady.saturating_duration_since(last.steady);
            // A clock that was set back tells nothing.
            let wall = now.wall.duration_since(last.wall).unwrap_or_default();
            self.awake = self.awake.saturating_add(awake);
            self.apparent = self.apparent.saturating_add(awake.max(wall));
        }
    }
}
