//! The customers of PIA: names, passwords, tokens, dedicated IPs.

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
/// Another customer, whose password all clients can send: `curl --form` takes no `;`, and some
/// write JSON by hand.
pub const OTHER_USER: &str = "p7654321";
pub const OTHER_PASSWORD: &str = "p&s+w%d= x";

const CUSTOMERS: [(&str, &str); 2] = [(USER, PASSWORD), (OTHER_USER, OTHER_PASSWORD)];

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
    /// Says this, with this status.
    Says(u16, &'static str),
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
    tokens: Vec<Token>,
    dedicated: Vec<DedicatedIp>,
}

#[derive(Debug)]
struct Token {
    text: String,
    customer: &'static str,
}

#[derive(Debug, Default)]
pub struct Account(Mutex<State>);

impl Account {
    pub fn set_login(&self, login: Login) {
        self.lock().login = login;
    }

    /// Makes a good token, as an earlier login of the first customer would have.
    pub fn issue_token(&self) -> String {
        self.issue_token_to(USER)
    }

    fn issue_token_to(&self, customer: &'static str) -> String {
        let text = random_token(128);
        self.lock().tokens.push(Token {
            text: text.clone(),
            customer,
        });
        text
    }

    pub fn forget_tokens(&self) {
        self.lock().tokens.clear();
    }

    pub fn knows(&self, token: &str) -> bool {
        self.owner(token).is_some()
    }

    /// The user name of the customer whose token this is.
    pub fn owner(&self, token: &str) -> Option<&'static str> {
        let state = self.lock();
        let mut tokens = state.tokens.iter();
        let found = tokens.find(|known| known.text == token)?;
        Some(found.customer)
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
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default();
        let credentials = credentials.split_once(':').unwrap_or_default();
        self.lock().dedicated.iter().any(|dedicated| {
            // The desktop app appends a number of its own, for each of its connections another.
            let name = credentials.0.split_once(&dedicated.token);
            let name = name.filter(|(before, after)| {
                *before == "dedicated_ip_" && (after.is_empty() || after.starts_with('_'))
            });
            let usable = dedicated.ip == server && dedicated.status == "active";
            usable && name.is_some() && credentials.1 == dedicated.ip.to_string()
        })
    }

    pub(super) fn token(&self, request: &Request, records: &Records) -> Reply {
        if request.method != "POST" {
            return Reply::html(404, "404 Not Found");
        }
        let login = self.lock().login;
        let fields = request.fields();
        let field = |name| first(&fields, name);
        let mut customers = CUSTOMERS.into_iter();
        let customer = customers
            .find(|known| (field("username"), field("password")) == (Some(known.0), Some(known.1)));
        match (login, customer) {
            (Login::Open, Some((user, _))) => {
                records.login();
                Reply::json(200, &json!({ "token": self.issue_token_to(user) }))
            }
            (login, _) => refusal(login, request, &fields),
        }
    }

    pub(super) fn expire_token(&self, request: &Request) -> Reply {
        let Some(token) = self.authorised(request) else {
            return access_denied();
        };
        self.lock().tokens.retain(|known| known.text != token);
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
                    "groups": ["wg", "ovpnudp"],
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

/// What a login says that gives no token.
fn refusal(login: Login, request: &Request, fields: &[(String, String)]) -> Reply {
    match login {
        Login::Open | Login::Refuse => Reply::json(
            401,
            &json!({"status": "error", "code": "unauthorized",
                "message": "authentication failed"}),
        ),
        Login::Forbid => Reply::html(403, "403 Forbidden"),
        Login::Denied => access_denied(),
        Login::DeniedWith200 => Reply::json(200, &json!({ "message": "authentication failed" })),
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
        Login::Says(status, text) => Reply::text(status, text),
        Login::PaymentRequired => Reply::json(
            402,
            &json!({"status": "error", "code": "payment_required",
                "message": "subscription expired"}),
        ),
    }
}

fn access_denied() -> Reply {
    Reply::text(401, "HTTP Token: Access denied.\n")
}

/// Random letters and digits, with a few of the characters that have to be encoded.
fn random_token(length: usize) -> String {
    let drawn = || (3..length).map(|_| fastrand::alphanumeric());
    let mut characters: Vec<char> = "-_=".chars().chain(drawn()).collect();
    fastrand::shuffle(&mut characters);
    characters.into_iter().collect()
}

/// Random letters and digits.
pub fn random_word(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}
