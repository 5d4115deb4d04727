//! The verbs that are useful by hand, outside the container's life: no kill switch, no marks, no
//! privileges.
//!
//! They use the same modules as the container. Everything here goes out as the routing tables say:
//! on a host by the usual way, in a container with a tunnel through that tunnel.
//!
//! `status_server` is no verb for people, but the process that the container starts for those who
//! ask over HTTP; it rests on what `healthcheck` and `status` rest on.

pub mod api_client;
pub mod auth;
pub mod doctor;
pub mod getopts;
pub mod healthcheck;
pub mod locations;
mod output;
pub mod pf_success;
mod pia_files;
pub mod port;
pub mod port_forward;
pub mod reconnect;
mod running;
pub mod status;
pub mod status_server;
mod status_watch;
mod token_file;
pub mod wg_gen;

use std::process::ExitCode;

use crate::failure::{Failure, FailureKind};

/// Says why a command failed, and ends with the status that users' scripts know from the original's
/// `wg-gen.sh`.
pub fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::error!("{failure}");
            ExitCode::from(status_of(failure.kind))
        }
    }
}

fn status_of(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Cancelled
        | FailureKind::Local
        | FailureKind::NoPortForwarding
        | FailureKind::LeaseRefused(_)
        | FailureKind::PortForwarding => 1,
        FailureKind::Login => 2,
        FailureKind::Location => 3,
        FailureKind::Registration => 4,
        // What is looked up by hand is the host of the list, or of a dedicated IP.
        FailureKind::Network
        | FailureKind::ServerList
        | FailureKind::DedicatedIp
        | FailureKind::ListSignature => 5,
    }
}
