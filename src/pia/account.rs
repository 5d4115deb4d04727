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
/// lock the account. `host` gets the failure before each further try, as its addresses may have
/// been wrong.
pub fn log_in(
    mut host: impl FnMut(Option<&ApiError>) -> Host,
    credentials: &Credentials,
    retry: &RetryPolicy,
    stop: &CancellationToken,
) -> Result<Token, ApiError> {
    let fields = [
        ("username", credentials.user.expose()),
        ("password", credentials.password.expose()),
    ];
    retry.run(stop, |timeout, before| {
        let host = host(before);
        let ask = Ask {
            content: Content::Form(&fields),
            secrets: &[&credentials.password, &credentials.user],
            ..Ask::new(Call::Token, &host, "/api/client/v2/token")
        };
        ask.send(timeout, stop, read_token)
    })
}

pub(super) fn read_token(ask: &Ask<'_>, response: &Response) -> Result<Token, ApiErrorKind> {
    if let Some(refusal) = ask.refusal(response) {
        return Err(refusal);
    }
    let answer: TokenAnswer = ask.json(response)?;
    match answer.token {
        Some(token) => {
            Token::parse(&token).map_err(|error| ApiErrorKind::Malformed(error.to_string()))
        }
        None => Err(ApiErrorKind::Malformed("it has no token".to_owned())),
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

/// Asks which server stands behind a dedicated IP's token. `host` is as for [`log_in`].
pub fn dedicated_ip(
    mut host: impl FnMut(Option<&ApiError>) -> Host,
    token: &Token,
    dip_token: &Secret,
    retry: &RetryPolicy,
    stop: &CancellationToken,
) -> Result<DedicatedIp, ApiError> {
    let authorization = format!("Token {}", token.expose());
    let body = serde_json::json!({ "tokens": [dip_token.expose()] }).to_string();
    retry.run(stop, |timeout, before| {
        let host = host(before);
        let ask = Ask {
            headers: &[("Authorization", &authorization)],
            content: Content::Json(&body),
            secrets: &[token.secret(), dip_token],
            ..Ask::new(Call::DedicatedIp, &host, "/api/client/v2/dedicated_ip")
        };
        ask.send(timeout, stop, read_dedicated_ip)
    })
}

pub(super) fn read_dedicated_ip(
    ask: &Ask<'_>,
    response: &Response,
) -> Result<DedicatedIp, ApiErrorKind> {
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
        // PIA's desktop app keeps the token and asks again.
        Some("error") => return Err(ApiErrorKind::DedicatedIpTrouble),
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
        port_forward: !is_in_the_usa(&id),
        id: ask.excerpt(&id),
    })
}

/// Whether a location's id is of the USA: `us_chicago`, `us-salt-lake-city`, `us3`.
fn is_in_the_usa(id: &str) -> bool {
    id.to_ascii_lowercase()
        .strip_prefix("us")
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphabetic()))
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

/// Downloads a server list and verifies it. `host` is as for [`log_in`].
pub fn server_list(
    mut host: impl FnMut(Option<&ApiError>) -> Host,
    version: ListVersion,
    key: &ListKey,
    retry: &RetryPolicy,
    stop: &CancellationToken,
) -> Result<SignedList, ApiError> {
    let path = match version {
        ListVersion::V6 => "/vpninfo/servers/v6",
        ListVersion::V7 => "/vpninfo/servers/v7",
    };
    retry.run(stop, |timeout, before| {
        let host = host(before);
        let ask = Ask::new(Call::ServerList, &host, path);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::error::Remedy;
    use crate::pia::trust::tests::nobody;
    use crate::underlay::socket::Via;

    fn answered<T>(
        call: Call,
        status: u16,
        body: &str,
        read: impl Fn(&Ask<'_>, &Response) -> Result<T, ApiErrorKind>,
    ) -> Result<T, ApiError> {
        let host = Host::account(Vec::new(), &nobody(), Via::Routing);
        let response = Response {
            status,
            retry_after: None,
            headers: Vec::new(),
            body: body.into(),
        };
        read(&Ask::new(call, &host, "/"), &response).map_err(|kind| ApiError {
            call,
            host: "host".to_owned(),
            kind,
            tries: 1,
        })
    }

    #[test]
    fn whatever_says_no_to_a_login_is_a_refusal() {
        for (status, body) in [
            (200, r#"{"message":"authentication failed"}"#),
            (200, r#"{"status":"error","code":"unauthorized"}"#),
            (200, r#"{"status":"error"}"#),
            (400, r#"{"message":"wrong password"}"#),
            (422, r#"{"code":"invalid"}"#),
            (401, ""),
            (200, "HTTP Token: Access denied."),
        ] {
            let error = answered(Call::Token, status, body, read_token).unwrap_err();
            assert!(
                matches!(error.kind, ApiErrorKind::CredentialsRefused { .. }),
                "{status} {body}: {error}"
            );
            assert_eq!(error.remedy(), Remedy::GiveUp);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_asked_for_rarely() {
        for (status, body) in [
            (200, "{}"),
            (200, "[1]"),
            (200, "odd"),
            (404, "odd"),
            (200, "<a>"),
        ] {
            let error = answered(Call::Token, status, body, read_token).unwrap_err();
            assert_eq!(error.remedy(), Remedy::Later, "{status} {body}: {error}");
            assert_eq!(
                error.retry_after(),
                Some(Duration::from_secs(300)),
                "{status} {body}"
            );
        }
        let trouble = answered(Call::Token, 503, "{}", read_token).unwrap_err();
        assert_eq!(trouble.retry_after(), None);
    }

    fn dedicated(field: &str, value: &str) -> Result<DedicatedIp, ApiError> {
        let mut answer = serde_json::json!([{
            "status": "active", "ip": "192.0.2.7", "cn": "zurich406", "id": "swiss",
            "groups": ["wg"], "dip_expire": 1_900_000_000, "dip_token": "DIP"}]);
        answer[0][field] = value.into();
        answered(
            Call::DedicatedIp,
            200,
            &answer.to_string(),
            read_dedicated_ip,
        )
    }

    #[test]
    fn trouble_inside_pia_with_a_dedicated_ip_passes() {
        let remedy = |status| dedicated("status", status).unwrap_err().remedy();
        assert_eq!(remedy("error"), Remedy::Later);
        assert_eq!(remedy("expired"), Remedy::GiveUp);
        assert_eq!(remedy("invalid"), Remedy::GiveUp);
    }

    #[test]
    fn no_ports_are_forwarded_in_the_usa() {
        let forwards = |id| dedicated("id", id).unwrap().port_forward;
        assert!(forwards("swiss") && forwards("usk") && forwards("aus"));
        for id in ["us_chicago", "us-salt-lake-city", "US_texas", "us3", "us"] {
            assert!(!forwards(id), "{id}");
        }
    }
}
