//! `status`: what the running program says of itself, for people and for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::status_watch::{self, Page};
use crate::control::kept_choice;
use crate::firewall::arrivals;
use crate::port_forward::listening;
use crate::status::{ExitAddress, Port, PortProof, State, Status};
use crate::system::cancellation::CancellationToken;
use crate::system::{files, paths};
use crate::wireguard::show::{self, Counters};

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
    /// Show it until interrupted: on a terminal in place, in a pipe whenever something changes.
    #[arg(short, long, conflicts_with = "wait")]
    watch: bool,
}

/// Prints the status. 0 if connected, 1 if not, or not in time.
pub fn run(arguments: &Arguments) -> ExitCode {
    if arguments.watch {
        return watch(arguments.json);
    }
    let deadline = Instant::now().checked_add(Duration::from_secs(arguments.wait.unwrap_or(0)));
    let status = loop {
        let status = current();
        let connected = status.as_ref().is_ok_and(|status| is_well(status.state));
        if connected
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || CancellationToken::never().pause(POLL_INTERVAL).is_err()
        {
            break status;
        }
    };
    let arrivals = |port| arrivals::arrivals(port, &CancellationToken::never());
    let arrivals = |port| arrivals(port).ok().flatten();
    // That nobody reads it changes nothing about the status.
    let text = text(&status, arguments.json, arrivals);
    let _ = io::stdout().write_all(text.as_bytes());
    exit_code(&status)
}

/// What a life aims at, and an anchor.
fn is_well(state: State) -> bool {
    matches!(state, State::Connected | State::Sealed)
}

fn exit_code(status: &Result<Status, String>) -> ExitCode {
    match status {
        Ok(status) if is_well(status.state) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Ends as `status` would have ended at the last look.
fn watch(json: bool) -> ExitCode {
    let mut last = Err(String::new());
    let shown = status_watch::show(json, || {
        let status = current();
        // To read the rules' counters, a program would have to be started for each look.
        let text = text(&status, json, |_| None);
        let listener = status.as_ref().ok().and_then(|status| status.port);
        let listener = listener.map(|port| PortFindings::of(port, |_| None));
        let sign = sign(&status, listener.as_ref());
        last = status;
        Page { text, sign }
    });
    if let Err(error) = shown {
        log::error!("signals cannot be handled: {error}");
        return ExitCode::FAILURE;
    }
    exit_code(&last)
}

/// What makes another page of it: not what goes on by itself, and is only looked at when somebody
/// asks the status server.
fn sign(status: &Result<Status, String>, port: Option<&PortFindings>) -> String {
    let status = status.as_ref().map(|status| Status {
        looked_at: None,
        last_handshake: None,
        dropped: BTreeMap::new(),
        port_proof: None,
        ..status.clone()
    });
    let listener = port.map(|found| (&found.proof.listener, &found.complaint));
    format!("{status:?} {listener:?}")
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
        Ok(Some(status)) => Ok(Status {
            // The running program is not told when it is forgotten.
            kept_choice: kept_choice::told(Path::new(paths::KEPT_CHOICE)),
            ..status
        }),
        Ok(None) => Err("wireguard-pia is just starting, or cannot write its status".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is found out about the forwarded port for whoever asks.
#[derive(Debug)]
struct PortFindings {
    proof: PortProof,
    complaint: Option<String>,
}

impl PortFindings {
    fn of(port: Port, arrivals: impl FnOnce(u16) -> Option<u64>) -> Self {
        Self {
            proof: PortProof {
                listener: port.leads_to.and_then(listening::listener),
                arrivals: arrivals(port.number),
                looked_at: crate::status::seconds(SystemTime::now()),
            },
            complaint: port.leads_to.and_then(listening::complaint),
        }
    }

    fn listener_in_words(&self) -> Option<String> {
        let listens = |name| format!("{name} listens on the port");
        let listener = self.proof.listener.as_ref().map(listens);
        listener.or_else(|| self.complaint.clone())
    }

    fn arrivals_in_words(&self) -> Option<String> {
        let count = self.proof.arrivals?;
        Some(match count {
            0 => "nothing has come in by the port since the rules were loaded last".to_owned(),
            count => format!("{count} by the port since the rules were loaded last"),
        })
    }
}

/// What is printed; `arrivals` tells how much has come in by a port, where that is known.
fn text(
    status: &Result<Status, String>,
    json: bool,
    arrivals: impl FnOnce(u16) -> Option<u64>,
) -> String {
    let status = match status {
        Ok(status) => status,
        Err(why) if json => {
            let version = crate::status::VERSION;
            let stopped = json!({ "version": version, "state": "stopped", "reason": why });
            return format!("{stopped}\n");
        }
        Err(why) => return format!("{why}\n"),
    };
    let findings = status.port.map(|port| PortFindings::of(port, arrivals));
    if json {
        let report = Status {
            port_proof: findings.map(|findings| findings.proof),
            ..status.clone()
        };
        // A struct of numbers and texts can always be written.
        let report = serde_json::to_string_pretty(&report).unwrap_or_default();
        return format!("{report}\n");
    }
    let now = crate::status::seconds(SystemTime::now());
    let traffic = show::counters().ok();
    lines(status, findings.as_ref(), traffic, now)
        .into_iter()
        .map(|(name, value)| format!("{name:<14}{value}\n"))
        .collect()
}

fn exit_in_words(exit: ExitAddress) -> String {
    let rotates = if exit.rotates {
        ", and another one for other connections"
    } else {
        ""
    };
    format!("{}{rotates}", exit.ip)
}

fn lines(
    status: &Status,
    port: Option<&PortFindings>,
    traffic: Option<Counters>,
    now: u64,
) -> Vec<(&'static str, String)> {
    let ago = |then: u64| in_words(now.saturating_sub(then));
    let mut lines = vec![(
        "state",
        format!(
            "{} for {}, since {}",
            status.state,
            ago(status.since),
            clock(status.since)
        ),
    )];
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("reason", status.reason.clone());
    add("location", status.location.clone());
    let kept = |choice| format!("{choice}, which goes before LOC at each start");
    add("kept choice", status.kept_choice.as_ref().map(kept));
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
        status.port.map(|port| match status.port_unbound {
            true => format!("{}, which is being bound at the new server", port.number),
            false => format!("{}, bound {} ago", port.number, ago(port.bound_at)),
        }),
    );
    add("listener", port.and_then(PortFindings::listener_in_words));
    add("arrivals", port.and_then(PortFindings::arrivals_in_words));
    add("name servers", status.dns_error.clone());
    add("traffic", traffic.map(traffic_in_words));
    add("port file", status.port_file_error.clone());
    for (name, client) in &status.port_clients {
        add("port client", Some(format!("{name} {}", client.says)));
    }
    add(
        "endpoint",
        status
            .endpoint_silent
            .then(|| "silent: packets are sent, and nothing comes back".to_owned()),
    );
    add("not blocked", status.not_blocked.clone());
    add("frames", status.frames_pass.clone());
    let when = |error: &String| match status.last_error_at {
        Some(then) => format!("{} ago: {error}", ago(then)),
        None => error.clone(),
    };
    add("last error", status.last_error.as_ref().map(when));
    let left = |then: u64| in_words(then.saturating_sub(now));
    add(
        "next attempt",
        status.next_attempt.map(|then| format!("in {}", left(then))),
    );
    lines
}

/// A time, by the clock of the world.
fn clock(seconds: u64) -> String {
    // The last second that can be written, in the year 9999.
    let time = Duration::from_secs(seconds.min(253_402_300_799));
    let text = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + time).to_string();
    format!("{} UTC", text.trim_end_matches('Z').replace('T', " "))
}

/// A time span as people say it: its two largest units.
fn in_words(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let two = |large, unit, small, rest| {
        format!(
            "{} {unit} {} {rest}",
            seconds / large,
            seconds % large / small
        )
    };
    if seconds < MINUTE {
        format!("{seconds} s")
    } else if seconds < HOUR {
        two(MINUTE, "min", 1, "s")
    } else if seconds < DAY {
        two(HOUR, "h", MINUTE, "min")
    } else {
        two(DAY, "d", HOUR, "h")
    }
}

fn traffic_in_words(counters: Counters) -> String {
    let received = bytes_in_words(counters.received.bytes);
    let sent = bytes_in_words(counters.sent.bytes);
    format!("{received} received, {sent} sent")
}

/// A number of bytes, with the largest unit that leaves something before the point.
fn bytes_in_words(count: u64) -> String {
    let units = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    let unit = units.into_iter().find(|(size, _)| count >= *size);
    unit.map_or(format!("{count} B"), |(size, name)| {
        format!("{}.{} {name}", count / size, count % size * 10 / size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_told_as_people_say_them() {
        let spans = [59, 61, 2 * 3600 + 5 * 60 + 9, 3 * 86400 + 4 * 3600].map(in_words);
        assert_eq!(spans, ["59 s", "1 min 1 s", "2 h 5 min", "3 d 4 h"]);
        let sizes = [0, 999, 1000, 1_290_000_000, u64::MAX].map(bytes_in_words);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.2 GB", "18446744.0 TB"]);
        assert_eq!(clock(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert!(clock(u64::MAX).starts_with("9999-"));
    }

    /// "in a pipe whenever something changes" (`--help`)
    #[test]
    fn that_others_have_asked_is_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let reporter = crate::status::Reporter::new(&directory.path().join("status.json"));
        let sign = || sign(&Ok(reporter.current()), None);
        let before = sign();
        reporter.update(|status| {
            status.looked_at = Some(1_700_000_000);
            status.last_handshake = Some(1_700_000_000);
            status
                .dropped
                .insert("egress".to_owned(), [("eth0".to_owned(), 3)].into());
        });
        assert_eq!(sign(), before);
        reporter.enter(State::Connected, None);
        assert_ne!(sign(), before);
    }

    /// Whoever looks at it wants the state first, and trouble last.
    #[test]
    fn a_page_has_everything_in_the_order_of_interest() {
        let directory = tempfile::tempdir().unwrap();
        let reporter = crate::status::Reporter::new(&directory.path().join("status.json"));
        reporter.enter(State::Connected, None);
        reporter.update(|status| {
            status.since = 1_700_000_000;
            status.location = Some("swiss".into());
            status.port = Some(Port {
                number: 47047,
                bound_at: 1_700_003_000,
                leads_to: None,
            });
            status.last_error = Some("no answer".into());
            status.last_error_at = Some(1_700_003_590);
        });
        let findings = PortFindings {
            proof: PortProof {
                listener: Some("qbittorrent".into()),
                arrivals: None,
                looked_at: 1_700_003_600,
            },
            complaint: None,
        };
        let mut traffic = Counters::default();
        traffic.sent.bytes = 1500;
        let page = lines(
            &reporter.current(),
            Some(&findings),
            Some(traffic),
            1_700_003_600,
        );
        let page: Vec<String> = page
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            page,
            [
                "state: connected for 1 h 0 min, since 2023-11-14 22:13:20 UTC",
                "location: swiss",
                "port: 47047, bound 10 min 0 s ago",
                "listener: qbittorrent listens on the port",
                "traffic: 0 B received, 1.5 kB sent",
                "last error: 10 s ago: no answer",
            ]
        );
    }
}
