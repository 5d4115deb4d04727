//! The end of a wait that has several parts: each part gets what is left of the whole.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io;
use std::time::{Duration, Instant};

/// A moment at which everything ends; `None` where it is beyond what the clock can count.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// The time left, zero when it is over.
    pub fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    /// The time left as a socket's timeout, which must not be zero; `None` is without limit.
    ///
    /// # Errors
    /// `TimedOut` when it is over.
    pub fn socket_timeout(self) -> io::Result<Option<Duration>> {
        match self.left() {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            Duration::MAX => Ok(None),
            left => Ok(Some(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_shrinks_to_an_error() {
        let left = Deadline::after(Duration::from_secs(60)).left();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(50));
        let over = Deadline::after(Duration::ZERO);
        assert_eq!(over.left(), Duration::ZERO);
        assert_eq!(
            over.socket_timeout().unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }

    #[test]
    fn a_moment_beyond_the_clock_is_no_limit() {
        let never = Deadline::after(Duration::MAX);
        assert_eq!(never.left(), Duration::MAX);
        assert_eq!(never.socket_timeout().unwrap(), None);
    }
}
