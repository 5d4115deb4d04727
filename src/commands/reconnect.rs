//! `reconnect`: another server, while the tunnel stands.

use std::path::Path;

use super::output::print;
use super::running;
use crate::control::message::{ControlRequest, RequestedServer};
use crate::failure::Failure;
use crate::system::cancellation::CancellationToken;
use crate::system::{files, paths};

/// Have the running program connect to another server, and wait until it has.
///
/// The interface is kept, and the kill switch closed. Without options, as by SIGHUP: another server
/// of the location. Exit status 0 if connected where told; else 1, and the tunnel is where it can
/// be.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// To these locations, in order of preference, each as in LOC.
    #[arg(short, long, value_name = "ID", num_args = 1.., group = "where")]
    location: Vec<String>,
    /// To the server of this common name, which a server list has to name.
    #[arg(long, value_name = "CN", group = "where")]
    server: Option<String>,
    /// To the nearest location.
    #[arg(long, group = "where")]
    auto: bool,
    /// To where LOC and the other variables say.
    #[arg(long, group = "where", conflicts_with = "keep")]
    configured: bool,
    /// Keep this choice over restarts, in place of LOC.
    #[arg(long, requires = "where", conflicts_with = "forget")]
    keep: bool,
    /// Keep it no longer; without another option, the tunnel is left as it is.
    #[arg(long)]
    forget: bool,
    /// Wait that many seconds at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

impl Arguments {
    fn to(&self) -> Option<RequestedServer> {
        if self.auto {
            return Some(RequestedServer::Locations("auto".into()));
        }
        if self.configured {
            return Some(RequestedServer::Configured);
        }
        if let Some(cn) = &self.server {
            return Some(RequestedServer::Server(cn.trim().to_owned()));
        }
        let is_named = !self.location.is_empty();
        is_named.then(|| RequestedServer::Locations(self.location.join(", ")))
    }
}

/// Says what came of it.
///
/// # Errors
/// When it is not connected where it was told to be, or the choice cannot be forgotten.
pub fn run(arguments: &Arguments, stop: &CancellationToken) -> Result<(), Failure> {
    let to = arguments.to();
    if arguments.forget {
        let file = Path::new(paths::KEPT_CHOICE);
        let was_kept = file.symlink_metadata().is_ok();
        files::remove_if_present(file)?;
        print(if was_kept {
            "the kept choice is forgotten: the next start goes by LOC\n"
        } else {
            "no choice is kept\n"
        })?;
        if to.is_none() {
            return Ok(());
        }
    }
    let keep = arguments.keep;
    let request = ControlRequest::Reconnect { to, keep };
    let outcome = running::told(&request, arguments.wait, stop)?;
    print(&format!("{outcome}\n"))
}
