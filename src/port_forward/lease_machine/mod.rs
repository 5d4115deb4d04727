//! What is to be done about the forwarded port, decided without a clock or a socket: time and
//! answers are arguments.
//!
//! The machine says which [`Step`] is due. Whoever takes it tells the machine how it went, and gets
//! the [`Effect`]s of that: above all when a port may be announced and when it must be withdrawn.
//!
//! A binding ends at the server when it is not refreshed, some 20 to 23 minutes after the last
//! time. So a port stays announced while refreshes fail for passing reasons, for two intervals and
//! at most 20 minutes since the last good one; a refusal withdraws it at once. At a new server
//! nothing is bound yet: there the first failure of any kind withdraws it. What failures are of
//! that repeat, `suspicion` decides; what the user wishes now, `wish` puts before what is due.

mod suspicion;
mod wish;

use std::time::{Duration, SystemTime};

use super::attempts::{Attempts, FIRST_PAUSE, Pauses};
use super::loss::Loss;
use super::other_servers::OtherServers;
use super::step::{Effect, LeaseOptions, OpenWish, Step};
use super::timekeeper::{Now, Timekeeper};
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::error::LeaseRefusal;
use crate::pia::lease::{Lease, MAX_REFRESH_INTERVAL};

/// The longest pause after failures that may pass.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// How many intervals a binding is taken to last without a refresh.
const INTERVALS_HELD: u32 = 2;
/// The longest that any binding is taken to last, as PIA's staff and other clients' measurements
/// say.
pub const MAX_HELD: Duration = Duration::from_secs(20 * 60);
/// The longest that one is told: a last refresh that nobody answers takes its time.
const MAX_TOLD: Duration = Duration::from_secs(20 * 60 - 15);
/// How many intervals lie between two renewals, should PIA give leases for less than a week: more
/// often helps nobody.
const INTERVALS_BETWEEN_RENEWALS: u32 = 4;
/// Between two logins: a token that is refused although it is new is not the cause, and what else
/// keeps a login from being made, such as a lockout, passes in its own time.
const LOGIN_INTERVAL: Duration = Duration::from_secs(3600);
/// After the credentials were refused: they would lock the account.
const REFUSED_LOGIN_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// So many leases in a row that a server refuses say that it is the server.
const REFUSALS_TO_LEAVE: u32 = 3;

/// A lease, and whether it was handed out to be stored.
#[derive(Debug)]
struct HeldLease {
    lease: Lease,
    is_stored: bool,
}

/// What is known of the server in use.
#[derive(Debug)]
struct ServerState {
    /// Whether PIA says that it forwards ports.
    is_supported: bool,
    /// Whether it was told that it does not.
    is_absence_told: bool,
    /// When it last confirmed the lease in use.
    bound_at: Option<Duration>,
    /// The lease in use is bound again without waiting for its time.
    is_to_be_confirmed: bool,
    /// Of bindings, without a success in between.
    refusals: u32,
    leasing: Attempts,
    binding: Attempts,
    /// Failures to bind the lease in use, in a row, while there is no port.
    vain_bindings: u32,
    /// The lease in use is suspected: the successor is a substitute for it.
    is_on_trial: bool,
    no_trial_before: Duration,
}

impl ServerState {
    fn new(is_supported: bool) -> Self {
        Self {
            is_supported,
            is_absence_told: false,
            bound_at: None,
            is_to_be_confirmed: false,
            refusals: 0,
            leasing: Attempts::default(),
            binding: Attempts::default(),
            vain_bindings: 0,
            is_on_trial: false,
            no_trial_before: Duration::ZERO,
        }
    }
}

/// What the server is asked for.
#[derive(Debug, Clone, Copy)]
enum Attempt {
    Lease,
    Binding,
    /// The binding of a newer lease beside the one in use.
    Succession,
}

/// See the module.
#[derive(Debug)]
pub struct LeaseMachine {
    options: LeaseOptions,
    rng: fastrand::Rng,
    time: Timekeeper,
    server: ServerState,
    /// In use, or about to be.
    current: Option<HeldLease>,
    /// A newer lease, to replace one that is in use.
    successor: Option<Lease>,
    succession: Attempts,
    last_leased_at: Option<Duration>,
    announced: Option<u16>,
    wants_token: bool,
    /// The last login failed, of which was told.
    lacks_login: bool,
    no_login_before: Duration,
    other_servers: OtherServers,
    open_wish: Option<OpenWish>,
    /// While there is no port.
    loss: Option<Loss>,
}

impl LeaseMachine {
    /// Starts with the lease of an earlier life, if there is one.
    pub fn new(mut options: LeaseOptions, stored: Option<Lease>, rng: fastrand::Rng) -> Self {
        // With a longer one the port would be lost before each refresh.
        options.interval = options.interval.min(MAX_REFRESH_INTERVAL);
        let held = |lease| HeldLease {
            lease,
            is_stored: true,
        };
        Self {
            options,
            rng,
            time: Timekeeper::default(),
            server: ServerState::new(true),
            current: stored.map(held),
            successor: None,
            succession: Attempts::default(),
            last_leased_at: None,
            announced: None,
            wants_token: false,
            lacks_login: false,
            no_login_before: Duration::ZERO,
            other_servers: OtherServers::default(),
            open_wish: None,
            loss: None,
        }
    }

    /// From now on everything is asked of another server; `is_supported` is whether PIA says that
    /// it forwards ports. The lease is good there too.
    pub fn move_to_server(&mut self, is_supported: bool, now: Now) {
        self.time.advance(now);
        if let Some(lease) = self.successor.take()
            && !self.server.is_on_trial
        {
            self.take_into_use(lease);
        }
        let could_have_one = self.server.is_supported;
        self.server = ServerState::new(is_supported);
        // Its registration has just proved the token.
        self.wants_token = false;
        if self.announced.is_none() && !(could_have_one && self.loss.is_some()) {
            self.loss = Some(Loss::new(self.time.awake));
        }
    }

    /// The tunnel to the same server, with the same key, carries again: what is bound there still
    /// is, unless its time is over, which is found out at once.
    pub fn return_to_server(&mut self, now: Now) {
        self.time.advance(now);
        self.server.is_to_be_confirmed = true;
        self.server.leasing = Attempts::default();
        self.server.binding = Attempts::default();
    }

    /// Whether another server may be asked for from now on.
    pub fn may_change_server(&mut self, may: bool) {
        self.options.other_servers = may;
    }

    /// What is due now.
    pub fn next(&mut self, now: Now) -> Step {
        self.time.advance(now);
        let leasing = self.until_leasing(now.wall);
        let binding = self.until_binding();
        let succession = self.until_succession();
        let lapse = self.until_lapse();
        let fatal = self.until_fatal();
        // What is bound is kept first of all, and so is what is told; what is not yet is bound with
        // the newest lease that can be had.
        let is_told = self
            .current
            .as_ref()
            .is_some_and(|held| self.announced == Some(held.lease.port));
        let refresh_first = (self.server.bound_at.is_some() || is_told) && is_due(binding);
        if is_due(leasing) && !refresh_first {
            return if self.wants_token {
                Step::LogIn
            } else {
                Step::Lease
            };
        }
        if let Some(held) = &self.current
            && is_due(binding)
        {
            return Step::Bind(held.lease.clone());
        }
        if let Some(lease) = &self.successor
            && is_due(succession)
        {
            return Step::Bind(lease.clone());
        }
        if is_due(lapse) {
            return Step::Withdraw;
        }
        if is_due(fatal) {
            return Step::DeclareFatal;
        }
        let nearest = [leasing, binding, succession, lapse, fatal]
            .into_iter()
            .flatten()
            .min();
        Step::Wait(nearest.unwrap_or(self.options.interval))
    }

    fn until_leasing(&self, wall: SystemTime) -> Option<Duration> {
        if self.wishes_lease() {
            return Some(Duration::ZERO);
        }
        let is_wanted = match &self.current {
            None => true,
            Some(_) if self.successor.is_some() => false,
            Some(_) if self.server.is_on_trial => true,
            Some(held) => held.lease.is_due_for_renewal(wall) && !self.has_leased_lately(),
        };
        is_wanted.then(|| self.left(self.server.leasing.not_before()))
    }

    fn has_leased_lately(&self) -> bool {
        let interval = self.options.interval;
        let apart = interval.saturating_mul(INTERVALS_BETWEEN_RENEWALS);
        self.last_leased_at
            .is_some_and(|at| !self.left(at.saturating_add(apart)).is_zero())
    }

    fn until_binding(&self) -> Option<Duration> {
        self.current.as_ref()?;
        if self.wishes_binding() {
            return Some(Duration::ZERO);
        }
        let due = match self.server.bound_at {
            Some(at) if !self.server.is_to_be_confirmed => at.saturating_add(self.options.interval),
            Some(_) | None => Duration::ZERO,
        };
        Some(self.left(due.max(self.server.binding.not_before())))
    }

    fn until_succession(&self) -> Option<Duration> {
        self.successor.as_ref()?;
        Some(self.left(self.succession.not_before()))
    }

    /// Until the binding of the announced port must be taken for gone.
    fn until_lapse(&self) -> Option<Duration> {
        self.announced?;
        let held = self.options.interval.saturating_mul(INTERVALS_HELD);
        Some(self.left(self.server.bound_at?.saturating_add(held.min(MAX_TOLD))))
    }

    /// The port was not refreshed in time.
    pub fn lapsed(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.withdraw("the port could not be refreshed in time", &mut effects);
        effects
    }

    /// The port has been lost for too long.
    pub fn declare_fatal(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.judge_loss(&mut effects);
        effects
    }

    /// A new lease was asked for.
    pub fn leased(&mut self, answer: Result<Lease, Failure>, now: Now) -> Vec<Effect> {
        self.time.advance(now);
        let failure = match answer {
            Ok(lease) => {
                self.take_new(lease);
                return Vec::new();
            }
            Err(failure) => failure,
        };
        let refused = FailureKind::LeaseRefused(LeaseRefusal::Unauthorized);
        if failure.kind == refused && self.may_log_in() {
            self.wants_token = true;
            // Told once; the failure of the login is what lasts.
            return match self.lacks_login {
                true => Vec::new(),
                false => vec![at_once(failure)],
            };
        }
        let mut effects = Vec::new();
        self.fail(Attempt::Lease, failure.clone(), &mut effects);
        self.deny_lease(&failure, &mut effects);
        effects
    }

    /// A new token was asked for.
    pub fn logged_in(&mut self, answer: Result<(), Failure>, now: Now) -> Vec<Effect> {
        self.time.advance(now);
        let mut effects = Vec::new();
        match answer {
            Ok(()) => {
                self.wants_token = false;
                self.lacks_login = false;
                self.no_login_before = self.time.apparent.saturating_add(LOGIN_INTERVAL);
                self.server.leasing = Attempts::default();
            }
            Err(failure) => {
                // The service may take the old one by then.
                self.wants_token = false;
                self.lacks_login = true;
                if failure.retry == Retry::Never {
                    let apart = match failure.may_be_refused_credentials() {
                        true => REFUSED_LOGIN_INTERVAL,
                        false => LOGIN_INTERVAL,
                    };
                    self.no_login_before = self.time.apparent.saturating_add(apart);
                }
                self.pause(
                    Attempt::Lease,
                    self.max_pause(),
                    failure.clone(),
                    &mut effects,
                );
                self.deny_lease(&failure, &mut effects);
            }
        }
        effects
    }

    /// `lease` was to be bound.
    pub fn bound(&mut self, lease: &Lease, answer: Result<(), Failure>, now: Now) -> Vec<Effect> {
        self.time.advance(now);
        let mut effects = Vec::new();
        let is_successor = self.successor.as_ref() == Some(lease);
        let failure = match answer {
            Ok(()) => {
                self.take_bound(lease, &mut effects);
                self.grant(lease, &mut effects);
                return effects;
            }
            Err(failure) => failure,
        };
        let why = failure.clone();
        match failure.kind {
            FailureKind::LeaseRefused(_) if is_successor => {
                // The lease in use is as good as before; a later one may be taken.
                self.end_trial();
                self.successor = None;
                self.pause(Attempt::Succession, self.max_pause(), failure, &mut effects);
            }
            FailureKind::LeaseRefused(reason) => self.lose_lease(failure, reason, &mut effects),
            _ if is_successor => self.fail(Attempt::Succession, failure, &mut effects),
            _ => self.fail(Attempt::Binding, failure, &mut effects),
        }
        self.deny_binding(lease, &why, &mut effects);
        effects
    }

    fn take_new(&mut self, lease: Lease) {
        // While each lease is refused, it is no success that another one can be had.
        if self.server.refusals == 0 {
            self.server.leasing = Attempts::default();
        }
        self.last_leased_at = Some(self.time.apparent);
        self.lacks_login = false;
        if self.note_wished(&lease) && self.server.is_on_trial {
            // There is no port to be kept meanwhile.
            self.end_trial();
            self.successor = None;
        }
        let is_in_use = self.server.bound_at.is_some() || self.server.is_on_trial;
        if self.current.is_some() && is_in_use {
            self.successor = Some(lease);
            self.succession = Attempts::default();
        } else {
            self.take_into_use(lease);
            self.server.binding = Attempts::default();
        }
    }

    fn take_into_use(&mut self, lease: Lease) {
        self.current = Some(HeldLease {
            lease,
            is_stored: false,
        });
    }

    fn take_bound(&mut self, lease: &Lease, effects: &mut Vec<Effect>) {
        if self.successor.as_ref() == Some(lease) {
            self.successor = None;
            self.take_into_use(lease.clone());
        } else if self.server.is_on_trial {
            self.successor = None;
        }
        self.server.is_on_trial = false;
        self.server.vain_bindings = 0;
        self.other_servers.reset();
        self.server.bound_at = Some(self.time.apparent);
        self.server.is_to_be_confirmed = false;
        self.server.binding = Attempts::default();
        if std::mem::take(&mut self.server.refusals) > 0 {
            self.server.leasing.forget_failures();
        }
        self.announced = Some(lease.port);
        self.loss = None;
        if let Some(held) = &mut self.current
            && !std::mem::replace(&mut held.is_stored, true)
        {
            effects.push(Effect::Store(lease.clone()));
        }
        effects.push(Effect::Bound { port: lease.port });
    }

    /// The first refusal leads to a new lease at once. A further one means that the lease was not
    /// the cause.
    fn lose_lease(&mut self, failure: Failure, reason: LeaseRefusal, effects: &mut Vec<Effect>) {
        self.current = None;
        self.server.is_on_trial = false;
        if let Some(lease) = self.successor.take() {
            self.take_into_use(lease);
        }
        self.server.bound_at = None;
        self.server.refusals = self.server.refusals.saturating_add(1);
        self.withdraw(&failure.text, effects);
        if self.server.refusals == 1 {
            effects.push(at_once(failure));
            return;
        }
        if reason == LeaseRefusal::Unauthorized && self.may_log_in() {
            self.wants_token = true;
            effects.push(at_once(failure));
            return;
        }
        let what = format!("{failure}, also with a new lease");
        let is_elsewhere_better =
            reason == LeaseRefusal::Busy || self.server.refusals >= REFUSALS_TO_LEAVE;
        if is_elsewhere_better && self.ask_another_server(&what, effects) {
            // The loss is not final yet.
        } else if self.is_loss_fatal() && self.tell_fatal() {
            effects.push(Effect::Fatal { why: what.clone() });
        }
        // Whichever is next, a lease or the binding of a successor.
        let soon = self.time.apparent.saturating_add(FIRST_PAUSE);
        self.server.binding.hold_until(soon);
        self.pause(
            Attempt::Lease,
            self.max_pause(),
            failure.with_text(what),
            effects,
        );
    }

    /// The next attempt is made after a pause, which grows up to `ceiling`.
    fn pause(
        &mut self,
        attempt: Attempt,
        ceiling: Duration,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        if self.until_lapse().is_none_or(|left| left.is_zero()) {
            self.withdraw(&failure.text, effects);
        }
        if let Some(loss) = &mut self.loss {
            loss.note(&failure.text);
        }
        self.judge_loss(effects);
        let decision = self.until_decision();
        let now = self.time.apparent;
        let attempts = match attempt {
            Attempt::Lease => &mut self.server.leasing,
            Attempt::Binding => &mut self.server.binding,
            Attempt::Succession => &mut self.succession,
        };
        let pauses = match failure.kind {
            FailureKind::LeaseRefused(_) | FailureKind::Login => Pauses::Refusal,
            _ if !self.server.is_supported => Pauses::Refusal,
            _ => Pauses::Outage,
        };
        let mut again = attempts.next_pause(pauses, now, ceiling, &mut self.rng);
        if let Some(decision) = decision {
            again = again.min(decision);
        }
        again = again.max(failure.not_before().unwrap_or_default());
        attempts.fail(now, again);
        effects.push(Effect::Failing { failure, again });
    }

    fn withdraw(&mut self, why: &str, effects: &mut Vec<Effect>) {
        if self.announced.take().is_none() {
            return;
        }
        self.loss = Some(Loss::new(self.time.awake));
        effects.push(Effect::Withdraw {
            why: why.to_owned(),
        });
    }

    fn judge_loss(&mut self, effects: &mut Vec<Effect>) {
        if !is_due(self.until_fatal()) {
            return;
        }
        if let Some(loss) = &mut self.loss
            && loss.tell_fatal()
        {
            effects.push(Effect::Fatal { why: loss.told() });
        }
    }

    /// What cannot be had at this server according to PIA is not lost.
    fn is_loss_fatal(&self) -> bool {
        self.options.fatal && self.server.is_supported
    }

    fn tell_fatal(&mut self) -> bool {
        self.loss.as_mut().is_some_and(Loss::tell_fatal)
    }

    /// Until the loss is fatal, unless that was told.
    fn until_fatal(&self) -> Option<Duration> {
        let loss = self.loss.as_ref().filter(|_| self.is_loss_fatal())?;
        loss.left(self.time.awake)
    }

    /// Until the binding must be taken for gone, or the loss is fatal: an attempt is made at that
    /// moment.
    fn until_decision(&self) -> Option<Duration> {
        let decisions = [self.until_lapse(), self.until_fatal()];
        decisions
            .into_iter()
            .flatten()
            .filter(|left| !left.is_zero())
            .min()
    }

    /// Longer than an interval no pause need be.
    fn max_pause(&self) -> Duration {
        MAX_PAUSE.min(self.options.interval)
    }

    fn may_log_in(&self) -> bool {
        self.server.is_supported && self.left(self.no_login_before).is_zero()
    }

    fn left(&self, until: Duration) -> Duration {
        until.saturating_sub(self.time.apparent)
    }
}

fn is_due(left: Option<Duration>) -> bool {
    left.is_some_and(|left| left.is_zero())
}

fn at_once(failure: Failure) -> Effect {
    Effect::Failing {
        failure,
        again: Duration::ZERO,
    }
}
