//! The forwarded port in the container: kept by a thread of its own, announced and withdrawn by the
//! main loop.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::{Instant, SystemTime};

use log::Level;

use super::announcement::Announcement;
use super::event::Event;
use super::task::Task;
use crate::connect::account::Account;
use crate::container::Container;
use crate::control::ControlCall;
use crate::control::message::PortWish;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::lease::Lease;
use crate::port_forward::{
    Effect, LeaseFile, LeaseMachine, LeaseOptions, LeaseWish, PortService, Worker,
};
use crate::settings::ServerChoice;
use crate::status::State;
use crate::system::paths;
use crate::tunnel::Tunnel;
use crate::underlay::socket::Via;

/// What an effect asks of the main loop, beyond what was done about it here.
#[must_use]
pub enum Demand {
    /// Reconnect to another server, for this reason.
    AnotherServer(String),
    Fatal(Failure),
    /// Say that this server forwards no ports, and where some do.
    Advice(String),
}

/// The forwarded port of this life. The lease outlives the connection to a server, so that the port
/// stays the same.
pub struct PortKeeper {
    options: LeaseOptions,
    file: Option<LeaseFile>,
    /// What could not be written there.
    unstored: Option<Lease>,
    account: Account,
    announcement: Announcement,
    task: Option<Task<Option<LeaseMachine>>>,
    /// What no thread could be had for.
    owed: Option<LeaseMachine>,
    /// Of the servers that were asked, one after the other, the number of the one in use.
    server: u32,
    /// Who waits for what came of a wish.
    call: Option<ControlCall>,
    /// Our key of the tunnel that the port is kept at, which each registration has a new one of.
    tunnel_key: Option<String>,
    /// When what is done is looked at the next time.
    next_look: Option<Instant>,
}

impl PortKeeper {
    /// With the lease of an earlier life, if the user wants that.
    pub fn new(container: &Container, tunnel: &Tunnel, account: Account) -> Self {
        let settings = &container.settings;
        let options = LeaseOptions {
            interval: settings.port_forwarding.rebind_interval,
            fatal: settings.port_forwarding.fatal,
            other_servers: may_change_server(container),
        };
        let persist = settings.port_forwarding.persist;
        Self {
            options,
            file: persist.then(|| LeaseFile::claim(Path::new(paths::PORT_SIGNATURE))),
            unstored: None,
            account,
            announcement: Announcement::new(tunnel.kill_switch().clone()),
            task: None,
            owed: None,
            server: 0,
            call: None,
            tunnel_key: None,
            next_look: None,
        }
    }

    /// Has the port forwarded by the server of this tunnel from now on, and no longer asks the
    /// former one. The port that is announced stays so until the new server's first answer.
    pub fn start(&mut self, tunnel: &Tunnel, container: &Container, events: &Sender<Event>) {
        self.server = self.server.wrapping_add(1);
        self.start_worker(None, tunnel, container, events);
    }

    /// Does what a command asks for as soon as that can be done, and answers then. One at a time.
    pub fn wish(
        &mut self,
        wish: PortWish,
        call: ControlCall,
        tunnel: &Tunnel,
        container: &Container,
        events: &Sender<Event>,
    ) {
        if self.call.as_ref().is_some_and(|call| !call.is_abandoned()) {
            call.answer(Err(
                "another command about the port is being carried out".into()
            ));
            return;
        }
        self.call = Some(call);
        let wish = match wish {
            PortWish::New => LeaseWish::NewPort,
            PortWish::Rebind => LeaseWish::Rebind,
        };
        self.start_worker(Some(wish), tunnel, container, events);
    }

    fn start_worker(
        &mut self,
        wish: Option<LeaseWish>,
        tunnel: &Tunnel,
        container: &Container,
        events: &Sender<Event>,
    ) {
        let before = self.task.take().and_then(Task::end).flatten();
        let before = before.or_else(|| self.owed.take());
        let mut machine = before.unwrap_or_else(|| self.machine());
        // A command may have chosen otherwise since.
        machine.may_change_server(may_change_server(container));
        let key = Some(tunnel.joined.keys.public.clone());
        let is_same = std::mem::replace(&mut self.tunnel_key, key.clone()) == key;
        if !is_same {
            self.announcement.move_to_tunnel(container);
        }
        let worker = self.worker(tunnel, container);
        match wish {
            Some(wish) => machine.wish(wish),
            None if is_same => Worker::come_back(&mut machine),
            None => worker.take_over(&mut machine),
        }
        self.run(Level::Warn, worker, machine, container, events);
    }

    /// Tries again what no thread could be had for.
    pub fn start_owed(&mut self, tunnel: &Tunnel, container: &Container, events: &Sender<Event>) {
        if let Some(machine) = self.owed.take() {
            let worker = self.worker(tunnel, container);
            self.run(Level::Debug, worker, machine, container, events);
        }
    }

    /// Whether nobody asks the server, for want of a thread.
    pub fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    fn worker(&self, tunnel: &Tunnel, container: &Container) -> Worker {
        let joined = &tunnel.joined;
        let service = PortService {
            cn: joined.server.cn.clone(),
            addresses: joined.registration.port_services(joined.server.ip),
            ca_file: container.settings.pia_ca_file.clone(),
            via: Via::Interface(paths::INTERFACE.to_owned()),
            is_supported: joined.port_forwarding,
        };
        Worker::new(service, self.account.clone())
    }

    fn run(
        &mut self,
        refusal_level: Level,
        worker: Worker,
        machine: LeaseMachine,
        container: &Container,
        events: &Sender<Event>,
    ) {
        let (server, events) = (self.server, events.clone());
        // Handed over once there is a thread: with the work of one that cannot be had it were lost.
        let (hand_over, handed_over) = mpsc::channel();
        self.task = Task::start_at(
            refusal_level,
            "port-forward",
            &container.stop,
            move |stop| {
                let mut machine = handed_over.recv().ok()?;
                let report = |effect| match events.send(Event::PortForward(server, effect)) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Nobody listens any more once the life is over.
                    Err(_) => ControlFlow::Break(()),
                };
                worker.run(&mut machine, report, stop);
                Some(machine)
            },
        );
        self.owed = match self.task {
            Some(_) => hand_over.send(machine).err().map(|refused| refused.0),
            None => Some(machine),
        };
    }

    fn machine(&self) -> LeaseMachine {
        let stored = self.file.as_ref().and_then(LeaseFile::read);
        LeaseMachine::new(self.options, stored, fastrand::Rng::new())
    }

    /// Does what an effect calls for, which came from the server of this number.
    pub fn handle(
        &mut self,
        server: u32,
        effect: Effect,
        container: &mut Container,
    ) -> Option<Demand> {
        if server != self.server && is_about_server(&effect) {
            log::debug!("port forwarding, of the former server: {effect:?}");
            return None;
        }
        let demand = self.obey(effect, container);
        self.schedule_look();
        demand
    }

    /// When the next [`Self::look`] is due.
    pub fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Tries again what could not be done, and looks at what others have changed.
    pub fn look(&mut self, container: &mut Container) {
        self.next_look = None;
        self.store_lease(Level::Debug);
        self.announcement.look(container);
        self.schedule_look();
    }

    fn schedule_look(&mut self) {
        let Some(pause) = self.announcement.look_after() else {
            return;
        };
        let now = Instant::now();
        let due = now.checked_add(pause).unwrap_or(now);
        self.next_look = Some(self.next_look.map_or(due, |before| before.min(due)));
    }

    fn obey(&mut self, effect: Effect, container: &mut Container) -> Option<Demand> {
        match effect {
            Effect::Store(lease) => {
                self.unstored = Some(lease);
                self.store_lease(Level::Warn);
            }
            Effect::Bound { port } => {
                self.store_lease(Level::Debug);
                if container.reporter.current().state == State::Blocked {
                    container.reporter.enter(State::Connected, None);
                }
                self.announcement
                    .announce(port, SystemTime::now(), container);
            }
            Effect::Withdraw { why } => self.announcement.withdraw(why, container),
            Effect::Failing { failure, again } => {
                self.announcement
                    .note_failure(failure.text, again, container);
            }
            Effect::Granted { port } => self.answer(if self.announcement.has_told(port) {
                Ok(port.to_string())
            } else {
                Err(format!(
                    "port {port} is forwarded, but cannot be announced yet: see the log"
                ))
            }),
            Effect::Denied { why } => {
                let kept = match container.reporter.current().port {
                    Some(port) => format!("port {} is kept", port.number),
                    None => "there is no port".to_owned(),
                };
                let text = format!("{why}; {kept}");
                log::warn!("Port forwarding, by command: {text}");
                self.answer(Err(text));
            }
            Effect::NotHere { why } => return Some(Demand::Advice(why)),
            Effect::AskAnotherServer { why } => {
                return Some(Demand::AnotherServer(format!("no port here: {why}")));
            }
            Effect::Fatal { why } => {
                return Some(Demand::Fatal(Failure::new(
                    FailureKind::PortForwarding,
                    Retry::Later(None),
                    format!("PORT_FATAL=1 and port forwarding is lost: {why}"),
                )));
            }
        }
        None
    }

    fn store_lease(&mut self, failure_level: Level) {
        let Some(lease) = self.unstored.take() else {
            return;
        };
        let Some(file) = &self.file else { return };
        if let Err(error) = file.store(&lease) {
            log::log!(
                failure_level,
                "storing the lease: {error}; tried again each minute, as without it the next start \
                 gets another port"
            );
            self.unstored = Some(lease);
        }
    }

    /// Who waits, whom nobody will answer any more.
    pub fn take_waiting(&mut self) -> Option<ControlCall> {
        self.call.take()
    }

    fn answer(&mut self, outcome: Result<String, String>) {
        if let Some(call) = self.call.take() {
            call.answer(outcome);
        }
    }

    /// Ends the thread and withdraws the port, but for the port file, which `PORT_FILE_CLEANUP` is
    /// about.
    pub fn shut_down(mut self, container: &mut Container) {
        if let Some(task) = self.task.take() {
            task.end();
        }
        // That it cannot be is told already.
        self.store_lease(Level::Debug);
        self.announcement.shut_down(container);
    }
}

/// Whether this says what a server does, and nothing once another one is in use. Else it is about
/// the lease, the port that was announced, the time without one, or a command that waits.
fn is_about_server(effect: &Effect) -> bool {
    match effect {
        Effect::Bound { .. }
        | Effect::Failing { .. }
        | Effect::NotHere { .. }
        | Effect::AskAnotherServer { .. } => true,
        Effect::Store(_)
        | Effect::Withdraw { .. }
        | Effect::Granted { .. }
        | Effect::Denied { .. }
        | Effect::Fatal { .. } => false,
    }
}

/// Whether the user lets us choose among servers, and reconnect by ourselves.
fn may_change_server(container: &Container) -> bool {
    let choice = &container.settings.destination;
    let has_others = choice.is_from_list() && !matches!(choice, ServerChoice::Server { .. });
    container.settings.monitor.enabled && has_others
}
