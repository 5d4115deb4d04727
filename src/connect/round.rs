//! Asking the candidates of one search: whose turn it is, and what becomes of each answer.

use std::thread::{Scope, scope};
use std::time::{Duration, Instant};

use super::places::Holder;
use super::register::{Asking, Joined, Placed, Registrar, Tried, left_to_another};
use super::search_token::SearchToken;
use super::server_selection::candidates::Candidate;
use super::turns::{Ending, Fresh, Turn, Turns};
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::credentials::Token;
use crate::pia::error::OVERTAKEN_AFTER;
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

/// One that was asked.
struct AskedCandidate {
    asking: Asking,
    /// Another container had its place when it was asked first, or nothing can be known of that.
    has_no_place: bool,
    /// What it was asked with last.
    token: Token,
    /// The pause that its latest answer asked for.
    not_before: Option<Duration>,
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
    asked: Vec<AskedCandidate>,
    /// Whose token was refused, and which.
    refused: Vec<(usize, Token, Failure)>,
    tried: Tried,
    has_answer: bool,
}

/// Registers at the first of the candidates that takes our key. Who does not answer is overtaken by
/// the next, and servers that are merely busy are asked again, as `CURL_RETRY` says. Others were
/// `tried` before.
///
/// # Errors
/// When none does, with what was tried.
pub(super) fn register_at_any(
    registrar: &Registrar<'_>,
    candidates: Vec<Candidate>,
    tried: Tried,
    token: &mut SearchToken<'_>,
    stop: &CancellationToken,
) -> Result<Joined, Failure> {
    let (enough, _guard) = stop.child();
    scope(|scope| {
        let mut round = Round::new(registrar, candidates, tried, &enough, scope);
        let joined = round.run(token);
        // Nobody waits for the others any more.
        enough.cancel();
        joined
    })
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
            refused: Vec::new(),
            tried,
            has_answer: false,
        }
    }

    fn run(&mut self, token: &mut SearchToken<'_>) -> Result<Joined, Failure> {
        loop {
            // Whoever has answered, before anybody else is asked.
            while let Some(outcome) = self.beside.next(Some(Duration::ZERO)) {
                if let Some(joined) = self.hear(outcome, token)? {
                    return Ok(joined);
                }
            }
            if let Some((number, used, failure)) = self.refused.pop() {
                if token.replace(&used, self.stop)? {
                    self.turns.give_token(number);
                } else {
                    self.turns.give_up(number);
                    self.note_failure(number, &failure);
                }
                continue;
            }
            match self.turns.next(self.begun.elapsed(), self.fresh()) {
                Turn::Fresh => self.ask_next(token)?,
                Turn::Again(number) => self.ask_again(number, token),
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

    fn fresh(&self) -> Fresh {
        if self.waiting.is_empty() {
            Fresh::None
        } else if self.waiting.iter().any(|one| self.may_overtake(one)) {
            Fresh::Some
        } else {
            Fresh::Alone
        }
    }

    /// While somebody else may answer yet, nobody is thrown out, neither another container nor the
    /// tunnel that a reconnect may go back to, and none that was silent of late is preferred.
    fn may_overtake(&self, Candidate { server, .. }: &Candidate) -> bool {
        let Registrar {
            places,
            in_use,
            avoid,
            ..
        } = self.registrar;
        *in_use != Some(server) && !avoid.contains(server) && !places.is_others(server.ip)
    }

    /// Asks one that was not asked yet.
    fn ask_next(&mut self, token: &SearchToken<'_>) -> Result<(), Failure> {
        let next = if self.turns.is_idle() {
            self.registrar.next(&mut self.waiting)?
        } else {
            self.next_beside()
        };
        let Some((candidate, place)) = next else {
            // Other containers have come to all of them just now.
            self.turns.hold(self.begun.elapsed());
            return Ok(());
        };
        let is_alone = !self.may_overtake(&candidate);
        let has_no_place = place.is_none();
        let asking = Asking {
            candidate,
            place,
            keys: KeyPair::generate()?,
        };
        if self.begin(self.asked.len(), &asking, is_alone, token) {
            self.asked.push(AskedCandidate {
                asking,
                has_no_place,
                token: token.current().clone(),
                not_before: None,
            });
        } else {
            self.waiting.insert(0, asking.candidate);
        }
        Ok(())
    }

    /// The next one that may be asked beside others, with its place.
    fn next_beside(&mut self) -> Option<Placed> {
        let places = self.registrar.places;
        let mut waiting = self.waiting.iter().enumerate();
        let (index, place) = waiting.find_map(|(index, one)| {
            match self.may_overtake(one).then(|| places.take(one.server.ip))? {
                Holder::Us(place) => Some((index, place)),
                Holder::Other => None,
            }
        })?;
        Some((self.waiting.remove(index), place))
    }

    /// Asks one once more, unless another container has come to it meanwhile.
    fn ask_again(&mut self, number: usize, token: &SearchToken<'_>) {
        let Some(asked) = self.asked.get_mut(number) else {
            return;
        };
        let asking = &mut asked.asking;
        if asking.place.is_none() {
            match self.registrar.places.take(asking.candidate.server.ip) {
                Holder::Us(place) => asking.place = place,
                Holder::Other if asked.has_no_place => {}
                // The next search throws it out, if need be.
                Holder::Other => {
                    let taken = left_to_another(&asking.candidate);
                    self.turns.give_up(number);
                    self.note_failure(number, &taken);
                    return;
                }
            }
        }
        let asking = asking.clone();
        if !self.begin(number, &asking, false, token) {
            self.free_place(number);
        } else if let Some(asked) = self.asked.get_mut(number) {
            asked.token = token.current().clone();
        }
    }

    /// Whether the request is on its way: another thread may not be had now.
    fn begin(
        &mut self,
        number: usize,
        asking: &Asking,
        is_alone: bool,
        token: &SearchToken<'_>,
    ) -> bool {
        let now = self.begun.elapsed();
        let Candidate {
            location, server, ..
        } = &asking.candidate;
        let mut words = format!("Registering with {location}: {} ({})", server.cn, server.ip);
        let overtaken = self.turns.overtaken(now);
        if let Some(AskedCandidate { asking, .. }) = overtaken.and_then(|one| self.asked.get(one)) {
            let cn = &asking.candidate.server.cn;
            let seconds = OVERTAKEN_AFTER.as_secs_f64();
            words += &format!("; {cn} has not answered for {seconds} s");
        }
        let (registrar, stop) = (self.registrar, self.stop);
        let (asking, token) = (asking.clone(), token.current().clone());
        let work = move || {
            log::info!("{words}");
            AskOutcome {
                number,
                joined: registrar.register(&asking, &token, stop),
                token,
            }
        };
        let is_begun = self.beside.begin(work);
        if is_begun {
            self.turns.begin(number, now, is_alone);
        } else {
            self.turns.hold(now);
        }
        is_begun
    }

    /// Others may try at this one meanwhile, if nothing is to come from it.
    fn free_place(&mut self, number: usize) {
        if !self.turns.is_running(number)
            && let Some(asked) = self.asked.get_mut(number)
        {
            asked.asking.place = None;
        }
    }

    /// What an outcome means: a server, or one less to be asked.
    fn hear(
        &mut self,
        outcome: AskOutcome,
        token: &SearchToken<'_>,
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
                // Which may have been taken since the request began.
                let asked = self.asked.get(number);
                let place = asked.and_then(|asked| asked.asking.place.clone());
                return Ok(Some(joined.with_place(place)));
            }
            Err(failure) if failure.retry == Retry::Never => return Err(failure),
            Err(failure) => failure,
        };
        let now = self.begun.elapsed();
        if failure.retry == Retry::LogIn && by_account {
            let is_latest = self.asked.get(number).is_some_and(|one| one.token == used);
            if is_latest {
                self.turns.end(number, now, Ending::TokenRefused);
                self.refused.push((number, used, failure));
            } else {
                self.turns.end(number, now, Ending::FormerTokenRefused);
            }
            return Ok(None);
        }
        let not_before = failure.not_before();
        let may_ask = not_before.is_none_or(|pause| pause <= self.registrar.retry.delay);
        let ending = match failure.retry {
            Retry::Later(_) if may_ask => Ending::Busy,
            _ if failure.is_answer() => Ending::Refused,
            _ => Ending::Silent,
        };
        self.turns.end(number, now, ending);
        self.note_failure(number, &failure);
        Ok(None)
    }

    fn note_failure(&mut self, number: usize, failure: &Failure) {
        self.has_answer |= failure.is_answer();
        self.free_place(number);
        let Some(asked) = self.asked.get_mut(number) else {
            return;
        };
        if failure.is_answer() {
            asked.not_before = failure.not_before();
        }
        let candidate = &asked.asking.candidate;
        log::warn!("{}: {failure}", candidate.location);
        self.tried
            .add(&candidate.location, &candidate.server, failure);
    }

    /// The least pause that was asked for, where each server asked for one.
    fn patience(&self) -> Option<Duration> {
        let pauses = self.asked.iter().map(|one| one.not_before);
        pauses.collect::<Option<Vec<_>>>()?.into_iter().min()
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
        let retry = Retry::Later(self.patience());
        let failure = Failure::new(FailureKind::Registration, retry, text);
        failure.with_answer(self.has_answer)
    }
}
