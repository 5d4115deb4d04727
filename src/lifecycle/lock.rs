//! One program a container: two would fight over the tunnel.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, FailureKind, Retry};
use crate::system::{files, paths};

/// What is wrong where another program holds the lock.
pub const HELD: &str = "another wireguard-pia is running in this container";

const MAX_LOCK_TRIES: u32 = 10;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Whether another program holds it: then its rules are in force, and are not to be touched.
pub fn is_held() -> bool {
    // A health check that looks at this moment holds it too, very shortly.
    (0..MAX_LOCK_TRIES).all(|_| {
        let is_held = files::is_locked(Path::new(paths::LOCK));
        if is_held {
            std::thread::park_timeout(LOCK_RETRY_INTERVAL);
        }
        is_held
    })
}

/// Takes the lock; it lasts as long as the file is kept open.
///
/// # Errors
/// When the directory for it cannot be made, or another program was faster.
pub fn take() -> Result<File, Failure> {
    files::make_directory(Path::new(paths::RUN))?;
    for _ in 0..MAX_LOCK_TRIES {
        if let Some(lock) = files::try_lock(Path::new(paths::LOCK))? {
            return Ok(lock);
        }
        std::thread::park_timeout(LOCK_RETRY_INTERVAL);
    }
    Err(Failure::new(FailureKind::Local, Retry::Never, HELD))
}
