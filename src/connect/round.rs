//! Asking the candidates of one search: whose turn it is, and what becomes of each answer.

use std::thread::{Scope, scope};
use std::time::{Duration, Instant};

use super::places::Holder;
use super::register::{Asking, Joined, Registrar, Tried};
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
    /// Another container had its place when it was asked first.
    is_others: bool,
    /// The pause that its latest failure asked for.
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
                    self.ask_again(number, token, "");
                } else {
                    self.turns.give_up(number);
                    self.note_failure(number, &failure);
                }
                continue;
            }
            match self.turns.next(self.begun.elapsed(), self.fresh()) {
                Turn::Fresh => self.ask_next(token)?,
                Turn::Again(number) => self.ask_again(number, token, &self.who_is_overtaken()),
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

    /// Nobody is thrown out, neither another container nor the tunnel that a reconnect may have to
    /// go back to, while somebody may answer yet.
    fn may_overtake(&self, one: &Candidate) -> bool {
        let Registrar { places, in_use, .. } = self.registrar;
        in_use.is_none_or(|server| *server != one.server) && !places.is_others(one.server.ip)
    }

    /// Asks one that was not asked yet.
    fn ask_next(&mut self, token: &SearchToken<'_>) -> Result<(), Failure> {
        let is_idle = self.turns.is_idle();
        let next = if is_idle {
            self.registrar.next(&mut self.waiting)?
        } else {
            let first = self.waiting.iter().position(|one| self.may_overtake(one));
            let candidate = first.map(|index| self.waiting.remove(index));
            candidate.map(
                |candidate| match self.registrar.places.take(candidate.server.ip) {
                    Holder::Us(place) => (candidate, place),
                    Holder::Other => (candidate, None),
                },
            )
        };
        let Some((candidate, place)) = next else {
            return Ok(());
        };
        let asking = Asking {
            candidate,
            place,
            keys: KeyPair::generate()?,
        };
        let number = self.asked.len();
        if self.begin(number, &asking, token, &self.who_is_overtaken()) {
            self.asked.push(AskedCandidate {
                is_others: asking.place.is_none(),
                asking,
                not_before: None,
            });
        } else {
            self.waiting.insert(0, asking.candidate);
        }
        Ok(())
    }

    /// Asks one once more, unless another container has taken its place meanwhile.
    fn ask_again(&mut self, number: usize, token: &SearchToken<'_>, why: &str) {
        let Some(asked) = self.asked.get_mut(number) else {
            return;
        };
        let asking = &mut asked.asking;
        if asking.place.is_none() {
            match self.registrar.places.take(asking.candidate.server.ip) {
                Holder::Us(place) => asking.place = place,
                Holder::Other if asked.is_others => {}
                Holder::Other => {
                    self.turns.give_up(number);
                    self.waiting.push(asking.candidate.clone());
                    return;
                }
            }
        }
        let asking = asking.clone();
        self.begin(number, &asking, token, why);
    }

    /// Why another one is asked while somebody may answer yet.
    fn who_is_overtaken(&self) -> String {
        let latest = self.turns.latest().and_then(|one| self.asked.get(one));
        latest.map_or_else(String::new, |AskedCandidate { asking, .. }| {
            let cn = &asking.candidate.server.cn;
            let seconds = OVERTAKEN_AFTER.as_secs_f64();
            format!("; {cn} has not answered for {seconds} s")
        })
    }

    /// Whether the request is on its way: another thread may not be had now.
    fn begin(
        &mut self,
        number: usize,
        asking: &Asking,
        token: &SearchToken<'_>,
        why: &str,
    ) -> bool {
        let Candidate {
            location, server, ..
        } = &asking.candidate;
        let (cn, ip) = (&server.cn, server.ip);
        let words = format!("Registering with {location}: {cn} ({ip}){why}");
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
        let now = self.begun.elapsed();
        let is_begun = self.beside.begin(work);
        if is_begun {
            self.turns.begin(number, now);
        } else {
            self.turns.hold(now);
        }
        is_begun
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
                return Ok(Some(joined));
            }
            Err(failure) if failure.retry == Retry::Never => return Err(failure),
            Err(failure) => failure,
        };
        let now = self.begun.elapsed();
        if failure.retry == Retry::LogIn && by_account {
            self.turns.end(number, now, Ending::Void);
            self.refused.push((number, used, failure));
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
        let is_running = self.turns.is_running(number);
        let Some(asked) = self.asked.get_mut(number) else {
            return;
        };
        let Asking {
            candidate, place, ..
        } = &mut asked.asking;
        if !is_running {
            // Others may try here meanwhile.
            *place = None;
        }
        if failure.is_answer() {
            asked.not_before = failure.not_before();
        }
        let (location, server) = (&candidate.location, &candidate.server);
        log::warn!("{location}: {failure}");
        self.tried.add(location, server, failure);
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
