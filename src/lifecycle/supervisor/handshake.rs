//! Whether the tunnel's handshakes still come: a dead endpoint is seen without any traffic of ours.

use std::time::{Duration, SystemTime};

use super::silence;
use crate::status::Reporter;
use crate::system::cancellation::CancellationToken;
use crate::wireguard::show::{self, Counters, Peer};

/// How often the counters are looked at, and wg is asked where they do not suffice.
const CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// WireGuard makes a new handshake for what it sends after 120 s (REKEY_AFTER_TIME), and tries
/// again every 5 s; what was sent this late should have brought one.
const HANDSHAKE_OVERDUE: Duration = Duration::from_secs(140);
/// WireGuard gives keys up after 180 s (REJECT_AFTER_TIME).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(180);

/// Remembers what had been sent when a handshake became overdue.
#[derive(Debug)]
pub(super) struct HandshakeWatch {
    up_since: SystemTime,
    sent_when_overdue: Option<u64>,
}

impl HandshakeWatch {
    pub(super) fn new(up_since: SystemTime) -> Self {
        Self {
            up_since,
            sent_when_overdue: None,
        }
    }

    /// Whether packets were sent since the handshake became overdue, and brought none.
    pub(super) fn is_silent(&mut self, peer: &Peer, now: SystemTime) -> bool {
        let last = peer
            .last_handshake
            .unwrap_or(self.up_since)
            .max(self.up_since);
        // A clock that was set back says nothing.
        let age = now.duration_since(last).unwrap_or(Duration::ZERO);
        if age < HANDSHAKE_OVERDUE {
            self.sent_when_overdue = None;
            return false;
        }
        let before = *self.sent_when_overdue.get_or_insert(peer.sent);
        age > HANDSHAKE_TIMEOUT && peer.sent > before
    }
}

/// What the interface's counters say of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// WireGuard takes nothing by keys that are older than [`HANDSHAKE_TIMEOUT`].
    Alive,
    /// Nothing was sent that could have brought a handshake.
    None,
    /// Only the peer can tell.
    Unclear,
}

fn news(before: Counters, now: Counters, counts_handshakes: bool) -> News {
    if silence::is_life(before.received, now.received) {
        return News::Alive;
    }
    // Where handshakes are not counted, keepalives that try for one are not seen either.
    if counts_handshakes && !silence::asks_for_an_answer(before.sent, now.sent) {
        return News::None;
    }
    News::Unclear
}

/// Keeps the status true until it is stopped.
pub(super) fn run(reporter: &Reporter, stop: &CancellationToken) {
    let mut watch = HandshakeWatch::new(SystemTime::now());
    let mut is_silent = false;
    let mut last = show::counters().ok();
    while stop.pause(CHECK_INTERVAL).is_ok() {
        let Ok(counters) = show::counters() else {
            continue;
        };
        let before = last.replace(counters);
        let news = before.map_or(News::Unclear, |before| {
            news(before, counters, show::counts_handshakes())
        });
        let now = match news {
            News::None => continue,
            News::Alive => {
                watch.sent_when_overdue = None;
                false
            }
            News::Unclear => match show::peers(stop) {
                Ok(peers) => peers
                    .first()
                    .is_some_and(|peer| watch.is_silent(peer, SystemTime::now())),
                Err(_) => continue,
            },
        };
        if now != is_silent {
            is_silent = now;
            if is_silent {
                log::warn!(
                    "The endpoint is silent: packets are sent, but no handshake has come for \
                     three minutes"
                );
            }
            reporter.update(|status| status.endpoint_silent = is_silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::show::Traffic;

    const START: u64 = 1_700_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(START + seconds)
    }

    fn peer(handshake: Option<u64>, sent: u64) -> Peer {
        Peer {
            endpoint: None,
            last_handshake: handshake.map(at),
            received: 0,
            sent,
        }
    }

    #[test]
    fn an_idle_tunnel_is_not_silent() {
        let mut watch = HandshakeWatch::new(at(0));
        for seconds in (20..2000).step_by(20) {
            assert!(!watch.is_silent(
                &peer(Some(5), if seconds < 60 { seconds } else { 60 }),
                at(seconds)
            ));
        }
    }

    #[test]
    fn packets_that_bring_no_handshake_show_a_dead_endpoint() {
        let mut watch = HandshakeWatch::new(at(0));
        let seen: Vec<u64> = (20..300)
            .step_by(20)
            .filter(|seconds| watch.is_silent(&peer(Some(5), *seconds), at(*seconds)))
            .collect();
        assert_eq!(seen.first(), Some(&200));
    }

    #[test]
    fn an_endpoint_that_never_answered_is_silent_too_and_a_handshake_forgives() {
        let mut watch = HandshakeWatch::new(at(0));
        assert!(!watch.is_silent(&peer(None, 10), at(150)));
        assert!(watch.is_silent(&peer(None, 20), at(190)));
        assert!(!watch.is_silent(&peer(Some(195), 30), at(200)));
    }

    #[test]
    fn the_peer_is_read_only_where_the_counters_do_not_suffice() {
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let counters = |received, sent| Counters { received, sent };
        let before = counters(traffic(10, 1000), traffic(10, 1000));
        let answered = counters(traffic(12, 1184), traffic(12, 1296));
        let kept_alive = counters(traffic(10, 1000), traffic(11, 1016));
        let unanswered = counters(traffic(11, 1148), traffic(12, 1296));
        assert_eq!(news(before, answered, true), News::Alive);
        assert_eq!(news(before, kept_alive, true), News::None);
        assert_eq!(news(before, unanswered, true), News::Unclear);
        assert_eq!(news(before, before, false), News::Unclear);
    }
}
