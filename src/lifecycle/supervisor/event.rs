//! What the main loop is told.

use std::sync::mpsc::Sender;

use super::exit_address::ExitFinding;
use super::renewal::{FetchedLists, Wanted};
use crate::connect::register::Joined;
use crate::control::ControlCall;
use crate::hooks::shell::Exit;
use crate::port_forward::Effect;
use crate::tunnel::Lack;

/// News for the main loop, which alone changes the tunnel.
#[derive(Debug)]
pub enum Event {
    /// A stop was asked for.
    StopRequested,
    /// SIGHUP came: reconnect now.
    Reconnect,
    /// A command asks for something, and waits for what comes of it.
    Command(Box<ControlCall>),
    /// The endpoint does not answer any more: this is the reason.
    Unresponsive(String),
    /// There is no way into the tunnel any more.
    InterfaceLost(Lack),
    /// News of the search of this number; a later one may have taken its place.
    Search(u32, SearchNews),
    /// The renewal of this number, of what was wanted, is over: these lists were fetched through
    /// the tunnel. A later one may have taken its place.
    Renewed(u32, Wanted, FetchedLists),
    /// Attached networks, their addresses or the default route are others now.
    NetworksChanged,
    /// The way to the endpoint takes packets of so many bytes, and no larger ones.
    WayTakes(u32),
    /// What the world sees of the tunnel.
    ExitAddress(ExitFinding),
    /// wg0 is to listen on this port from now on.
    ListenOn(u16),
    /// News of the forwarded port, from the server of this number; it may be in use no longer.
    PortForward(u32, Effect),
    /// A hook that runs beside the rest called `exit` with this status.
    EndedByHook(Exit),
}

/// What a search for a server says.
#[derive(Debug)]
pub enum SearchNews {
    /// A server took a new key: the search is over.
    Found(Box<Joined>),
    /// It goes on, as no server could be had, for this reason.
    NotFound(String),
    /// The old tunnel carries again, as this target answered: the search is over.
    Recovered(String),
}

/// Tells the main loop that a hook called `exit`.
pub fn ended_by_hook(events: &Sender<Event>) -> impl FnOnce(Exit) + Send + 'static {
    let events = events.clone();
    // The loop may be gone already.
    move |exit| drop(events.send(Event::EndedByHook(exit)))
}
