//! Commands to this life: taken by a thread of their own, carried out by the main loop.

use std::path::Path;
use std::sync::mpsc::Sender;

use super::supervisor::event::Event;
use super::supervisor::task::Task;
use crate::control::ControlListener;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;

/// Takes commands until a stop; that this cannot be done stops nothing else.
pub(super) fn start(events: Sender<Event>, stop: &CancellationToken) -> Option<Task<()>> {
    let listener = match ControlListener::bind(Path::new(paths::CONTROL_SOCKET)) {
        Ok(listener) => listener,
        Err(error) => {
            log::warn!("No commands can be taken: {error}");
            return None;
        }
    };
    Task::start("control", stop, move |stop| {
        // Once the loop is gone nobody carries it out, and whoever asked learns that.
        let hand_on = |call| drop(events.send(Event::Command(Box::new(call))));
        listener.serve(hand_on, stop);
    })
}
