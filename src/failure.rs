//! A step of the story failed: what the user is told, and whether trying again can help.

use std::time::Duration;

use crate::firewall::FirewallError;
use crate::pia::error::{ApiError, Remedy};
use crate::pia::trust::TrustError;
use crate::system::cancellation::Cancelled;
use crate::system::command::CommandError;
use crate::system::files::FileError;
use crate::underlay::interfaces::InterfacesError;
use crate::underlay::resolver::ResolveError;
use crate::wireguard::WireGuardError;

/// Why a step failed; the text says what failed, what was tried and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing failed: a stop was asked for.
    #[error("interrupted by a request to stop")]
    Stopped,
    /// May pass by itself: network, DNS, servers down, 429, 5xx.
    #[error("{what}")]
    Passing {
        what: String,
        /// Not before that, if the other side said so.
        not_before: Option<Duration>,
    },
    /// Will not pass by itself; trying again could lock the account.
    #[error("{what}")]
    Lasting { what: String },
    /// Nothing was asked of us but to print the locations, which is done.
    #[error("LOC is empty")]
    Listed,
}

impl Failure {
    /// One that may pass.
    pub fn passing(what: impl Into<String>) -> Self {
        Self::Passing {
            what: what.into(),
            not_before: None,
        }
    }

    /// One that will not.
    pub fn lasting(what: impl Into<String>) -> Self {
        Self::Lasting { what: what.into() }
    }
}

impl From<Cancelled> for Failure {
    fn from(_: Cancelled) -> Self {
        Self::Stopped
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error.remedy() {
            Remedy::Stopped => Self::Stopped,
            Remedy::Later => Self::Passing {
                what: error.to_string(),
                not_before: error.retry_after(),
            },
            Remedy::NextServer | Remedy::NewLease => Self::passing(error.to_string()),
            Remedy::LogInAgain | Remedy::GiveUp => Self::lasting(error.to_string()),
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::lasting(error.to_string())
    }
}

impl From<FirewallError> for Failure {
    fn from(error: FirewallError) -> Self {
        Self::lasting(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::lasting(error.to_string())
    }
}

impl From<InterfacesError> for Failure {
    fn from(error: InterfacesError) -> Self {
        Self::passing(error.to_string())
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Interrupted { .. } => Self::Stopped,
            other => Self::passing(other.to_string()),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Interrupted { .. } => Self::Stopped,
            other => Self::lasting(other.to_string()),
        }
    }
}

impl From<WireGuardError> for Failure {
    fn from(error: WireGuardError) -> Self {
        if error.is_interrupted() {
            Self::Stopped
        } else {
            Self::lasting(error.to_string())
        }
    }
}
