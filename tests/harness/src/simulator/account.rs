//! One customer of PIA: name, password, tokens, dedicated IP.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::http::{Reply, Request, first};
use super::records::Records;

/// The name that logs in.
pub const USER: &str = "p1234567";
/// A password of the kind that breaks careless encoders.
pub const PASSWORD: &str = r#"p&s+w%d"=;$ x"#;

/// What the login says to everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// Checks name and password.
    #[default]
    Open,
    /// Says 401 whatever was given.
    Refuse,
    /// Says 403 whatever was given.
    Forbid,
    /// Says "Access denied" in plain text.
    Denied,
    /// Says "authentication failed" with status 200.
    DeniedWith200,
    /// The content network refuses the client's address.
    Blocked,
    /// Refuses, and quotes what it was given.
    Quote,
    /// Locked out after too many attempts.
    LockedOut,
    /// The subscription is over.
    PaymentRequired,
}

/// A dedicated IP that the account has bought.
#[derive(Clone, Debug)]
pub struct DedicatedIp {
    pub token: String,
    pub status: String,
    pub ip: Ipv4Addr,
    pub cn: String,
    pub id: String,
}

#[derive(Debug, Default)]
struct State {
    login: Login,
    tokens: Vec<String>,
    dedicated: Vec<DedicatedIp>,
}

#[derive(Debug, Default)]
pub struct Account(Mutex<State>);

impl Account {
    pub fn set_login(&self, login: Login) {
        self.lock().login = login;
    }

    /// Makes a good token, as an earlier login would have.
    pub fn issue_token(&self) -> String {
        let token = random_token(128);
        self.lock().tokens.push(token.clone());
        token
    }

    pub fn forget_tokens(&self) {
        self.lock().tokens.clear();
    }

    pub fn knows(&self, token: &str) -> bool {
        self.lock().tokens.iter().any(|known| known == token)
    }

    pub fn add_dedicated_ip(&self, dedicated: DedicatedIp) {
        self.lock().dedicated.push(dedicated);
    }

    /// Lets every dedicated IP have this status (`active`, `expired`, `invalid`).
    pub fn set_dedicated_ip_status(&self, status: &str) {
        for dedicated in &mut self.lock().dedicated {
            status.clone_into(&mut dedicated.status);
        }
    }

    /// Whether the basic credentials of a registration belong to a dedicated IP of this server.
    pub fn owns_dedicated_ip(&self, request: &Request, server: Ipv4Addr) -> bool {
        let credentials = request
            .header("authorization")
            .and_then(|header| header.strip_prefix("Basic "))
            .and_then(|text| BASE64_STANDARD.decode(text).ok());
        self.lock().dedicated.iter().any(|dedicated| {
            let expected = format!("dedicated_ip_{}:{}", dedicated.token, dedicated.ip);
            let usable = dedicated.ip == server && dedicated.status == "active";
            usable && credentials.as_deref() == Some(expected.as_bytes())
        })
    }

    pub(super) fn token(&self, request: &Request, records: &Records) -> Reply {
        if request.method != "POST" {
            return Reply::html(404, "404 Not Found");
        }
        let login = self.lock().login;
        let fields = request.fields();
        let right = first(&fields, "username") == Some(USER)
            && first(&fields, "password") == Some(PASSWORD);
        match login {
            Login::Open if right => {
                records.login();
                Reply::json(200, &json!({ "token": self.issue_token() }))
            }
            Login::Open | Login::Refuse => Reply::json(
                401,
                &json!({"status": "error", "code": "unauthorized",
                    "message": "authentication failed"}),
            ),
            Login::Forbid => Reply::html(403, "403 Forbidden"),
            Login::Denied => access_denied(),
            Login::DeniedWith200 => {
                Reply::json(200, &json!({ "message": "authentication failed" }))
            }
            Login::Blocked => Reply::text(403, "error code: 1020"),
            Login::Quote => {
                let body = String::from_utf8_lossy(&request.body);
                let decoded = fields
                    .iter()
                    .map(|(_, value)| value.as_str())
                    .collect::<Vec<_>>()
                    .join(" ");
                let message = format!("these are not good: {decoded} ({body})");
                Reply::json(
                    401,
                    &json!({"status": "error", "code": "unauthorized", "message": message}),
                )
            }
            Login::LockedOut => Reply::json(
                401,
                &json!({"status": "error", "code": "too_many_attempts",
                    "message": "Too many login attempts. Please try again later."}),
            ),
            Login::PaymentRequired => Reply::json(
                402,
                &json!({"status": "error", "code": "payment_required",
                    "message": "subscription expired"}),
            ),
        }
    }

    pub(super) fn expire_token(&self, request: &Request) -> Reply {
        let Some(token) = self.authorised(request) else {
            return access_denied();
        };
        self.lock().tokens.retain(|known| *known != token);
        Reply::json(200, &json!({"status": "success"}))
    }

    pub(super) fn dedicated_ip(&self, request: &Request) -> Reply {
        if self.authorised(request).is_none() {
            return access_denied();
        }
        if request.header("content-type") != Some("application/json") {
            return Reply::html(400, "400 Bad Request");
        }
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let tokens = asked["tokens"].as_array().cloned().unwrap_or_default();
        let state = self.lock();
        let answers = tokens.iter().map(|token| {
            let known = state
                .dedicated
                .iter()
                .find(|dedicated| *token == dedicated.token);
            match known {
                Some(known) if known.status == "active" => json!({
                    "status": "active", "ip": known.ip, "cn": known.cn, "id": known.id,
                    "dip_expire": 1_900_000_000, "dip_token": known.token,
                }),
                Some(known) => json!({"status": known.status, "dip_token": known.token}),
                None => json!({"status": "invalid"}),
            }
        });
        Reply::json(200, &answers.collect())
    }

    fn authorised(&self, request: &Request) -> Option<String> {
        let token = request.header("authorization")?.strip_prefix("Token ")?;
        self.knows(token).then(|| token.to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn access_denied() -> Reply {
    Reply::text(401, "HTTP Token: Access denied.\n")
}

/// Random letters and digits.
pub fn random_token(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}
