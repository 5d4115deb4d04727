//! Is all well? Cheap, silent on the network unless asked to be active, and one line that says why.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::doctor::leaks;
use crate::settings::{Environment, MONITOR_ASKS, Settings};
use crate::status::{State, Status};
use crate::system::cancellation::CancellationToken;
use crate::system::{files, paths};
use crate::underlay::name_servers;
use crate::underlay::ping::Prober;
use crate::wireguard::peers::{self, PeersError};
use crate::wireguard::show::{self, LinkState};

/// What the image's health check may take in all, as the Dockerfile has it.
const IMAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// A ping's part of it.
const MAX_PING_TIMEOUT: Duration = Duration::from_millis(2300);

/// What is known without sending anything.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The program holds its lock.
    pub running: bool,
    /// Its status, or why there is none.
    pub status: Result<Status, String>,
    pub interface: Interface,
}

/// The tunnel's interface, as far as one may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    Missing,
    Down,
    WithoutPeer,
    /// The program that carries it does not answer.
    Silent,
    /// Whoever asks may not look.
    Unseen,
    Complete,
}

/// Checks, says the result in one line, and returns 0 or 1.
pub fn run(environment: &Environment) -> ExitCode {
    let settings = Settings::from_environment(environment).0;
    let stop = CancellationToken::never();
    let facts = Facts {
        running: files::is_locked(Path::new(paths::LOCK)),
        status: read_status().map(|status| as_asked(status, environment)),
        interface: interface(&stop),
    };
    let verdict = match &facts.status {
        Ok(status) if facts.running && status.state == State::Sealed => {
            judge_anchor(status, leaks::way_beside_the_tunnel())
        }
        _ => judge(&facts).and_then(|well| {
            if settings.probing.active_healthchecks {
                ping(&settings, &stop)
            } else {
                Ok(well)
            }
        }),
    };
    let (line, exit) = match verdict {
        Ok(well) => (format!("healthy: {well}\n"), ExitCode::SUCCESS),
        Err(why) => (format!("unhealthy: {why}\n"), ExitCode::FAILURE),
    };
    // The exit status is the verdict, whoever reads the line.
    let _ = io::stdout().write_all(line.as_bytes());
    exit
}

/// Whoever asks with `PORT_FORWARDING=0`, as the monitor asks a check of the user's, asks for the
/// tunnel alone. Where `PRE_UP` turned it on, the container's environment may say so, too, and only
/// the monitor means it.
fn as_asked(mut status: Status, environment: &Environment) -> Status {
    let is_meant = !status.port_wanted_by_hook || environment.text(MONITOR_ASKS).is_some();
    if environment.refuses_port() && is_meant {
        status.port_wanted = false;
    }
    status
}

/// The running program's status, or why there is none.
pub fn read_status() -> Result<Status, String> {
    match Status::read(Path::new(paths::STATUS)) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("there is no status file".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn interface(stop: &CancellationToken) -> Interface {
    match show::link() {
        LinkState::Gone => return Interface::Missing,
        LinkState::Down => return Interface::Down,
        LinkState::Up => {}
    }
    match peers::list(stop) {
        Ok(peers) if !peers.is_empty() => Interface::Complete,
        Ok(_) => Interface::WithoutPeer,
        Err(PeersError::Silent) => Interface::Silent,
        Err(PeersError::Command(_)) => Interface::Unseen,
    }
}

/// Whether an anchor's network is closed; `way_out` is the interface by which something got out.
fn judge_anchor(status: &Status, way_out: Option<String>) -> Result<String, String> {
    match (&status.not_blocked, way_out) {
        (Some(why), _) => Err(why.clone()),
        (None, Some(interface)) => Err(format!(
            "the packet filter lets packets out by {interface}: the rules that closed this network \
             are gone; a restart of the VPN container in it closes it again"
        )),
        (None, None) => Ok("sealed: nothing leaves but what a VPN in this network admits".into()),
    }
}

/// Whether all is well, and in what way it is, or why not.
pub fn judge(facts: &Facts) -> Result<String, String> {
    if !facts.running {
        return Err("wireguard-pia is not running".into());
    }
    let status = facts.status.as_ref().map_err(Clone::clone)?;
    let reason = status
        .reason
        .as_deref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    if status.state != State::Connected {
        return Err(format!("{}{reason}", status.state));
    }
    match facts.interface {
        Interface::Missing => return Err(format!("the interface {} is gone", paths::INTERFACE)),
        Interface::Down => return Err(format!("the interface {} is down", paths::INTERFACE)),
        Interface::WithoutPeer => {
            return Err(format!("the interface {} has no peer", paths::INTERFACE));
        }
        Interface::Silent => return Err(PeersError::Silent.to_string()),
        Interface::Unseen => {
            return Err(format!(
                "the peers of {} cannot be seen, which takes root's rights: run this as root",
                paths::INTERFACE
            ));
        }
        Interface::Complete => {}
    }
    if let Some(why) = &status.not_blocked {
        return Err(why.clone());
    }
    if status.endpoint_silent {
        return Err(
            "the endpoint is silent: packets are sent through the tunnel, and nothing comes back"
                .into(),
        );
    }
    if let Some(why) = &status.exit_error {
        return Err(why.clone());
    }
    let to = status
        .server
        .as_ref()
        .map_or(String::new(), |server| format!(" to {}", server.cn));
    judge_port(status, format!("connected{to}"))
}

/// `connected` says that, and to which server.
fn judge_port(status: &Status, connected: String) -> Result<String, String> {
    match (status.port_wanted, status.port) {
        (true, None) => {
            let why = status
                .port_error
                .as_deref()
                .map_or(String::new(), |error| format!(" ({error})"));
            Err(format!("{connected}, but no port is forwarded{why}"))
        }
        (true, Some(port)) if status.port_unbound => Err(format!(
            "{connected}, port {} is being bound there",
            port.number
        )),
        (true, Some(port)) => {
            let well = format!("{connected}, port {} forwarded", port.number);
            match &status.port_file_error {
                Some(why) => Err(format!("{well}, but the port file does not say so: {why}")),
                None => Ok(well),
            }
        }
        (false, _) => Ok(connected),
    }
}

fn ping(settings: &Settings, stop: &CancellationToken) -> Result<String, String> {
    let text = std::fs::read_to_string(paths::RESOLV_CONF).unwrap_or_default();
    let prober = Prober::new(
        paths::INTERFACE,
        &settings.probing.targets,
        name_servers::in_force(&text),
    );
    let timeout = ping_timeout(settings.probing.timeout);
    match prober.any_answers(timeout, stop) {
        Ok(target) => Ok(format!("{target} answers through the tunnel")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whoever asks for more than the image's health check may take has raised its limit, in the
/// compose file; else the answer has to come within it, and there has to be time to say it.
fn ping_timeout(wanted: Duration) -> Duration {
    if wanted > IMAGE_TIMEOUT {
        wanted
    } else {
        wanted.min(MAX_PING_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_beyond_the_images_own_is_meant() {
        let seconds = |wanted| ping_timeout(Duration::from_secs_f32(wanted)).as_secs_f32();
        assert_eq!([3.0, 2.0, 8.0].map(seconds), [2.3, 2.0, 8.0]);
    }

    #[test]
    fn an_anchor_is_well_while_nothing_gets_out() {
        let mut status = well().status.unwrap();
        status.state = State::Sealed;
        assert!(judge_anchor(&status, None).unwrap().starts_with("sealed"));
        let open = judge_anchor(&status, Some("eth0".into())).unwrap_err();
        assert!(open.contains("lets packets out by eth0:"), "{open}");
        status.not_blocked = Some("IPv6 is not blocked".into());
        assert_eq!(
            judge_anchor(&status, None),
            Err("IPv6 is not blocked".into())
        );
    }

    use crate::status::{Port, Reporter};

    fn well() -> Facts {
        let directory = tempfile::tempdir().unwrap();
        let reporter = Reporter::new(&directory.path().join("status.json"));
        reporter.enter(State::Connected, None);
        Facts {
            running: true,
            status: Ok(reporter.current()),
            interface: Interface::Complete,
        }
    }

    fn with(change: impl FnOnce(&mut Facts, &mut Status)) -> Result<String, String> {
        let mut facts = well();
        let mut status = facts.status.clone().unwrap();
        change(&mut facts, &mut status);
        facts.status = facts.status.map(|_| status);
        judge(&facts)
    }

    const PORT: Port = Port {
        number: 4711,
        bound_at: 0,
        leads_to: None,
    };

    #[test]
    fn the_truth_table() {
        assert_eq!(with(|_, _| ()), Ok("connected".into()));
        let port = Some(PORT);
        assert!(
            with(|_, status| (status.port_wanted, status.port) = (true, port))
                .unwrap()
                .contains("4711")
        );
        let unwritten = |_: &mut Facts, status: &mut Status| {
            (status.port_wanted, status.port) = (true, port);
            status.port_file_error = Some("PORT_FILE: read-only".into());
        };
        assert!(with(unwritten).is_err_and(|why| why.contains("PORT_FILE: read-only")));
        type Change = fn(&mut Facts, &mut Status);
        let bad: [(Change, &str); 13] = [
            (|facts, _| facts.running = false, "not running"),
            (|facts, _| facts.status = Err("garbage".into()), "garbage"),
            (|facts, _| facts.interface = Interface::Missing, "gone"),
            (|facts, _| facts.interface = Interface::Down, "down"),
            (
                |facts, _| facts.interface = Interface::WithoutPeer,
                "no peer",
            ),
            (
                |facts, _| facts.interface = Interface::Unseen,
                "cannot be seen",
            ),
            (|_, status| status.state = State::Starting, "starting"),
            (
                |_, status| {
                    (status.state, status.reason) = (State::Blocked, Some("no credentials".into()));
                },
                "no credentials",
            ),
            (
                |_, status| status.state = State::Reconnecting,
                "reconnecting",
            ),
            (|_, status| status.endpoint_silent = true, "silent"),
            (
                |_, status| status.not_blocked = Some("IPv6 is not blocked: …".into()),
                "IPv6 is not blocked",
            ),
            (
                |_, status| status.exit_error = Some("the world sees 192.0.2.2".into()),
                "192.0.2.2",
            ),
            (
                |_, status| status.port_wanted = true,
                "no port is forwarded",
            ),
        ];
        for (change, why) in bad {
            let verdict = with(change);
            assert!(
                verdict.as_ref().is_err_and(|text| text.contains(why)),
                "{why}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_port_of_the_server_before_is_not_forwarded() {
        let unbound = |_: &mut Facts, status: &mut Status| {
            status.port = Some(Port {
                number: 4711,
                bound_at: 0,
                leads_to: None,
            });
            (status.port_wanted, status.port_unbound) = (true, true);
        };
        assert!(with(unbound).is_err_and(|why| why.contains("4711 is being bound there")));
    }
}
