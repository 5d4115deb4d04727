//! Tunnels that fall silent soon after they have carried, one after the other: pure, the time is an
//! argument.

use std::time::{Duration, Instant};

/// A tunnel that carried for longer is nobody's victim.
const SHORT: Duration = Duration::from_secs(300);

/// What is said then. PIA tells nobody why a server falls silent, so it is a guess, and is said as
/// one.
pub const ADVICE: &str = "This is the second tunnel in a row that fell silent within minutes. A \
    server keeps one client of an account, so another container with this account may have taken \
    the place: give each a server of its own, by a LOC of its own, or by several with many servers";

/// Follows how long tunnels last.
#[derive(Debug)]
pub struct ShortTunnels {
    since: Instant,
    was_short: bool,
}

impl ShortTunnels {
    /// The first tunnel carries from this moment on.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            was_short: false,
        }
    }

    /// The next tunnel carries.
    pub fn connected(&mut self, now: Instant) {
        self.since = now;
    }

    /// The tunnel fell silent. Whether it is the second in a row that did so soon.
    pub fn silenced(&mut self, now: Instant) -> bool {
        let is_short = now.duration_since(self.since) < SHORT;
        std::mem::replace(&mut self.was_short, is_short) && is_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_short_tunnel_in_a_row_tells() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut tunnels = ShortTunnels::new(begun);
        assert!(!tunnels.silenced(at(20)));
        tunnels.connected(at(25));
        assert!(tunnels.silenced(at(40)));
        tunnels.connected(at(50));
        // One that lasts ends the row.
        assert!(!tunnels.silenced(at(5000)));
        tunnels.connected(at(5010));
        assert!(!tunnels.silenced(at(5020)));
        tunnels.connected(at(5030));
        assert!(tunnels.silenced(at(5060)));
    }
}
