//! What is useful by hand, outside the container's life: no kill switch, no marks, no privileges.
//!
//! Everything here goes out as the routing tables say: on a host by the usual way, in a container
//! with a tunnel through that tunnel.

pub mod api_client;
pub mod auth;
mod claimed_gateway;
pub mod doctor;
pub mod getopts;
pub mod healthcheck;
pub mod locations;
pub mod pf_success;
mod pia_files;
pub mod port_forward;
pub mod status;
pub mod wg_gen;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::pia::error::{ApiError, Remedy};

/// A command failed; the kind is its exit status, as users' scripts know it from the original's
/// `wg-gen.sh`.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// The token or the credentials are missing or refused.
    #[error("{0}")]
    Login(String),
    /// No such location, or none that can be used.
    #[error("{0}")]
    Location(String),
    /// No server took the key.
    #[error("{0}")]
    Registration(String),
    /// The server list, or the server of a dedicated IP, cannot be had.
    #[error("{0}")]
    ServerList(String),
}

impl Problem {
    fn code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Login(_) => 2,
            Self::Location(_) => 3,
            Self::Registration(_) => 4,
            Self::ServerList(_) => 5,
        }
    }

    /// The server list or the server of a dedicated IP could not be had; a refused token is another
    /// matter.
    fn from_server_list(error: &ApiError) -> Self {
        match error.remedy() {
            Remedy::LogInAgain => {
                Self::Login(format!("{error}: get a new one with `wireguard-pia auth`"))
            }
            _ => Self::ServerList(error.to_string()),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Other(failure.to_string())
    }
}

/// What the commands' `--help` ends with.
pub const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed, 2 token or login refused, 3 no such \
                               location, \
     4 registration failed, 5 no server list.";

/// Says why it failed, and ends accordingly.
pub fn exit_code(outcome: Result<(), Problem>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            log::error!("{problem}");
            ExitCode::from(problem.code())
        }
    }
}
