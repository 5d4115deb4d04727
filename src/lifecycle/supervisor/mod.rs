//! While the tunnel is up: one loop that alone changes the tunnel, and long tasks on threads of
//! their own that report to it.

mod cycle_ports;
mod handshake;
mod monitor;
mod port_forward;
mod search;
mod task;
mod vigilance;

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::port_forward::{Demand, PortForward};
use self::search::Search;
use self::task::Task;
use crate::connect::{Connector, Joined};
use crate::container::Container;
use crate::failure::Failure;
use crate::firewall::kill_switch::KillSwitch;
use crate::hooks::Stage;
use crate::pia::regions::Server;
use crate::status::State;
use crate::tunnel::Tunnel;

/// What the loop is told.
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
    PortForward(port_forward::Report),
}

/// How long a server that did not respond is thought to be worse than others.
const AVOIDANCE_PERIOD: Duration = Duration::from_secs(600);

/// Why the loop ended.
pub enum SupervisorEnd {
    /// A stop was asked for.
    Stopped,
    /// Something that the user called fatal.
    Fatal(Failure),
}

/// A running tunnel with its long tasks.
pub struct Supervisor {
    tunnel: Tunnel,
    kill_switch: KillSwitch,
    connector: Arc<Mutex<Connector>>,
    events: Sender<Event>,
    /// What watches the server in use.
    watches: Vec<Task>,
    search: Option<Task>,
    /// Servers that were left, and when, the latest at the end.
    left: Vec<(Server, Instant)>,
    /// What does not care which server it is.
    others: Vec<Task>,
    /// Running post-reconnect hooks.
    hooks: Vec<JoinHandle<()>>,
    port_forward: Option<PortForward>,
}

impl Supervisor {
    /// Takes over a tunnel that is up.
    pub fn new(
        tunnel: Tunnel,
        kill_switch: KillSwitch,
        connector: Arc<Mutex<Connector>>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            tunnel,
            kill_switch,
            connector,
            events,
            watches: Vec::new(),
            search: None,
            left: Vec::new(),
            others: Vec::new(),
            hooks: Vec::new(),
            port_forward: None,
        }
    }

    /// Starts what goes on beside the tunnel.
    pub fn start_long_tasks(&mut self, container: &Container) {
        self.start_watches(container);
        self.start_port_forward(container);
        let settings = &container.settings;
        if !settings.cycle_ports.is_empty() {
            let (ports, interval, events) = (
                settings.cycle_ports.clone(),
                settings.cycle_interval,
                self.events.clone(),
            );
            self.others
                .extend(Task::start("cycle-ports", &container.stop, move |stop| {
                    cycle_ports::run(&ports, interval, &events, stop);
                }));
        }
    }

    /// Has the port forwarded by the server in use.
    fn start_port_forward(&mut self, container: &Container) {
        if container.settings.port_forwarding.enabled {
            let port_forward = self
                .port_forward
                .get_or_insert_with(|| PortForward::new(container));
            port_forward.start(
                &self.tunnel,
                container,
                &self.connector,
                &self.kill_switch,
                &self.events,
            );
        }
    }

    fn start_watches(&mut self, container: &Container) {
        let reporter = container.reporter.clone();
        self.watches
            .extend(Task::start("handshake", &container.stop, move |stop| {
                handshake::run(&reporter, stop);
            }));
        if container.settings.monitor.enabled {
            let (monitor, timeout) = (
                container.settings.monitor,
                container.settings.probing.timeout,
            );
            let (prober, events) = (self.tunnel.prober(container), self.events.clone());
            log::debug!("monitoring the endpoint");
            self.watches
                .extend(Task::start("monitor", &container.stop, move |stop| {
                    monitor::run(&prober, &monitor, timeout, &events, stop);
                }));
        }
    }

    fn end_watches(&mut self) {
        self.watches.drain(..).for_each(Task::end);
    }

    /// Reacts to events until a stop or a fatal error.
    pub fn run(&mut self, container: &mut Container, inbox: &Receiver<Event>) -> SupervisorEnd {
        while let Ok(event) = inbox.recv() {
            // What came in before the stop is of no interest any more.
            if container.stop.is_cancelled() {
                break;
            }
            match event {
                Event::StopRequested => break,
                Event::Reconnect => self.begin_reconnect(container, "asked for by SIGHUP"),
                Event::Unresponsive(why) => {
                    self.begin_reconnect(container, &format!("unresponsive endpoint: {why}"));
                }
                Event::Found(joined) => self.reconnect_with(container, *joined),
                Event::Recovered(target) => self.go_on(container, &target),
                Event::ListenOn(port) => cycle_ports::listen_on(port, &container.stop),
                Event::PortForward(report) => match self.handle_port_forward(report, container) {
                    Demand::Nothing => {}
                    Demand::AnotherServer(why) => self.begin_reconnect(container, &why),
                    Demand::Fatal(failure) => return SupervisorEnd::Fatal(failure),
                },
            }
        }
        SupervisorEnd::Stopped
    }

    fn handle_port_forward(
        &mut self,
        report: port_forward::Report,
        container: &mut Container,
    ) -> Demand {
        match &mut self.port_forward {
            Some(port_forward) => {
                port_forward.handle(report, container, &self.kill_switch, &self.connector)
            }
            None => Demand::Nothing,
        }
    }

    /// The old tunnel is kept while another server is looked for.
    fn begin_reconnect(&mut self, container: &mut Container, why: &str) {
        if self.search.is_some() {
            log::info!("A reconnect is under way already");
            return;
        }
        log::warn!("Reconnecting: {why}");
        container
            .reporter
            .enter(State::Reconnecting, why.to_owned());
        self.end_watches();
        self.leave();
        container.run_hooks(Stage::PreReconnect);
        self.start_search(container);
    }

    /// Remembers the server in use as one that others are better than, for a while.
    fn leave(&mut self) {
        let server = self.tunnel.joined.server.clone();
        self.left
            .retain(|(left, since)| *left != server && since.elapsed() < AVOIDANCE_PERIOD);
        self.left.push((server, Instant::now()));
    }

    fn start_search(&mut self, container: &Container) {
        let search = Search {
            connector: Arc::clone(&self.connector),
            kill_switch: self.kill_switch.clone(),
            left: self.left.iter().map(|(server, _)| server.clone()).collect(),
            prober: self.tunnel.prober(container),
            probe_timeout: container.settings.probing.timeout,
            reporter: container.reporter.clone(),
            events: self.events.clone(),
        };
        self.search = Task::start("search", &container.stop, move |stop| search.run(stop));
    }

    fn reconnect_with(&mut self, container: &mut Container, joined: Joined) {
        self.end_search();
        if let Err(failure) = self.tunnel.replace(container, &self.kill_switch, joined) {
            log::warn!("{failure}; the former tunnel is kept, and the search goes on");
            self.start_search(container);
            return;
        }
        let joined = &self.tunnel.joined;
        log::info!(
            "Reconnected to {}: {} ({})",
            joined.location,
            joined.server.cn,
            joined.endpoint()
        );
        self.tunnel.publish(container);
        self.connected_again(container);
    }

    fn go_on(&mut self, container: &mut Container, target: &str) {
        self.end_search();
        log::info!("{target} answers through the old tunnel again; keeping it");
        if let Err(error) = self.kill_switch.settle() {
            log::warn!("{error}");
        }
        self.connected_again(container);
    }

    fn connected_again(&mut self, container: &mut Container) {
        container
            .reporter
            .update(|status| status.endpoint_silent = false);
        container.reporter.enter(State::Connected, None);
        self.start_port_forward(container);
        self.start_watches(container);
        // Beside everything else, for they may wait for the forwarded port.
        if let Some(hooks) = container.start_hooks(Stage::PostReconnect) {
            self.hooks.retain(|running| !running.is_finished());
            self.hooks.push(hooks);
        }
    }

    fn end_search(&mut self) {
        if let Some(search) = self.search.take() {
            search.end();
        }
    }

    /// Ends the long tasks and takes the tunnel down.
    pub fn shut_down(mut self, container: &mut Container) {
        self.end_watches();
        self.end_search();
        self.others.into_iter().for_each(Task::end);
        if self.hooks.into_iter().any(|hooks| hooks.join().is_err()) {
            log::warn!("a post-reconnect hook ended badly");
        }
        if let Some(port_forward) = self.port_forward {
            port_forward.shut_down(container, &self.kill_switch);
        }
        self.tunnel.take_down();
    }
}
