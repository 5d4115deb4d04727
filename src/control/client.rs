//! Asking the running program.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::line;
use super::message::{ControlReply, ControlRequest};
use crate::system::cancellation::CancellationToken;

/// For the request to be taken.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("nobody takes commands")]
    Nobody,
    #[error("the control socket: {0}")]
    NotAsked(io::Error),
    #[error("it ended before this was done")]
    Ended,
    #[error("not done within the time")]
    TooLate,
    #[error("the answer cannot be read: {0}")]
    Garbage(String),
}

/// Asks whoever listens at `path`, and waits for the answer, for `timeout` at most.
///
/// # Errors
/// When nobody listens or may be asked, or there is no answer in time.
pub fn ask(
    path: &Path,
    request: &ControlRequest,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<ControlReply, AskError> {
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::Nobody,
        _ => AskError::NotAsked(error),
    })?;
    let stopped = stream.try_clone().map_err(AskError::NotAsked)?;
    let _guard = stop.on_cancel(move || drop(stopped.shutdown(Shutdown::Both)));
    let mut line = serde_json::to_vec(request).map_err(|error| AskError::NotAsked(error.into()))?;
    line.push(b'\n');
    let sent = stream
        .set_write_timeout(Some(SEND_TIMEOUT))
        .and_then(|()| stream.write_all(&line));
    match sent {
        // One that may not ask is told so, and hung up on, before it has said anything.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(AskError::NotAsked(error));
        }
        _ => {}
    }
    let answer = line::read(&stream, timeout).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => AskError::TooLate,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => AskError::Ended,
        _ => AskError::NotAsked(error),
    })?;
    serde_json::from_slice(&answer).map_err(|error| AskError::Garbage(error.to_string()))
}
