//! Looking for another server while the old tunnel is kept; goes on for as long as it takes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use super::event::{Event, SearchNews};
use super::probe::Probe;
use crate::connect::connector::Connector;
use crate::connect::register::Tried;
use crate::failure::{Failure, Retry};
use crate::pia::regions::Server;
use crate::settings::ServerChoice;
use crate::status::{self, Reporter};
use crate::system::backoff::{Backoff, pause_in_outage};
use crate::system::cancellation::CancellationToken;
use crate::tunnel::WayIn;
use crate::underlay::deadline::Deadline;

/// While the failure may pass at any moment.
const PAUSES: RangeInclusive<Duration> = Duration::from_millis(800)..=Duration::from_secs(10);
/// Where trying again could lock the account, or is not likely to help.
const LASTING_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(300),
    ceiling: Duration::from_secs(3600),
};

/// Between two questions to the old tunnel in a pause that is longer.
const OLD_TUNNEL_INTERVAL: Duration = Duration::from_secs(30);

/// What a search needs.
pub(super) struct Search {
    /// Of its news.
    pub number: u32,
    /// Before the first attempt: what the last search found could not be used.
    pub delay: Duration,
    /// Servers that did not respond, the latest at the end.
    pub avoid: Vec<Server>,
    /// That of the old tunnel.
    pub in_use: Server,
    pub probe: Probe,
    /// Into the old tunnel: where nobody finds into it, it is not kept, whoever answers by it.
    pub way_in: Arc<WayIn>,
    /// What to choose by instead, where a choice that a command made leads to no server.
    pub fallback: Option<ServerChoice>,
    /// By that choice, servers that took the key and carried nothing.
    pub tried: Tried,
    /// Whether it waits between two attempts, for whoever wants one now.
    pub is_waiting: Arc<AtomicBool>,
    /// The least pause after an attempt in which a server answered.
    pub retry_delay: Duration,
    pub reporter: Reporter,
    pub events: Sender<Event>,
}

impl Search {
    /// Tries until a server takes a new key, or the old tunnel turns out to carry again. Gives the
    /// connector back, with what it learnt.
    pub(super) fn run(&self, mut connector: Connector, stop: &CancellationToken) -> Connector {
        if let Some(news) = self.search(&mut connector, stop) {
            self.tell(news);
        }
        connector
    }

    fn tell(&self, news: SearchNews) {
        // The loop may be gone already.
        let _ = self.events.send(Event::Search(self.number, news));
    }

    fn search(&self, connector: &mut Connector, stop: &CancellationToken) -> Option<SearchNews> {
        let mut rng = fastrand::Rng::new();
        if !self.delay.is_zero() {
            if let Some(recovered) = self.old_tunnel_within(self.delay, stop) {
                return Some(recovered);
            }
            stop.check().ok()?;
        }
        let mut fallback = self.fallback.clone();
        let begun = Instant::now();
        for failures in 1.. {
            let tried = match &fallback {
                Some(_) => &self.tried,
                None => &Tried::default(),
            };
            let failure = match connector.join(&self.avoid, tried, Some(&self.in_use), stop) {
                Ok(joined) => return Some(SearchNews::Found(Box::new(joined))),
                Err(failure) if failure.is_cancelled() => return None,
                Err(failure) => failure,
            };
            self.reporter.count_failure(failure.kind.name());
            self.tell(SearchNews::NotFound(failure.text.clone()));
            if let Some(former) = fallback.take() {
                log::warn!("{failure}. Going back to what was chosen before");
                connector.choose(former);
                if let Some(recovered) = self.old_tunnel_within(self.probe.timeout(), stop) {
                    return Some(recovered);
                }
                stop.check().ok()?;
                continue;
            }
            let pause = pause(
                failures,
                begun.elapsed(),
                &failure,
                self.retry_delay,
                &mut rng,
            );
            // Before it is said, as whoever reads it may want it sooner.
            self.is_waiting.store(true, Ordering::Relaxed);
            log::warn!("{failure}. Trying again in {:.0} s", pause.as_secs_f64());
            self.reporter.update(|status| {
                status.note_error(&failure.text);
                status.next_attempt = status::seconds_from(SystemTime::now(), pause);
            });
            if let Some(recovered) = self.old_tunnel_within(pause, stop) {
                return Some(recovered);
            }
            stop.check().ok()?;
        }
        None
    }

    /// If it was the network that was away, the old tunnel is as good as a new one, and costs no
    /// registration. Asked at the end of a pause and within it, so that silence costs no time, and
    /// an answer that comes early does not shorten it.
    fn old_tunnel_within(&self, pause: Duration, stop: &CancellationToken) -> Option<SearchNews> {
        let asking = self.probe.timeout().min(pause);
        let end = Deadline::after(pause);
        self.is_waiting.store(true, Ordering::Relaxed);
        // To ask it costs PIA nothing, for whose sake a long pause is made.
        while end.left() > OLD_TUNNEL_INTERVAL.saturating_add(asking) {
            stop.pause(OLD_TUNNEL_INTERVAL).ok()?;
            let answered = self.probe.run_in_search(asking, stop).ok();
            if let Some(answer) = answered.filter(|_| self.way_in.lack().is_none()) {
                self.is_waiting.store(false, Ordering::Relaxed);
                return Some(SearchNews::Recovered(answer));
            }
        }
        stop.pause(end.left().saturating_sub(asking)).ok()?;
        let answered = self.probe.run_in_search(asking, stop);
        let is_lost = self.way_in.lack().is_some();
        if answered.is_err() || is_lost {
            stop.pause(end.left()).ok()?;
        }
        self.is_waiting.store(false, Ordering::Relaxed);
        let recovered = answered.ok().filter(|_| !is_lost);
        recovered.map(SearchNews::Recovered)
    }
}

fn pause(
    failures: u32,
    lasted: Duration,
    failure: &Failure,
    delay: Duration,
    rng: &mut fastrand::Rng,
) -> Duration {
    let pause = match failure.retry {
        Retry::Never | Retry::Seldom => LASTING_BACKOFF.pause(failures, rng),
        Retry::Later(_) | Retry::NextServer | Retry::LogIn => pause_in_outage(lasted, PAUSES, rng),
    };
    pause.max(failure.least_pause(delay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    const DELAY: Duration = Duration::from_secs(5);

    fn seconds(failures: u32, retry: Retry) -> f64 {
        let failure = Failure::new(FailureKind::Registration, retry, "x");
        let lasted = Duration::from_secs(u64::from(failures) * 10);
        let mut rng = fastrand::Rng::with_seed(1);
        pause(failures, lasted, &failure, DELAY, &mut rng).as_secs_f64()
    }

    #[test]
    fn pauses_grow_to_a_limit_that_depends_on_the_failure() {
        assert!(seconds(1, Retry::Later(None)) < 1.3);
        assert!((7.9..12.1).contains(&seconds(200, Retry::Later(None))));
        assert!(seconds(1, Retry::Never) >= 240.0);
        assert!(seconds(70, Retry::Never) <= 4320.0);
    }

    #[test]
    fn who_answers_is_left_alone_for_a_while() {
        let failure = Failure::new(FailureKind::Registration, Retry::Later(None), "x");
        let failure = failure.with_answer(true);
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(pause(1, Duration::ZERO, &failure, DELAY, &mut rng), DELAY);
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let patience = Some(Duration::from_secs(90));
        assert!((seconds(1, Retry::Later(patience)) - 90.0).abs() < 0.001);
    }
}
