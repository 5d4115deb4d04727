//! On which side it lies that a host of PIA's on the public web brought no answer: decided by how
//! the request ended, without a request of its own.

use std::io::ErrorKind;

use crate::underlay::http_error::HttpFailure;

/// What stands between us and a host that can be nobody else's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever answers is not PIA.
    Impostor,
    /// Connections are made, and end as soon as they say whom they want.
    BlockedByName,
    /// The name is known, and its address does not answer.
    BlockedByAddress,
    /// The network below the tunnel has no way to it.
    NoWay,
}

impl Side {
    /// `None` where the failure itself says all that is known.
    pub fn of(failure: &HttpFailure) -> Option<Self> {
        match failure {
            HttpFailure::WrongName(_)
            | HttpFailure::ForeignCertificate
            | HttpFailure::Tls(_)
            | HttpFailure::NotHttp(_) => Some(Self::Impostor),
            HttpFailure::CutAtHello(_) | HttpFailure::SilentAtHello => Some(Self::BlockedByName),
            HttpFailure::NotConnected(_) => match failure.io_kind() {
                Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => {
                    Some(Self::NoWay)
                }
                // By our own firewall.
                Some(ErrorKind::PermissionDenied) => None,
                _ => Some(Self::BlockedByAddress),
            },
            HttpFailure::NoSocket(_)
            | HttpFailure::NoAddress
            | HttpFailure::BadName(_)
            | HttpFailure::OutOfDate(_)
            | HttpFailure::TimedOut(_)
            | HttpFailure::Cut(_)
            | HttpFailure::TooLarge
            | HttpFailure::Interrupted => None,
        }
    }

    /// What the user can do.
    pub fn cure(self) -> &'static str {
        match self {
            Self::Impostor => {
                "log in to the portal, set another name server with `dns:`, or set META_IP and \
                 META_CN"
            }
            Self::BlockedByName | Self::BlockedByAddress => {
                "check the host's firewall; where PIA's web hosts are blocked, set META_IP and \
                 META_CN"
            }
            Self::NoWay => "check the host's own connection",
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Impostor => {
                "somebody else answers in PIA's place (a captive portal, a block page, a proxy, or \
                 a name server that lies)"
            }
            Self::BlockedByName => {
                "connections end as soon as they name it, so its name is blocked on the way, or it \
                 is in trouble"
            }
            Self::BlockedByAddress => {
                "its name is known and nothing answers there, so its address is blocked on the \
                 way, or it is down"
            }
            Self::NoWay => "the network that this container hangs on has no way there",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::underlay::socket::SocketError;

    #[test]
    fn the_end_of_a_request_says_on_which_side_it_lies() {
        let not_connected = |kind: ErrorKind| {
            HttpFailure::NotConnected(SocketError::NotConnected {
                address: "192.0.2.1:443".parse().unwrap(),
                source: io::Error::from(kind),
            })
        };
        let reset = || io::Error::from(ErrorKind::ConnectionReset);
        for (failure, side) in [
            (HttpFailure::ForeignCertificate, Some(Side::Impostor)),
            (HttpFailure::Tls("plain HTTP".into()), Some(Side::Impostor)),
            (HttpFailure::CutAtHello(reset()), Some(Side::BlockedByName)),
            (HttpFailure::SilentAtHello, Some(Side::BlockedByName)),
            (
                not_connected(ErrorKind::TimedOut),
                Some(Side::BlockedByAddress),
            ),
            (
                not_connected(ErrorKind::ConnectionRefused),
                Some(Side::BlockedByAddress),
            ),
            (not_connected(ErrorKind::HostUnreachable), Some(Side::NoWay)),
            (not_connected(ErrorKind::PermissionDenied), None),
            (HttpFailure::OutOfDate(String::new()), None),
            (HttpFailure::Cut(reset()), None),
        ] {
            assert_eq!(Side::of(&failure), side, "{failure}");
        }
    }
}
