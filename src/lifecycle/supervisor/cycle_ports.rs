//! `CYCLE_PORTS`: some routers' NAT forgets a flow that lasts too long; changing wg0's port makes a
//! new one.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::event::Event;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;
use crate::wireguard::set;

/// Asks for the next of `ports` every `interval`, round and round.
pub(super) fn run(
    ports: &[u16],
    interval: Duration,
    events: &Sender<Event>,
    stop: &CancellationToken,
) {
    log::info!(
        "Changing the port that {} listens on every {} s",
        paths::INTERFACE,
        interval.as_secs()
    );
    for port in ports.iter().cycle() {
        if events.send(Event::ListenOn(*port)).is_err() || stop.pause(interval).is_err() {
            return;
        }
    }
}

/// Changes wg0's port, unless that is stopped.
pub(super) fn listen_on(port: u16, stop: &CancellationToken) {
    if let Err(error) = set::listen_on(port, stop)
        && !stop.is_cancelled()
    {
        log::warn!(
            "CYCLE_PORTS: {} does not listen on {port}: {error}",
            paths::INTERFACE
        );
    }
}
