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
use crate::system::backoff::Backoff;
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
        let mut failures = 0;
        let mut rng = fastrand::Rng::new();
        while !stop.is_cancelled() {
            let failure = match self.join() {
                Ok(joined) => return self.report(Event::Found(Box::new(joined))),
                Err(Failure::Stopped) => return,
                Err(failure) => failure,
            };
            failures += 1;
            let pause = pause(failures, &failure, &mut rng);
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

/// While the failure may pass at any moment.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(10),
};
/// Where trying again could lock the account.
const LASTING_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(300),
    ceiling: Duration::from_secs(3600),
};

fn pause(failures: u32, failure: &Failure, rng: &mut fastrand::Rng) -> Duration {
    match failure {
        Failure::Lasting { .. } => LASTING_BACKOFF.pause(failures, rng),
        Failure::Passing {
            not_before: Some(not_before),
            ..
        } => BACKOFF.pause(failures, rng).max(*not_before),
        _ => BACKOFF.pause(failures, rng),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_that_depends_on_the_failure() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut seconds =
            |failures, failure: &Failure| pause(failures, failure, &mut rng).as_secs_f64();
        let passing = Failure::passing("x");
        assert!(seconds(1, &passing) < 1.3);
        assert!((7.9..12.1).contains(&seconds(200, &passing)));
        let lasting = Failure::lasting("x");
        assert!(seconds(1, &lasting) >= 240.0);
        assert!(seconds(70, &lasting) <= 4320.0);
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let failure = Failure::Passing {
            what: "x".into(),
            not_before: Some(Duration::from_secs(90)),
        };
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(pause(1, &failure, &mut rng), Duration::from_secs(90));
    }
}
