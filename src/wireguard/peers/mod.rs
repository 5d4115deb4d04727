//! The peers of the interface, read without a process: from the kernel, or from the socket of a
//! WireGuard in user space.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub(super) mod dump;
pub(super) mod kernel;
pub(super) mod user_space;

use std::io;
use std::time::{Duration, SystemTime};

use super::show;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

/// A WireGuard in user space is on this machine, and answers at once or is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A peer, as far as anything here asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// `address:port`, `None` where it is not known.
    pub endpoint: Option<String>,
    /// `None` before the first.
    pub last_handshake: Option<SystemTime>,
    /// Bytes received and sent.
    pub received: u64,
    pub sent: u64,
}

/// The peers cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// `wg` could not either.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The program takes the question, and is stuck.
    #[error("the program that carries {} does not answer", paths::INTERFACE)]
    Silent,
}

/// The peers of the interface. Where neither the kernel nor the socket answers, `wg` is asked,
/// which knows other systems' ways, and whose complaint is the one that people can look up; but not
/// where a socket is silent, for which `wg` would wait without an end.
///
/// # Errors
/// When there is no such interface or `wg` fails.
pub fn list(stop: &CancellationToken) -> Result<Vec<Peer>, PeersError> {
    match ask() {
        Ok(peers) => Ok(peers),
        // That is how a limit at a socket ends.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(PeersError::Silent),
        Err(error) => {
            log::debug!("peers of {}: {error}; asking wg", paths::INTERFACE);
            let text = Command::new("wg", ["show", paths::INTERFACE, "dump"]).run(stop)?;
            Ok(dump::parse(&text))
        }
    }
}

fn ask() -> io::Result<Vec<Peer>> {
    if show::is_in_user_space() {
        user_space::peers(ANSWER_TIMEOUT)
    } else {
        kernel::peers()
    }
}

/// Seconds since 1970, where zero is never.
fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds > 0)
}
