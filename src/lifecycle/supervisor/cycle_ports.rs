//! `CYCLE_PORTS`: some routers' NAT forgets a flow that lasts too long; changing wg0's port makes a
//! new one.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::event::Event;
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::paths;

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

/// Changes wg0's port.
pub(super) fn listen_on(port: u16, stop: &CancellationToken) {
    if let Err(error) = Command::new(
        "wg",
        ["set", paths::INTERFACE, "listen-port", &port.to_string()],
    )
    .run(stop)
    {
        log::warn!("CYCLE_PORTS: {error}");
    }
}
