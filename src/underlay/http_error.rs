//! Why a request brought no whole answer. What to do about it is the caller's matter.

use std::io;
use std::time::{Duration, SystemTime};

use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use super::socket::SocketError;

/// 9999-12-31T23:59:59Z: what is later cannot be written in the usual way.
const LAST_SECOND_SHOWN: u64 = 253_402_300_799;

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
    /// Connected, and cut after it was said who is wanted.
    #[error("the connection was cut in the TLS handshake ({0})")]
    CutAtHello(io::Error),
    /// Connected, and nothing came after it was said who is wanted.
    #[error("no answer in time (TLS handshake)")]
    SilentAtHello,
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
            Self::NotConnected(_)
                | Self::CutAtHello(_)
                | Self::SilentAtHello
                | Self::TimedOut(_)
                | Self::Cut(_)
        )
    }

    /// Whether somebody was there and did something, though not what was asked for.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::OutOfDate(_)
            | Self::WrongName(_)
            | Self::ForeignCertificate
            | Self::Tls(_)
            | Self::CutAtHello(_)
            | Self::Cut(_)
            | Self::TooLarge
            | Self::NotHttp(_) => true,
            Self::NotConnected(_)
            | Self::NoSocket(_)
            | Self::NoAddress
            | Self::BadName(_)
            | Self::SilentAtHello
            | Self::TimedOut(_)
            | Self::Interrupted => false,
        }
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
            io::ErrorKind::TimedOut => Self::SilentAtHello,
            _ => Self::CutAtHello(error),
        }
    }

    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        use CertificateError as Bad;
        match error {
            rustls::Error::InvalidCertificate(bad) => match bad {
                Bad::Expired => Self::OutOfDate("expired".to_owned()),
                Bad::ExpiredContext { time, not_after } => {
                    Self::OutOfDate(ended(*time, *not_after))
                }
                Bad::NotValidYet => Self::OutOfDate("not valid yet".to_owned()),
                Bad::NotValidYetContext { time, not_before } => {
                    Self::OutOfDate(begins(*time, *not_before))
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

fn ended(now: UnixTime, not_after: UnixTime) -> String {
    format!(
        "it ended {} before {}, the time here, so the clock is ahead by that, or the certificate \
         is too old",
        apart(now, not_after),
        shown(now)
    )
}

/// Nobody shows a certificate that is not valid yet.
fn begins(now: UnixTime, not_before: UnixTime) -> String {
    format!(
        "it begins {} after {}, the time here, so the clock is behind by that at least",
        apart(not_before, now),
        shown(now)
    )
}

fn shown(time: UnixTime) -> humantime::Rfc3339Timestamp {
    let since_1970 = Duration::from_secs(time.as_secs());
    let latest = Duration::from_secs(LAST_SECOND_SHOWN);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970.min(latest))
}

/// In days, or what is less, which is all that anybody wants to know of a clock.
fn apart(later: UnixTime, earlier: UnixTime) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match seconds {
        0..HOUR => format!("{} minutes", seconds / MINUTE),
        HOUR..DAY => format!("{} hours", seconds / HOUR),
        DAY.. => format!("{} days", seconds / DAY),
    }
}

/// The first names of a certificate, which may have hundreds.
fn named_in(presented: &[String]) -> String {
    match presented {
        [] => "it names none".to_owned(),
        names => {
            let names: Vec<&str> = names.iter().take(3).map(|name| bare(name)).collect();
            format!("it names {}", names.join(", "))
        }
    }
}

/// The TLS library shows a name with its kind: `DnsName("amsterdam447")`.
fn bare(name: &str) -> &str {
    let inner = name.strip_prefix("DnsName(\"");
    inner
        .and_then(|inner| inner.strip_suffix("\")"))
        .unwrap_or(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn out_of_date(bad: CertificateError) -> String {
        HttpFailure::from_tls(&rustls::Error::InvalidCertificate(bad)).to_string()
    }

    #[test]
    fn the_dates_of_a_certificate_say_by_how_much_a_clock_is_wrong() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let behind = out_of_date(CertificateError::NotValidYetContext {
            time: at(0),
            not_before: at(400 * 86_400 + 5),
        });
        assert_eq!(
            behind,
            "its certificate is not valid now (it begins 400 days after 1970-01-01T00:00:00Z, the \
             time here, so the clock is behind by that at least); check this machine's clock"
        );
        let ahead = |seconds| {
            out_of_date(CertificateError::ExpiredContext {
                time: at(1_795_000_000 + seconds),
                not_after: at(1_795_000_000),
            })
        };
        assert!(ahead(7300).contains("it ended 2 hours before 2026-11-18T"));
        assert!(ahead(59).contains("it ended 0 minutes before"));
        assert!(ahead(u64::MAX - 1_795_000_000).contains("days before 9999-12-31T23:59:59Z"));
    }
}
