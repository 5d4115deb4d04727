//! How often another server is asked for because of the port.

use std::time::Duration;

use crate::system::backoff::Backoff;

/// Between two requests, each of which cuts what goes through the tunnel: more and more, for where
/// no server helps it is PIA.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(900),
    ceiling: Duration::from_secs(4 * 3600),
};

/// Counts requests for other servers. Times are those of the machine's own clock.
#[derive(Debug, Default)]
pub(super) struct OtherServers {
    /// Without a port in between.
    asked: u32,
    not_before: Duration,
}

impl OtherServers {
    /// Whether one may be asked for now, which counts as done.
    pub(super) fn ask(&mut self, now: Duration) -> bool {
        if now < self.not_before {
            return false;
        }
        self.asked = self.asked.saturating_add(1);
        self.not_before = now.saturating_add(BACKOFF.nominal(self.asked));
        true
    }

    /// A port is bound: the next request counts as the first, though not sooner.
    pub(super) fn reset(&mut self) {
        self.asked = 0;
    }
}
