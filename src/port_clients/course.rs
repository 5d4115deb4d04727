//! What is done after each look at a client: pure.

use std::time::Duration;

use crate::system::backoff::Backoff;

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LookOutcome {
    /// It says that it listens on the port.
    HasPort {
        /// It had to be told.
        was_told: bool,
    },
    /// It was told, and says something else.
    HasNot(String),
    /// It was shown a secret, and refused it.
    Refused(String),
    /// It does not let us in, or not so far, whatever we know.
    Closed(String),
    /// Nobody answers.
    Away(String),
    /// What answers is not understood.
    Odd(String),
}

/// What a client is known to say, for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientWord {
    /// It says that it listens on the port.
    pub has_port: bool,
    /// In words.
    pub words: String,
}

/// The last outcomes of looks at one client.
#[derive(Debug, Default)]
pub(super) struct Course {
    word: Option<ClientWord>,
    /// That word was taken back since.
    is_taken_back: bool,
    /// Looks in a row that brought nothing.
    failures: u32,
    /// Logins in a row that were refused.
    refusals: u32,
}

/// What follows from an outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sequel {
    /// Until the next look.
    pub pause: Duration,
    /// Until what was refused may be sent again; other looks send no login meanwhile.
    pub login_pause: Option<Duration>,
    /// The word, where it is news.
    pub news: Option<ClientWord>,
}

/// Between looks at a client that does not answer, or not as it should.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Clients lock out whoever shows a wrong password too often: qBittorrent after five in a row, for
/// an hour. So what was refused is sent again only when it is another one, when the client was
/// away meanwhile, or after this.
const LOGIN_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(15 * 60),
    ceiling: Duration::from_secs(6 * 60 * 60),
};

impl Course {
    /// After a look for `port`; `interval` is the pause between looks while all is well.
    pub(super) fn after(
        &mut self,
        outcome: &LookOutcome,
        port: u16,
        interval: Duration,
        rng: &mut fastrand::Rng,
    ) -> Sequel {
        let backoff = Backoff {
            first: FIRST_PAUSE.min(interval),
            ceiling: interval,
        };
        let mut login_pause = None;
        let pause = match outcome {
            LookOutcome::HasPort { .. } => {
                (self.failures, self.refusals) = (0, 0);
                interval
            }
            LookOutcome::Refused(_) => {
                self.failures = 0;
                self.refusals = self.refusals.saturating_add(1);
                login_pause = Some(LOGIN_BACKOFF.pause(self.refusals, rng));
                interval
            }
            LookOutcome::HasNot(_)
            | LookOutcome::Closed(_)
            | LookOutcome::Away(_)
            | LookOutcome::Odd(_) => {
                self.failures = self.failures.saturating_add(1);
                backoff.pause(self.failures, rng)
            }
        };
        let word = word(outcome, port);
        let is_news = std::mem::take(&mut self.is_taken_back)
            || self.word.as_ref() != Some(&word)
            || *outcome == (LookOutcome::HasPort { was_told: true });
        self.word = Some(word.clone());
        Sequel {
            pause,
            login_pause,
            news: is_news.then_some(word),
        }
    }

    /// Another port is to be told: pauses are over, but for those of refused logins.
    pub(super) fn begin_anew(&mut self) {
        self.failures = 0;
    }

    /// There is no port to be told: its word is taken back. What was refused stays so.
    pub(super) fn pause(&mut self) {
        (self.is_taken_back, self.failures) = (true, 0);
    }

    /// The last word, where it was taken back and still holds.
    pub(super) fn said_again(&mut self) -> Option<ClientWord> {
        let is_taken_back = std::mem::take(&mut self.is_taken_back);
        self.word.clone().filter(|_| is_taken_back)
    }

    /// The client was away: it may be another one, which knows nothing of refusals.
    pub(super) fn forget_refusals(&mut self) {
        self.refusals = 0;
    }
}

fn word(outcome: &LookOutcome, port: u16) -> ClientWord {
    let (has_port, words) = match outcome {
        LookOutcome::HasPort { .. } => (true, format!("listens on {port}")),
        LookOutcome::HasNot(what) => (false, format!("was told {port}, but {what}")),
        LookOutcome::Refused(why) | LookOutcome::Closed(why) => (false, why.clone()),
        LookOutcome::Away(why) => (false, format!("does not answer: {why}")),
        LookOutcome::Odd(why) => (false, format!("is not understood: {why}")),
    };
    ClientWord { has_port, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const HAS_PORT: LookOutcome = LookOutcome::HasPort { was_told: false };
    const TOLD: LookOutcome = LookOutcome::HasPort { was_told: true };

    fn away() -> LookOutcome {
        LookOutcome::Away("refused".to_owned())
    }

    fn refused() -> LookOutcome {
        LookOutcome::Refused("refused the password".to_owned())
    }

    struct Story {
        course: Course,
        rng: fastrand::Rng,
    }

    impl Story {
        fn new() -> Self {
            Self {
                course: Course::default(),
                rng: fastrand::Rng::with_seed(1),
            }
        }

        fn goes_on(&mut self, outcome: &LookOutcome) -> Sequel {
            self.course.after(outcome, 54321, INTERVAL, &mut self.rng)
        }
    }

    #[test]
    fn a_client_that_stays_as_it_is_is_told_of_once() {
        let mut story = Story::new();
        let first = story.goes_on(&TOLD);
        assert_eq!(first.pause, INTERVAL);
        let news = first.news.unwrap();
        assert_eq!(
            (news.has_port, news.words.as_str()),
            (true, "listens on 54321")
        );
        assert_eq!(story.goes_on(&HAS_PORT).news, None);
        // It was restarted, with another port, between two looks.
        assert!(story.goes_on(&TOLD).news.is_some());
    }

    #[test]
    fn one_that_is_away_is_looked_for_soon_and_then_once_an_interval() {
        let mut story = Story::new();
        let first = story.goes_on(&away());
        assert!(first.pause < Duration::from_secs(2), "{first:?}");
        assert!(first.news.is_some_and(|word| !word.has_port));
        for _ in 0..10 {
            let next = story.goes_on(&away());
            assert_eq!(next.news, None);
            assert!(next.pause <= INTERVAL.mul_f32(1.2), "{next:?}");
        }
        let later = story.goes_on(&away());
        assert!(later.pause > INTERVAL.mul_f32(0.7), "{later:?}");
        story.course.begin_anew();
        assert!(story.goes_on(&away()).pause < Duration::from_secs(2));
    }

    /// qBittorrent bans an address after five failed logins in a row.
    #[test]
    fn a_refused_login_is_not_sent_five_times_within_three_hours() {
        let mut story = Story::new();
        let mut sent = 0;
        let mut lasted = Duration::ZERO;
        while lasted < Duration::from_secs(3 * 60 * 60) {
            sent += 1;
            lasted += story.goes_on(&refused()).login_pause.unwrap();
        }
        assert!(sent < 5, "{sent}");
        // That there was no port meanwhile brings no other password.
        let before = story.goes_on(&refused()).login_pause.unwrap();
        story.course.pause();
        let later = story.goes_on(&refused());
        assert!(later.login_pause.unwrap() > before / 2, "{later:?}");
        assert!(later.news.is_some());
        story.course.forget_refusals();
        let anew = story.goes_on(&refused()).login_pause.unwrap();
        assert!(anew < Duration::from_secs(20 * 60), "{anew:?}");
    }
}
