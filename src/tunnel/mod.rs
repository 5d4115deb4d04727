//! The WireGuard interface: its keys, its configuration, wg-quick, what `wg show` says, and the
//! routes around it.

pub mod conf;
pub mod kernel;
pub mod keys;
pub mod peer;
pub mod quick;
pub mod routes;
pub mod show;

use crate::system::command::CommandError;
use crate::system::files::FileError;

/// The tunnel could not be set up, changed or taken down.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// `wg`, `ip` or `tc`.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The template could not be rendered.
    #[error("rendering {what}: {source}")]
    Template {
        what: &'static str,
        source: askama::Error,
    },
    /// wg-quick itself.
    #[error("bringing up {}: {source}{}", crate::system::paths::INTERFACE, quick::advice(.said))]
    Quick { source: CommandError, said: String },
}
