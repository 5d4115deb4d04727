//! Why something could not be done: what the user is told, and whether trying again can help.
//!
//! One type for all of the program's decisions: exit statuses, pauses and the forwarded port's next
//! step are matches on it. The modules below have errors of their own, which become failures here.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::firewall::FirewallError;
use crate::pia::error::{ApiError, ApiErrorKind, Call, LeaseRefusal, Remedy};
use crate::pia::regions::ListKeyError;
use crate::pia::trust::TrustError;
use crate::system::cancellation::Cancelled;
use crate::system::command::CommandError;
use crate::system::files::FileError;
use crate::underlay::interfaces::InterfacesError;
use crate::underlay::resolver::ResolveError;
use crate::wireguard::WireGuardError;

/// What failed, as far as anything is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Nothing: a stop was asked for.
    Cancelled,
    /// This machine: the kernel, a program, a file, a capability.
    Local,
    /// The network below the tunnel, its name servers above all.
    Network,
    /// The token or the credentials are missing or refused.
    Login,
    /// No such location, or none that can be used.
    Location,
    /// The server list, or the server of a dedicated IP, cannot be had.
    ServerList,
    /// The account API says that the dedicated IP has expired, or that there is none.
    DedicatedIp,
    /// The server list came with a missing or wrong signature.
    ListSignature,
    /// No server took the key.
    Registration,
    /// This server forwards no ports.
    NoPortForwarding,
    /// The server refused the lease of a port, or to give one.
    LeaseRefused(LeaseRefusal),
    /// The port service could not be asked.
    PortForwarding,
}

impl FailureKind {
    /// Those that are counted, one of each name.
    pub const COUNTED: [Self; 8] = [
        Self::Local,
        Self::Network,
        Self::Login,
        Self::Location,
        Self::ServerList,
        Self::ListSignature,
        Self::Registration,
        Self::PortForwarding,
    ];

    /// In a word, for those who count failures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Local => "local",
            Self::Network => "network",
            Self::Login => "login",
            Self::Location => "location",
            Self::ServerList | Self::DedicatedIp => "server_list",
            Self::ListSignature => "list_signature",
            Self::Registration => "registration",
            Self::NoPortForwarding | Self::LeaseRefused(_) | Self::PortForwarding => {
                "port_forwarding"
            }
        }
    }
}

/// Whether, and how, trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may pass by itself; not before this time, if the other side asked for patience.
    Later(Option<Duration>),
    /// This server is of no use now; another may be.
    NextServer,
    /// With a new account token.
    LogIn,
    /// It is not likely to pass by itself, but has done so, and looking does no harm: after
    /// minutes, and seldom.
    Seldom,
    /// It does not pass by itself; trying again may do harm, such as locking the account.
    Never,
}

/// Something could not be done.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: FailureKind,
    /// What failed, what was tried and what the user can do.
    pub text: String,
    pub retry: Retry,
    /// Somebody answered, though not as we wish.
    is_answer: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure without a cause of its own.
    pub fn new(kind: FailureKind, retry: Retry, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            retry,
            is_answer: false,
            source: None,
        }
    }

    fn because(
        kind: FailureKind,
        retry: Retry,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            text: source.to_string(),
            retry,
            is_answer: false,
            source: Some(Arc::new(source)),
        }
    }

    /// Trouble of this machine's, such as a lock that another program holds or a full disk: trying
    /// again does no harm, and it may have passed.
    fn local(source: impl Error + Send + Sync + 'static) -> Self {
        Self::because(FailureKind::Local, Retry::Later(None), source)
    }

    /// A stop was asked for.
    pub fn cancelled() -> Self {
        Cancelled.into()
    }

    /// Whether nothing failed but a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.kind == FailureKind::Cancelled
    }

    /// Whether somebody answered, though not as we wish.
    pub fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// Not before this time, if the other side asked for patience.
    pub fn not_before(&self) -> Option<Duration> {
        match self.retry {
            Retry::Later(not_before) => not_before,
            Retry::NextServer | Retry::LogIn | Retry::Seldom | Retry::Never => None,
        }
    }

    /// The least pause: what the other side asked for, and `delay` where it answered at all.
    pub fn least_pause(&self, delay: Duration) -> Duration {
        let delay = if self.is_answer {
            delay
        } else {
            Duration::ZERO
        };
        self.not_before().unwrap_or_default().max(delay)
    }

    /// What it is, and what the user can do, where that is known, apart.
    pub fn what_and_cure(&self) -> (String, Option<&'static str>) {
        self.api_error()
            .map_or_else(|| (self.text.clone(), None), ApiError::what_and_cure)
    }

    /// Whether PIA refused user name and password, as far as can be known.
    pub fn may_be_refused_credentials(&self) -> bool {
        self.api_error()
            .is_some_and(ApiError::may_be_refused_credentials)
    }

    fn api_error(&self) -> Option<&ApiError> {
        self.source.as_deref()?.downcast_ref::<ApiError>()
    }

    /// The same as another kind.
    pub fn with_kind(self, kind: FailureKind) -> Self {
        Self { kind, ..self }
    }

    /// The same with another hope.
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The same with `before` in front of its text.
    pub fn with_text_before(self, before: &str) -> Self {
        let text = format!("{before}{}", self.text);
        Self { text, ..self }
    }

    /// The same, with or without an answer behind it.
    pub fn with_answer(self, is_answer: bool) -> Self {
        Self { is_answer, ..self }
    }

    /// The same with another text.
    pub fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }
}

/// Whether they would be told and met alike.
impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text, self.retry) == (other.kind, &other.text, other.retry)
    }
}

impl Eq for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

impl From<Cancelled> for Failure {
    fn from(cancelled: Cancelled) -> Self {
        Self::because(FailureKind::Cancelled, Retry::Never, cancelled)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let retry = match error.remedy() {
            // A server that is merely busy is worth another try, unlike one that refuses.
            _ if error.is_busy() => Retry::Later(error.retry_after()),
            // What is no trouble of the network, a foreign certificate for one, is this server's.
            Remedy::Later if is_about_port(&error) && !error.is_transient() => Retry::NextServer,
            Remedy::Later | Remedy::NewLease => Retry::Later(error.retry_after()),
            Remedy::NextServer => Retry::NextServer,
            Remedy::LogInAgain => Retry::LogIn,
            Remedy::GiveUp | Remedy::Stopped => Retry::Never,
        };
        Self {
            is_answer: error.is_answer(),
            ..Self::because(kind_of(&error), retry, error)
        }
    }
}

fn is_about_port(error: &ApiError) -> bool {
    matches!(error.call, Call::Signature | Call::BindPort)
}

fn kind_of(error: &ApiError) -> FailureKind {
    match (&error.kind, error.call) {
        (ApiErrorKind::Stopped, _) => FailureKind::Cancelled,
        (ApiErrorKind::LoginFailed | ApiErrorKind::TokenRefused, _) => FailureKind::Login,
        (ApiErrorKind::NoPortForwarding(_), _) => FailureKind::NoPortForwarding,
        (ApiErrorKind::LeaseRefused { reason, .. }, _) => FailureKind::LeaseRefused(*reason),
        (ApiErrorKind::DedicatedIpExpired | ApiErrorKind::DedicatedIpInvalid { .. }, _) => {
            FailureKind::DedicatedIp
        }
        _ if error.is_bad_signature() => FailureKind::ListSignature,
        (_, Call::Token | Call::ExpireToken) => FailureKind::Login,
        (_, Call::ServerList | Call::DedicatedIp) => FailureKind::ServerList,
        (_, Call::AddKey) => FailureKind::Registration,
        (_, Call::Signature | Call::BindPort) => FailureKind::PortForwarding,
        (_, Call::ExitAddress | Call::Ping) => FailureKind::Network,
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::because(FailureKind::Local, Retry::Never, error)
    }
}

impl From<ListKeyError> for Failure {
    fn from(error: ListKeyError) -> Self {
        Self::because(FailureKind::ServerList, Retry::Never, error)
    }
}

impl From<FirewallError> for Failure {
    fn from(error: FirewallError) -> Self {
        Self::local(error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::local(error)
    }
}

impl From<InterfacesError> for Failure {
    fn from(error: InterfacesError) -> Self {
        Self::because(FailureKind::Network, Retry::Later(None), error)
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Interrupted { .. } => Self::cancelled(),
            error => Self::because(FailureKind::Network, Retry::Later(None), error),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Interrupted { .. } => Self::cancelled(),
            error => Self::local(error),
        }
    }
}

impl From<WireGuardError> for Failure {
    fn from(error: WireGuardError) -> Self {
        if error.is_interrupted() {
            return Self::cancelled();
        }
        Self::local(error)
    }
}
