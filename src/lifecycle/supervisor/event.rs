//! What the main loop is told.

use crate::connect::register::Joined;
use crate::port_forward::Effect;

/// News for the main loop, which alone changes the tunnel.
#[derive(Debug)]
pub enum Event {
    /// A stop signal came.
    StopRequested,
    /// SIGHUP came: reconnect now.
    Reconnect,
    /// The monitor got no answer any more, for this reason.
    Unresponsive(String),
    /// The search found a server that took a new key.
    Found(Box<Joined>),
    /// The search found that the old tunnel carries again: this target answered.
    Recovered(String),
    /// wg0 is to listen on this port from now on.
    ListenOn(u16),
    /// News of the forwarded port.
    PortForward(Effect),
    /// What could not be done about the forwarded port is to be tried again.
    PortOwed,
}
