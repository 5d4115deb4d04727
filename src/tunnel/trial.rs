//! Whether a tunnel that was just made carries: connected means that something came back through
//! it. A server that takes keys, and even one that answers handshakes, may carry nothing.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::connect::register::Joined;
use crate::failure::{Failure, FailureKind, Retry};
use crate::system::cancellation::CancellationToken;
use crate::system::paths;
use crate::underlay::first_sign::{Questions, REPEAT_INTERVAL, Witnesses};
use crate::wireguard::peering::Peering;
use crate::wireguard::peers;
use crate::wireguard::show::{self, Counters};
use crate::wireguard::sysctl;

/// For the first sign: time for three handshakes.
const PATIENCE: Duration = Duration::from_secs(6);
/// A handshake that was lost is tried again after this where the server is near. The next one makes
/// the answer to the former worthless: so not before a registration would be done, which is more
/// than a way there and back, and where that takes long, after two seconds all the same.
const HANDSHAKE_INTERVAL: Duration = Duration::from_millis(1200);
const MAX_HANDSHAKE_INTERVAL: Duration = Duration::from_secs(2);

/// What the name servers are asked for; any name would do.
const NAME: &str = "www.privateinternetaccess.com";

/// A tunnel on trial.
pub(super) struct TunnelTrial {
    questions: Questions,
    before: Counters,
    begun: Instant,
}

impl TunnelTrial {
    /// Asks those inside, which makes WireGuard shake hands. The interface has to be up.
    pub(super) fn begin(joined: &Joined) -> Self {
        let before = show::counters().unwrap_or_default();
        let questions = witnesses(joined).ask();
        log::debug!("waiting for the first packet through the tunnel");
        Self {
            questions,
            before,
            begun: Instant::now(),
        }
    }

    /// Waits for the first thing that comes out of the tunnel, whoever it is for, and says whether
    /// it was an answer of those inside.
    ///
    /// # Errors
    /// When nothing does in time: that server is of no use, or this machine lets nothing in.
    pub(super) fn wait(
        &self,
        joined: &Joined,
        peering: &Peering,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        let interval = handshake_interval(joined.registered_in);
        let mut shaken_at = self.begun;
        loop {
            let is_answered = self.questions.any_answered(REPEAT_INTERVAL, stop)?;
            if is_answered || self.has_carried() {
                log::debug!("the tunnel carries, after {:?}", self.begun.elapsed());
                return Ok(is_answered);
            }
            if self.begun.elapsed() >= PATIENCE {
                return Err(failure(joined, stop));
            }
            if shaken_at.elapsed() >= interval {
                shaken_at = Instant::now();
                if let Err(error) = peering.shake_hands_anew(stop) {
                    log::debug!("shaking hands anew: {error}");
                }
            }
            self.questions.ask();
        }
    }

    fn has_carried(&self) -> bool {
        let counts_handshakes = show::counts_handshakes();
        show::counters().is_ok_and(|now| {
            now.received
                .has_data_since(self.before.received, counts_handshakes)
        })
    }
}

fn handshake_interval(registered_in: Duration) -> Duration {
    registered_in.clamp(HANDSHAKE_INTERVAL, MAX_HANDSHAKE_INTERVAL)
}

/// Those that every server of PIA's has inside: its gateway and its name servers.
pub(super) fn witnesses(joined: &Joined) -> Witnesses {
    let registration = &joined.registration;
    let name_servers = registration.dns_servers.iter().copied();
    Witnesses {
        interface: paths::INTERFACE,
        host: registration.server_vip.map(Ipv4Addr::from),
        name_servers: name_servers.map(Ipv4Addr::from).collect(),
        name: NAME,
    }
}

fn failure(joined: &Joined, stop: &CancellationToken) -> Failure {
    let path = sysctl::reverse_path();
    if path.strict && !path.obeys_mark {
        let text = "rp_filter is strict and src_valid_mark is off, so the tunnel's packets are \
                    dropped: add `sysctls: [net.ipv4.conf.all.src_valid_mark=1]`";
        return Failure::new(FailureKind::Local, Retry::Later(None), text);
    }
    let (cn, endpoint) = (&joined.server.cn, joined.endpoint());
    let listed = peers::list(stop).unwrap_or_default();
    let text = if listed.iter().any(|peer| peer.last_handshake.is_some()) {
        format!("{cn} answers handshakes, but nothing comes through its tunnel")
    } else {
        format!("{cn} took the key, but nothing comes back from {endpoint} by UDP")
    };
    Failure::new(FailureKind::Registration, Retry::NextServer, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_has_more_time_where_the_server_is_far_away() {
        let interval =
            |milliseconds| handshake_interval(Duration::from_millis(milliseconds)).as_millis();
        assert_eq!([0, 100, 1199].map(interval), [1200; 3]);
        assert_eq!(interval(1700), 1700);
        assert_eq!([2000, 6000].map(interval), [2000; 2]);
    }
}
