//! One call to the API: it is sent, and refusals that all calls share are recognised. What a good
//! answer holds is read by the caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::error::{ApiError, ApiErrorKind, Call};
use super::host::{Host, HostKind};
use super::messages::TokenAnswer;
use super::side::Side;
use crate::system::cancellation::CancellationToken;
use crate::system::invisible::is_invisible;
use crate::system::parallel;
use crate::system::secret::Secret;
use crate::underlay::http::{self, Content, Request, Response};
use crate::underlay::http_error::HttpFailure;

/// How much of an unknown answer a message may quote.
const MAX_EXCERPT_CHARS: usize = 100;
/// What is left of a request's time for another one beside it.
const LEAST_TIME_TO_OVERTAKE: Duration = Duration::from_secs(5);
/// How much of it is searched for secrets; the rest is not quoted.
const MAX_MASKED_CHARS: usize = 4096;

/// Lines of our own log that people's scripts wait for, in small letters.
const OUR_PHRASES: [&str; 3] = [
    "fatal error",
    "forwarding on port",
    "wireguard successfully started",
];

/// A call to a host, with the secrets that messages about it must not repeat.
pub(super) struct Ask<'a> {
    pub call: Call,
    pub host: &'a Host,
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'a str, &'a str)],
    pub content: Content<'a>,
    pub secrets: &'a [&'a Secret],
}

impl<'a> Ask<'a> {
    pub fn new(call: Call, host: &'a Host, path: &'a str) -> Self {
        Self {
            call,
            host,
            path,
            query: &[],
            headers: &[],
            content: Content::None,
            secrets: &[],
        }
    }

    /// Sends it once; `read` interprets the answer, whatever its status.
    pub fn send<T>(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
        read: impl FnOnce(&Self, &Response) -> Result<T, ApiErrorKind>,
    ) -> Result<T, ApiError> {
        let Self {
            path,
            query,
            headers,
            content,
            ..
        } = *self;
        let begun = Instant::now();
        let progress = Arc::default();
        let send = |stop: &CancellationToken| {
            let request = Request {
                path,
                query,
                headers,
                content,
                timeout: timeout.saturating_sub(begun.elapsed()),
            };
            http::send_noting(&self.host.remote, &request, &progress, stop)
        };
        let hangs = || {
            let left = timeout.saturating_sub(begun.elapsed());
            left >= LEAST_TIME_TO_OVERTAKE && progress.hangs()
        };
        let answer = match self.call.overtaken_after() {
            [] => send(stop),
            pauses => parallel::overtaking(pauses, stop, hangs, send),
        };
        let outcome = match answer {
            Ok(response) => read(self, &response),
            Err(error) => Err(ApiErrorKind::from_network(error.failure)),
        };
        outcome.map_err(|failure| {
            let failure = match self.host.kind {
                HostKind::Meta => as_meta(failure),
                HostKind::Web => on_the_way(failure),
                HostKind::Server => failure,
            };
            ApiError {
                call: self.call,
                host: self.host.remote.name.clone(),
                kind: failure,
                tries: 1,
            }
        })
    }

    /// The refusal in an answer, by its status and by what all of the API's refusals share.
    pub fn refusal(&self, response: &Response) -> Option<ApiErrorKind> {
        let text = String::from_utf8_lossy(&response.body);
        let answer: TokenAnswer = if self.call.is_of_account() {
            serde_json::from_slice(&response.body).unwrap_or_default()
        } else {
            TokenAnswer::default()
        };
        if answer.code.as_deref() == Some("too_many_attempts") {
            return Some(ApiErrorKind::LockedOut {
                message: self.excerpt(&answer.message.unwrap_or_default()),
            });
        }
        let status = response.status;
        if text.trim_start().starts_with("HTTP Token: Access denied") {
            return Some(self.refused(status, &text));
        }
        if status == 403
            && let Some(code) = block_code(&text)
        {
            return Some(ApiErrorKind::Blocked { code });
        }
        if self.call == Call::Token && is_no(&answer) && matches!(status, 200..=299 | 400..=499) {
            match status {
                // Of a gateway that knows of no login, or of PIA's own trouble.
                402 | 404 | 405 | 408 | 410 | 421 | 425 | 429 => (),
                _ => return Some(self.refused(status, &text)),
            }
        }
        let is_page = text.trim_start().starts_with('<');
        match status {
            200..=299 => is_page.then_some(ApiErrorKind::WebPage { status }),
            // Only who shows PIA's certificate is asked, so a page with it is a refusal in other
            // words; but a content network blocks with 403, too.
            401 => Some(self.refused(status, &text)),
            403 if !is_page => Some(self.refused(status, &text)),
            402 if self.call.is_of_account() => Some(ApiErrorKind::SubscriptionOver),
            429 => Some(ApiErrorKind::RateLimited {
                retry_after: response.retry_after.or(self.call.unsaid_patience()),
            }),
            408 | 500..=599 => Some(ApiErrorKind::ServerTrouble { status }),
            _ if is_page => Some(ApiErrorKind::WebPage { status }),
            _ => Some(self.unexpected(status, &text)),
        }
    }

    fn refused(&self, status: u16, text: &str) -> ApiErrorKind {
        match self.call {
            Call::Token => ApiErrorKind::CredentialsRefused { status },
            call if call.is_of_account() => ApiErrorKind::TokenRefused,
            _ => self.unexpected(status, text),
        }
    }

    fn unexpected(&self, status: u16, text: &str) -> ApiErrorKind {
        ApiErrorKind::Unexpected {
            status,
            excerpt: self.excerpt(text),
        }
    }

    /// The answer as JSON of the expected form.
    pub fn json<T: DeserializeOwned>(&self, response: &Response) -> Result<T, ApiErrorKind> {
        serde_json::from_slice(&response.body).map_err(|_| {
            let status = response.status;
            let what = if self.may_hold_a_new_secret(response) {
                format!("{} bytes", response.body.len())
            } else {
                let excerpt = self.excerpt(&String::from_utf8_lossy(&response.body));
                format!("{excerpt:?}")
            };
            ApiErrorKind::Malformed(format!(
                "no JSON of the expected form (HTTP {status}): {what}"
            ))
        })
    }

    /// Whether the answer may hold a secret that we do not know, so that it cannot be masked.
    fn may_hold_a_new_secret(&self, response: &Response) -> bool {
        matches!(self.call, Call::Token | Call::DedicatedIp | Call::Signature)
            && matches!(response.status, 200..=299)
    }

    /// A server's text made fit for a message: one line, short, without our secrets.
    pub fn excerpt(&self, text: &str) -> String {
        // Masked before it is cut: a cut could leave a part of a secret that is not recognised.
        let mut masked: String = text.chars().take(MAX_MASKED_CHARS).collect();
        for secret in self.secrets {
            masked = secret.masked_in(&masked);
        }
        let mut line = String::new();
        for word in masked.split(|letter| char::is_whitespace(letter) || is_invisible(letter)) {
            if !word.is_empty() && !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        line = without_our_phrases(line);
        if line.chars().count() > MAX_EXCERPT_CHARS {
            line = line.chars().take(MAX_EXCERPT_CHARS).collect();
            line.push('…');
        }
        line
    }
}

/// What log watchers look for must not come from a server.
fn without_our_phrases(mut line: String) -> String {
    for phrase in OUR_PHRASES {
        while let Some(at) = line.to_ascii_lowercase().find(phrase) {
            let space = phrase.find(' ').unwrap_or_default();
            let at = at.saturating_add(space);
            line.replace_range(at..=at, "-");
        }
    }
    line
}

/// Whether an answer to a login says no, in whichever words: a login that is repeated locks the
/// account.
fn is_no(answer: &TokenAnswer) -> bool {
    let is_error = answer.status.as_deref() == Some("error");
    answer.token.is_none() && (is_error || answer.code.is_some() || answer.message.is_some())
}

/// The code in `error code: 1020`, as the content network before PIA refuses addresses. With
/// another status than 403 such a text is about trouble that passes: 1015 with 429 is a limit of
/// requests, 1016 or 1033 with 530 a host of PIA's that the content network does not reach.
fn block_code(text: &str) -> Option<String> {
    let code = text.trim().strip_prefix("error code: ")?;
    let is_code = code.len() == 4 && code.starts_with("10");
    (is_code && code.bytes().all(|byte| byte.is_ascii_digit())).then(|| code.to_owned())
}

impl Host {
    /// Whether it answers by HTTP, with any status, and with a certificate that proves its name.
    pub fn ping(&self, timeout: Duration, stop: &CancellationToken) -> Result<(), ApiError> {
        Ask::new(Call::Ping, self, "/").send(timeout, stop, |_, _| Ok(()))
    }
}

impl ApiErrorKind {
    fn from_network(failure: HttpFailure) -> Self {
        match failure {
            HttpFailure::Interrupted => Self::Stopped,
            failure => Self::Network(failure),
        }
    }
}

/// A host that was found by its name: what is between here and there says so by how it fails.
fn on_the_way(failure: ApiErrorKind) -> ApiErrorKind {
    match failure {
        ApiErrorKind::Network(failure) => match Side::of(&failure) {
            Some(side) => ApiErrorKind::OnTheWay { failure, side },
            None => ApiErrorKind::Network(failure),
        },
        failure => failure,
    }
}

/// A host that was chosen as meta server and answers as none would is not one.
fn as_meta(failure: ApiErrorKind) -> ApiErrorKind {
    match failure {
        wrong @ (ApiErrorKind::Network(
            HttpFailure::ForeignCertificate
            | HttpFailure::WrongName(_)
            | HttpFailure::Tls(_)
            | HttpFailure::NotHttp(_),
        )
        | ApiErrorKind::WebPage {
            status: 200..=299 | 404,
        }
        | ApiErrorKind::Unexpected { .. }) => ApiErrorKind::NoMetaServer(Box::new(wrong)),
        failure => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::regions::Server;
    use crate::pia::trust::tests::nobody;
    use crate::underlay::socket::Via;
    use proptest::prelude::*;

    fn host() -> Host {
        Host::meta(
            &Server::new("meta1", "192.0.2.1").unwrap(),
            443,
            &nobody(),
            Via::Routing,
        )
    }

    fn refusal(call: Call, status: u16, body: &str) -> String {
        let host = host();
        let secret = Secret::new("hunter22");
        let secrets = [&secret];
        let ask = Ask {
            secrets: &secrets,
            ..Ask::new(call, &host, "/")
        };
        let response = Response {
            status,
            retry_after: Some(Duration::from_secs(3)),
            headers: Vec::new(),
            body: body.into(),
        };
        ask.refusal(&response)
            .map_or_else(|| "none".to_owned(), |failure| format!("{failure:?}"))
    }

    #[test]
    fn every_refusal_is_told_apart() {
        for (status, body, expected) in [
            (200, r#"{"token":"x"}"#, "none"),
            (401, "", "CredentialsRefused { status: 401 }"),
            (403, "{}", "CredentialsRefused { status: 403 }"),
            (
                200,
                "HTTP Token: Access denied.\n",
                "CredentialsRefused { status: 200 }",
            ),
            (
                401,
                "<!DOCTYPE HTML>\n<h1>Error response</h1>",
                "CredentialsRefused { status: 401 }",
            ),
            (402, "", "SubscriptionOver"),
            (429, "<html>", "RateLimited { retry_after: Some(3s) }"),
            (503, "<html>", "ServerTrouble { status: 503 }"),
            (408, "", "ServerTrouble { status: 408 }"),
            (403, "<!DOCTYPE html>", "WebPage { status: 403 }"),
            (200, " <html>", "WebPage { status: 200 }"),
            (403, "error code: 1020", "Blocked { code: \"1020\" }"),
            (
                429,
                "error code: 1015",
                "RateLimited { retry_after: Some(3s) }",
            ),
            (530, "error code: 1033", "ServerTrouble { status: 530 }"),
            (
                409,
                "error code: 1001",
                "Unexpected { status: 409, excerpt: \"error code: 1001\" }",
            ),
            (
                404,
                "not\n found hunter22",
                "Unexpected { status: 404, excerpt: \"not found ***\" }",
            ),
            (302, "", "Unexpected { status: 302, excerpt: \"\" }"),
            (
                429,
                r#"{"status":"error","code":"too_many_attempts","message":"wait"}"#,
                "LockedOut { message: \"wait\" }",
            ),
        ] {
            assert_eq!(
                refusal(Call::Token, status, body),
                expected,
                "{status} {body}"
            );
        }
        assert_eq!(
            refusal(Call::DedicatedIp, 401, "HTTP Token: Access denied."),
            "TokenRefused"
        );
    }

    #[test]
    fn a_gateway_that_knows_of_no_login_refuses_no_password() {
        let unknown = r#"{"message":"no Route matched with those values"}"#;
        for status in [404, 405, 410, 421, 425] {
            let refusal = refusal(Call::Token, status, unknown);
            assert!(refusal.starts_with("Unexpected"), "{status}: {refusal}");
        }
        let refused = refusal(Call::Token, 422, unknown);
        assert_eq!(refused, "CredentialsRefused { status: 422 }");
    }

    #[test]
    fn an_unsaid_limit_of_logins_is_a_minute() {
        let patience = |call| {
            let host = host();
            let response = Response {
                status: 429,
                retry_after: None,
                headers: Vec::new(),
                body: Vec::new(),
            };
            match Ask::new(call, &host, "/").refusal(&response) {
                Some(ApiErrorKind::RateLimited { retry_after }) => retry_after,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(patience(Call::Token), Some(Duration::from_secs(59)));
        assert_eq!(patience(Call::ServerList), None);
    }

    #[test]
    fn what_is_asked_without_a_token_says_nothing_of_the_account() {
        for (status, body, expected) in [
            (
                401,
                "HTTP Token: Access denied.",
                "Unexpected { status: 401, excerpt: \"HTTP Token: Access denied.\" }",
            ),
            (403, "no", "Unexpected { status: 403, excerpt: \"no\" }"),
            (402, "", "Unexpected { status: 402, excerpt: \"\" }"),
            (
                429,
                r#"{"code":"too_many_attempts"}"#,
                "RateLimited { retry_after: Some(3s) }",
            ),
        ] {
            assert_eq!(
                refusal(Call::ServerList, status, body),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn a_good_answer_of_another_form_is_not_quoted_where_it_may_hold_a_new_secret() {
        let host = host();
        let quoted = |call, status, body: &str| {
            let response = Response {
                status,
                retry_after: None,
                headers: Vec::new(),
                body: body.into(),
            };
            let read = Ask::new(call, &host, "/").json::<Vec<u8>>(&response);
            read.unwrap_err().to_string()
        };
        for call in [Call::Token, Call::Signature, Call::DedicatedIp] {
            let text = quoted(call, 200, r#"{"new":"T0kenT0ken"}"#);
            assert!(!text.contains("T0ken"), "{text}");
            assert!(text.contains("20 bytes"), "{text}");
            assert!(quoted(call, 404, "no such page").contains("no such page"));
        }
        assert!(quoted(Call::AddKey, 200, "odd").contains("odd"));
    }

    #[test]
    fn a_quotation_cannot_pass_for_another_text() {
        let host = host();
        let ask = Ask::new(Call::Token, &host, "/");
        for invisible in [
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{200b}',
            '\u{200f}',
            '\u{61c}',
            '\u{feff}',
            '\u{ad}',
            '\u{2028}',
            '\u{e0041}',
            '\u{fff9}',
            '\u{180e}',
            '\u{206a}',
        ] {
            assert_eq!(
                ask.excerpt(&format!("a{invisible}b")),
                "a b",
                "{invisible:?}"
            );
        }
        // What people's log watchers look for.
        for text in [
            "Fatal error",
            "FATAL  ERROR",
            "a fatal\nerror b",
            "Fatal\u{200b}error",
        ] {
            let quoted = ask.excerpt(text).to_lowercase();
            assert!(!quoted.contains("fatal error"), "{quoted}");
        }
        assert_eq!(ask.excerpt("Fatal errors"), "Fatal-errors");
    }

    proptest! {
        #[test]
        fn a_quotation_is_one_short_line_of_visible_text(
            text in "(\\PC|\\p{Cf}|\\p{Cc}|\\p{Z}){0,150}",
        ) {
            let host = host();
            let excerpt = Ask::new(Call::Token, &host, "/").excerpt(&text);
            prop_assert!(excerpt.chars().count() <= MAX_EXCERPT_CHARS + 1);
            prop_assert!(!excerpt.contains(char::is_control), "{:?}", excerpt);
            prop_assert!(!excerpt.contains(is_invisible), "{:?}", excerpt);
        }
    }

    #[test]
    fn quotes_are_short_and_in_one_line() {
        let host = host();
        let ask = Ask::new(Call::Token, &host, "/");
        assert_eq!(ask.excerpt(" a\n\tb\x1b[31m "), "a b [31m");
        assert_eq!(
            ask.excerpt(&"ä".repeat(200)).chars().count(),
            MAX_EXCERPT_CHARS + 1
        );
    }

    #[test]
    fn a_host_that_is_no_meta_server_is_called_so() {
        for failure in [
            ApiErrorKind::Network(HttpFailure::ForeignCertificate),
            ApiErrorKind::Unexpected {
                status: 404,
                excerpt: String::new(),
            },
            ApiErrorKind::WebPage { status: 200 },
        ] {
            assert!(matches!(as_meta(failure), ApiErrorKind::NoMetaServer(_)));
        }
        assert!(matches!(
            as_meta(ApiErrorKind::SubscriptionOver),
            ApiErrorKind::SubscriptionOver
        ));
    }
}
