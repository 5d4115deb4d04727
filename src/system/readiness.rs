//! Waiting for a socket, or for a stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cancellation::{CancellationToken, Cancelled};

/// Where no more files can be opened, the socket is looked at so often.
const WITHOUT_PIPE: Duration = Duration::from_millis(50);

/// Waits until any of the sockets has something to be read, or has failed, for `timeout` at most.
/// Where that cannot be waited for, it is over at once: whoever uses the socket learns why.
///
/// # Errors
/// When a stop is asked for.
pub fn wait(
    sockets: &[BorrowedFd<'_>],
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<(), Cancelled> {
    // Its other end is closed by a stop.
    let Ok((stopped, stopping)) = io::pipe() else {
        return stop.pause(timeout.min(WITHOUT_PIPE));
    };
    let _guard = stop.on_cancel(move || drop(stopping));
    let mut any = vec![PollFd::new(stopped.as_fd(), PollFlags::empty())];
    any.extend(
        sockets
            .iter()
            .map(|socket| PollFd::new(*socket, PollFlags::POLLIN)),
    );
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    // Who was interrupted looks at the sockets once more than needed.
    let _ = poll(&mut any, timeout);
    stop.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_there_ends_the_wait() {
        let (socket, mut other) = UnixStream::pair().unwrap();
        let stop = CancellationToken::never();
        let wait = |timeout| wait(&[socket.as_fd()], timeout, &stop);
        assert_eq!(wait(Duration::from_millis(1)), Ok(()));
        other.write_all(b"x").unwrap();
        assert_eq!(wait(LONG), Ok(()));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || wait(&[socket.as_fd()], LONG, &stopping));
        stop.cancel();
        assert_eq!(thread.join().unwrap(), Err(Cancelled));
    }
}
