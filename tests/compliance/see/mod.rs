//! What can be seen from outside.

mod network;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use harness::simulator::faults::Api;
use harness::waiting::{LATER, wait_for};
use nix::sys::signal::Signal;

pub use self::network::*;
use crate::life::Stage;

/// `Err` says what was seen instead.
pub type Seen = Result<(), String>;
pub type Check = Box<dyn Fn(&mut Stage) -> Seen + Send>;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A look at this moment.
pub fn now(look: impl Fn(&mut Stage) -> Seen + Send + 'static) -> Check {
    Box::new(look)
}

/// A look that is repeated until it succeeds or patience ends.
pub fn soon(look: impl Fn(&mut Stage) -> Seen + Send + 'static) -> Check {
    now(move |stage| {
        let begun = Instant::now();
        loop {
            match look(stage) {
                Err(_) if begun.elapsed() < stage.patience => thread::sleep(PAUSE),
                seen => return seen,
            }
        }
    })
}

/// Whether it is so, and what there is to say otherwise.
pub fn so(is_so: bool, otherwise: impl FnOnce() -> String) -> Seen {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

// The log, and the end.

pub fn logged(text: &'static str) -> Check {
    soon(move |stage| {
        so(stage.container.logs().contains(text), || {
            format!("not logged: {text}")
        })
    })
}

/// Also as far as shells say what they run.
pub fn not_logged(text: &'static str) -> Check {
    now(move |stage| {
        let log = stage.container.logs();
        let line = log.lines().find(|line| line.contains(text));
        line.map_or(Ok(()), |line| Err(line.to_owned()))
    })
}

/// The container ends by itself.
pub fn ends_with(status: i32) -> Check {
    soon(move |stage| {
        let ended = stage.container.exit_status().map(|ended| ended.code());
        so(ended == Some(Some(status)), || match ended {
            Some(other) => format!("exit status {other:?}"),
            None => "it goes on".to_owned(),
        })
    })
}

/// The container goes on, and a stop ends it with 0.
pub fn stays_until_stopped() -> Check {
    now(|stage| {
        if let Some(ended) = stage.container.exit_status() {
            return Err(format!("it has ended: {ended}"));
        }
        let status = stage.container.stop().status;
        so(status.code() == Some(0), || status.to_string())
    })
}

/// How a container's stop by this signal ends.
pub fn stops_by(signal: Signal, status: i32) -> Check {
    now(move |stage| {
        let stopped = stage.container.stop_by(signal).status;
        so(stopped.code() == Some(status), || stopped.to_string())
    })
}

// Files.

pub fn file_is(path: &'static str, text: impl Into<String>) -> Check {
    let text = text.into();
    soon(move |stage| {
        let found = stage.container.read(path);
        so(found.as_deref() == Some(&text), || format!("{found:?}"))
    })
}

/// The file has this line.
pub fn file_has(path: &'static str, line: impl Into<String>) -> Check {
    let line = line.into();
    soon(move |stage| {
        let found = stage.container.read(path).unwrap_or_default();
        so(found.lines().any(|other| other == line), || found.clone())
    })
}

pub fn file_lacks(path: &'static str, text: &'static str) -> Check {
    now(move |stage| match stage.container.read(path) {
        Some(found) if found.contains(text) => Err(found),
        Some(_) => Ok(()),
        None => Err("there is no such file".to_owned()),
    })
}

pub fn no_file(path: &'static str) -> Check {
    soon(move |stage| {
        let found = stage.container.read(path);
        found.map_or(Ok(()), |text| Err(format!("it holds {text:?}")))
    })
}

/// Owner, group and mode.
pub fn owned(path: &'static str, owner: (u32, u32), mode: u32) -> Check {
    soon(move |stage| {
        let data = fs::metadata(stage.container.path(path)).map_err(|error| error.to_string())?;
        let found = ((data.uid(), data.gid()), data.mode() & 0o7777);
        so(found == (owner, mode), || {
            format!("owner {:?}, mode {:o}", found.0, found.1)
        })
    })
}

pub fn name_servers(expected: &'static [&'static str]) -> Check {
    now(move |stage| {
        let text = stage.container.read("/etc/resolv.conf").unwrap_or_default();
        let servers = text
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver"));
        let servers: Vec<&str> = servers.map(str::trim).collect();
        so(servers == expected, || format!("{servers:?}"))
    })
}

// What is run in the container.

/// A line of shell ends so, and prints this among other things.
pub fn shell(line: impl Into<String>, status: i32, prints: &'static str) -> Check {
    let line = line.into();
    soon(move |stage| {
        let (ended, text) = stage.shell(&line);
        so(ended == Some(status) && text.contains(prints), || {
            format!("status {ended:?}: {text}")
        })
    })
}

pub fn healthy() -> Check {
    shell("/scripts/healthcheck.sh", 0, "")
}

pub fn unhealthy() -> Check {
    shell("/scripts/healthcheck.sh", 1, "")
}

// What PIA was asked.

pub fn asked(api: Api, times: usize) -> Check {
    now(move |stage| {
        let asked = stage.world.pia.records().of(api).len();
        so(asked == times, || {
            format!("{api:?} was asked {asked} times")
        })
    })
}

/// Names of the servers that took a key, in order.
pub fn registered_with(expected: &'static [&'static str]) -> Check {
    now(move |stage| {
        let servers = stage.world.pia.records().registrations();
        let locations: Vec<String> = servers
            .iter()
            .map(|taken| {
                stage
                    .world
                    .pia
                    .server(&taken.server)
                    .plan()
                    .location
                    .clone()
            })
            .collect();
        so(locations == expected, || format!("{locations:?}"))
    })
}

/// Blocks until the server of the last registration has bound a port and the port file says so.
pub fn wait_for_port(stage: &Stage) -> u16 {
    wait_for("a bound port in the port file", LATER, || {
        let last = stage.world.pia.records().registrations().pop()?.server;
        let told: u16 = stage
            .container
            .read("/pia-shared/port.dat")?
            .trim()
            .parse()
            .ok()?;
        let mut bound = stage.world.pia.bound_ports().into_iter();
        bound
            .find(|it| it.server == last && it.port == told)
            .map(|it| it.port)
    })
}
