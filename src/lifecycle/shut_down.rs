//! The end of a life.

use std::path::Path;

use super::supervisor::event::Event;
use super::{End, Life, Phase};
use crate::firewall::kill_switch::KillSwitch;
use crate::hooks::Stage;
use crate::hooks::shell::Exit;
use crate::status::State;
use crate::system::{files, paths};
use crate::tunnel;

impl Life {
    /// Undoes the life in the reverse order; nothing that fails here keeps the rest from being
    /// done. Returns the status that a down hook wants, by `exit`.
    pub(super) fn shut_down(mut self, end: &End) -> Option<Exit> {
        self.container.reporter.enter(State::Stopping, None);
        // After a fatal error: the long tasks obey the same token, whoever cancels it.
        self.container.stop.cancel();
        if let Some(hooks) = self.post_up_hooks.take()
            && hooks.join().is_err()
        {
            log::warn!("the post-up hooks ended badly");
        }
        if let Some(networks) = self.networks.take() {
            networks.end();
        }
        for task in self
            .status_server
            .take()
            .into_iter()
            .chain(self.control.take())
        {
            task.end();
        }
        self.answer_commands();
        let reached_pre_up = !matches!(self.phase, Phase::Open);
        let has_hooks = reached_pre_up && matches!(end, End::Stopped);
        let mut exit = None;
        if has_hooks {
            exit = self.container.run_down_hooks(Stage::PreDown);
        }
        log::info!("Shutting down");
        // Nobody writes it any more: that was this thread, in the loop.
        self.clear_port_file();
        match self.phase {
            Phase::Open => {}
            Phase::Hooks(kill_switch) => close(&kill_switch),
            Phase::Sealed(kill_switch) => {
                close(&kill_switch);
                if let Err(failure) = tunnel::remove_leftovers() {
                    log::warn!("{failure}");
                }
            }
            Phase::Connected(supervisor) => {
                let kill_switch = supervisor.shut_down(&mut self.container);
                close(&kill_switch);
            }
        }
        if has_hooks && exit.is_none() {
            exit = self.container.run_down_hooks(Stage::PostDown);
        }
        // So that nobody takes the file for that of a running program.
        if let Err(error) = files::remove_if_present(Path::new(paths::STATUS)) {
            log::debug!("{error}");
        }
        exit
    }

    /// Nobody waits for the hooks of the end to be told that there will be no more.
    fn answer_commands(&mut self) {
        let mut waiting = match &mut self.phase {
            Phase::Connected(supervisor) => supervisor.take_waiting(),
            Phase::Open | Phase::Hooks(_) | Phase::Sealed(_) => Vec::new(),
        };
        waiting.extend(self.inbox.try_iter().filter_map(|event| match event {
            Event::Command(call) => Some(*call),
            _ => None,
        }));
        for call in waiting {
            call.answer(Err("wireguard-pia is being stopped".into()));
        }
    }
}

fn close(kill_switch: &KillSwitch) {
    if let Err(error) = kill_switch.close() {
        log::warn!("{error}");
    }
}
