//! A connected socket whose reads and writes all end at one deadline.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use socket2::SockRef;

use super::deadline::Deadline;

/// A timeout reads as `TimedOut`. What a signal interrupts goes on: with a timeout, the kernel
/// resumes no wait by itself, and signals come whenever a child process ends.
pub struct TimedStream<S> {
    pub socket: S,
    pub deadline: Deadline,
}

fn until_done(mut io: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match io() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            done => return done,
        }
    }
}

impl<S: AsFd> Read for TimedStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = SockRef::from(&self.socket);
        // A peer with Nagle's algorithm sends the rest of what it says only when its beginning is
        // acknowledged, which would take 40 ms. The kernel forgets this soon, so it is told each
        // time; other sockets than those of TCP have none.
        let _ = socket.set_tcp_quickack(true);
        until_done(|| {
            socket.set_read_timeout(self.deadline.socket_timeout()?)?;
            (&*socket).read(buffer)
        })
    }
}

impl<S: AsFd> Write for TimedStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let socket = SockRef::from(&self.socket);
        until_done(|| {
            socket.set_write_timeout(self.deadline.socket_timeout()?)?;
            (&*socket).write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::pthread::pthread_kill;
    use nix::sys::signal::Signal;
    use std::os::unix::net::UnixStream;
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    /// What `read` returns after so many signals at most, and then a byte.
    fn interrupted(
        signals: usize,
        read: impl FnOnce(UnixStream) -> io::Result<usize> + Send + 'static,
    ) -> io::Result<usize> {
        signal_hook::flag::register(Signal::SIGUSR1 as i32, Arc::default()).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let waiting = thread::spawn(move || read(ours));
        // Those that come before the wait have no effect.
        for _ in 0..signals {
            thread::sleep(Duration::from_millis(2));
            if waiting.is_finished() {
                break;
            }
            let _ = pthread_kill(waiting.as_pthread_t(), Signal::SIGUSR1);
        }
        let _ = theirs.write_all(b"x");
        waiting.join().unwrap()
    }

    /// What the control shows: a bare socket's wait ends by a signal.
    #[test]
    fn what_a_signal_interrupts_goes_on() {
        let bare = |mut socket: UnixStream| {
            socket.set_read_timeout(Some(LONG))?;
            socket.read(&mut [0; 16])
        };
        let failure = interrupted(10_000, bare).unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::Interrupted);
        let timed = |socket| {
            let deadline = Deadline::after(LONG);
            TimedStream { socket, deadline }.read(&mut [0; 16])
        };
        assert_eq!(interrupted(50, timed).unwrap(), 1);
    }

    #[test]
    fn all_ends_at_the_deadline() {
        let (socket, _theirs) = UnixStream::pair().unwrap();
        let deadline = Deadline::after(Duration::from_millis(20));
        let mut stream = TimedStream { socket, deadline };
        let kind = |outcome: io::Result<()>| outcome.unwrap_err().kind();
        assert_eq!(kind(stream.read_exact(&mut [0])), io::ErrorKind::TimedOut);
        assert_eq!(kind(stream.write_all(b"x")), io::ErrorKind::TimedOut);
    }
}
