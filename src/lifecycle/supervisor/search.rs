//! Looking for another server while the old tunnel is kept; goes on for as long as it takes.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Event;
use crate::connect::Connector;
use crate::failure::Failure;
use crate::firewall::kill_switch::KillSwitch;
use crate::pia::regions::Server;
use crate::status::{self, Reporter};
use crate::system::cancellation::CancellationToken;
use crate::underlay::ping::Prober;

/// What a search needs.
pub(super) struct Search {
    pub connector: Arc<Mutex<Connector>>,
    pub kill_switch: KillSwitch,
    /// Servers that did not respond, the latest at the end.
    pub left: Vec<Server>,
    pub prober: Prober,
    pub probe_timeout: Duration,
    pub reporter: Reporter,
    pub events: Sender<Event>,
}

impl Search {
    /// Tries until a server takes a new key, or the old tunnel turns out to carry again.
    pub(super) fn run(&self, stop: &CancellationToken) {
        let mut attempt = 0;
        while !stop.is_cancelled() {
            let failure = match self.join() {
                Ok(joined) => return self.report(Event::Found(Box::new(joined))),
                Err(Failure::Stopped) => return,
                Err(failure) => failure,
            };
            let pause = pause(attempt, &failure);
            attempt += 1;
            log::warn!("{failure}. Trying again in {} s", pause.as_secs());
            self.reporter.update(|status| {
                status.last_error = Some(failure.to_string());
                status.next_attempt = Some(status::seconds(SystemTime::now() + pause));
            });
            if stop.pause(pause).is_err() {
                return;
            }
            // If it was the network that was away, the old tunnel is as good as a new one, and
            // costs no registration.
            if let Ok(target) = self.prober.any_answers(self.probe_timeout, stop) {
                return self.report(Event::Recovered(target));
            }
        }
    }

    fn join(&self) -> Result<crate::connect::Joined, Failure> {
        let mut connector = self
            .connector
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connector.join(&self.left, &self.kill_switch)
    }

    fn report(&self, event: Event) {
        // The loop may be gone already.
        let _ = self.events.send(event);
    }
}

/// The longest pause while the failure may pass at any moment.
const MAX_PAUSE_SECONDS: u64 = 10;
/// The shortest and the longest where trying again could lock the account.
const CAREFUL: (u64, u64) = (300, 3600);

fn pause(attempt: u32, failure: &Failure) -> Duration {
    let growing = |first: u64, longest: u64| {
        first
            .saturating_mul(2_u64.saturating_pow(attempt))
            .min(longest)
    };
    let seconds = match failure {
        Failure::Lasting { .. } => growing(CAREFUL.0, CAREFUL.1),
        _ => growing(1, MAX_PAUSE_SECONDS),
    };
    let pause = Duration::from_millis(seconds * fastrand::u64(800..1200));
    match failure {
        Failure::Passing {
            not_before: Some(not_before),
            ..
        } => pause.max(*not_before),
        _ => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_that_depends_on_the_failure() {
        let seconds = |attempt, failure: &Failure| pause(attempt, failure).as_secs_f64();
        let passing = Failure::passing("x");
        assert!(seconds(0, &passing) < 1.3);
        assert!((7.9..12.1).contains(&seconds(200, &passing)));
        let lasting = Failure::lasting("x");
        assert!(seconds(0, &lasting) >= 240.0);
        assert!(seconds(70, &lasting) <= 4320.0);
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let failure = Failure::Passing {
            what: "x".into(),
            not_before: Some(Duration::from_secs(90)),
        };
        assert_eq!(pause(0, &failure), Duration::from_secs(90));
    }
}
