//! Whose turn it is to be asked to take our key: pure, the time is an argument.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use crate::pia::retry::RetryPolicy;

/// Whoever has not answered for so long is overtaken by the next.
pub(super) const OVERTAKEN_AFTER: Duration = Duration::from_secs(3);
/// So long into a search those that hang are asked anew: why they did may be over.
const ASKED_ANEW_FOR: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask one that was not asked yet.
    Fresh,
    /// Ask this one, by its number, once more.
    Again(usize),
    /// Wait for an outcome, if one is to come, for so long at most.
    Wait(Option<Duration>),
    /// All that can be asked were asked, and nothing is to come.
    End,
}

/// When one that was asked may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// As long as it hangs, and after that.
    Beside,
    /// Once nothing is to come from it, from this time on.
    From(Duration),
    Never,
}

/// One that was asked.
#[derive(Debug)]
struct Candidacy {
    tries: u32,
    /// How many requests are on their way.
    running: u32,
    /// When the latest began.
    begun: Duration,
    again: Again,
}

/// Those that were asked, in the order in which they were first. All times are since the search
/// began.
#[derive(Debug)]
pub(super) struct Turns {
    retry: RetryPolicy,
    asked: Vec<Candidacy>,
}

impl Turns {
    pub fn new(retry: RetryPolicy) -> Self {
        Self {
            retry,
            asked: Vec::new(),
        }
    }

    /// Whether nothing is to come from anybody.
    pub fn is_idle(&self) -> bool {
        self.asked.iter().all(|one| one.running == 0)
    }

    /// The one that was asked last of those from which something is to come.
    pub fn latest(&self) -> Option<usize> {
        let all = self.asked.iter().enumerate();
        let running = all.filter(|(_, one)| one.running > 0);
        let latest = running.max_by_key(|(_, one)| one.begun);
        latest.map(|(number, _)| number)
    }

    /// One is asked, whose number is that of its first time.
    pub fn begin(&mut self, number: usize, now: Duration) {
        if let Some(one) = self.asked.get_mut(number) {
            one.tries = one.tries.saturating_add(1);
            one.running = one.running.saturating_add(1);
            one.begun = now;
            return;
        }
        self.asked.push(Candidacy {
            tries: 1,
            running: 1,
            begun: now,
            again: Again::Beside,
        });
    }

    /// It could not be asked for want of means, as long as others are.
    pub fn put_off(&mut self, number: usize, now: Duration) {
        if let Some(one) = self.asked.get_mut(number) {
            one.tries = one.tries.saturating_sub(1);
            one.running = one.running.saturating_sub(1);
            one.again = Again::From(now.saturating_add(OVERTAKEN_AFTER));
        }
    }

    /// A request has come to its end. One that was `answered` is asked again where its answer was
    /// that it `may_pass`, after the usual pause.
    pub fn end(&mut self, number: usize, now: Duration, answered: bool, may_pass: bool) {
        let RetryPolicy {
            delay, max_time, ..
        } = self.retry;
        let Some(one) = self.asked.get_mut(number) else {
            return;
        };
        one.running = one.running.saturating_sub(1);
        let later = now.saturating_add(delay);
        one.again = if may_pass && (max_time.is_zero() || later < max_time) {
            Again::From(later)
        } else if !answered && now.saturating_sub(one.begun) >= OVERTAKEN_AFTER {
            Again::Beside
        } else if one.running > 0 {
            // The other one counts as well.
            one.again
        } else {
            Again::Never
        };
    }

    /// What to do at this time; `has_fresh` where one is left that was not asked yet.
    pub fn next(&self, now: Duration, has_fresh: bool) -> Turn {
        let overtaking = self.when_overtaken();
        let soonest = if self.is_idle() { now } else { overtaking };
        if has_fresh {
            return if soonest <= now {
                Turn::Fresh
            } else {
                Turn::Wait(Some(soonest.saturating_sub(now)))
            };
        }
        let again = self.asked.iter().enumerate().filter_map(|(number, one)| {
            let at = self.when_again(one, overtaking)?.max(soonest);
            Some((at, one.begun, number))
        });
        match again.min() {
            Some((at, _, number)) if at <= now => Turn::Again(number),
            Some((at, ..)) => Turn::Wait(Some(at.saturating_sub(now))),
            None if self.is_idle() => Turn::End,
            None => Turn::Wait(None),
        }
    }

    /// When the latest is overtaken.
    fn when_overtaken(&self) -> Duration {
        let is_idle = self.is_idle();
        let counted = self.asked.iter().filter(|one| is_idle || one.running > 0);
        let latest = counted.map(|one| one.begun).max().unwrap_or_default();
        latest.saturating_add(OVERTAKEN_AFTER)
    }

    fn when_again(&self, one: &Candidacy, overtaking: Duration) -> Option<Duration> {
        if one.tries > self.retry.retries {
            return None;
        }
        match one.again {
            Again::Beside => {
                let max_time = self.retry.max_time;
                let in_time = max_time.is_zero() || overtaking < max_time;
                (overtaking < ASKED_ANEW_FOR && in_time).then_some(overtaking)
            }
            Again::From(at) => (one.running == 0).then_some(at),
            Again::Never => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: RetryPolicy = RetryPolicy {
        retries: 5,
        delay: Duration::from_secs(5),
        max_time: Duration::from_secs(120),
    };
    /// As long as a request takes that nobody answers.
    const TIMEOUT: Duration = Duration::from_secs(6);

    /// What somebody does who is asked at a time: how long it takes, and whether it is an answer
    /// that may pass.
    type Server = fn(Duration) -> (Duration, bool);

    /// Nobody answers.
    fn hangs(_: Duration) -> (Duration, bool) {
        (TIMEOUT, false)
    }

    /// Nobody is there.
    fn refuses(_: Duration) -> (Duration, bool) {
        (Duration::ZERO, false)
    }

    fn is_busy(_: Duration) -> (Duration, bool) {
        (Duration::from_millis(50), true)
    }

    /// Which is asked when, in milliseconds, and when it is over.
    fn timeline(retry: RetryPolicy, servers: &[Server]) -> (Vec<(u128, usize)>, u128) {
        let mut turns = Turns::new(retry);
        let mut now = Duration::ZERO;
        let mut asked = Vec::new();
        // The end of each request, and whose it is.
        let mut running: Vec<(Duration, usize, bool)> = Vec::new();
        let mut fresh = 0;
        loop {
            let number = match turns.next(now, fresh < servers.len()) {
                Turn::Fresh => {
                    fresh += 1;
                    fresh - 1
                }
                Turn::Again(number) => number,
                Turn::Wait(limit) => {
                    running.sort_unstable();
                    let until = limit.map(|limit| now + limit);
                    match running.first().copied() {
                        Some((end, number, may_pass)) if until.is_none_or(|until| end <= until) => {
                            now = end;
                            running.remove(0);
                            turns.end(number, now, may_pass, may_pass);
                        }
                        _ => now = until.expect("something is waited for"),
                    }
                    continue;
                }
                Turn::End => return (asked, now.as_millis()),
            };
            asked.push((now.as_millis(), number));
            turns.begin(number, now);
            let (takes, may_pass) = servers[number](now);
            running.push((now + takes, number, may_pass));
        }
    }

    #[test]
    fn those_that_hang_are_overtaken_by_each_other() {
        let begun = [0, 3000, 6000, 9000];
        for servers in 1..=3 {
            let expected = begun.into_iter().zip((0..servers).cycle());
            let found = timeline(RETRY, &vec![hangs as Server; servers]);
            assert_eq!(found, (expected.collect(), 15_000), "{servers}");
        }
        // All are asked once, however long it takes.
        let (asked, end) = timeline(RETRY, &[hangs as Server; 6]);
        assert_eq!(asked.last(), Some(&(15_000, 5)));
        assert_eq!((asked.len(), end), (6, 21_000));
    }

    #[test]
    fn nobody_that_is_not_there_is_asked_twice() {
        let found = timeline(RETRY, &[refuses as Server; 3]);
        assert_eq!(found, (vec![(0, 0), (0, 1), (0, 2)], 0));
        // Beside one that hangs neither.
        let (asked, _) = timeline(RETRY, &[hangs, refuses]);
        let of_second = asked.iter().filter(|(_, number)| *number == 1);
        assert_eq!(of_second.count(), 1, "{asked:?}");
    }

    #[test]
    fn busy_ones_are_asked_as_often_as_curl_retry_says() {
        let (asked, end) = timeline(RETRY, &[is_busy]);
        let expected: Vec<_> = (0..6).map(|number| (number * 5050, 0)).collect();
        assert_eq!((asked, end), (expected, 25_300));
        let short = RetryPolicy {
            max_time: Duration::from_secs(9),
            ..RETRY
        };
        assert_eq!(timeline(short, &[is_busy]).0.len(), 2);
        let once = RetryPolicy::once(Duration::from_secs(120));
        assert_eq!(timeline(once, &[is_busy, hangs]).0.len(), 2);
    }

    #[test]
    fn one_that_is_busy_waits_its_turn_beside_one_that_hangs() {
        let (asked, _) = timeline(RETRY, &[is_busy, hangs]);
        let begun = [(0, 0), (50, 1), (3050, 1), (6050, 0), (6100, 1), (9100, 1)];
        assert_eq!(asked[..6], begun);
    }
}
