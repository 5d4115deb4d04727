//! Which address the world sees: PIA's own web host says to whoever asks where the request came
//! from, without a login.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::error::{ApiError, ApiErrorKind, Call};
use super::host::Host;
use super::messages::ClientStatusAnswer;
use super::request::Ask;
use crate::system::cancellation::CancellationToken;
use crate::underlay::http::Response;
use crate::underlay::public_address;

/// What PIA says of a request's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenAddress {
    pub ip: Ipv4Addr,
    /// Whether PIA takes it for one of its own servers'.
    pub is_pias: bool,
}

/// Asks once, over a connection of its own.
pub fn ask(
    host: &Host,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<SeenAddress, ApiError> {
    Ask::new(Call::ExitAddress, host, "/api/client/status").send(timeout, stop, read_seen)
}

pub(super) fn read_seen(ask: &Ask<'_>, response: &Response) -> Result<SeenAddress, ApiErrorKind> {
    if let Some(refusal) = ask.refusal(response) {
        return Err(refusal);
    }
    let answer: ClientStatusAnswer = ask.json(response)?;
    let ip = answer.ip.as_deref().and_then(|text| text.parse().ok());
    match (ip, answer.connected) {
        (Some(ip), Some(is_pias)) if public_address::is_possible(ip, &[]) => {
            Ok(SeenAddress { ip, is_pias })
        }
        _ => Err(ApiErrorKind::Malformed(
            "it has no public IPv4 address, or does not say whether that is one of PIA's".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::trust::tests::nobody;
    use crate::underlay::socket::Via;

    fn read(status: u16, body: &str) -> Option<SeenAddress> {
        let host = Host::account(Vec::new(), &nobody(), Via::Routing);
        let response = Response {
            status,
            retry_after: None,
            headers: Vec::new(),
            body: body.into(),
        };
        read_seen(&Ask::new(Call::ExitAddress, &host, "/"), &response).ok()
    }

    #[test]
    fn only_a_whole_answer_with_a_public_address_is_one() {
        let seen = |ip: &str, is_pias| {
            Some(SeenAddress {
                ip: ip.parse().unwrap(),
                is_pias,
            })
        };
        let answer = |connected, ip| format!(r#"{{"connected":{connected},"ip":"{ip}","new":[]}}"#);
        assert_eq!(
            read(200, &answer("true", "203.0.113.9")),
            seen("203.0.113.9", true)
        );
        assert_eq!(
            read(200, &answer("false", "192.0.2.2")),
            seen("192.0.2.2", false)
        );
        for (status, body) in [
            (200, answer("true", "10.7.33.2").as_str()),
            (200, &answer("true", "")),
            (200, &answer("true", "2001:db8::1")),
            (200, r#"{"ip":"203.0.113.9"}"#),
            (200, r#"{"connected":true}"#),
            (200, "<html>"),
            (200, ""),
            (503, &answer("true", "203.0.113.9")),
        ] {
            assert_eq!(read(status, body), None, "{status} {body}");
        }
    }
}
