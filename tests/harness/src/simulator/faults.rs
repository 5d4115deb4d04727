//! What an API does instead of answering.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use super::http::Request;

/// The interfaces that PIA offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    Token,
    ExpireToken,
    DedicatedIp,
    List,
    AddKey,
    GetSignature,
    BindPort,
    ExitAddress,
}

impl Api {
    /// The interface that a request is meant for.
    pub fn of(request: &Request) -> Option<Self> {
        Some(match request.path.as_str() {
            "/api/client/v2/token" => Self::Token,
            "/api/client/v2/expire_token" => Self::ExpireToken,
            "/api/client/v2/dedicated_ip" => Self::DedicatedIp,
            "/vpninfo/servers/v6" | "/vpninfo/servers/v7" => Self::List,
            "/addKey" => Self::AddKey,
            "/getSignature" => Self::GetSignature,
            "/bindPort" => Self::BindPort,
            "/api/client/status" => Self::ExitAddress,
            _ => return None,
        })
    }
}

/// A way of not answering, or not properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Accepts the connection and never says a word, not even of TLS.
    HangInHandshake,
    /// Ends the connection without a word.
    Close,
    /// Answers in plain HTTP, whatever it is told, as a portal does that takes every connection.
    Portal,
    /// Reads the request and never answers.
    Hang,
    /// Announces a body and ends after its first half.
    CutBody,
    /// Answers 200 with JSON that breaks off.
    Malformed,
    /// Answers 200 with a web page.
    Html,
    /// Answers with this status, this many times more.
    Status(u16, u32),
    /// Answers 429 and asks for so many seconds of patience.
    RateLimit(u64),
}

/// The faults of the moment; without one, an API works.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<Api, Fault>>);

impl Faults {
    pub fn set(&self, api: Api, fault: Fault) {
        self.lock().insert(api, fault);
    }

    pub fn clear(&self, api: Api) {
        self.lock().remove(&api);
    }

    /// The fault that connections meant for any of these meet before the TLS handshake.
    pub fn before_handshake(&self, apis: &[Api]) -> Option<Fault> {
        let faults = self.lock();
        let faults = apis.iter().filter_map(|api| faults.get(api).copied());
        let is_before =
            |fault: &Fault| matches!(fault, Fault::HangInHandshake | Fault::Close | Fault::Portal);
        faults.into_iter().find(is_before)
    }

    /// The fault that meets this request; a fault of a certain number of times is used up by it.
    pub fn take(&self, api: Api) -> Option<Fault> {
        let mut faults = self.lock();
        if let Some(Fault::Status(_, left)) = faults.get_mut(&api) {
            if *left == 0 {
                faults.remove(&api);
                return None;
            }
            *left -= 1;
        }
        faults.get(&api).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Api, Fault>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}
