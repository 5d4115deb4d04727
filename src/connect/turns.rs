//! Whose turn it is to be asked to take our key: pure, the time is an argument.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use crate::pia::error::OVERTAKEN_AFTER;
use crate::pia::retry::RetryPolicy;

/// So long into a search those that hang are asked anew: why they did may be over.
const ASKED_ANEW_FOR: Duration = Duration::from_secs(10);

/// Whether one is left that was not asked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    None,
    /// Only ones that are not asked beside others.
    Alone,
    Some,
}

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

/// How a request came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Without an answer.
    Silent,
    /// One that may pass: the same may be asked again after the usual pause.
    Busy,
    /// One that is not likely to.
    Refused,
    /// The token was: that is no try, and another one may do.
    TokenRefused,
    /// The same, and the next one is known there already.
    FormerTokenRefused,
}

/// When one that was asked may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Also while it does not answer.
    Beside,
    /// From this time on.
    From(Duration),
    /// Once there is another token.
    WithToken,
    /// Before anybody else.
    Now,
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
    /// Nobody else may be about to answer when it is asked.
    is_alone: bool,
}

/// Those that were asked, in the order in which they were first. All times are since the search
/// began.
#[derive(Debug)]
pub(super) struct Turns {
    retry: RetryPolicy,
    asked: Vec<Candidacy>,
    /// None is begun beside others before this.
    held_until: Duration,
}

impl Turns {
    pub fn new(retry: RetryPolicy) -> Self {
        Self {
            retry,
            asked: Vec::new(),
            held_until: Duration::ZERO,
        }
    }

    /// Whether nothing is to come from anybody.
    pub fn is_idle(&self) -> bool {
        self.asked.iter().all(|one| one.running == 0)
    }

    /// Whether something is to come from this one.
    pub fn is_running(&self, number: usize) -> bool {
        self.asked.get(number).is_some_and(|one| one.running > 0)
    }

    /// The one that was asked last of those from which something is to come, if it is overtaken by
    /// whoever is asked now.
    pub fn overtaken(&self, now: Duration) -> Option<usize> {
        let all = self.asked.iter().enumerate();
        let running = all.filter(|(_, one)| one.running > 0);
        let (number, _) = running.max_by_key(|(_, one)| one.begun)?;
        (self.when_overtaken() <= now).then_some(number)
    }

    /// One is asked, whose number is that of its first time; whether alone is settled then.
    pub fn begin(&mut self, number: usize, now: Duration, is_alone: bool) {
        if number == self.asked.len() {
            self.asked.push(Candidacy {
                tries: 0,
                running: 0,
                begun: now,
                again: Again::Beside,
                is_alone,
            });
        }
        if let Some(one) = self.asked.get_mut(number) {
            one.tries = one.tries.saturating_add(1);
            one.running = one.running.saturating_add(1);
            one.begun = now;
            one.again = Again::Beside;
        }
    }

    /// None could be begun beside others, so none is for a while.
    pub fn hold(&mut self, now: Duration) {
        self.held_until = now.saturating_add(OVERTAKEN_AFTER);
    }

    /// There is another token for this one, unless it has answered to one meanwhile.
    pub fn give_token(&mut self, number: usize) {
        if let Some(one) = self.asked.get_mut(number)
            && one.again == Again::WithToken
        {
            one.again = Again::Now;
        }
    }

    /// This one is asked no more.
    pub fn give_up(&mut self, number: usize) {
        if let Some(one) = self.asked.get_mut(number) {
            one.again = Again::Never;
        }
    }

    /// A request has come to its end.
    pub fn end(&mut self, number: usize, now: Duration, ending: Ending) {
        let Some(one) = self.asked.get_mut(number) else {
            return;
        };
        one.running = one.running.saturating_sub(1);
        match ending {
            Ending::Busy => one.again = Again::From(now.saturating_add(self.retry.delay)),
            Ending::Refused => one.again = Again::Never,
            Ending::TokenRefused => {
                one.tries = one.tries.saturating_sub(1);
                if one.again == Again::Beside {
                    one.again = Again::WithToken;
                }
            }
            Ending::FormerTokenRefused => one.tries = one.tries.saturating_sub(1),
            // An answer to another request counts more; and who is not there is known at once.
            Ending::Silent => {
                let was_waited_for = now.saturating_sub(one.begun) >= OVERTAKEN_AFTER;
                if one.again == Again::Beside && one.running == 0 && !was_waited_for {
                    one.again = Again::Never;
                }
            }
        }
    }

    /// What to do at this time.
    pub fn next(&self, now: Duration, fresh: Fresh) -> Turn {
        let is_idle = self.is_idle();
        let overtaking = self.when_overtaken();
        let soonest = if is_idle {
            now
        } else {
            overtaking.max(self.held_until).max(now)
        };
        let wait_until = |at: Duration| Turn::Wait(Some(at.saturating_sub(now)));
        let is_held = !is_idle && now < self.held_until;
        let is_now = |one: &Candidacy| one.again == Again::Now && self.may_be_asked(one);
        let at_once = self.asked.iter().position(is_now).filter(|_| !is_held);
        if let Some(number) = at_once {
            return Turn::Again(number);
        }
        match fresh {
            Fresh::Some | Fresh::Alone if is_idle => return Turn::Fresh,
            Fresh::Some if soonest <= now => return Turn::Fresh,
            Fresh::Some => return wait_until(soonest),
            Fresh::Alone => return Turn::Wait(None),
            Fresh::None => {}
        }
        let again = self.asked.iter().enumerate().filter_map(|(number, one)| {
            let at = self.when_again(one, overtaking, soonest);
            let at = at.filter(|_| self.may_be_asked(one))?;
            Some((at, one.begun, number))
        });
        match again.min() {
            Some((at, _, number)) if at <= now => Turn::Again(number),
            Some((at, ..)) => wait_until(at),
            None if is_idle => Turn::End,
            None => Turn::Wait(None),
        }
    }

    /// One that is asked alone may still be asked once more beside itself.
    fn may_be_asked(&self, one: &Candidacy) -> bool {
        let running: u32 = self.asked.iter().map(|other| other.running).sum();
        !one.is_alone || running == one.running
    }

    /// When the latest is overtaken.
    fn when_overtaken(&self) -> Duration {
        let is_idle = self.is_idle();
        let counted = self.asked.iter().filter(|one| is_idle || one.running > 0);
        let latest = counted.map(|one| one.begun).max().unwrap_or_default();
        latest.saturating_add(OVERTAKEN_AFTER)
    }

    /// When this one is asked again, `soonest` at the soonest; not at all where it is too late
    /// then, or where it was asked as often as `CURL_RETRY` says.
    fn when_again(
        &self,
        one: &Candidacy,
        overtaking: Duration,
        soonest: Duration,
    ) -> Option<Duration> {
        let (at, end) = match one.again {
            Again::Beside => (overtaking, ASKED_ANEW_FOR),
            Again::From(at) if one.running == 0 => (at, Duration::MAX),
            Again::From(_) | Again::WithToken | Again::Now | Again::Never => return None,
        };
        let at = at.max(soonest);
        let max_time = self.retry.max_time;
        let is_in_time = at < end && (max_time.is_zero() || at < max_time);
        (is_in_time && one.tries <= self.retry.retries).then_some(at)
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
    const ONCE: RetryPolicy = RetryPolicy::once(Duration::from_secs(120));

    /// How a server ends each request, and after how many milliseconds; the last one for ever.
    type Server = &'static [(u64, Ending)];

    const HANGS: Server = &[(6000, Ending::Silent)];
    const IS_NOT_THERE: Server = &[(0, Ending::Silent)];
    const IS_BUSY: Server = &[(50, Ending::Busy)];

    /// Which is asked when, in milliseconds, and when it is over. The first so many may be asked
    /// beside others.
    fn timeline_of(
        retry: RetryPolicy,
        servers: &[Server],
        beside: usize,
    ) -> (Vec<(u128, usize)>, u128) {
        let mut turns = Turns::new(retry);
        let mut now = Duration::ZERO;
        let mut asked: Vec<(u128, usize)> = Vec::new();
        // The end of each request, whose it is, and how it ends.
        let mut running: Vec<(Duration, usize, Ending)> = Vec::new();
        let mut known = 0;
        loop {
            let fresh = match known {
                known if known == servers.len() => Fresh::None,
                known if known < beside => Fresh::Some,
                _ => Fresh::Alone,
            };
            let number = match turns.next(now, fresh) {
                Turn::Fresh => {
                    known += 1;
                    known - 1
                }
                Turn::Again(number) => number,
                Turn::Wait(limit) => {
                    running.sort_by_key(|(end, ..)| *end);
                    let until = limit.map(|limit| now + limit);
                    match running.first().copied() {
                        Some((end, number, ending)) if until.is_none_or(|until| end <= until) => {
                            now = end;
                            running.remove(0);
                            turns.end(number, now, ending);
                        }
                        _ => now = until.expect("something is waited for"),
                    }
                    continue;
                }
                Turn::End => return (asked, now.as_millis()),
            };
            let before = asked.iter().filter(|(_, one)| *one == number).count();
            asked.push((now.as_millis(), number));
            turns.begin(number, now, number >= beside);
            let endings = servers[number];
            let (takes, ending) = endings[before.min(endings.len() - 1)];
            running.push((now + Duration::from_millis(takes), number, ending));
        }
    }

    fn timeline(retry: RetryPolicy, servers: &[Server]) -> (Vec<(u128, usize)>, u128) {
        timeline_of(retry, servers, servers.len())
    }

    #[test]
    fn those_that_hang_are_overtaken_by_each_other() {
        let begun = [0, 2800, 5600, 8400];
        for servers in 1..=3 {
            let expected = begun.into_iter().zip((0..servers).cycle());
            let found = timeline(RETRY, &vec![HANGS; servers]);
            assert_eq!(found, (expected.collect(), 14_400), "{servers}");
        }
        // All are asked once, however long it takes.
        let (asked, end) = timeline(RETRY, &[HANGS; 6]);
        assert_eq!(asked.last(), Some(&(14_000, 5)));
        assert_eq!((asked.len(), end), (6, 20_000));
    }

    #[test]
    fn who_is_asked_alone_is_asked_when_nothing_is_to_come() {
        let (asked, _) = timeline_of(RETRY, &[HANGS; 3], 1);
        assert_eq!(asked[..3], [(0, 0), (6000, 1), (12_000, 2)]);
        // Beside itself it may be: the only one of a location, in a reconnect.
        let (asked, _) = timeline_of(RETRY, &[HANGS], 0);
        assert_eq!(asked, [(0, 0), (2800, 0), (5600, 0), (8400, 0)]);
        // Nor again beside one that hangs.
        let (asked, _) = timeline_of(RETRY, &[HANGS, IS_BUSY], 1);
        let begun = [(0, 0), (6000, 1), (8800, 0), (14_800, 1), (19_850, 1)];
        assert_eq!(asked[..5], begun);
    }

    #[test]
    fn nobody_that_is_not_there_is_asked_twice() {
        let found = timeline(RETRY, &[IS_NOT_THERE; 3]);
        assert_eq!(found, (vec![(0, 0), (0, 1), (0, 2)], 0));
        // Beside one that hangs neither.
        let (asked, _) = timeline(RETRY, &[HANGS, IS_NOT_THERE]);
        let of_second = asked.iter().filter(|(_, number)| *number == 1);
        assert_eq!(of_second.count(), 1, "{asked:?}");
    }

    #[test]
    fn busy_ones_are_asked_as_often_as_curl_retry_says() {
        let (asked, end) = timeline(RETRY, &[IS_BUSY]);
        let expected: Vec<_> = (0..6).map(|number| (number * 5050, 0)).collect();
        assert_eq!((asked, end), (expected, 25_300));
        assert_eq!(timeline(ONCE, &[IS_BUSY, HANGS]).0.len(), 2);
    }

    #[test]
    fn nobody_is_asked_again_after_curl_max_time() {
        let short = |seconds| RetryPolicy {
            max_time: Duration::from_secs(seconds),
            ..RETRY
        };
        assert_eq!(timeline(short(9), &[IS_BUSY]).0.len(), 2);
        let (asked, _) = timeline(short(5), &[IS_BUSY, HANGS]);
        assert_eq!(asked, [(0, 0), (50, 1), (2850, 1)]);
        assert_eq!(timeline(short(8), &[HANGS]).0.len(), 3);
    }

    #[test]
    fn one_that_is_busy_waits_its_turn_beside_one_that_hangs() {
        let (asked, _) = timeline(RETRY, &[IS_BUSY, HANGS]);
        let begun = [(0, 0), (50, 1), (2850, 1), (5650, 0), (5700, 1), (8500, 1)];
        assert_eq!(asked[..6], begun);
    }

    #[test]
    fn an_answer_counts_more_than_the_silence_before_it() {
        let hangs_then = |ending| -> Server {
            match ending {
                Ending::Busy => &[(6000, Ending::Silent), (50, Ending::Busy)],
                _ => &[(6000, Ending::Silent), (50, Ending::Refused)],
            }
        };
        let (asked, _) = timeline(RETRY, &[hangs_then(Ending::Busy)]);
        assert_eq!(asked[..3], [(0, 0), (2800, 0), (7850, 0)]);
        let found = timeline(RETRY, &[hangs_then(Ending::Refused)]);
        assert_eq!(found, (vec![(0, 0), (2800, 0)], 6000));
    }

    /// A token that is renewed is the account's matter.
    #[test]
    fn who_refuses_a_token_is_asked_with_the_next_before_anybody_else_and_that_is_no_try() {
        let now = Duration::ZERO;
        let mut turns = Turns::new(ONCE);
        turns.begin(0, now, false);
        turns.end(0, now, Ending::TokenRefused);
        turns.give_token(0);
        assert_eq!(turns.next(now, Fresh::Some), Turn::Again(0));
        turns.begin(0, now, false);
        assert_eq!(turns.next(now, Fresh::None), Turn::Wait(None));
        turns.end(0, now, Ending::Busy);
        assert_eq!(turns.next(now, Fresh::None), Turn::End);
    }

    #[test]
    fn what_a_server_answered_to_a_new_token_counts_more_than_its_refusal_of_the_old_one() {
        let at = Duration::from_millis;
        let mut turns = Turns::new(RETRY);
        // The first hangs, the second is refused.
        turns.begin(0, at(0), false);
        turns.begin(0, at(2800), false);
        turns.end(0, at(2850), Ending::TokenRefused);
        turns.give_token(0);
        assert_eq!(turns.next(at(2900), Fresh::None), Turn::Again(0));
        turns.begin(0, at(2900), false);
        turns.end(0, at(2950), Ending::Busy);
        turns.end(0, at(3000), Ending::FormerTokenRefused);
        turns.give_token(0);
        let wait = Turn::Wait(Some(at(2950) + RETRY.delay - at(3000)));
        assert_eq!(turns.next(at(3000), Fresh::None), wait);
    }

    #[test]
    fn who_has_refused_a_token_is_asked_with_the_next_whatever_becomes_of_others() {
        let at = Duration::from_millis;
        let mut turns = Turns::new(RETRY);
        turns.begin(0, at(0), false);
        turns.begin(0, at(2800), false);
        turns.end(0, at(2850), Ending::TokenRefused);
        // The connection of the first ends while the login lasts, long after the ten seconds.
        turns.end(0, at(3000), Ending::Silent);
        turns.give_token(0);
        assert_eq!(turns.next(at(11_000), Fresh::None), Turn::Again(0));
    }

    #[test]
    fn nothing_is_begun_beside_others_for_a_while_where_a_thread_is_refused() {
        let mut turns = Turns::new(RETRY);
        turns.begin(0, Duration::ZERO, false);
        let now = OVERTAKEN_AFTER;
        assert_eq!(turns.next(now, Fresh::Some), Turn::Fresh);
        turns.hold(now);
        let wait = Turn::Wait(Some(OVERTAKEN_AFTER));
        assert_eq!(turns.next(now, Fresh::Some), wait);
        assert_eq!(turns.next(now, Fresh::None), wait);
        turns.end(0, now, Ending::Silent);
        assert_eq!(turns.next(now, Fresh::Some), Turn::Fresh);
    }
}
