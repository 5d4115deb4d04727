//! What only the program can look at is looked at when somebody asks for it: this has it looked at,
//! and waits for what it brings. Nothing is remembered here: how old that is, the file itself says.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::commands::healthcheck;
use crate::status::{self, Status};

/// In seconds. What was looked at so recently is told as it is.
const MAX_AGE: u64 = 5;
/// For the look itself: a few programs are run for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody says when it is done, as nothing leads from the program to this process but the file.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The status with those fields renewed, if they are old; as it is, where that takes too long.
///
/// # Errors
/// Why there is none, in words.
pub fn fresh_status() -> Result<Status, String> {
    let begun = Instant::now();
    let mut has_asked = false;
    loop {
        let status = healthcheck::read_status()?;
        let now = status::seconds(SystemTime::now());
        if is_fresh(status.looked_at, now) || begun.elapsed() > PATIENCE {
            return Ok(status);
        }
        if !has_asked && ask().is_err() {
            return Ok(status);
        }
        has_asked = true;
        thread::sleep(POLL_INTERVAL);
    }
}

/// Also where the clock was put back since.
fn is_fresh(looked_at: Option<u64>, now: u64) -> bool {
    looked_at.is_some_and(|at| at.abs_diff(now) < MAX_AGE)
}

fn ask() -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", status::LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_of_another_clock_is_not_fresh() {
        let fresh = [
            None,
            Some(995),
            Some(996),
            Some(1000),
            Some(1004),
            Some(1005),
        ]
        .map(|at| is_fresh(at, 1000));
        assert_eq!(fresh, [false, false, true, true, true, false]);
    }
}
