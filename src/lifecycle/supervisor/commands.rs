//! What commands ask for, carried out by the main loop: a reconnect to where they say, another
//! port. A choice that leads nowhere is given up for the one before it, so that the tunnel ends up
//! where it can be.

use std::time::Duration;

use super::Supervisor;
use super::event::Event;
use super::forwarded_port::PortKeeper;
use super::renewal::{FetchedLists, Renewal, Wanted};
use super::steering::SteeredReconnect;
use super::task::Task;
use crate::connect::register::Tried;
use crate::container::Container;
use crate::control::ControlCall;
use crate::control::message::ControlRequest;
use crate::lifecycle::kept_choice;
use crate::pia::regions::Server;
use crate::settings::ServerChoice;
use crate::status::ReconnectCause;

impl Supervisor {
    /// Does what a command asks for; it is answered when that is done, or cannot be.
    pub(super) fn obey(&mut self, call: ControlCall, container: &mut Container) {
        log::info!("By command: {}", call.request);
        match call.request {
            ControlRequest::Reconnect { .. } if self.steering.is_busy() => {
                call.answer(Err("another command's reconnect is under way".into()));
            }
            ControlRequest::Reconnect { .. } => self.steer(call, container, false),
            ControlRequest::Port(wish) => match &mut self.port {
                Some(port) => port.wish(wish, call, &self.tunnel, container, &self.events),
                None => call.answer(Err(
                    "no port is forwarded: set PORT_FORWARDING=1 and start the container anew"
                        .into(),
                )),
            },
        }
    }

    /// Where a name is known nowhere, newer lists are asked, and after that nobody.
    fn steer(&mut self, call: ControlCall, container: &mut Container, are_lists_new: bool) {
        let ControlRequest::Reconnect { to, keep } = call.request.clone() else {
            return;
        };
        let mut choice = match to.as_ref().map(|to| self.steering.meant(to)).transpose() {
            Ok(choice) => choice,
            Err(why) => return call.answer(Err(why)),
        };
        if let Some(choice) = &mut choice {
            let joined = &self.tunnel.joined;
            choice.note_seen(&joined.server.cn, joined.seen());
        }
        // While the search has the connector, it will find out.
        if let (Some(choice), Some(connector)) = (&choice, &mut self.connector)
            && let Some(objection) = connector.objection(choice)
        {
            if are_lists_new || !self.ask_for_lists(container) {
                return call.answer(Err(objection));
            }
            self.steering.unsure = Some(call);
            return;
        }
        let before = self.steering.reconnect.take();
        let unproven = before.filter(|asked| !asked.is_given_up);
        let in_force = || {
            choice
                .is_some()
                .then(|| container.settings.destination.clone())
        };
        self.steering.reconnect = Some(SteeredReconnect {
            call,
            to,
            keep,
            former: unproven.and_then(|asked| asked.former).or_else(in_force),
            is_given_up: false,
            why_not: None,
            tried: Tried::default(),
        });
        match choice {
            None => self.reconnect_now(container, "a command"),
            Some(choice) => self.reconnect_by(choice, container),
        }
    }

    fn reconnect_by(&mut self, choice: ServerChoice, container: &mut Container) {
        self.account.forget_refusal();
        let is_searching = self.search.is_some() || self.is_search_owed;
        self.end_search();
        if let Some(connector) = &mut self.connector {
            connector.choose(choice.clone());
        }
        container.settings.destination = choice;
        if is_searching {
            self.start_search(container, Duration::ZERO);
        } else {
            self.begin_reconnect(container, ReconnectCause::Request, "asked for by a command");
        }
    }

    /// Those who wait for what they asked for: this life ends.
    pub fn take_waiting(&mut self) -> Vec<ControlCall> {
        let mut waiting = self.steering.take_waiting();
        waiting.extend(self.port.as_mut().and_then(PortKeeper::take_waiting));
        waiting
    }

    /// No server could be had; the search goes on, by the former choice if there is one.
    pub(super) fn note_not_found(&mut self, why: String, container: &mut Container) {
        self.steering.note_failure(why);
        self.give_choice_up(container);
    }

    /// A choice that a command made, and that led nowhere, makes way for the one before it.
    pub(super) fn give_choice_up(&mut self, container: &mut Container) {
        let Some(former) = self.steering.fallback() else {
            return;
        };
        if let Some(asked) = &mut self.steering.reconnect {
            asked.is_given_up = true;
        }
        container.settings.destination = former.clone();
        if let Some(connector) = &mut self.connector {
            connector.choose(former);
        }
    }

    /// The tunnel is at another server now, and not at the `former` any more.
    pub(super) fn answer_reconnect(&mut self, former: &Server) {
        let Some(asked) = self.steering.reconnect.take() else {
            return;
        };
        let now = format!("connected to {}", self.whereabouts());
        if asked.is_given_up {
            let why = asked.why_not.unwrap_or_default();
            return asked.call.answer(Err(format!("{why}; {now} instead")));
        }
        if asked.former.is_some() {
            // It was left for no fault of its own.
            self.avoided.retain(|(avoided, _)| avoided != former);
        }
        let outcome = match &asked.to {
            Some(to) if asked.keep => match kept_choice::keep(to, &self.tunnel.joined) {
                Ok(()) => Ok(format!("{now}; this choice is kept over restarts")),
                Err(error) => Err(format!("{now}, but the choice cannot be kept: {error}")),
            },
            _ => Ok(now),
        };
        asked.call.answer(outcome);
    }

    /// The tunnel is where it was.
    pub(super) fn answer_not_reconnected(&mut self) {
        if let Some(asked) = self.steering.reconnect.take() {
            let why = asked
                .why_not
                .unwrap_or_else(|| "no other server could be had".into());
            let now = self.whereabouts();
            asked
                .call
                .answer(Err(format!("{why}; still connected to {now}")));
        }
    }

    fn whereabouts(&self) -> String {
        let joined = &self.tunnel.joined;
        let (location, cn) = (&joined.location, &joined.server.cn);
        format!("{location}: {cn} ({})", joined.endpoint())
    }

    /// Renews token and list, unless a server is being looked for: that is not the time.
    pub(super) fn renew(&mut self, container: &Container) {
        self.renewal.plan_next();
        if let Some(connector) = &self.connector
            && !self.is_search_owed
            && self.steering.unsure.is_none()
        {
            let with_newer = connector.has_newer_list();
            self.start_renewal(Wanted::All { with_newer }, container);
        }
    }

    fn ask_for_lists(&mut self, container: &Container) -> bool {
        self.start_renewal(Wanted::Lists, container);
        self.renewal.task.is_some()
    }

    fn start_renewal(&mut self, wanted: Wanted, container: &Container) {
        self.renewal.end();
        let renewal = Renewal::new(&self.tunnel, self.account.clone(), container);
        let events = self.events.clone();
        self.renewal.number = self.renewal.number.wrapping_add(1);
        let number = self.renewal.number;
        self.renewal.task = Task::start("renewal", &container.stop, move |stop| {
            let lists = renewal.run(wanted, stop);
            // The loop may be gone already.
            let _ = events.send(Event::Renewed(number, wanted, lists));
        });
    }

    /// The renewal is over; what it could not have is done without.
    pub(super) fn take_renewed(
        &mut self,
        wanted: Wanted,
        lists: FetchedLists,
        container: &mut Container,
    ) {
        if let Some(connector) = &mut self.connector {
            for (version, list) in lists {
                connector.learn(version, list);
            }
        }
        self.renewal.end();
        if wanted == Wanted::Lists
            && let Some(call) = self.steering.unsure.take()
        {
            self.steer(call, container, true);
        }
    }
}
