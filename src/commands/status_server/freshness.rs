//! What only the program can look at is looked at when somebody asks for it: this has it looked at,
//! and waits for what it brings.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::status::{self, Status};
use crate::system::paths;

/// What was looked at so recently is told as it is.
const MAX_AGE: Duration = Duration::from_secs(5);
/// For the look itself.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// When the last look was asked for.
#[derive(Debug, Default)]
pub struct Freshness(Mutex<Option<Instant>>);

impl Freshness {
    /// Has the status file renewed, if it is old; whoever comes meanwhile takes what there is.
    pub fn renew(&self) {
        let Ok(mut asked) = self.0.try_lock() else {
            return;
        };
        if asked.is_some_and(|at| at.elapsed() < MAX_AGE) {
            return;
        }
        *asked = Some(Instant::now());
        let before = looked_at();
        let mut output = io::stdout().lock();
        if writeln!(output, "{}", status::LOOK).is_err() {
            return;
        }
        drop(output);
        let begun = Instant::now();
        while looked_at() == before && begun.elapsed() < PATIENCE {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

fn looked_at() -> Option<u64> {
    Status::read(Path::new(paths::STATUS)).ok()??.looked_at
}
