//! `wg set`, which waits without an end for a WireGuard in user space that hangs.

use std::time::Duration;

use super::WireGuardError;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths::INTERFACE;

/// The kernel, or the program that carries the interface, answers at once or is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Changes the interface, which has a second for it; `input` is for `/dev/stdin` among the words.
pub(super) fn set(
    words: impl IntoIterator<Item = String>,
    input: Option<String>,
    stop: &CancellationToken,
) -> Result<(), WireGuardError> {
    let what = ["set", INTERFACE].map(str::to_owned);
    let mut command = Command::new("wg", what.into_iter().chain(words));
    if let Some(input) = input {
        command = command.input(input);
    }
    let outcome = stop.limited(ANSWER_TIMEOUT, |limited| command.run(limited));
    match outcome {
        Ok(_) => Ok(()),
        Err(CommandError::Interrupted { .. }) if !stop.is_cancelled() => {
            Err(WireGuardError::Silent)
        }
        Err(error) => Err(error.into()),
    }
}

/// Has the tunnel's packets leave by this port, and come there.
///
/// # Errors
/// When `wg` fails, or nobody answers it.
pub fn listen_on(port: u16, stop: &CancellationToken) -> Result<(), WireGuardError> {
    set(["listen-port".to_owned(), port.to_string()], None, stop)
}
