//! Asking the running program to do something.

use std::path::Path;
use std::time::Duration;

use super::status;
use crate::control::message::ControlRequest;
use crate::control::{AskError, ask};
use crate::failure::{Failure, FailureKind, Retry};
use crate::status::State;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;

/// Asks, and waits for what comes of it, `seconds` at most.
///
/// # Errors
/// When it was not done as asked: why, and what is so now.
pub(super) fn told(
    request: &ControlRequest,
    seconds: u64,
    stop: &CancellationToken,
) -> Result<String, Failure> {
    let timeout = Duration::from_secs(seconds);
    let why = match ask(Path::new(paths::CONTROL_SOCKET), request, timeout, stop) {
        Ok(reply) if reply.done => return Ok(reply.text),
        Ok(reply) => reply.text,
        Err(_) if stop.is_cancelled() => return Err(Failure::cancelled()),
        Err(AskError::Nobody) => nobody(),
        Err(AskError::TooLate) => format!(
            "not done within {seconds} s, and it goes on; `wireguard-pia status` tells how it \
             stands"
        ),
        Err(error) => error.to_string(),
    };
    Err(Failure::new(FailureKind::Local, Retry::Never, why))
}

fn nobody() -> String {
    match status::current() {
        Ok(status) => match status.state {
            State::Sealed => "this is an anchor, which takes none: ask the VPN container in its \
                              network"
                .to_owned(),
            State::Connected | State::Reconnecting => {
                "no commands are taken: the log says why".to_owned()
            }
            state => format!(
                "no commands are taken before the first connect, nor after the end: it is {state}"
            ),
        },
        Err(why) => why,
    }
}
