//! What others are told about the port: firewall, gateway, port file, hooks, status. All of it or
//! nothing.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::container::Container;
use crate::firewall::ForwardedPort;
use crate::firewall::kill_switch::KillSwitch;
use crate::hooks::{self, Surroundings};
use crate::status::{self, Port};
use crate::system::cancellation::CancellationToken;
use crate::system::files::Ownership;
use crate::system::shared_files;

const PORT_SCRIPT: &str = "port-script";
const PORT_DOWN_SCRIPT: &str = "port-down-script";
/// For hooks.
const VARIABLE: &str = "VPN_PORT";

/// The port that others know of.
pub struct Announcement {
    kill_switch: KillSwitch,
    port: Option<u16>,
    /// The last failure that was told, so that each is told once.
    told_failure: Option<String>,
    /// The last `PORT_DOWN_SCRIPT`: what is run for a later port waits for it.
    down_script: Option<JoinHandle<()>>,
}

impl Announcement {
    /// Nobody knows of a port.
    pub fn new(kill_switch: KillSwitch) -> Self {
        Self {
            kill_switch,
            port: None,
            told_failure: None,
            down_script: None,
        }
    }

    /// The server forwards this port. Another one that was announced is withdrawn in the same step,
    /// so that nobody ever sees two.
    pub fn announce(&mut self, port: u16, at: SystemTime, container: &mut Container) {
        if self.port != Some(port) {
            let former = self.port.replace(port);
            self.open_way(Some(port), container);
            write_port_file(port, container);
            log::info!("Forwarding on port {port}");
            if let Some(former) = former {
                self.run_down_script(former, container);
            }
            container.set_env(VARIABLE, port.to_string());
            self.run_script(port, container);
        } else if self.told_failure.is_some() {
            log::info!("Port {port} is bound again");
        }
        let told_failure = self.told_failure.take();
        container.reporter.update(|status| {
            status.port = Some(Port {
                number: port,
                bound_at: status::seconds(at),
            });
            if told_failure.is_some() && status.last_error == told_failure {
                status.last_error = None;
                status.next_attempt = None;
            }
        });
    }

    /// The port that was announced is no longer ours.
    pub fn withdraw(&mut self, why: String, container: &mut Container) {
        let Some(port) = self.port.take() else { return };
        self.open_way(None, container);
        remove_port_file(&container.settings.port_forwarding.file);
        log::warn!("Port {port} is no longer forwarded: {why}");
        self.told_failure = Some(why);
        self.run_down_script(port, container);
        container.unset_env(VARIABLE);
        container.reporter.update(|status| status.port = None);
    }

    /// Says a failure, once; a repetition only to those who want to know.
    pub fn note_failure(&mut self, why: String, again: Duration, container: &Container) {
        if self.told_failure.as_ref() == Some(&why) {
            log::debug!("Port forwarding: {why}; again in {} s", again.as_secs());
        } else if again.is_zero() {
            log::warn!("Port forwarding: {why}; trying anew");
        } else {
            log::warn!(
                "Port forwarding: {why}; trying again, in {} s at first",
                again.as_secs().max(1)
            );
        }
        container.reporter.update(|status| {
            status.last_error = Some(why.clone());
            status.next_attempt = status::seconds_from(SystemTime::now(), again);
        });
        self.told_failure = Some(why);
    }

    /// The end of the life. The port file is left to `PORT_FILE_CLEANUP`, as users know it;
    /// `PORT_DOWN_SCRIPT` runs to its end, as the down hooks do.
    pub fn shut_down(mut self, container: &mut Container) {
        let Some(port) = self.port.take() else { return };
        self.open_way(None, container);
        container.reporter.update(|status| status.port = None);
        if let Some(text) = &container.settings.port_forwarding.down_script {
            let environment = container.environment();
            let around = Surroundings {
                environment: &environment,
                stop: &CancellationToken::never(),
            };
            hooks::run_text(PORT_DOWN_SCRIPT, &format!("{text} {port}"), &around);
        }
    }

    /// Lets connections to the port in, and to nothing else that was forwarded.
    fn open_way(&self, port: Option<u16>, container: &Container) {
        let redirect = container.settings.port_forwarding.redirect;
        let forwarded = port.map(|port| ForwardedPort { port, redirect });
        if let Err(error) = self.kill_switch.forward(forwarded) {
            log::warn!("Port forwarding: {error}");
        }
    }

    fn run_script(&mut self, port: u16, container: &Container) {
        let Some(text) = &container.settings.port_forwarding.script else {
            return;
        };
        let after = self.down_script.take();
        let environment = container.environment();
        hooks::run_in_background(
            PORT_SCRIPT,
            text,
            &port.to_string(),
            environment,
            &container.stop,
            after,
        );
    }

    fn run_down_script(&mut self, port: u16, container: &Container) {
        let Some(text) = &container.settings.port_forwarding.down_script else {
            return;
        };
        let after = self.down_script.take();
        let (environment, port) = (container.environment(), port.to_string());
        self.down_script = hooks::run_in_background(
            PORT_DOWN_SCRIPT,
            text,
            &port,
            environment,
            &container.stop,
            after,
        );
    }
}

fn write_port_file(port: u16, container: &Container) {
    let settings = &container.settings.port_forwarding;
    let text = format!("{port}\n");
    let write = |ownership| shared_files::write(&settings.file, text.as_bytes(), ownership);
    let written = match write(settings.ownership) {
        // PUID is often there for other images; what reads the file has to go on reading it.
        Err(error) if error.is_about_owner() => {
            log::warn!("PUID, PGID: {error}; the port file is ours, and readable by all");
            write(Ownership::own(0o644))
        }
        written => written,
    };
    if let Err(error) = written {
        log::warn!("PORT_FILE: {error}");
    }
}

fn remove_port_file(file: &Path) {
    if let Err(error) = shared_files::remove(file) {
        log::warn!("PORT_FILE: {error}");
    }
}
