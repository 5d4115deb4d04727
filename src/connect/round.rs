//! Asking the candidates of one search: whose turn it is, and what becomes of each answer.

use std::thread::{Scope, scope};
use std::time::{Duration, Instant};

use super::register::{Asking, Joined, Registrar, Tried};
use super::search_token::SearchToken;
use super::server_selection::candidates::Candidate;
use super::turns::{OVERTAKEN_AFTER, Turn, Turns};
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::credentials::Token;
use crate::settings::ServerChoice;
use crate::system::cancellation::CancellationToken;
use crate::system::parallel::Beside;
use crate::wireguard::keys::KeyPair;

/// What came of asking one, by its number, with this token.
struct AskOutcome {
    number: usize,
    token: Token,
    joined: Result<Joined, Failure>,
}

/// The candidates of one search, and what is known of them.
struct Round<'scope, 'env> {
    registrar: &'env Registrar<'env>,
    stop: &'env CancellationToken,
    beside: Beside<'scope, 'env, AskOutcome>,
    begun: Instant,
    turns: Turns,
    /// Those that were not asked yet.
    waiting: Vec<Candidate>,
    /// By the number that [`Turns`] knows them by.
    asked: Vec<Asking>,
    tried: Tried,
    has_answer: bool,
    /// The least pause that was asked for, where each server asked for one.
    patience: Option<Duration>,
}

impl Registrar<'_> {
    /// Registers at the first of the candidates that takes our key. Who does not answer is
    /// overtaken by the next, and servers that are merely busy are asked again, as `CURL_RETRY`
    /// says. Others were `tried` before.
    ///
    /// # Errors
    /// When none does, with what was tried.
    pub(super) fn register_at_any(
        &self,
        candidates: Vec<Candidate>,
        tried: Tried,
        token: &mut SearchToken<'_>,
        stop: &CancellationToken,
    ) -> Result<Joined, Failure> {
        let (enough, _guard) = stop.child();
        scope(|scope| {
            let mut round = Round::new(self, candidates, tried, &enough, scope);
            let joined = round.run(token);
            // Nobody waits for the others any more.
            enough.cancel();
            joined
        })
    }
}

impl<'scope, 'env> Round<'scope, 'env> {
    fn new(
        registrar: &'env Registrar<'env>,
        candidates: Vec<Candidate>,
        tried: Tried,
        stop: &'env CancellationToken,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Self {
        Self {
            registrar,
            stop,
            beside: Beside::new(scope),
            begun: Instant::now(),
            turns: Turns::new(registrar.retry),
            waiting: candidates,
            asked: Vec::new(),
            tried,
            has_answer: false,
            patience: Some(Duration::MAX),
        }
    }

    fn run(&mut self, token: &mut SearchToken<'_>) -> Result<Joined, Failure> {
        loop {
            match self.turns.next(self.begun.elapsed(), self.has_fresh()) {
                Turn::Fresh => {
                    if let Some(number) = self.take_next()? {
                        self.say_who_is_overtaken();
                        self.ask(number, token);
                    }
                }
                Turn::Again(number) => {
                    self.say_who_is_overtaken();
                    self.ask(number, token);
                }
                Turn::Wait(Some(limit)) if self.turns.is_idle() => self.stop.pause(limit)?,
                Turn::Wait(limit) => {
                    if let Some(outcome) = self.beside.next(limit)
                        && let Some(joined) = self.hear(outcome, token)?
                    {
                        return Ok(joined);
                    }
                }
                Turn::End => return Err(self.in_vain(token)),
            }
        }
    }

    /// Nobody is thrown out of a place while somebody may answer yet.
    fn has_fresh(&self) -> bool {
        let places = self.registrar.places;
        let is_fresh = |one: &Candidate| self.turns.is_idle() || !places.is_others(one.server.ip);
        self.waiting.iter().any(is_fresh)
    }

    /// The number of the next one, which was not asked yet.
    fn take_next(&mut self) -> Result<Option<usize>, Failure> {
        let next = if self.turns.is_idle() {
            self.registrar.next(&mut self.waiting)?
        } else {
            self.registrar.next_beside(&mut self.waiting)
        };
        let Some((candidate, place)) = next else {
            return Ok(None);
        };
        let keys = KeyPair::generate()?;
        self.asked.push(Asking {
            candidate,
            place,
            keys,
        });
        Ok(self.asked.len().checked_sub(1))
    }

    fn say_who_is_overtaken(&self) {
        let latest = self.turns.latest().and_then(|one| self.asked.get(one));
        if let Some(Asking { candidate, .. }) = latest {
            log::info!(
                "{}: {} has not answered for {} s; beside it:",
                candidate.location,
                candidate.server.cn,
                OVERTAKEN_AFTER.as_secs()
            );
        }
    }

    fn ask(&mut self, number: usize, token: &SearchToken<'_>) {
        let Some(asking) = self.asked.get(number) else {
            return;
        };
        let Candidate {
            location, server, ..
        } = &asking.candidate;
        log::info!("Registering with {location}: {} ({})", server.cn, server.ip);
        let (registrar, stop) = (self.registrar, self.stop);
        let (asking, token) = (asking.clone(), token.current().clone());
        let work = move || AskOutcome {
            number,
            joined: registrar.register(&asking, &token, stop),
            token,
        };
        self.turns.begin(number, self.begun.elapsed());
        if !self.beside.begin(work) {
            self.turns.put_off(number, self.begun.elapsed());
        }
    }

    /// What an outcome means: a server, or one less to be asked.
    fn hear(
        &mut self,
        outcome: AskOutcome,
        token: &mut SearchToken<'_>,
    ) -> Result<Option<Joined>, Failure> {
        let AskOutcome {
            number,
            token: used,
            joined,
        } = outcome;
        let by_account = !matches!(self.registrar.choice, ServerChoice::DedicatedIp(_));
        let failure = match joined {
            Ok(joined) => {
                if by_account {
                    token.prove(&used);
                }
                return Ok(Some(joined));
            }
            Err(failure) if failure.retry == Retry::Never => return Err(failure),
            Err(failure) => failure,
        };
        if failure.retry == Retry::LogIn && by_account && token.replace(&used, self.stop)? {
            self.turns.end(number, self.begun.elapsed(), true, false);
            self.ask(number, token);
            return Ok(None);
        }
        let is_answer = failure.is_answer();
        let not_before = failure.not_before();
        let may_ask = not_before.is_none_or(|pause| pause <= self.registrar.retry.delay);
        let may_pass = matches!(failure.retry, Retry::Later(_)) && may_ask;
        let now = self.begun.elapsed();
        self.turns.end(number, now, is_answer, may_pass);
        self.has_answer |= is_answer;
        self.patience = self
            .patience
            .zip(not_before)
            .map(|(one, other)| one.min(other));
        if let Some(Asking { candidate, .. }) = self.asked.get(number) {
            log::warn!("{}: {failure}", candidate.location);
            let (location, server) = (&candidate.location, &candidate.server);
            self.tried.add(location, server, &failure);
        }
        Ok(None)
    }

    /// What is said where none has taken our key.
    fn in_vain(&self, token: &SearchToken<'_>) -> Failure {
        // The pause is the account's, not the servers'.
        if let Some(login) = token.no_login() {
            let is_answer = self.has_answer || login.is_answer();
            return login.clone().with_answer(is_answer);
        }
        let text = format!(
            "no server could be connected to. Tried {}. If this does not pass, {}",
            self.tried.in_words(),
            self.registrar.cure()
        );
        let retry = Retry::Later(self.patience.filter(|pause| *pause < Duration::MAX));
        let failure = Failure::new(FailureKind::Registration, retry, text);
        failure.with_answer(self.has_answer)
    }
}
