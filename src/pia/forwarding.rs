//! The port-forwarding service of the connected server, asked through the tunnel. When to ask, and
//! what a refusal leads to, is decided elsewhere.

use std::time::Duration;

use super::credentials::Token;
use super::error::{ApiError, ApiErrorKind, Call, LeaseRefusal};
use super::host::Host;
use super::lease::Lease;
use super::messages::{BindPortAnswer, SignatureAnswer};
use super::request::Ask;
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;
use crate::underlay::http::Response;
use crate::underlay::http_error::HttpFailure;

/// Leases a new port, in one try; `token` must be the one of the registration.
pub fn lease(
    host: &Host,
    token: &Token,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<Lease, ApiError> {
    let query = [("token", token.expose())];
    let ask = Ask {
        query: &query,
        secrets: &[token.secret()],
        ..Ask::new(Call::Signature, host, "/getSignature")
    };
    ask.send(timeout, stop, read_lease)
        .map_err(or_no_port_forwarding)
}

pub(super) fn read_lease(ask: &Ask<'_>, response: &Response) -> Result<Lease, ApiErrorKind> {
    let answer: SignatureAnswer = match ask.json(response) {
        Ok(answer) => answer,
        Err(malformed) => return Err(refusal_of_lease(ask, response).unwrap_or(malformed)),
    };
    match answer.status.as_deref() {
        Some("OK") => Ok(Lease::parse(&response.body)?),
        status => Err(refused(ask, response, status, answer.message)),
    }
}

/// Binds the leased port, or refreshes the binding, in one try. Returns the server's message.
pub fn bind_port(
    host: &Host,
    lease: &Lease,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<String, ApiError> {
    let query = [
        ("payload", lease.payload.as_str()),
        ("signature", lease.signature.as_str()),
    ];
    let secrets = [&Secret::new(&lease.payload), &Secret::new(&lease.signature)];
    let ask = Ask {
        query: &query,
        secrets: &secrets,
        ..Ask::new(Call::BindPort, host, "/bindPort")
    };
    ask.send(timeout, stop, read_bound)
        .map_err(or_no_port_forwarding)
}

pub(super) fn read_bound(ask: &Ask<'_>, response: &Response) -> Result<String, ApiErrorKind> {
    let answer: BindPortAnswer = match ask.json(response) {
        Ok(answer) => answer,
        Err(malformed) => return Err(refusal_of_lease(ask, response).unwrap_or(malformed)),
    };
    match answer.status.as_deref() {
        Some("OK") => Ok(ask.excerpt(&answer.message.unwrap_or_default())),
        status => Err(refused(ask, response, status, answer.message)),
    }
}

/// Here 401 and 409 concern the lease (`Unauthorized client`, `Port N is busy`), not the account.
fn refusal_of_lease(ask: &Ask<'_>, response: &Response) -> Option<ApiErrorKind> {
    match ask.refusal(response)? {
        ApiErrorKind::TokenRefused
        | ApiErrorKind::WebPage {
            status: 401 | 403 | 409,
        }
        | ApiErrorKind::Unexpected {
            status: 400..=499, ..
        } => {
            let text = String::from_utf8_lossy(&response.body);
            let message = ask.excerpt(&format!("HTTP {}: {text}", response.status));
            Some(ApiErrorKind::LeaseRefused {
                message,
                reason: LeaseRefusal::of(response.status, &text),
            })
        }
        other => Some(other),
    }
}

/// An answer of the right form that refuses. A status that means trouble at the server is no
/// refusal: it passes.
fn refused(
    ask: &Ask<'_>,
    response: &Response,
    status: Option<&str>,
    message: Option<String>,
) -> ApiErrorKind {
    match response.status {
        status @ (408 | 500..) => return ApiErrorKind::ServerTrouble { status },
        429 => {
            return ApiErrorKind::RateLimited {
                retry_after: response.retry_after,
            };
        }
        _ => (),
    }
    // The status of a refusal is often empty.
    let reasons: Vec<&str> = status
        .into_iter()
        .chain(message.as_deref())
        .filter(|text| !text.is_empty())
        .collect();
    let reply = if reasons.is_empty() {
        "no reason is given".to_owned()
    } else {
        reasons.join(": ")
    };
    let reason = LeaseRefusal::of(response.status, &reply);
    ApiErrorKind::LeaseRefused {
        message: ask.excerpt(&reply),
        reason,
    }
}

/// A refused connection means that the server does not forward ports.
fn or_no_port_forwarding(mut error: ApiError) -> ApiError {
    if let ApiErrorKind::Network(failure) = error.kind {
        error.kind = if is_refused(&failure) {
            ApiErrorKind::NoPortForwarding(failure)
        } else {
            ApiErrorKind::Network(failure)
        };
    }
    error
}

fn is_refused(failure: &HttpFailure) -> bool {
    failure.io_kind() == Some(std::io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::error::Remedy;
    use crate::pia::trust::tests::nobody;
    use crate::underlay::socket::Via;
    use crate::underlay::socket::tests::closed_address;

    fn bound(status: u16, body: &str) -> Result<String, String> {
        let host = Host::forwarding(
            "zurich406",
            "10.7.128.1".parse().unwrap(),
            &nobody(),
            Via::Routing,
        );
        let response = Response {
            status,
            retry_after: Some(Duration::from_secs(30)),
            headers: Vec::new(),
            body: body.into(),
        };
        let ask = Ask::new(Call::BindPort, &host, "/bindPort");
        read_bound(&ask, &response).map_err(|failure| failure.to_string())
    }

    #[test]
    fn answers_to_a_binding() {
        assert_eq!(
            bound(200, r#"{"status":"OK","message":"timer refreshed"}"#),
            Ok("timer refreshed".to_owned())
        );
        let refused = |why: &str| Err(format!("the lease of the port was refused: {why}"));
        assert_eq!(
            bound(200, r#"{"status":"ERROR","message":"port expired"}"#),
            refused("ERROR: port expired")
        );
        assert_eq!(bound(409, r#"{"status":"ERROR"}"#), refused("ERROR"));
        assert_eq!(
            bound(401, r#"{"status":"","message":"bad signature"}"#),
            refused("bad signature")
        );
        assert_eq!(
            bound(401, r#"{"status":""}"#),
            refused("no reason is given")
        );
        assert_eq!(
            bound(401, "Unauthorized client"),
            refused("HTTP 401: Unauthorized client")
        );
        // As some servers write what they refuse.
        assert_eq!(
            bound(409, "<html>Port 4711 is busy</html>"),
            refused("HTTP 409: <html>Port 4711 is busy</html>")
        );
        assert_eq!(
            bound(500, "oops"),
            Err("trouble at the server (HTTP 500)".to_owned())
        );
        assert_eq!(
            bound(503, r#"{"status":"ERROR"}"#),
            Err("trouble at the server (HTTP 503)".to_owned())
        );
        assert_eq!(
            bound(429, r#"{"status":"ERROR"}"#),
            Err("too many requests (HTTP 429), not again for 30s".to_owned())
        );
    }

    #[test]
    fn reasons_of_a_refusal() {
        for (status, text, reason) in [
            (401, "", LeaseRefusal::Unauthorized),
            (
                200,
                "ERROR: Unauthorized client",
                LeaseRefusal::Unauthorized,
            ),
            (409, "", LeaseRefusal::Busy),
            (
                400,
                "Port 47047 is busy. Please use another server",
                LeaseRefusal::Busy,
            ),
            (400, "port expired", LeaseRefusal::Other),
            (401, "bad signature", LeaseRefusal::Other),
            (401, "port expired", LeaseRefusal::Other),
        ] {
            assert_eq!(LeaseRefusal::of(status, text), reason, "{status} {text}");
        }
    }

    #[test]
    fn where_nobody_listens_there_is_no_port_forwarding() {
        let (_kept, closed) = closed_address();
        let mut host = Host::forwarding(
            "zurich406",
            "127.0.0.1".parse().unwrap(),
            &nobody(),
            Via::Routing,
        );
        host.remote.port = closed.port();
        let token = Token::parse("token").unwrap();
        let error = lease(
            &host,
            &token,
            Duration::from_secs(20),
            &CancellationToken::new(),
        )
        .unwrap_err();
        assert!(
            matches!(error.kind, ApiErrorKind::NoPortForwarding(_)),
            "{error}"
        );
        assert_eq!(error.remedy(), Remedy::NextServer);
    }
}
