//! The lease of a forwarded port: a payload with PIA's signature, good for about two months. Where
//! it is stored and when it is bound is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::{Duration, SystemTime};

use super::messages::{SignatureAnswer, SignaturePayload, from_base64};

/// The longest that may lie between two refreshes of a binding: PIA's clients refresh every quarter
/// of an hour, and leave time to try again before the binding ends.
pub const MAX_REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// A lease that ends sooner than this is replaced, and the port changes.
pub const RENEW_BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A signature answer that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lease of the port: {0}")]
pub struct LeaseError(pub(super) String);

/// The right to a port until it ends.
#[derive(Clone, PartialEq, Eq)]
pub struct Lease {
    pub port: u16,
    pub expires_at: SystemTime,
    /// Sent back byte for byte as received; it holds the account token.
    pub(super) payload: String,
    pub(super) signature: String,
    answer: Vec<u8>,
}

impl Lease {
    /// Reads an answer of getSignature, fresh or stored.
    ///
    /// # Errors
    /// Says what is missing; never quotes the payload.
    pub fn parse(answer: &[u8]) -> Result<Self, LeaseError> {
        let bad = |why: &str| LeaseError(why.to_owned());
        let message: SignatureAnswer =
            serde_json::from_slice(answer).map_err(|_| bad("it is not JSON"))?;
        if message.status.as_deref() != Some("OK") {
            return Err(bad("its status is not OK"));
        }
        let payload = message.payload.ok_or_else(|| bad("it has no payload"))?;
        let signature = message
            .signature
            .ok_or_else(|| bad("it has no signature"))?;
        let decoded =
            from_base64(payload.as_bytes()).map_err(|_| bad("its payload is not base64"))?;
        let decoded: SignaturePayload = serde_json::from_slice(&decoded).map_err(|error| {
            LeaseError(format!(
                "its payload has no port or expiry ({:?})",
                error.classify()
            ))
        })?;
        if decoded.port == 0 {
            return Err(bad("its port is 0"));
        }
        let expires_at =
            parse_time(&decoded.expires_at).ok_or_else(|| bad("its expiry is not a time"))?;
        Ok(Self {
            port: decoded.port,
            expires_at,
            payload,
            signature,
            answer: answer.to_vec(),
        })
    }

    /// The answer as received, for `/pia/portsig.json`.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Whether it is to be replaced: it ends within seven days.
    pub fn is_due_for_renewal(&self, now: SystemTime) -> bool {
        now.checked_add(RENEW_BEFORE)
            .is_none_or(|soon| self.expires_at <= soon)
    }
}

/// The payload holds the account token.
impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("port", &self.port)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// RFC 3339 in UTC; PIA writes nanoseconds.
fn parse_time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix("+00:00").unwrap_or(text);
    humantime::parse_rfc3339_weak(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    fn answer(payload: &str) -> Vec<u8> {
        let payload = BASE64_STANDARD.encode(payload);
        format!(r#"{{"status":"OK","payload":"{payload}","signature":"c2ln+/=="}}"#).into_bytes()
    }

    const GOOD: &str = r#"{"token":"t","port":47047,"expires_at":"2026-12-29T03:10:26.123456789Z",
        "created_at":"2026-10-29T03:10:26Z"}"#;

    #[test]
    fn a_good_answer() {
        let raw = answer(GOOD);
        let lease = Lease::parse(&raw).unwrap();
        assert_eq!(lease.port, 47047);
        assert_eq!(
            humantime::format_rfc3339_seconds(lease.expires_at).to_string(),
            "2026-12-29T03:10:26Z"
        );
        assert_eq!(lease.answer(), raw);
        assert_eq!(lease.signature, "c2ln+/==");
        assert!(!format!("{lease:?}").contains("c2ln"));
    }

    #[test]
    fn a_port_may_be_a_text() {
        let port = |port: &str| {
            let payload = format!(r#"{{"port":{port},"expires_at":"2026-12-29T03:10:26Z"}}"#);
            Lease::parse(&answer(&payload)).map(|lease| lease.port)
        };
        assert_eq!(port(r#""47047""#), Ok(47047));
        for none in ["0", r#""0""#, "null"] {
            assert_eq!(port(none).unwrap_err().0, "its port is 0");
        }
        for bad in ["65536", r#""65536""#, r#""""#, r#""a""#, "[1]", "true"] {
            let why = port(bad).unwrap_err().0;
            assert!(why.starts_with("its payload has no port"), "{bad}: {why}");
        }
    }

    #[test]
    fn base64_may_be_in_lines_and_without_padding() {
        let strict = BASE64_STANDARD.encode(format!("{GOOD} "));
        assert!(strict.ends_with('='));
        let (first, second) = strict.split_at(76);
        for payload in [
            strict.trim_end_matches('=').to_owned(),
            format!("{first}\n{second}\n"),
            format!(" {first}\r\n{second}\r\n").replace('=', ""),
        ] {
            let raw = serde_json::json!({"status": "OK", "payload": payload, "signature": "c2ln"});
            let lease = Lease::parse(raw.to_string().as_bytes()).unwrap();
            assert_eq!(lease.port, 47047);
            assert_eq!(lease.payload, payload, "it goes back as it came");
        }
    }

    #[test]
    fn it_is_renewed_seven_days_before_its_end() {
        let lease = Lease::parse(&answer(GOOD)).unwrap();
        let day = Duration::from_secs(24 * 3600);
        assert!(!lease.is_due_for_renewal(lease.expires_at - 8 * day));
        assert!(lease.is_due_for_renewal(lease.expires_at - 6 * day));
        assert!(lease.is_due_for_renewal(lease.expires_at + 6 * day));
    }

    #[test]
    fn bad_answers_are_explained() {
        let why = |raw: &[u8]| Lease::parse(raw).unwrap_err().0;
        assert_eq!(why(b"<html>"), "it is not JSON");
        assert_eq!(why(br#"{"status":"ERROR"}"#), "its status is not OK");
        assert_eq!(
            why(br#"{"status":"OK","payload":"*","signature":""}"#),
            "its payload is not base64"
        );
        assert_eq!(
            why(&answer(r#"{"port":0,"expires_at":"2026-12-29T03:10:26Z"}"#)),
            "its port is 0"
        );
        assert_eq!(
            why(&answer(r#"{"port":1,"expires_at":"soon"}"#)),
            "its expiry is not a time"
        );
        assert!(why(&answer(r#"{"port":99999}"#)).starts_with("its payload has no port or expiry"));
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(
            payload in "(\\{|\"port\":|\"expires_at\":|[0-9]|\"|,|\\}|\\PC){0,40}",
        ) {
            let _ = Lease::parse(&answer(&payload));
            let _ = Lease::parse(payload.as_bytes());
        }
    }
}
