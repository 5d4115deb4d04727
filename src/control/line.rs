//! A line from a socket: bounded in length and in time.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::message::MAX_LINE;

/// Reads up to a newline, which is left out; the other side's end counts as one.
///
/// # Errors
/// When it takes longer than `timeout` in all, or is longer than a message can be, or there is
/// nothing at all (`UnexpectedEof`).
pub(super) fn read(mut stream: &UnixStream, timeout: Duration) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut line = Vec::new();
    let mut part = [0; 512];
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut part) {
            Ok(0) if line.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(line),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        let read = part.get(..count).unwrap_or_default();
        let end = read.iter().position(|byte| *byte == b'\n');
        line.extend(read.iter().take(end.unwrap_or(count)));
        if line.len() >= MAX_LINE {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LONG: Duration = Duration::from_secs(60);

    fn sent(bytes: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        read(&ours, timeout)
    }

    #[test]
    fn a_line_ends_by_its_newline_or_by_the_end() {
        assert_eq!(sent(b"one\ntwo", LONG).unwrap(), b"one");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"one").unwrap();
        drop(theirs);
        assert_eq!(read(&ours, LONG).unwrap(), b"one");
        let nothing = read(&ours, LONG).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_too_long_or_too_slow_is_cut() {
        let kind = |bytes: &[u8], timeout| sent(bytes, timeout).unwrap_err().kind();
        assert_eq!(kind(&vec![b'x'; MAX_LINE], LONG), ErrorKind::FileTooLarge);
        let short = Duration::from_millis(20);
        assert_eq!(kind(b"half", short), ErrorKind::TimedOut);
    }
}
