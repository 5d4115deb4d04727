//! What a process printed, line by line, with a bell that rings at each line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// A line of output.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Instant,
    /// Whether it came by standard error.
    pub error: bool,
    pub text: String,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// Where the lines of the present life begin.
    life: usize,
    /// How many streams may still bring lines.
    open: usize,
}

/// The output of a container through all its lives.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<(Mutex<State>, Condvar)>);

impl Journal {
    /// Begins a new life: from now on only its lines are waited for.
    pub fn begin(&self) {
        let mut state = self.lock();
        state.life = state.lines.len();
    }

    /// Reads a stream to its end, on a thread of its own.
    pub fn follow(&self, stream: impl Read + Send + 'static, error: bool) {
        self.lock().open += 1;
        let journal = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut bytes = Vec::new();
            while reader
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|length| length > 0)
            {
                let text = String::from_utf8_lossy(&bytes)
                    .trim_end_matches('\n')
                    .to_owned();
                bytes.clear();
                journal.lock().lines.push(Line {
                    at: Instant::now(),
                    error,
                    text,
                });
                journal.0.1.notify_all();
            }
            journal.lock().open -= 1;
            journal.0.1.notify_all();
        });
    }

    /// Blocks until the present life has such a line; `None` when it took too long or the streams
    /// ended without it.
    pub fn wait_for(&self, timeout: Duration, like: impl Fn(&str) -> bool) -> Option<Line> {
        let found = |state: &State| {
            state.lines[state.life..]
                .iter()
                .find(|line| like(&line.text))
                .cloned()
        };
        let missing = |state: &mut State| state.open > 0 && found(state).is_none();
        let waited = self.0.1.wait_timeout_while(self.lock(), timeout, missing);
        found(&waited.expect("no holder of this lock panics").0)
    }

    /// Blocks until no more lines can come.
    pub fn wait_for_end(&self, timeout: Duration) {
        let waited = self
            .0
            .1
            .wait_timeout_while(self.lock(), timeout, |state| state.open > 0);
        drop(waited.expect("no holder of this lock panics"));
    }

    /// The lines of all lives.
    pub fn lines(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    /// The text of the present life.
    pub fn text(&self) -> String {
        let state = self.lock();
        state.lines[state.life..]
            .iter()
            .map(|line| line.text.clone() + "\n")
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no holder of this lock panics")
    }
}
