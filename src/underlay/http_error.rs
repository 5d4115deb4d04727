//! Why a request brought no whole answer. What to do about it is the caller's matter.

use std::io;

use rustls::CertificateError;

use super::socket::SocketError;

/// A request brought no whole answer.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {failure}")]
pub struct HttpError {
    pub host: String,
    pub failure: HttpFailure,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpFailure {
    /// Refused, unreachable, or no answer to the connect.
    #[error("{0}")]
    NotConnected(SocketError),
    /// The socket could not be made: the kernel refused the mark or the interface.
    #[error("{0}")]
    NoSocket(SocketError),
    #[error("no address to connect to")]
    NoAddress,
    #[error("{0:?} cannot be the name of a server")]
    BadName(String),
    /// The certificate was good once, or will be.
    #[error("its certificate is not valid now ({0}); check this machine's clock")]
    OutOfDate(String),
    #[error("its certificate is for another server ({0})")]
    WrongName(String),
    #[error("its certificate is signed by an authority that is not trusted here")]
    ForeignCertificate,
    #[error("TLS: {0}")]
    Tls(String),
    /// Connected, but the whole was not there in time.
    #[error("no whole answer in time ({0})")]
    TimedOut(&'static str),
    /// The connection ended early.
    #[error("the connection was cut ({0})")]
    Cut(io::Error),
    #[error("the answer is larger than 10 MB")]
    TooLarge,
    #[error("the answer is not HTTP ({0})")]
    NotHttp(String),
    #[error("interrupted by a request to stop")]
    Interrupted,
}

impl HttpFailure {
    /// Whether the network is to blame, so that the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NotConnected(_) | Self::TimedOut(_) | Self::Cut(_)
        )
    }

    /// The operating system's reason, where there was no connection.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::NotConnected(SocketError::NotConnected { source, .. }) => Some(source.kind()),
            _ => None,
        }
    }

    pub(super) fn into_error(self) -> ureq::Error {
        ureq::Error::Other(Box::new(self))
    }

    pub(super) fn from_socket(error: SocketError) -> Self {
        match error {
            SocketError::Interrupted => Self::Interrupted,
            SocketError::NotConnected { .. } => Self::NotConnected(error),
            _ => Self::NoSocket(error),
        }
    }

    pub(super) fn from_handshake(error: io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::from_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut("TLS handshake"),
            _ => Self::Cut(error),
        }
    }

    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        use CertificateError as Bad;
        match error {
            rustls::Error::InvalidCertificate(bad) => match bad {
                Bad::Expired | Bad::ExpiredContext { .. } => Self::OutOfDate("expired".to_owned()),
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    Self::OutOfDate("not valid yet".to_owned())
                }
                Bad::NotValidForName => {
                    Self::WrongName("no name in it is the expected one".to_owned())
                }
                Bad::NotValidForNameContext { presented, .. } => {
                    Self::WrongName(named_in(presented))
                }
                // An authority with the same name as the right one fails by its signature.
                Bad::UnknownIssuer | Bad::BadSignature => Self::ForeignCertificate,
                other => Self::Tls(other.to_string()),
            },
            other => Self::Tls(other.to_string()),
        }
    }
}

/// The first names of a certificate, which may have hundreds.
fn named_in(presented: &[String]) -> String {
    match presented {
        [] => "it names none".to_owned(),
        names => format!(
            "it names {}",
            names.iter().take(3).cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

impl From<ureq::Error> for HttpFailure {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Other(inner) => match inner.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(other) => Self::NotHttp(other.to_string()),
            },
            ureq::Error::Timeout(phase) => Self::TimedOut(phase_in_words(phase)),
            ureq::Error::BodyExceedsLimit(_) => Self::TooLarge,
            ureq::Error::Io(error) => match error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                Some(tls) => Self::from_tls(tls),
                None => Self::Cut(error),
            },
            ureq::Error::Decompress(_, error) => Self::Cut(error),
            other => Self::NotHttp(other.to_string()),
        }
    }
}

fn phase_in_words(phase: ureq::Timeout) -> &'static str {
    match phase {
        ureq::Timeout::Connect => "connecting",
        ureq::Timeout::RecvBody => "reading the answer",
        _ => "the whole request",
    }
}
