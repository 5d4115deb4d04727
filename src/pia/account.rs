//! The account API and the server list: what is asked and how answers are read. What is kept of
//! them, and for how long, is the caller's matter.

use std::time::Duration;

use super::credentials::{Credentials, Token};
use super::error::{ApiError, ApiErrorKind, Call};
use super::host::Host;
use super::messages::{DedicatedIpAnswer, TokenAnswer};
use super::regions::{ListKey, Server, ServerList};
use super::request::Ask;
use super::retry::RetryPolicy;
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;
use crate::underlay::http::{Content, Response};

/// Turns the credentials into a token. An answer that refuses them is final: to repeat it would
/// lock the account.
pub fn log_in(
    host: &Host,
    credentials: &Credentials,
    retry: &RetryPolicy,
    stop: &CancellationToken,
) -> Result<Token, ApiError> {
    let fields = [
        ("username", credentials.user.expose()),
        ("password", credentials.password.expose()),
    ];
    let ask = Ask {
        content: Content::Form(&fields),
        secrets: &[&credentials.password, &credentials.user],
        ..Ask::new(Call::Token, host, "/api/client/v2/token")
    };
    retry.run(stop, |timeout| ask.send(timeout, stop, read_token))
}

fn read_token(ask: &Ask<'_>, response: &Response) -> Result<Token, ApiErrorKind> {
    if let Some(refusal) = ask.refusal(response) {
        return Err(refusal);
    }
    let answer: TokenAnswer = ask.json(response)?;
    match (answer.token, answer.message) {
        (Some(token), _) => {
            Token::parse(&token).map_err(|error| ApiErrorKind::Malformed(error.to_string()))
        }
        (None, Some(message)) => Err(ApiErrorKind::Unexpected {
            status: response.status,
            excerpt: ask.excerpt(&message),
        }),
        (None, None) => Err(ApiErrorKind::Malformed("it has no token".to_owned())),
    }
}

/// Ends a token.
pub fn expire_token(
    host: &Host,
    token: &Token,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<(), ApiError> {
    let authorization = format!("Token {}", token.expose());
    let ask = Ask {
        headers: &[("Authorization", &authorization)],
        content: Content::Empty,
        secrets: &[token.secret()],
        ..Ask::new(Call::ExpireToken, host, "/api/client/v2/expire_token")
    };
    ask.send(timeout, stop, |ask, response| {
        ask.refusal(response).map_or(Ok(()), Err)
    })
}

/// A server with an address of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedicatedIp {
    pub server: Server,
    /// PIA's name for its location.
    pub id: String,
    pub port_forward: bool,
}

/// Asks which server stands behind a dedicated IP's token.
pub fn dedicated_ip(
    host: &Host,
    token: &Token,
    dip_token: &Secret,
    retry: &RetryPolicy,
    stop: &CancellationToken,
) -> Result<DedicatedIp, ApiError> {
    let authorization = format!("Token {}", token.expose());
    let body = serde_json::json!({ "tokens": [dip_token.expose()] }).to_string();
    let ask = Ask {
        headers: &[("Authorization", &authorization)],
        content: Content::Json(&body),
        secrets: &[token.secret(), dip_token],
        ..Ask::new(Call::DedicatedIp, host, "/api/client/v2/dedicated_ip")
    };
    retry.run(stop, |timeout| ask.send(timeout, stop, read_dedicated_ip))
}

fn read_dedicated_ip(ask: &Ask<'_>, response: &Response) -> Result<DedicatedIp, ApiErrorKind> {
    if let Some(refusal) = ask.refusal(response) {
        return Err(refusal);
    }
    let answers: Vec<DedicatedIpAnswer> = ask.json(response)?;
    let answer = answers
        .into_iter()
        .next()
        .ok_or_else(|| ApiErrorKind::Malformed("it is empty".to_owned()))?;
    match answer.status.as_deref() {
        Some("active") => (),
        Some("expired") => return Err(ApiErrorKind::DedicatedIpExpired),
        status => {
            return Err(ApiErrorKind::DedicatedIpInvalid {
                status: ask.excerpt(status.unwrap_or("no status")),
            });
        }
    }
    let server = answer
        .cn
        .zip(answer.ip)
        .and_then(|(cn, ip)| Server::new(&cn, &ip));
    let server = server
        .ok_or_else(|| ApiErrorKind::Malformed("its server has no name or address".to_owned()))?;
    let id = answer.id.unwrap_or_default();
    Ok(DedicatedIp {
        server,
        // PIA forwards no ports in the USA.
        port_forward: !id.to_ascii_lowercase().starts_with("us_"),
        id: ask.excerpt(&id),
    })
}

/// Which server list: the newer one has the same form and names newer servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListVersion {
    V6,
    V7,
}

/// A server list as downloaded, signature included, and as read.
#[derive(Debug, Clone)]
pub struct SignedList {
    pub text: Vec<u8>,
    pub list: ServerList,
}

/// Downloads a server list and verifies it.
pub fn server_list(
    host: &Host,
    version: ListVersion,
    key: &ListKey,
    retry: &RetryPolicy,
    stop: &CancellationToken,
) -> Result<SignedList, ApiError> {
    let path = match version {
        ListVersion::V6 => "/vpninfo/servers/v6",
        ListVersion::V7 => "/vpninfo/servers/v7",
    };
    let ask = Ask::new(Call::ServerList, host, path);
    retry.run(stop, |timeout| {
        ask.send(timeout, stop, |ask, response| {
            if let Some(refusal) = ask.refusal(response) {
                return Err(refusal);
            }
            let list = ServerList::verify(&response.body, key)?;
            Ok(SignedList {
                text: response.body.clone(),
                list,
            })
        })
    })
}
