//! The forwarded port: kept bound by a thread of its own, announced and withdrawn by the main loop.
//!
//! `lease_machine` decides, `worker` asks the server, `announcement` tells the rest of the world.

mod announcement;
mod lease_machine;
#[cfg(test)]
mod lease_machine_properties;
#[cfg(test)]
mod lease_machine_tests;
mod steps;
mod timekeeper;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use self::announcement::Announcement;
use self::lease_machine::LeaseMachine;
use self::steps::LeaseOptions;
use self::worker::{ForwardingServer, Worker};
use super::Event;
use super::task::Task;
use crate::connect::Connector;
use crate::container::Container;
use crate::failure::Failure;
use crate::firewall::kill_switch::KillSwitch;
use crate::settings::ServerChoice;
use crate::status::State;
use crate::system::paths;
use crate::tunnel::Tunnel;

/// What the worker tells the main loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The server forwards this port to us, as of `at`.
    Bound { port: u16, at: SystemTime },
    /// It no longer does.
    Lost { why: String },
    /// Something failed; there is another try after a pause.
    Failing { why: String, again: Duration },
    /// The server in use forwards no ports.
    NotHere { why: String },
    /// The server in use does not let us have a port.
    AnotherServer { why: String },
    /// `PORT_FATAL=1`: this is what it means.
    Fatal { why: String },
}

/// What a report asks of the main loop, beyond what was done about it here.
#[must_use]
pub enum Demand {
    Nothing,
    /// Reconnect to another server, for this reason.
    AnotherServer(String),
    Fatal(Failure),
}

/// The forwarded port of this life. The lease outlives the connection to a server, so that the port
/// stays the same.
pub struct PortForward {
    machine: Arc<Mutex<LeaseMachine>>,
    lease_file: Option<PathBuf>,
    announcement: Announcement,
    task: Option<Task>,
}

impl PortForward {
    /// With the lease of an earlier life, if the user wants that.
    pub fn new(container: &Container) -> Self {
        let settings = &container.settings.port_forwarding;
        let lease_file = settings
            .persist
            .then(|| PathBuf::from(paths::PORT_SIGNATURE));
        let options = LeaseOptions {
            interval: settings.rebind_interval,
            fatal: settings.fatal,
            other_servers: container.settings.monitor.enabled
                && has_other_servers(&container.settings.destination),
        };
        let stored = lease_file
            .as_deref()
            .and_then(|file: &Path| worker::stored_lease(file));
        Self {
            machine: Arc::new(Mutex::new(LeaseMachine::new(
                options,
                stored,
                fastrand::Rng::new(),
            ))),
            lease_file,
            announcement: Announcement::new(),
            task: None,
        }
    }

    /// Has the port forwarded by the server of this tunnel from now on, and no longer asks the former
    /// one. The port that is announced stays so until the new server's first answer.
    pub fn start(
        &mut self,
        tunnel: &Tunnel,
        container: &Container,
        connector: &Arc<Mutex<Connector>>,
        kill_switch: &KillSwitch,
        events: &Sender<Event>,
    ) {
        if let Some(task) = self.task.take() {
            task.end();
        }
        let joined = &tunnel.joined;
        let inside = joined.registration.server_vip.into_iter();
        let worker = Worker {
            server: ForwardingServer {
                cn: joined.server.cn.clone(),
                addresses: inside.chain([joined.server.ip]).collect(),
                ca_file: container.settings.pia_ca_file.clone(),
            },
            supported: joined.port_forwarding,
            connector: Arc::clone(connector),
            kill_switch: kill_switch.clone(),
            lease_file: self.lease_file.clone(),
            events: events.clone(),
        };
        let machine = Arc::clone(&self.machine);
        self.task = Task::start("port-forward", &container.stop, move |stop| {
            worker.run(&machine, stop);
        });
    }

    /// Does what a report calls for.
    pub fn handle(
        &mut self,
        report: Report,
        container: &mut Container,
        kill_switch: &KillSwitch,
        connector: &Mutex<Connector>,
    ) -> Demand {
        match report {
            Report::Bound { port, at } => {
                self.announcement.announce(port, at, container, kill_switch);
                if container.reporter.current().state == State::Blocked {
                    container.reporter.enter(State::Connected, None);
                }
            }
            Report::Lost { why } => self.announcement.withdraw(why, container, kill_switch),
            Report::Failing { why, again } => self.announcement.note_failure(why, again, container),
            Report::NotHere { why } => warn_not_here(&why, connector),
            Report::AnotherServer { why } => {
                return Demand::AnotherServer(format!("no port here: {why}"));
            }
            Report::Fatal { why } => {
                return Demand::Fatal(Failure::passing(format!(
                    "PORT_FATAL=1 and port forwarding is lost: {why}"
                )));
            }
        }
        Demand::Nothing
    }

    /// Ends the thread and withdraws the port, but for the port file, which `PORT_FILE_CLEANUP` is
    /// about.
    pub fn shut_down(mut self, container: &mut Container, kill_switch: &KillSwitch) {
        if let Some(task) = self.task.take() {
            task.end();
        }
        self.announcement.shut_down(container, kill_switch);
    }
}

/// Whether the user lets us choose among servers.
fn has_other_servers(destination: &ServerChoice) -> bool {
    matches!(
        destination,
        ServerChoice::Locations(_) | ServerChoice::Nearest
    )
}

fn warn_not_here(why: &str, connector: &Mutex<Connector>) {
    // While a reconnect holds the connector, the next server is being looked for anyway.
    let elsewhere = connector
        .try_lock()
        .map(|connector| connector.locations_with_port_forwarding())
        .unwrap_or_default();
    let advice = match elsewhere.as_slice() {
        [] => String::new(),
        ids => format!(" These locations have it: {}.", ids.join(", ")),
    };
    log::warn!(
        "Port forwarding: this server has none ({why}).{advice} It is tried again now and then"
    );
}
