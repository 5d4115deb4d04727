//! Leases of forwarded ports: the signature that a client may keep for two months.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::http::{Reply, Request};

/// How requests about ports are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Works,
    /// getSignature is refused.
    RefuseSignature,
    /// bindPort says that the port is busy.
    Busy,
    /// bindPort says that the port has expired, whatever its payload says.
    Expired,
    /// Both say that the client is none of ours.
    Unauthorized,
}

#[derive(Debug)]
struct Lease {
    payload: String,
    signature: String,
    port: u16,
    expires: SystemTime,
    /// Somebody else has the port.
    busy: bool,
    /// Binding it fails inside PIA.
    broken: bool,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    lifetime: Duration,
    dates: bool,
    leases: Vec<Lease>,
}

/// The leases of all servers: a lease is good on any of them.
#[derive(Debug)]
pub struct PortForwarding(Mutex<State>);

impl Default for PortForwarding {
    fn default() -> Self {
        let lifetime = Duration::from_secs(61 * 24 * 3600);
        Self(Mutex::new(State {
            mode: Mode::Works,
            lifetime,
            dates: false,
            leases: Vec::new(),
        }))
    }
}

impl PortForwarding {
    pub fn set(&self, mode: Mode) {
        self.lock().mode = mode;
    }

    /// How long signatures given from now on are good for.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    /// Payloads given from now on have a `created_at`, as older ones.
    pub fn date_payloads(&self) {
        self.lock().dates = true;
    }

    /// Every signature given so far is refused from now on.
    pub fn forget_signatures(&self) {
        self.lock().leases.clear();
    }

    /// Every port given so far is busy from now on: somebody else has it.
    pub fn occupy_ports(&self) {
        self.lock()
            .leases
            .iter_mut()
            .for_each(|lease| lease.busy = true);
    }

    /// Binding a port given so far is answered 500 from now on; others can be bound.
    pub fn break_leases(&self) {
        self.lock()
            .leases
            .iter_mut()
            .for_each(|lease| lease.broken = true);
    }

    /// Makes a good answer of getSignature, as an earlier run would have stored it.
    pub fn issue(&self, token: &str) -> String {
        self.lock().issue(token)
    }

    pub(super) fn signature(&self, request: &Request, known: bool) -> Reply {
        let mut state = self.lock();
        match (state.mode, request.parameter("token")) {
            (Mode::Unauthorized, _) | (_, None) => unauthorized(),
            _ if !known => unauthorized(),
            (Mode::RefuseSignature, _) => refuse(403, "port forwarding not available"),
            (_, Some(token)) => Reply::text(200, &state.issue(token)),
        }
    }

    /// The port that a client may bind, or the refusal.
    pub(super) fn check(&self, request: &Request) -> Result<u16, Reply> {
        let state = self.lock();
        if state.mode == Mode::Unauthorized {
            return Err(unauthorized());
        }
        let payload = request.parameter("payload").unwrap_or_default();
        let signature = request.parameter("signature").unwrap_or_default();
        let lease = state.leases.iter().find(|lease| lease.payload == payload);
        let lease = lease
            .filter(|lease| lease.signature == signature)
            .ok_or_else(|| refuse_lease(401, "bad signature"))?;
        match state.mode {
            _ if lease.broken => Err(Reply::text(500, "Internal Server Error")),
            _ if lease.busy => Err(busy(lease.port)),
            Mode::Busy => Err(busy(lease.port)),
            Mode::Expired => Err(refuse_lease(401, "port expired")),
            _ if lease.expires <= SystemTime::now() => Err(refuse_lease(401, "port expired")),
            _ => Ok(lease.port),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn issue(&mut self, token: &str) -> String {
        let now = SystemTime::now();
        let port = fastrand::u16(20_000..60_000);
        let expires = now + self.lifetime;
        let time = humantime::format_rfc3339_nanos;
        let created = if self.dates {
            format!(r#","created_at":"{}""#, time(now))
        } else {
            String::new()
        };
        let payload = to_be_encoded(|| {
            // What makes `+` and `/` of it.
            let tail: String = (0..12).map(|_| fastrand::char('>'..='~')).collect();
            let token = json!(format!("{token}{tail}"));
            let expires = time(expires);
            let text =
                format!(r#"{{"token":{token},"port":{port},"expires_at":"{expires}"{created}}}"#);
            text.into_bytes()
        });
        let signature = to_be_encoded(|| {
            std::iter::repeat_with(|| fastrand::u8(..))
                .take(64)
                .collect()
        });
        let answer = json!({"status": "OK", "payload": payload, "signature": signature});
        self.leases.push(Lease {
            payload,
            signature,
            port,
            expires,
            busy: false,
            broken: false,
        });
        answer.to_string()
    }
}

/// Bytes in base64 with all that a URL cannot hold as it is.
fn to_be_encoded(drawn: impl Fn() -> Vec<u8>) -> String {
    std::iter::repeat_with(|| BASE64_STANDARD.encode(drawn()))
        .find(|text| "+/=".chars().all(|character| text.contains(character)))
        .expect("the drawing does not end")
}

pub(super) fn busy(port: u16) -> Reply {
    refuse_lease(
        409,
        &format!("Port {port} is busy. Please use another server"),
    )
}

pub(super) fn unauthorized() -> Reply {
    refuse(401, "Unauthorized client")
}

fn refuse(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"status": "ERROR", "message": message}))
}

/// The status is empty where a lease is refused.
fn refuse_lease(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"status": "", "message": message}))
}
