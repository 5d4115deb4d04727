//! Command lines that are run beside the life, in the order in which they came. What they are for
//! is not known here.

use std::convert::Infallible;
use std::ffi::OsString;
use std::sync::mpsc::{self, Receiver};

use super::{Surroundings, run_text};
use crate::system::cancellation::CancellationToken;

/// A command line that is run in the background.
pub struct InBackground {
    /// Before each line of its output, in brackets.
    pub name: &'static str,
    pub text: String,
    pub environment: Vec<(OsString, OsString)>,
    /// Those behind it wait for its end, not for its start alone.
    pub is_waited_for: bool,
}

/// Command lines that are run in the background, in the order in which they came.
#[derive(Default)]
pub struct Queue {
    /// Ends once it is the turn of whoever comes behind the last one.
    turn: Option<Receiver<Infallible>>,
}

impl Queue {
    /// Runs it when its turn has come, unless by then a stop was asked for or it is not wanted any
    /// more.
    pub fn run(
        &mut self,
        script: InBackground,
        stop: &CancellationToken,
        is_wanted: impl FnOnce() -> bool + Send + 'static,
    ) {
        let name = script.name;
        let stop = stop.clone();
        let (in_turn, next) = mpsc::channel();
        let before = self.turn.replace(next);
        let spawned = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                // Nothing is ever sent.
                let _ = before.map(|turn| turn.recv());
                if stop.is_cancelled() || !is_wanted() {
                    return;
                }
                let in_turn = script.is_waited_for.then_some(in_turn);
                let around = Surroundings {
                    environment: &script.environment,
                    stop: &stop,
                };
                run_text(name, &script.text, &around);
                drop(in_turn);
            });
        if let Err(error) = spawned {
            log::warn!("{name} cannot be run: {error}");
        }
    }
}
