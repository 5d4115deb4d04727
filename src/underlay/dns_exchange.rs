//! One question to one name server, by UDP or TCP. Whom to ask, and what its answer is worth, is
//! not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::deadline::Deadline;
use super::dns_message::{Answer, LookupResult, question, read_answer};
use super::socket::{self, SocketError, Via};
use super::timed_stream::TimedStream;
use crate::system::cancellation::CancellationToken;

/// Until a question is sent again while its answer is awaited: it may have been lost.
const REPEAT_INTERVAL: Duration = Duration::from_millis(500);
/// Far above an answer with the addresses of one host.
const MAX_ANSWER_BYTES: usize = 4096;

/// Asks again and again, as questions and answers get lost.
///
/// # Errors
/// When the server cannot be asked, or nothing comes before the deadline.
pub(super) fn ask_by_udp(
    via: &Via,
    peer: SocketAddr,
    host: &str,
    deadline: Deadline,
    stop: &CancellationToken,
) -> Result<Answer, SocketError> {
    let failed = |source| SocketError::NotConnected {
        address: peer,
        source,
    };
    let id = fastrand::u16(..);
    let connection = socket::udp(via, peer, stop)?;
    let socket = &*connection.socket;
    let question = question(id, host).map_err(failed)?;
    let mut buffer = [0; MAX_ANSWER_BYTES];
    let mut repeat = Deadline::after(Duration::ZERO);
    loop {
        let left = deadline.socket_timeout().map_err(failed)?;
        let until_repeat = match repeat.left() {
            Duration::ZERO => {
                socket.send(&question).map_err(failed)?;
                repeat = Deadline::after(REPEAT_INTERVAL);
                REPEAT_INTERVAL
            }
            left => left,
        };
        let wait = left.map_or(until_repeat, |left| left.min(until_repeat));
        socket.set_read_timeout(Some(wait)).map_err(failed)?;
        match socket.recv(&mut buffer) {
            // A stop shuts the socket down, which reads as an empty packet.
            Ok(_) if stop.is_cancelled() => return Err(SocketError::Interrupted),
            Ok(length) => {
                // Anything else is ignored: a late answer to an earlier question, or a forgery.
                if let Some(answer) =
                    read_answer(buffer.get(..length).unwrap_or_default(), id, host)
                {
                    return Ok(answer);
                }
            }
            Err(error) if is_passing(&error) => (),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Whether nothing but a wait ended.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// For what is too long for UDP.
///
/// # Errors
/// As [`ask_by_udp`], and when what comes is no answer.
pub(super) fn ask_by_tcp(
    via: &Via,
    peer: SocketAddr,
    host: &str,
    deadline: Deadline,
    stop: &CancellationToken,
) -> Result<LookupResult, SocketError> {
    let failed = |source| SocketError::NotConnected {
        address: peer,
        source,
    };
    let id = fastrand::u16(..);
    let connection = socket::connect(via, peer, deadline.left(), stop)?;
    let mut stream = TimedStream {
        socket: &connection,
        deadline,
    };
    let mut exchange = || -> io::Result<Vec<u8>> {
        let question = question(id, host)?;
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), question.as_slice()].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_ANSWER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    match read_answer(&exchange().map_err(failed)?, id, host) {
        Some(Answer::Whole(outcome) | Answer::Cut(outcome)) => Ok(outcome),
        None => Err(failed(io::ErrorKind::InvalidData.into())),
    }
}
