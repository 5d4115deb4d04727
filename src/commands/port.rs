//! `port`: the forwarded port, and another one in its place.

use super::output::print;
use super::{running, status};
use crate::control::message::{ControlRequest, PortWish};
use crate::failure::{Failure, FailureKind, Retry};
use crate::status::State;
use crate::system::cancellation::CancellationToken;

/// Print the forwarded port, or have the running program get another; exit status 1 if there is
/// none.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Get another port, which is announced like the first, and wait for it.
    #[arg(long, conflicts_with = "rebind")]
    new: bool,
    /// Refresh the port now instead of when it is due, and wait until that is done.
    #[arg(long)]
    rebind: bool,
    /// Wait that many seconds at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

/// Prints the port's number.
///
/// # Errors
/// When there is none, or it could not be done as asked.
pub fn run(arguments: &Arguments, stop: &CancellationToken) -> Result<(), Failure> {
    let wish = match (arguments.new, arguments.rebind) {
        (true, _) => PortWish::New,
        (_, true) => PortWish::Rebind,
        _ => return print(&format!("{}\n", current()?)),
    };
    let port = running::told(&ControlRequest::Port(wish), arguments.wait, stop)?;
    print(&format!("{port}\n"))
}

fn current() -> Result<u16, Failure> {
    let why = match status::current() {
        Ok(status) => match status.port {
            Some(port) if status.port_unbound => {
                format!("port {} is being bound at the new server", port.number)
            }
            Some(port) => return Ok(port.number),
            None if status.port_wanted => "no port is forwarded at the moment".to_owned(),
            None if status.state == State::Sealed => {
                "this is an anchor, which has no port: ask the VPN container in its network"
                    .to_owned()
            }
            None => "no port is forwarded: PORT_FORWARDING=1 is not set".to_owned(),
        },
        Err(why) => why,
    };
    Err(Failure::new(FailureKind::Local, Retry::Never, why))
}
