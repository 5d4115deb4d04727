//! What others are told about the port: firewall, gateway, port file, hooks, status.
//!
//! What is wanted and what is done are kept apart, and reconciled after every piece of news. Nobody
//! is told of a port before its way in is open. What could not be done is owed, and tried again
//! after a growing pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::port_clients::ToldClients;
use super::port_file_writer::PortFileWriter;
use crate::container::Container;
use crate::firewall::ForwardedPort;
use crate::firewall::kill_switch::KillSwitch;
use crate::hooks::background::{InBackground, Queue};
use crate::hooks::{self, Surroundings, own_script};
use crate::port_forward::listening;
use crate::status::{self, Port};
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;

const PORT_SCRIPT: &str = "port-script";
const PORT_DOWN_SCRIPT: &str = "port-down-script";
/// For hooks.
const VARIABLE: &str = "VPN_PORT";

/// Between two tries of what could not be done here.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
};

/// Between two looks at what others may have changed: the port file.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// For whoever is told of a port to listen there.
const LISTENING_TIMEOUT: Duration = Duration::from_secs(60);

/// The port that others know of, and the one that they should.
pub struct Announcement {
    kill_switch: KillSwitch,
    file: PortFileWriter,
    /// What the server forwards, and when it said so.
    wanted: Option<(u16, SystemTime)>,
    /// The way in that the firewall has.
    open: Option<u16>,
    /// What others were told.
    told: Option<u16>,
    /// When, while it is still to be seen whether somebody listens there.
    unheard_since: Option<Instant>,
    /// The tunnel is another one since they were told, and the port is not bound there yet.
    is_unbound: bool,
    /// It is bound there by now.
    has_moved: bool,
    /// Failures to do it, in a row.
    failures: u32,
    /// Nothing that failed is tried again before this moment.
    not_before: Option<Instant>,
    /// What could not be done, and why.
    owed: Option<String>,
    /// The last failure of the port service that was told, so that each is told once.
    told_failure: Option<String>,
    clients: ToldClients,
    /// What is run for a port waits until `PORT_DOWN_SCRIPT` has ended for those before it.
    scripts: Queue,
    /// Of what was told last: what still waits to be told before it is out of date.
    edition: Arc<AtomicU32>,
}

impl Announcement {
    /// Nobody knows of a port.
    pub fn new(kill_switch: KillSwitch) -> Self {
        Self {
            kill_switch,
            file: PortFileWriter::default(),
            wanted: None,
            open: None,
            told: None,
            unheard_since: None,
            is_unbound: false,
            has_moved: false,
            failures: 0,
            not_before: None,
            owed: None,
            told_failure: None,
            clients: ToldClients::default(),
            scripts: Queue::default(),
            edition: Arc::default(),
        }
    }

    /// The server forwards this port. Another one that was announced is withdrawn in the same step,
    /// so that nobody ever sees two.
    pub fn announce(&mut self, port: u16, at: SystemTime, container: &mut Container) {
        if std::mem::take(&mut self.is_unbound) {
            self.has_moved = true;
            let reporter = &container.reporter;
            reporter.update(|status| status.port_unbound = false);
        }
        let is_known = self.told == Some(port) && !self.has_moved;
        self.wanted = Some((port, at));
        self.reconcile(container);
        let failure = self.told_failure.take();
        if is_known && failure.is_some() {
            log::info!("Port {port} is bound again");
        }
        clear_failure(&failure, container);
    }

    /// The tunnel is a new one: those who were told of the port are told again once it is bound
    /// there, even if it is the same, for what they have open belongs to the old tunnel.
    /// The status says so from its next change on, and that what failed at the server before is
    /// over.
    pub fn move_to_tunnel(&mut self, container: &Container) {
        self.is_unbound = self.told.is_some();
        container.reporter.note(|status| {
            status.port_unbound = status.port.is_some();
            status.port_error = None;
        });
    }

    /// The port that was announced is no longer ours.
    pub fn withdraw(&mut self, why: String, container: &mut Container) {
        if self.wanted.take().is_none() {
            return;
        }
        if self.told.is_some() {
            self.told_failure = Some(why.clone());
            let why = Some(why.clone());
            container.reporter.note(|status| status.port_error = why);
        }
        self.reconcile_with(&why, container);
    }

    /// Whether others were told of this port.
    pub fn has_told(&self, port: u16) -> bool {
        self.told == Some(port)
    }

    /// Tries what could not be done.
    pub fn reconcile(&mut self, container: &mut Container) {
        self.reconcile_with("another one is", container);
    }

    /// Tries what could not be done, and looks at what others do with the port.
    pub fn look(&mut self, container: &mut Container) {
        self.reconcile(container);
        if let (Some(port), Some(since)) = (self.told, self.unheard_since)
            && since.elapsed() >= LISTENING_TIMEOUT
        {
            self.unheard_since = None;
            say_if_nobody_listens(port, container);
        }
    }

    /// When the next [`Self::look`] is due, if any is.
    pub fn look_after(&self) -> Option<Duration> {
        match self.not_before {
            Some(owed) => Some(owed.saturating_duration_since(Instant::now())),
            None => self.told.map(|_| LOOK_INTERVAL),
        }
    }

    /// Makes what is done what is wanted, as far as that can be done; `why` is the reason for a
    /// withdrawal.
    fn reconcile_with(&mut self, why: &str, container: &mut Container) {
        let way = self.open_way(container);
        // What the server forwards no longer is withdrawn, whatever the firewall still lets in.
        let reachable = self.wanted.filter(|_| way.is_ok());
        let port = reachable.map(|(port, _)| port);
        let is_news = port != self.told || self.has_moved;
        if is_news {
            // Also if it is the same: others watch the file.
            self.file.write_anew();
        }
        let file = self.file.reconcile(port, container);
        // Before it is told, for those who ask for the status when they see the line.
        if let Some((number, at)) = reachable {
            let port = Some(Port {
                number,
                bound_at: status::seconds(at),
                leads_to: container.settings.listening_port(number),
            });
            if container.reporter.current().port != port {
                container.reporter.update(|status| status.set_port(port));
            }
        }
        if is_news {
            self.tell(port, why, container);
        }
        self.note_owed(way.and(file), container);
    }

    /// Lets connections to the port in, and to nothing else that was forwarded.
    fn open_way(&mut self, container: &Container) -> Result<(), String> {
        // A user's own `pf_success.sh` sees to that itself.
        let is_ours = !own_script::is_there(own_script::PF_SUCCESS);
        let port = self.wanted.map(|(port, _)| port).filter(|_| is_ours);
        if self.open == port {
            return Ok(());
        }
        let redirect = container.settings.port_forwarding.redirect;
        let forwarded = port.map(|port| ForwardedPort { port, redirect });
        self.kill_switch
            .forward(forwarded)
            .map_err(|error| match (port, self.open) {
                (None, Some(former)) => {
                    format!("the former port {former} cannot be closed: {error}")
                }
                (Some(port), _) => format!("the way in for port {port} cannot be opened: {error}"),
                (None, None) => error.to_string(),
            })?;
        self.open = port;
        Ok(())
    }

    fn tell(&mut self, port: Option<u16>, why: &str, container: &mut Container) {
        (self.is_unbound, self.has_moved) = (false, false);
        self.edition.fetch_add(1, Ordering::Relaxed);
        let former = std::mem::replace(&mut self.told, port);
        if former != port {
            self.unheard_since = port.map(|_| Instant::now());
        }
        match port {
            Some(port) => log::info!("Forwarding on port {port}"),
            // Before it is said, likewise.
            None => container.reporter.update(|status| status.set_port(None)),
        }
        if let Some(former) = former.filter(|_| former != port) {
            if port.is_none() {
                log::warn!("Port {former} is no longer forwarded: {why}");
            }
            self.run_down_script(former, container);
        }
        self.clients.tell(port, container);
        if let Some(port) = port {
            container.set_env(VARIABLE, port.to_string());
            self.run_script(port, container);
        } else {
            container.unset_env(VARIABLE);
        }
    }

    /// Says what could not be done, once, and when it is tried again.
    fn note_owed(&mut self, outcome: Result<(), String>, container: &Container) {
        let owed = outcome.err();
        let before = std::mem::replace(&mut self.owed, owed.clone());
        let Some(why) = owed else {
            self.failures = 0;
            self.not_before = None;
            if before.is_some() {
                log::info!("Port forwarding: what could not be done before is done");
                clear_failure(&before, container);
            }
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let again = BACKOFF.pause(self.failures, &mut fastrand::Rng::new());
        self.not_before = Instant::now().checked_add(again);
        say_failure(why, again, before.as_ref(), container);
    }

    /// Says a failure of the port service, once; a repetition only to those who want to know.
    pub fn note_failure(&mut self, why: String, again: Duration, container: &Container) {
        say_failure(why.clone(), again, self.told_failure.as_ref(), container);
        self.told_failure = Some(why);
    }

    /// The end of the life. The port file is left to `PORT_FILE_CLEANUP`, as users know it;
    /// `PORT_DOWN_SCRIPT` runs to its end, as the down hooks do.
    pub fn shut_down(mut self, container: &mut Container) {
        self.wanted = None;
        self.clients.end();
        if let Err(error) = self.open_way(container) {
            log::warn!("Port forwarding: {error}");
        }
        let Some(port) = self.told.take() else { return };
        container.reporter.update(|status| status.set_port(None));
        if let Some(text) = &container.settings.port_forwarding.down_script {
            let environment = container.environment();
            let around = Surroundings {
                environment: &environment,
                stop: &CancellationToken::never(),
            };
            hooks::run_text(PORT_DOWN_SCRIPT, &hooks::with_port(text, port), &around);
        }
    }

    /// A user's own `pf_success.sh` takes the place of `PORT_SCRIPT`, which ours would run.
    fn run_script(&mut self, port: u16, container: &Container) {
        let own = own_script::find(own_script::PF_SUCCESS).map(|own| own.display().to_string());
        let script = container.settings.port_forwarding.script.clone();
        let (name, text) = match (own, script) {
            (Some(own), _) => (own_script::PF_SUCCESS, own),
            (None, Some(script)) => (PORT_SCRIPT, script),
            (None, None) => return,
        };
        let (told, edition) = (self.edition.load(Ordering::Relaxed), self.edition.clone());
        let script = InBackground {
            name,
            text: hooks::with_port(&text, port),
            environment: container.environment(),
            // It may go on for as long as the port is there.
            is_waited_for: false,
        };
        self.scripts.run(script, &container.stop, move || {
            edition.load(Ordering::Relaxed) == told
        });
    }

    fn run_down_script(&mut self, port: u16, container: &Container) {
        let Some(text) = &container.settings.port_forwarding.down_script else {
            return;
        };
        let script = InBackground {
            name: PORT_DOWN_SCRIPT,
            text: hooks::with_port(text, port),
            environment: container.environment(),
            is_waited_for: true,
        };
        self.scripts.run(script, &container.stop, || true);
    }
}

/// Once, for it is not this program's fault, nor a reason to do anything about the port.
fn say_if_nobody_listens(port: u16, container: &Container) {
    if let Some(local) = container.settings.listening_port(port)
        && let Some(complaint) = listening::complaint(local)
    {
        let cure = listening::cure(port, Some(local));
        log::warn!("Port forwarding: {complaint}. {cure}");
    }
}

/// `before` is the failure that was said last.
fn say_failure(why: String, again: Duration, before: Option<&String>, container: &Container) {
    if before == Some(&why) {
        log::debug!("Port forwarding: {why}; again in {} s", again.as_secs());
    } else if again.is_zero() {
        log::warn!("Port forwarding: {why}; trying anew");
    } else {
        let seconds = again.as_secs().max(1);
        log::warn!("Port forwarding: {why}; trying again, in {seconds} s at first");
    }
    container.reporter.update(|status| {
        status.port_error = Some(why.clone());
        status.note_error(why);
        status.next_attempt = status::seconds_from(SystemTime::now(), again);
    });
}

/// Forgets this failure in the status, unless another one came after it.
fn clear_failure(failure: &Option<String>, container: &Container) {
    if failure.is_none() {
        return;
    }
    let now = container.reporter.current();
    if now.port_error == *failure {
        container.reporter.update(|status| status.port_error = None);
    }
    if now.last_error == *failure {
        container.reporter.update(|status| {
            status.forget_error();
            status.next_attempt = None;
        });
    }
}
