//! What can go wrong with PIA's API, what it means, and what each failure calls for. Who acts on
//! it, and when, is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use super::lease::LeaseError;
use super::regions::ListError;
use super::side::Side;
use super::tunnel_address::ImpossibleAddress;
use crate::underlay::http_error::HttpFailure;

/// Between two logins whose answers say neither yes nor no.
const UNCLEAR_LOGIN_PAUSE: Duration = Duration::from_secs(300);

/// Whoever has not answered for so long is overtaken by another request. From far away, too, an
/// answer takes a second; and an outage of eight seconds is over before the third after the first.
pub const OVERTAKEN_AFTER: Duration = Duration::from_millis(2800);

/// What was asked of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Token,
    ExpireToken,
    DedicatedIp,
    ServerList,
    AddKey,
    Signature,
    BindPort,
    /// Which address the request came from.
    ExitAddress,
    /// Whether it is there.
    Ping,
}

impl Call {
    /// For how long what wants fewer requests and does not say so is left alone, as PIA's desktop
    /// app does: each of these is a try at the account.
    pub(super) fn unsaid_patience(self) -> Option<Duration> {
        matches!(self, Self::Token | Self::DedicatedIp).then_some(Duration::from_secs(59))
    }

    /// After which pauses it is sent once more beside itself where it hangs. A list may be asked
    /// for by anybody. A login is a try at the account: it has longer, and is sent twice at most.
    /// A registration is overtaken by one at another server, which is not decided here.
    pub(super) fn overtaken_after(self) -> &'static [Duration] {
        const SOON: Duration = OVERTAKEN_AFTER;
        const LISTS: [Duration; 5] = [
            SOON,
            SOON,
            SOON,
            Duration::from_secs(6),
            Duration::from_secs(12),
        ];
        const LOGINS: [Duration; 1] = [SOON.saturating_mul(3)];
        match self {
            Self::ServerList => &LISTS,
            Self::Token => &LOGINS,
            _ => &[],
        }
    }

    /// Whether the request holds credentials, a token or a lease of the account, so that a refusal
    /// says something of it.
    pub(super) fn is_of_account(self) -> bool {
        match self {
            Self::Token
            | Self::ExpireToken
            | Self::DedicatedIp
            | Self::AddKey
            | Self::Signature
            | Self::BindPort => true,
            Self::ServerList | Self::ExitAddress | Self::Ping => false,
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token => "logging in",
            Self::ExpireToken => "ending the token",
            Self::DedicatedIp => "asking for the dedicated IP",
            Self::ServerList => "fetching the server list",
            Self::AddKey => "registering",
            Self::Signature => "asking for a forwarded port",
            Self::BindPort => "binding the forwarded port",
            Self::ExitAddress => "asking for the exit address",
            Self::Ping => "connecting",
        })
    }
}

/// A call failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} with {host}: {kind}{}", tries_in_words(*.tries))]
pub struct ApiError {
    pub call: Call,
    pub host: String,
    pub kind: ApiErrorKind,
    /// How often it was tried.
    pub tries: u32,
}

fn tries_in_words(tries: u32) -> String {
    if tries > 1 {
        format!(" ({tries} tries)")
    } else {
        String::new()
    }
}

/// Why a call failed. Texts of the server in here are cleaned, cut short, and free of our secrets.
#[derive(Debug, thiserror::Error)]
pub enum ApiErrorKind {
    #[error("{0}")]
    Network(HttpFailure),
    /// On the way to a host of the public web.
    #[error("{failure}: {side}; {}", .side.cure())]
    OnTheWay { failure: HttpFailure, side: Side },
    /// It shows a foreign certificate or does not answer as the API does: PIA moves its servers. Or
    /// something on the way answers in its place, which passes.
    #[error(
        "this is no meta server, perhaps no longer ({0}); set META_IP and META_CN to another one, \
         or to nothing"
    )]
    NoMetaServer(Box<Self>),
    #[error(
        "the user name or the password was refused (HTTP {status}); check USER and PASS, or \
         USER_FILE and PASS_FILE"
    )]
    CredentialsRefused { status: u16 },
    #[error("the account token was refused")]
    TokenRefused,
    /// addKey says so of bad tokens, and of locked and expired accounts.
    #[error("login failed: the token is no longer good, or the account is locked or expired")]
    LoginFailed,
    #[error(
        "too many attempts, the account is locked out for some minutes ({message}); {}",
        cure::OF_LOCK_OUT
    )]
    LockedOut { message: String },
    #[error("the subscription is over (HTTP 402); {}", cure::OF_SUBSCRIPTION)]
    SubscriptionOver,
    #[error("too many requests (HTTP 429){}", retry_in_words(*.retry_after))]
    RateLimited { retry_after: Option<Duration> },
    #[error("trouble at the server (HTTP {status})")]
    ServerTrouble { status: u16 },
    #[error(
        "a web page came instead of an answer (HTTP {status}): a proxy or a block page on the way, \
         or PIA itself, turns this request away"
    )]
    WebPage { status: u16 },
    /// By the content network, before PIA saw anything.
    #[error(
        "this address or network is blocked by PIA's content network (error {code}); {}",
        cure::OF_BLOCK
    )]
    Blocked { code: String },
    #[error("unexpected answer (HTTP {status}): {excerpt:?}")]
    Unexpected { status: u16, excerpt: String },
    #[error("the answer cannot be used: {0}")]
    Malformed(String),
    #[error("the server list cannot be used: {0}")]
    BadList(#[from] ListError),
    #[error("the dedicated IP has expired; renew it with PIA, or unset PIA_DIP_TOKEN")]
    DedicatedIpExpired,
    #[error("PIA itself has trouble with this dedicated IP now")]
    DedicatedIpTrouble,
    #[error("PIA does not know this dedicated IP ({status}); check PIA_DIP_TOKEN")]
    DedicatedIpInvalid { status: String },
    /// By its server, where its own token is all that is shown.
    #[error("the server refused the dedicated IP: login failed")]
    DedicatedIpRefused,
    #[error("the server refused: {message}")]
    RegistrationRefused { message: String },
    /// The answer was made for somebody else.
    #[error("the server registered another key than ours")]
    ForeignKey,
    /// An address in the answer cannot be true.
    #[error("the server's answer cannot be true: {0}")]
    ImpossibleAddress(#[from] ImpossibleAddress),
    #[error("no port forwarding here ({0})")]
    NoPortForwarding(HttpFailure),
    /// By bindPort, or no lease was given by getSignature.
    #[error("the lease of the port was refused: {message}")]
    LeaseRefused {
        message: String,
        reason: LeaseRefusal,
    },
    #[error("{0}")]
    BadLease(#[from] LeaseError),
    #[error("interrupted by a request to stop")]
    Stopped,
}

impl ApiErrorKind {
    /// What the user can do, where that is known; the words of most errors end with it.
    fn cure(&self) -> Option<&'static str> {
        match self {
            Self::OnTheWay { side, .. } => Some(side.cure()),
            Self::Network(HttpFailure::OutOfDate(_)) => Some(cure::OF_CLOCK),
            Self::LockedOut { .. } => Some(cure::OF_LOCK_OUT),
            Self::SubscriptionOver => Some(cure::OF_SUBSCRIPTION),
            Self::Blocked { .. } => Some(cure::OF_BLOCK),
            _ => None,
        }
    }
}

/// What the user can do.
mod cure {
    pub(super) const OF_CLOCK: &str = "set the host's clock (timedatectl set-ntp true)";
    pub(super) const OF_LOCK_OUT: &str = "wait, then check USER and PASS";
    pub(super) const OF_SUBSCRIPTION: &str = "renew it with PIA";
    pub(super) const OF_BLOCK: &str =
        "set META_IP and META_CN to a meta server, or use another network";
}

fn retry_in_words(after: Option<Duration>) -> String {
    after
        .map(|after| format!(", not again for {}", humantime::format_duration(after)))
        .unwrap_or_default()
}

/// Why a lease was refused, as far as it changes what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRefusal {
    /// The request did not come through the tunnel, or with another account's token.
    Unauthorized,
    /// Somebody else has the port at this server.
    Busy,
    /// Expired, a bad signature, or anything else.
    Other,
}

impl LeaseRefusal {
    pub(super) fn of(status: u16, text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match status {
            _ if text.contains("bad signature") || text.contains("expired") => Self::Other,
            401 => Self::Unauthorized,
            409 => Self::Busy,
            _ if text.contains("unauthorized") => Self::Unauthorized,
            _ if text.contains("busy") => Self::Busy,
            _ => Self::Other,
        }
    }
}

/// What a failure calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It may pass: the same again, later.
    Later,
    /// This server is of no use; another may be.
    NextServer,
    /// A new token is needed.
    LogInAgain,
    /// A new signature for the port is needed.
    NewLease,
    /// It does not pass by itself, and trying again may do harm, such as locking the account.
    GiveUp,
    /// A stop was asked for.
    Stopped,
}

impl ApiError {
    /// What this failure calls for.
    pub fn remedy(&self) -> Remedy {
        match (&self.kind, self.call) {
            (ApiErrorKind::Stopped, _) => Remedy::Stopped,
            (ApiErrorKind::LoginFailed | ApiErrorKind::TokenRefused, _) => Remedy::LogInAgain,
            (_, Call::AddKey) | (ApiErrorKind::NoPortForwarding(_), _) => Remedy::NextServer,
            (ApiErrorKind::LeaseRefused { .. }, _) => Remedy::NewLease,
            (
                ApiErrorKind::CredentialsRefused { .. }
                | ApiErrorKind::LockedOut { .. }
                | ApiErrorKind::SubscriptionOver
                | ApiErrorKind::DedicatedIpExpired
                | ApiErrorKind::DedicatedIpInvalid { .. }
                | ApiErrorKind::Blocked { .. },
                _,
            ) => Remedy::GiveUp,
            // The password may have been refused, with a page for people.
            (ApiErrorKind::WebPage { status: 401 | 403 }, Call::Token) => Remedy::GiveUp,
            _ => Remedy::Later,
        }
    }

    /// The least pause before the same again: what the other side asked for, or what keeps logins
    /// whose answers we do not understand from locking the account.
    pub fn retry_after(&self) -> Option<Duration> {
        let kind = match &self.kind {
            ApiErrorKind::NoMetaServer(why) => why,
            kind => kind,
        };
        match (kind, self.call) {
            (ApiErrorKind::RateLimited { retry_after }, _) => *retry_after,
            (
                // The password was sent, and somebody answered it.
                ApiErrorKind::Malformed(_)
                | ApiErrorKind::Unexpected { .. }
                | ApiErrorKind::WebPage { .. }
                | ApiErrorKind::Network(HttpFailure::NotHttp(_))
                | ApiErrorKind::OnTheWay {
                    failure: HttpFailure::NotHttp(_),
                    ..
                },
                Call::Token,
            ) => Some(UNCLEAR_LOGIN_PAUSE),
            _ => None,
        }
    }

    /// Whether nobody listens at that address.
    pub fn is_nobody_there(&self) -> bool {
        matches!(self.kind, ApiErrorKind::NoPortForwarding(_))
    }

    /// Whether the other side answered, though not as we wish: who does is not to be asked again at
    /// once, unlike one that may only be out of reach.
    pub fn is_answer(&self) -> bool {
        match &self.kind {
            ApiErrorKind::Network(failure)
            | ApiErrorKind::OnTheWay { failure, .. }
            | ApiErrorKind::NoPortForwarding(failure) => failure.is_answer(),
            ApiErrorKind::Stopped => false,
            _ => true,
        }
    }

    /// Whether whoever is at that address did not answer as the one who was asked for, so that
    /// another address may serve.
    pub fn is_of_address(&self) -> bool {
        self.is_nobody_there() || matches!(self.kind, ApiErrorKind::Network(_))
    }

    /// Whether whoever answered has shown the certificate of the one who was asked for.
    pub fn is_of_right_host(&self) -> bool {
        !matches!(
            self.kind,
            ApiErrorKind::Network(_)
                | ApiErrorKind::OnTheWay { .. }
                | ApiErrorKind::NoPortForwarding(_)
                | ApiErrorKind::Stopped
        )
    }

    /// Whether we are taken for somebody else, as by an address that serves nobody.
    pub fn is_unauthorized(&self) -> bool {
        matches!(
            self.kind,
            ApiErrorKind::LeaseRefused {
                reason: LeaseRefusal::Unauthorized,
                ..
            }
        )
    }

    /// Whether user name and password were refused.
    pub fn are_credentials_refused(&self) -> bool {
        matches!(self.kind, ApiErrorKind::CredentialsRefused { .. })
    }

    /// The same, or with a page for people, of which we cannot know.
    pub fn may_be_refused_credentials(&self) -> bool {
        self.are_credentials_refused()
            || matches!(
                (&self.kind, self.call),
                (ApiErrorKind::WebPage { status: 401 | 403 }, Call::Token)
            )
    }

    /// Whether a stop was asked for.
    pub fn is_stopped(&self) -> bool {
        matches!(self.kind, ApiErrorKind::Stopped)
    }

    /// Whether the server list came with a missing or wrong signature.
    pub fn is_bad_signature(&self) -> bool {
        matches!(
            self.kind,
            ApiErrorKind::BadList(ListError::NoSignature | ListError::WrongSignature)
        )
    }

    /// Whether the server answers but does not serve us now.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.kind,
            ApiErrorKind::RateLimited { .. } | ApiErrorKind::ServerTrouble { .. }
        )
    }

    /// What it is, and what the user can do, where that is known, apart.
    pub fn what_and_cure(&self) -> (String, Option<&'static str>) {
        let whole = self.to_string();
        match self.kind.cure() {
            Some(cure) => (whole.replacen(&format!("; {cure}"), "", 1), Some(cure)),
            None => (whole, None),
        }
    }

    /// Whether the same request may succeed within seconds: what `curl --retry` tries again, and
    /// failed connections.
    pub fn is_transient(&self) -> bool {
        match &self.kind {
            ApiErrorKind::Network(failure) | ApiErrorKind::OnTheWay { failure, .. } => {
                failure.is_transient()
            }
            ApiErrorKind::RateLimited { .. } | ApiErrorKind::ServerTrouble { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(call: Call, failure: ApiErrorKind) -> Remedy {
        ApiError {
            call,
            host: "host".into(),
            kind: failure,
            tries: 1,
        }
        .remedy()
    }

    #[test]
    fn what_locks_the_account_is_never_tried_again() {
        assert_eq!(
            remedy(
                Call::Token,
                ApiErrorKind::CredentialsRefused { status: 401 }
            ),
            Remedy::GiveUp
        );
        assert_eq!(
            remedy(
                Call::Token,
                ApiErrorKind::LockedOut {
                    message: String::new()
                }
            ),
            Remedy::GiveUp
        );
        assert_eq!(
            remedy(Call::Token, ApiErrorKind::WebPage { status: 403 }),
            Remedy::GiveUp
        );
        assert_eq!(
            remedy(Call::Token, ApiErrorKind::WebPage { status: 200 }),
            Remedy::Later
        );
        assert_eq!(
            remedy(Call::ServerList, ApiErrorKind::WebPage { status: 403 }),
            Remedy::Later
        );
    }

    #[test]
    fn a_bad_server_leads_to_the_next_and_a_bad_token_to_a_login() {
        assert_eq!(
            remedy(
                Call::AddKey,
                ApiErrorKind::Network(HttpFailure::ForeignCertificate)
            ),
            Remedy::NextServer
        );
        assert_eq!(
            remedy(Call::AddKey, ApiErrorKind::ForeignKey),
            Remedy::NextServer
        );
        assert_eq!(
            remedy(Call::AddKey, ApiErrorKind::LoginFailed),
            Remedy::LogInAgain
        );
        assert_eq!(remedy(Call::AddKey, ApiErrorKind::Stopped), Remedy::Stopped);
        let refused = ApiErrorKind::LeaseRefused {
            message: String::new(),
            reason: LeaseRefusal::Other,
        };
        assert_eq!(remedy(Call::BindPort, refused), Remedy::NewLease);
        assert_eq!(
            remedy(
                Call::ServerList,
                ApiErrorKind::BadList(ListError::WrongSignature)
            ),
            Remedy::Later
        );
    }

    #[test]
    fn a_host_that_is_no_meta_server_now_is_asked_again_and_shown_a_password_rarely() {
        let pause = |call, why| {
            let error = ApiError {
                call,
                host: "meta401".into(),
                kind: ApiErrorKind::NoMetaServer(Box::new(why)),
                tries: 1,
            };
            assert_eq!(error.remedy(), Remedy::Later);
            error.retry_after()
        };
        let foreign = || ApiErrorKind::Network(HttpFailure::ForeignCertificate);
        let page = || ApiErrorKind::WebPage { status: 404 };
        let garbage = || ApiErrorKind::Network(HttpFailure::NotHttp("x".into()));
        assert_eq!(pause(Call::Token, foreign()), None);
        assert_eq!(pause(Call::Token, page()), Some(UNCLEAR_LOGIN_PAUSE));
        assert_eq!(pause(Call::Token, garbage()), Some(UNCLEAR_LOGIN_PAUSE));
        assert_eq!(pause(Call::ServerList, page()), None);
    }

    #[test]
    fn a_message_says_what_with_what_and_why() {
        let failure = ApiErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(90)),
        };
        let error = ApiError {
            call: Call::Token,
            host: "www.example.com".into(),
            kind: failure,
            tries: 2,
        };
        assert_eq!(
            error.to_string(),
            "logging in with www.example.com: too many requests (HTTP 429), not again for 1m 30s \
             (2 tries)"
        );
    }
}
