//! How long tests wait.
//!
//! A test of behaviour fails when something does not happen at all, so its limits are far beyond
//! what a busy machine needs, and never below [`SOON`]. Limits that are promises of the program
//! stand in the tests of timing.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// For what is a matter of a second.
pub const SOON: Duration = Duration::from_secs(20);
/// For what has to wait for a server that does not answer.
pub const LATER: Duration = Duration::from_secs(60);

/// Blocks until something is so that rings no bell when it becomes so, and fails the test if it
/// does not. Look for a bell first: a log line, a record, an arrival.
#[track_caller]
pub fn wait_until(what: &str, timeout: Duration, is_so: impl Fn() -> bool) {
    wait_for(what, timeout, || is_so().then_some(()));
}

/// The same for something that is looked for.
#[track_caller]
pub fn wait_for<T>(what: &str, timeout: Duration, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < timeout, "{what}: not within {timeout:?}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// Binds an address that this process may have had a moment ago: a program that another test starts
/// holds the sockets of all until it is executed.
#[track_caller]
pub fn bind_when_free<T>(bind: impl Fn() -> io::Result<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            bound => return bound.expect("the address can be bound"),
        }
    }
}
