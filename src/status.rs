//! What the running program says of itself: one small file without secrets, for `status`,
//! `healthcheck` and people.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::system::files::{self, FileError};
use crate::system::uptime;

/// Version of the file's form; a new one when a field changes its meaning.
pub const VERSION: u32 = 1;

/// What the status server says to have those fields renewed that only the program can look at. So
/// marked, as commands are, it is not taken for the reason of its end.
pub const LOOK: &str = "[#] look";

/// What the status server says where it may not change its user.
pub const STAYS_ROOT: &str = "it stays root, without any capability; add SETUID and SETGID to \
                              cap_add, and it becomes nobody";

/// Where the program is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Before the first connect.
    Starting,
    /// The tunnel is up.
    Connected,
    /// A new server is being looked for; the old tunnel is kept meanwhile.
    Reconnecting,
    /// A fatal error: waiting, kill switch closed.
    Blocked,
    /// Shutting down.
    Stopping,
    /// No life with a tunnel, but an anchor: the network is closed, for others that use it.
    Sealed,
}

impl State {
    /// Those of a life with a tunnel.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Connected,
        Self::Reconnecting,
        Self::Blocked,
        Self::Stopping,
    ];
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Blocked => "blocked",
            Self::Stopping => "stopping",
            Self::Sealed => "sealed",
        })
    }
}

/// The server of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedServer {
    /// Its common name.
    pub cn: String,
    /// The address of its API.
    pub ip: String,
    /// `address:port` of WireGuard.
    pub endpoint: String,
}

/// The forwarded port, present while it is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// When it was last bound, in seconds since 1970.
    pub bound_at: u64,
    /// Where a program of this network is to listen for what comes to it, whatever the environment
    /// says: `PRE_UP` may have changed it. `None` where that is another machine's.
    #[serde(default)]
    pub leads_to: Option<u16>,
}

/// What is known of the forwarded port beyond that PIA forwards it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortProof {
    /// The program that listens where the port leads; nobody, if that is here.
    pub listener: Option<String>,
    /// Connections and first datagrams that came in by it since the rules were loaded last; not
    /// known where they cannot be read.
    pub arrivals: Option<u64>,
    /// When that was so.
    pub looked_at: u64,
}

/// The address that the world sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitAddress {
    pub ip: Ipv4Addr,
    /// Another connection left by another address.
    pub rotates: bool,
}

/// What a program says that is told the forwarded port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortClientStatus {
    /// It says that it listens on the port.
    pub has_port: bool,
    /// What it says or does, in words.
    pub says: String,
    /// Since when.
    pub since: u64,
}

/// Why a reconnect was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconnectCause {
    /// By SIGHUP, or by a command.
    Request,
    /// The server does not respond.
    Endpoint,
    /// The interface is gone, or leads nowhere.
    Interface,
    /// The server does not forward the port.
    PortForwarding,
}

impl ReconnectCause {
    pub const ALL: [Self; 4] = [
        Self::Request,
        Self::Endpoint,
        Self::Interface,
        Self::PortForwarding,
    ];

    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Endpoint => "endpoint",
            Self::Interface => "interface",
            Self::PortForwarding => "port_forwarding",
        }
    }
}

/// What happened in this life so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Seconds that were spent in each state, but for the stay in the present one.
    pub state_seconds: BTreeMap<State, u64>,
    pub reconnects: BTreeMap<ReconnectCause, u64>,
    /// Attempts that failed, by what failed.
    pub failures: BTreeMap<String, u64>,
}

/// The whole file. All times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`]
    pub version: u32,
    /// Process id of the program.
    pub pid: u32,
    pub state: State,
    /// Since when it is in this state.
    pub since: u64,
    /// The same by the machine's uptime, in seconds: nobody sets that clock.
    #[serde(default)]
    pub since_uptime: u64,
    /// Why, in words.
    pub reason: Option<String>,
    pub location: Option<String>,
    /// What a command has each start choose in place of `LOC`: only when somebody asks the status
    /// server.
    #[serde(default)]
    pub kept_choice: Option<String>,
    pub server: Option<ConnectedServer>,
    /// The tunnel's own address.
    pub local_ip: Option<String>,
    /// Not known before PIA said it.
    #[serde(default)]
    pub exit: Option<ExitAddress>,
    /// Why that address is not what the tunnel is for.
    #[serde(default)]
    pub exit_error: Option<String>,
    /// A port is to be forwarded, whatever the environment says: `PRE_UP` may have changed it.
    #[serde(default)]
    pub port_wanted: bool,
    /// It was `PRE_UP` that turned it on, so what the environment says is of no account.
    #[serde(default)]
    pub port_wanted_by_hook: bool,
    pub port: Option<Port>,
    /// It is that of the server before, and the one in use has not bound it yet.
    #[serde(default)]
    pub port_unbound: bool,
    /// What failed last about it, as long as that is not over.
    #[serde(default)]
    pub port_error: Option<String>,
    /// Of this port: only when somebody asks the status server.
    #[serde(default)]
    pub port_proof: Option<PortProof>,
    /// Why the port file does not say so.
    #[serde(default)]
    pub port_file_error: Option<String>,
    /// Those of `PORT_CLIENTS`, by name, while there is a port; not there where there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub port_clients: BTreeMap<String, PortClientStatus>,
    /// Why `/etc/resolv.conf` does not name the tunnel's name servers.
    #[serde(default)]
    pub dns_error: Option<String>,
    /// Packets are sent through the tunnel, and nothing comes back.
    pub endpoint_silent: bool,
    /// What the kill switch should block and does not, and why.
    #[serde(default)]
    pub not_blocked: Option<String>,
    /// Why frames that a program writes by itself leave outside the tunnel, and what to do.
    #[serde(default)]
    pub frames_pass: Option<String>,
    pub last_error: Option<String>,
    /// When that was.
    #[serde(default)]
    pub last_error_at: Option<u64>,
    /// When the next attempt is due.
    pub next_attempt: Option<u64>,
    /// When the next two were looked at last: only when somebody asks the status server.
    #[serde(default)]
    pub looked_at: Option<u64>,
    /// WireGuard's last handshake.
    #[serde(default)]
    pub last_handshake: Option<u64>,
    /// Packets dropped: by wall, and there by chain or network card.
    #[serde(default)]
    pub dropped: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default)]
    pub counts: Counts,
}

impl Status {
    fn new() -> Self {
        Self {
            version: VERSION,
            pid: std::process::id(),
            state: State::Starting,
            since: seconds(SystemTime::now()),
            since_uptime: uptime::seconds(),
            reason: None,
            location: None,
            kept_choice: None,
            server: None,
            local_ip: None,
            exit: None,
            exit_error: None,
            port_wanted: false,
            port_wanted_by_hook: false,
            port: None,
            port_unbound: false,
            port_error: None,
            port_proof: None,
            port_file_error: None,
            dns_error: None,
            port_clients: BTreeMap::new(),
            endpoint_silent: false,
            not_blocked: None,
            frames_pass: None,
            last_error: None,
            last_error_at: None,
            next_attempt: None,
            looked_at: None,
            last_handshake: None,
            dropped: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// How long it has been in its state, in seconds, at this uptime of the machine.
    pub fn stay(&self, uptime: u64) -> u64 {
        uptime.saturating_sub(self.since_uptime)
    }

    /// The port, if the server in use forwards it.
    pub fn forwarded(&self) -> Option<Port> {
        self.port.filter(|_| !self.port_unbound)
    }

    /// The server in use has bound this port, or there is none. What is known of one says nothing
    /// of another.
    pub fn set_port(&mut self, port: Option<Port>) {
        let number = |port: Option<Port>| port.map(|port| port.number);
        if number(self.port) != number(port) {
            self.port_proof = None;
        }
        self.port = port;
        self.port_unbound = false;
    }

    /// Something failed, now.
    pub fn note_error(&mut self, text: impl Into<String>) {
        self.last_error = Some(text.into());
        self.last_error_at = Some(seconds(SystemTime::now()));
    }

    /// What failed is over.
    pub fn forget_error(&mut self) {
        self.last_error = None;
        self.last_error_at = None;
    }

    /// Reads the file; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is no status.
    pub fn read(path: &Path) -> Result<Option<Self>, StatusError> {
        let Some(text) = files::read_if_present(path)? else {
            return Ok(None);
        };
        match serde_json::from_str(&text) {
            Ok(status) => Ok(Some(status)),
            Err(source) => Err(StatusError::Garbage {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

/// The status could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content.
    #[error("{} is no status of this program: {source}", path.display())]
    Garbage {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Seconds since 1970; a clock before that counts as 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// So long after `time`, in seconds since 1970; `None` beyond what the clock can count.
pub fn seconds_from(time: SystemTime, pause: Duration) -> Option<u64> {
    time.checked_add(pause).map(seconds)
}

/// Keeps the file up to date; clones write the same file.
#[derive(Debug, Clone)]
pub struct Reporter {
    path: Arc<Path>,
    status: Arc<Mutex<Status>>,
    /// The last change could not be written.
    is_failing: Arc<AtomicBool>,
}

impl Reporter {
    /// Starts with [`State::Starting`]. Nothing is written before the first change.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            status: Arc::new(Mutex::new(Status::new())),
            is_failing: Arc::default(),
        }
    }

    /// A life that ends takes its file away.
    pub fn say_how_the_last_life_ended(&self) {
        if self.path.exists() {
            log::warn!(
                "the life before this one was killed, or it crashed: if the host's kernel log \
                 (`dmesg`) says that memory ran out, raise the container's `mem_limit`"
            );
        }
    }

    /// Enters a state, from now on, for a reason.
    pub fn enter(&self, state: State, reason: impl Into<Option<String>>) {
        let reason = reason.into();
        self.update(|status| {
            if status.state != state {
                let uptime = uptime::seconds();
                let stay = status.stay(uptime);
                let total = status.counts.state_seconds.entry(status.state).or_default();
                *total = total.saturating_add(stay);
                status.since = seconds(SystemTime::now());
                status.since_uptime = uptime;
            }
            status.state = state;
            status.reason = reason;
            status.next_attempt = None;
        });
    }

    /// An attempt failed; `kind` is what failed, in a word. It is written with the next change.
    pub fn count_failure(&self, kind: &str) {
        self.note(|status| {
            let count = status.counts.failures.entry(kind.to_owned()).or_default();
            *count = count.saturating_add(1);
        });
    }

    /// A reconnect begins. It is written with the next change.
    pub fn count_reconnect(&self, cause: ReconnectCause) {
        self.note(|status| {
            let count = status.counts.reconnects.entry(cause).or_default();
            *count = count.saturating_add(1);
        });
    }

    /// Changes the status; it is written with the next change.
    pub fn note(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes the status and writes it. That it cannot be written stops nothing; it is said once
    /// until it can be written again.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        let written = serde_json::to_vec_pretty(&*status)
            .map_err(|error| error.to_string())
            .and_then(|text| self.write(&text).map_err(|error| error.to_string()));
        let is_failing = written.is_err();
        let was_failing = self.is_failing.swap(is_failing, Ordering::Relaxed);
        if let Err(error) = written
            && !was_failing
        {
            log::warn!("status and health check do not know of this life: {error}");
        }
    }

    fn write(&self, text: &[u8]) -> Result<(), FileError> {
        // Before the lock is taken there may be no directory yet.
        if let Some(directory) = self.path.parent() {
            files::make_directory(directory)?;
        }
        files::replace(&self.path, text, 0o644)
    }

    /// The status as it is now.
    pub fn current(&self) -> Status {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        assert!(Status::read(&path).unwrap().is_none());
        let reporter = Reporter::new(&path);
        reporter.enter(State::Blocked, "no credentials".to_owned());
        let status = Status::read(&path).unwrap().unwrap();
        assert_eq!(status, reporter.current());
        assert_eq!(
            (status.state, status.reason.as_deref()),
            (State::Blocked, Some("no credentials"))
        );
    }

    #[test]
    fn who_sets_the_clock_changes_nothing_about_how_long_a_state_took() {
        let directory = tempfile::tempdir().unwrap();
        let reporter = Reporter::new(&directory.path().join("status.json"));
        reporter.update(|status| {
            status.since += 3600;
            status.since_uptime = uptime::seconds() - 1;
        });
        reporter.enter(State::Connected, None);
        let status = reporter.current();
        let took = status.counts.state_seconds[&State::Starting];
        assert!((1..60).contains(&took), "{took}");
        assert!(status.stay(uptime::seconds()) < 60);
        assert!(status.since <= seconds(SystemTime::now()));
    }

    #[test]
    fn what_is_known_of_a_port_goes_with_it() {
        let mut status = Status::new();
        let port = |number, bound_at| {
            Some(Port {
                number,
                bound_at,
                leads_to: Some(number),
            })
        };
        status.set_port(port(4711, 1));
        status.port_proof = Some(PortProof {
            listener: None,
            arrivals: Some(0),
            looked_at: 1,
        });
        status.set_port(port(4711, 2));
        assert!(status.port_proof.is_some());
        status.set_port(port(4712, 3));
        assert_eq!((status.port, status.port_proof), (port(4712, 3), None));
    }

    /// "`status --json` prints the file" (README.md), and the README names what is in it.
    #[test]
    fn the_readme_names_each_field() {
        let mut status = Status::new();
        let client = PortClientStatus {
            has_port: true,
            says: String::new(),
            since: 0,
        };
        status.port_clients.insert("slskd".to_owned(), client);
        let status = serde_json::to_value(status).unwrap();
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let is_missing = |field: &&String| !readme.contains(&format!("`{field}`"));
        let missing: Vec<&String> = status
            .as_object()
            .unwrap()
            .keys()
            .filter(is_missing)
            .collect();
        assert_eq!(missing, [] as [&str; 0]);
    }

    #[test]
    fn garbage_is_said_to_be_garbage() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        std::fs::write(&path, "{").unwrap();
        assert!(
            Status::read(&path)
                .unwrap_err()
                .to_string()
                .contains("is no status of this program")
        );
    }
}
