//! What the main loop is told.

use std::sync::mpsc::Sender;

use super::exit_address::ExitFinding;
use crate::connect::register::Joined;
use crate::hooks::shell::Exit;
use crate::port_forward::Effect;

/// News for the main loop, which alone changes the tunnel.
#[derive(Debug)]
pub enum Event {
    /// A stop signal came.
    StopRequested,
    /// SIGHUP came: reconnect now.
    Reconnect,
    /// The endpoint does not answer any more, or the interface is gone: this is the reason.
    Unresponsive(String),
    /// The search found a server that took a new key.
    Found(Box<Joined>),
    /// The search found that the old tunnel carries again: this target answered.
    Recovered(String),
    /// Attached networks, their addresses or the default route are others now.
    NetworksChanged,
    /// The way to the endpoint takes packets of so many bytes, and no larger ones.
    WayTakes(u32),
    /// What the world sees of the tunnel.
    ExitAddress(ExitFinding),
    /// wg0 is to listen on this port from now on.
    ListenOn(u16),
    /// News of the forwarded port.
    PortForward(Effect),
    /// A hook that runs beside the rest called `exit` with this status.
    EndedByHook(Exit),
}

/// Tells the main loop that a hook called `exit`.
pub fn ended_by_hook(events: &Sender<Event>) -> impl FnOnce(Exit) + Send + 'static {
    let events = events.clone();
    // The loop may be gone already.
    move |exit| drop(events.send(Event::EndedByHook(exit)))
}
