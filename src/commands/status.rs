//! `status`: what the running program says of itself, for people and for programs.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::json;

use crate::firewall::arrivals;
use crate::port_forward::listening;
use crate::settings::{Environment, Settings};
use crate::status::{ExitAddress, State, Status};
use crate::system::cancellation::CancellationToken;
use crate::system::{files, paths};

/// How often the file is read while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Say what the running program is doing; exit status 0 if connected.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Wait that many seconds at most for a connection.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// Prints the status. 0 if connected, 1 if not, or not in time.
pub fn run(arguments: &Arguments, environment: &Environment) -> ExitCode {
    let deadline = Instant::now().checked_add(Duration::from_secs(arguments.wait.unwrap_or(0)));
    let status = loop {
        let status = current();
        let connected = status
            .as_ref()
            .is_ok_and(|status| status.state == State::Connected);
        if connected
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || CancellationToken::never().pause(POLL_INTERVAL).is_err()
        {
            break status;
        }
    };
    match status {
        Ok(status) => {
            print(&status, arguments.json, environment);
            if status.state == State::Connected {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => {
            if arguments.json {
                let version = crate::status::VERSION;
                let stopped = json!({ "version": version, "state": "stopped", "reason": why });
                println!("{stopped}");
            } else {
                println!("{why}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The status of the running program; one that it left behind when it died does not count.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn current() -> Result<Status, String> {
    if !files::is_locked(Path::new(paths::LOCK)) {
        return Err("wireguard-pia is not running".into());
    }
    match Status::read(Path::new(paths::STATUS)) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("wireguard-pia is just starting, or cannot write its status".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is known of the forwarded port beyond that PIA forwards it.
#[derive(Debug, Default, Serialize)]
struct PortProof {
    /// The program that listens where the port leads; nobody, if that is here.
    listener: Option<String>,
    /// Connections and first datagrams that came in by it since the rules were loaded last; not
    /// known where they cannot be read.
    arrivals: Option<u64>,
    #[serde(skip)]
    complaint: Option<String>,
}

impl PortProof {
    fn of(port: u16, environment: &Environment) -> Self {
        let here = Settings::from_environment(environment)
            .0
            .listening_port(port);
        let arrivals = arrivals::arrivals(port, &CancellationToken::never());
        Self {
            listener: here.and_then(listening::listener),
            arrivals: arrivals.ok().flatten(),
            complaint: here.and_then(listening::complaint),
        }
    }

    fn arrivals_in_words(&self) -> Option<String> {
        let count = self.arrivals?;
        Some(match count {
            0 => "nothing has come in by the port since the rules were loaded last".to_owned(),
            count => format!("{count} by the port since the rules were loaded last"),
        })
    }
}

fn print(status: &Status, json: bool, environment: &Environment) {
    let proof = status
        .port
        .map(|port| PortProof::of(port.number, environment));
    if json {
        let report = StatusReport {
            status,
            port_proof: proof.as_ref(),
        };
        // A struct of numbers and texts can always be written.
        println!(
            "{}",
            serde_json::to_string_pretty(&report).unwrap_or_default()
        );
        return;
    }
    let now = crate::status::seconds(SystemTime::now());
    for (name, value) in lines(status, proof.unwrap_or_default(), now) {
        println!("{name:<14}{value}");
    }
}

/// The file, and beside it what was found out for whoever asks.
#[derive(Serialize)]
struct StatusReport<'a> {
    #[serde(flatten)]
    status: &'a Status,
    port_proof: Option<&'a PortProof>,
}

fn exit_in_words(exit: ExitAddress) -> String {
    let rotates = if exit.rotates {
        ", and another one for other connections"
    } else {
        ""
    };
    format!("{}{rotates}", exit.ip)
}

fn lines(status: &Status, proof: PortProof, now: u64) -> Vec<(&'static str, String)> {
    let ago = |then: u64| {
        humantime::format_duration(Duration::from_secs(now.saturating_sub(then))).to_string()
    };
    let mut lines = vec![(
        "state",
        format!("{} for {}", status.state, ago(status.since)),
    )];
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("reason", status.reason.clone());
    add("location", status.location.clone());
    add(
        "server",
        status
            .server
            .as_ref()
            .map(|server| format!("{} ({})", server.cn, server.endpoint)),
    );
    add("local ip", status.local_ip.clone());
    add("exit address", status.exit.map(exit_in_words));
    add("exit error", status.exit_error.clone());
    add(
        "port",
        status
            .port
            .map(|port| format!("{}, bound {} ago", port.number, ago(port.bound_at))),
    );
    let arrivals = proof.arrivals_in_words();
    add("listener", proof.complaint);
    add("arrivals", arrivals);
    add("port file", status.port_file_error.clone());
    add(
        "endpoint",
        status
            .endpoint_silent
            .then(|| "silent: packets are sent, and nothing comes back".to_owned()),
    );
    add("not blocked", status.not_blocked.clone());
    add("frames", status.frames_pass.clone());
    add("last error", status.last_error.clone());
    let left = |then: u64| {
        humantime::format_duration(Duration::from_secs(then.saturating_sub(now))).to_string()
    };
    add(
        "next attempt",
        status.next_attempt.map(|then| format!("in {}", left(then))),
    );
    lines
}
