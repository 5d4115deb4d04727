//! What is to be done about the forwarded port, decided without a clock or a socket: time and
//! answers are arguments.
//!
//! The machine says which [`Step`] is due. Whoever takes it tells the machine how it went, and gets
//! the [`Effect`]s of that: above all when a port may be announced and when it must be withdrawn.
//!
//! A binding ends at the server when it is not refreshed; PIA does not say after how long. What is
//! known is that a refresh every 15 minutes keeps it. So a port stays announced while refreshes
//! fail for passing reasons, until two intervals have gone by since the last good one; a refusal
//! withdraws it at once. At a new server nothing is bound yet: there the first failure of any kind
//! withdraws it.

use std::time::{Duration, SystemTime};

use super::steps::{Effect, LeaseOptions, LoginSetback, Setback, Step};
use super::timekeeper::{Now, Timekeeper};
use crate::pia::error::LeaseRefusal;
use crate::pia::lease::Lease;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after failures that may pass.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause where nobody listens: a server without port forwarding seldom gets it.
const MAX_PAUSE_WITHOUT_SERVICE: Duration = Duration::from_secs(3600);
/// How many intervals a binding is taken to last without a refresh.
const INTERVALS_HELD: u32 = 2;
/// With `PORT_FATAL=1`: how long the port may be lost.
const FATAL_AFTER: Duration = Duration::from_secs(600);
/// How many intervals lie between two renewals, should PIA give leases for less than a week: more
/// often helps nobody.
const INTERVALS_BETWEEN_RENEWALS: u32 = 4;
/// Between two logins: a token that is refused although it is new is not the cause.
const LOGIN_INTERVAL: Duration = Duration::from_secs(3600);
/// After the credentials were refused: they would lock the account.
const REFUSED_LOGIN_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Between two requests for another server.
const OTHER_SERVER_INTERVAL: Duration = Duration::from_secs(900);

/// Failures in a row, and the pause that follows from them.
#[derive(Debug, Default)]
struct Attempts {
    failed: u32,
    not_before: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct LeaseMachine {
    options: LeaseOptions,
    rng: fastrand::Rng,
    time: Timekeeper,
    /// In use, or about to be.
    lease: Option<Lease>,
    /// Whether the lease was handed out to be kept.
    kept: bool,
    /// When the server in use last confirmed the lease.
    bound: Option<Duration>,
    /// A newer lease, to replace one that is in use.
    successor: Option<Lease>,
    announced: Option<u16>,
    signing: Attempts,
    binding: Attempts,
    succession: Attempts,
    signed: Option<Duration>,
    /// Of bindings, without a success in between.
    refusals: u32,
    wants_token: bool,
    no_login_before: Duration,
    no_other_server_before: Duration,
    /// By the time awake: a night's sleep is nobody's failure.
    lost_since: Option<Duration>,
    fatal_said: bool,
    /// Whether PIA says that the server in use forwards ports.
    supported: bool,
    not_here_said: bool,
}

impl LeaseMachine {
    /// Starts with the lease of an earlier life, if there is one.
    pub fn new(options: LeaseOptions, stored: Option<Lease>, rng: fastrand::Rng) -> Self {
        Self {
            options,
            rng,
            time: Timekeeper::default(),
            kept: stored.is_some(),
            lease: stored,
            bound: None,
            successor: None,
            announced: None,
            signing: Attempts::default(),
            binding: Attempts::default(),
            succession: Attempts::default(),
            signed: None,
            refusals: 0,
            wants_token: false,
            no_login_before: Duration::ZERO,
            no_other_server_before: Duration::ZERO,
            lost_since: None,
            fatal_said: false,
            supported: true,
            not_here_said: false,
        }
    }

    /// From now on everything is asked of another server; `supported` is whether PIA says that it
    /// forwards ports. The lease is good there too.
    pub fn move_to_server(&mut self, supported: bool, now: Now) {
        self.time.advance(now);
        if let Some(successor) = self.successor.take() {
            self.lease = Some(successor);
            self.kept = false;
        }
        self.bound = None;
        self.signing = Attempts::default();
        self.binding = Attempts::default();
        self.refusals = 0;
        self.supported = supported;
        self.not_here_said = false;
        if self.announced.is_none() {
            self.lost_since.get_or_insert(self.time.awake);
        }
    }

    /// What is due now.
    pub fn next(&mut self, now: Now) -> Step {
        self.time.advance(now);
        let (signing, binding, succeeding) = (
            self.until_signing(now.wall),
            self.until_binding(),
            self.until_succeeding(),
        );
        let is_due = |left: Option<Duration>| left.is_some_and(|left| left.is_zero());
        // What is bound is kept first of all; what is not yet is bound with the newest lease that
        // can be had.
        let refresh_first = self.bound.is_some() && is_due(binding);
        if is_due(signing) && !refresh_first {
            return if self.wants_token {
                Step::LogIn
            } else {
                Step::Sign
            };
        }
        match (&self.lease, &self.successor) {
            (Some(lease), _) if is_due(binding) => return Step::Bind(lease.clone()),
            (_, Some(successor)) if is_due(succeeding) => return Step::Bind(successor.clone()),
            _ => (),
        }
        let gone = self.until_gone();
        if is_due(gone) {
            return Step::Withdraw;
        }
        let nearest = [signing, binding, succeeding, gone]
            .into_iter()
            .flatten()
            .min();
        Step::Wait(nearest.unwrap_or(self.options.interval))
    }

    fn until_signing(&self, wall: SystemTime) -> Option<Duration> {
        self.wants_signature(wall)
            .then(|| self.left(self.signing.not_before))
    }

    fn until_binding(&self) -> Option<Duration> {
        self.lease.as_ref()?;
        let due = self.bound.map_or(Duration::ZERO, |bound| {
            bound.saturating_add(self.options.interval)
        });
        Some(self.left(due.max(self.binding.not_before)))
    }

    fn until_succeeding(&self) -> Option<Duration> {
        self.successor
            .as_ref()
            .map(|_| self.left(self.succession.not_before))
    }

    /// Until the binding of the announced port must be taken for gone.
    fn until_gone(&self) -> Option<Duration> {
        let refreshed = self.bound.filter(|_| self.announced.is_some())?;
        Some(
            self.left(
                refreshed.saturating_add(self.options.interval.saturating_mul(INTERVALS_HELD)),
            ),
        )
    }

    /// The port was not refreshed in time.
    pub fn given_up(&mut self) -> Vec<Effect> {
        self.withdraw("the port could not be refreshed in time")
    }

    /// A new lease was asked for.
    pub fn signed(&mut self, answer: Result<Lease, Setback>, now: Now) -> Vec<Effect> {
        self.time.advance(now);
        let setback = match answer {
            Ok(lease) => {
                self.take_new(lease);
                return Vec::new();
            }
            Err(setback) => setback,
        };
        if let Setback::Refused {
            why,
            reason: LeaseRefusal::Unauthorized,
        } = &setback
            && self.may_log_in()
        {
            self.wants_token = true;
            return vec![Effect::Failing {
                why: why.clone(),
                again: Duration::ZERO,
            }];
        }
        self.fail(
            |machine| &mut machine.signing,
            &self.seen_from_here(setback),
        )
    }

    /// A new token was asked for.
    pub fn logged_in(&mut self, answer: Result<(), LoginSetback>, now: Now) -> Vec<Effect> {
        self.time.advance(now);
        let setback = match answer {
            Ok(()) => {
                self.wants_token = false;
                self.no_login_before = self.time.apparent.saturating_add(LOGIN_INTERVAL);
                self.signing = Attempts::default();
                return Vec::new();
            }
            Err(LoginSetback::Passing { why, not_before }) => Setback::Passing { why, not_before },
            Err(LoginSetback::Lasting { why }) => {
                self.wants_token = false;
                self.no_login_before = self.time.apparent.saturating_add(REFUSED_LOGIN_INTERVAL);
                Setback::Passing {
                    why,
                    not_before: None,
                }
            }
        };
        self.fail(|machine| &mut machine.signing, &setback)
    }

    /// `lease` was to be bound.
    pub fn bound(&mut self, lease: &Lease, answer: Result<(), Setback>, now: Now) -> Vec<Effect> {
        self.time.advance(now);
        match answer {
            Ok(()) => self.take_bound(lease),
            Err(setback) if self.successor.as_ref() == Some(lease) => {
                self.fail_to_succeed(&setback)
            }
            Err(Setback::Refused { why, reason }) => self.lose_lease(why, reason),
            Err(setback) => {
                let setback = self.seen_from_here(setback);
                self.fail(|machine| &mut machine.binding, &setback)
            }
        }
    }

    fn wants_signature(&self, wall: SystemTime) -> bool {
        match &self.lease {
            None => true,
            Some(lease) => {
                let apart = self
                    .options
                    .interval
                    .saturating_mul(INTERVALS_BETWEEN_RENEWALS);
                let recent = self
                    .signed
                    .is_some_and(|at| !self.left(at.saturating_add(apart)).is_zero());
                self.successor.is_none() && !recent && lease.is_due_for_renewal(wall)
            }
        }
    }

    fn take_new(&mut self, lease: Lease) {
        self.signing = Attempts::default();
        self.signed = Some(self.time.apparent);
        if self.lease.is_some() && self.bound.is_some() {
            self.successor = Some(lease);
            self.succession = Attempts::default();
        } else {
            self.lease = Some(lease);
            self.kept = false;
            self.binding = Attempts::default();
        }
    }

    fn take_bound(&mut self, lease: &Lease) -> Vec<Effect> {
        if self.successor.as_ref() == Some(lease) {
            self.lease = self.successor.take();
            self.kept = false;
        }
        self.bound = Some(self.time.apparent);
        self.binding = Attempts::default();
        self.refusals = 0;
        self.announced = Some(lease.port);
        self.lost_since = None;
        self.fatal_said = false;
        let keep = (!std::mem::replace(&mut self.kept, true)).then(|| Effect::Keep(lease.clone()));
        keep.into_iter()
            .chain([Effect::Bound { port: lease.port }])
            .collect()
    }

    /// The lease in use is as good as before; the next try is after a pause, or has a new one.
    fn fail_to_succeed(&mut self, setback: &Setback) -> Vec<Effect> {
        if matches!(setback, Setback::Refused { .. }) {
            self.successor = None;
        }
        self.fail(|machine| &mut machine.succession, setback)
    }

    /// The first refusal leads to a new lease at once. A further one means that the lease was not
    /// the cause.
    fn lose_lease(&mut self, why: String, reason: LeaseRefusal) -> Vec<Effect> {
        self.lease = self.successor.take();
        self.kept = false;
        self.bound = None;
        self.refusals += 1;
        let mut effects = self.withdraw(&why);
        let again_at_once = |why| Effect::Failing {
            why,
            again: Duration::ZERO,
        };
        if self.refusals == 1 {
            effects.push(again_at_once(why));
            return effects;
        }
        if reason == LeaseRefusal::Unauthorized && self.may_log_in() {
            self.wants_token = true;
            effects.push(again_at_once(why));
            return effects;
        }
        let elsewhere = reason == LeaseRefusal::Busy
            && self.options.other_servers
            && self.left(self.no_other_server_before).is_zero();
        let what = format!("{why}, also with a new lease");
        if elsewhere {
            self.no_other_server_before = self.time.apparent.saturating_add(OTHER_SERVER_INTERVAL);
            effects.push(Effect::AskAnotherServer { why: what.clone() });
        } else if self.options.fatal && !std::mem::replace(&mut self.fatal_said, true) {
            effects.push(Effect::Fatal { why: what.clone() });
        }
        let setback = Setback::Passing {
            why: what,
            not_before: None,
        };
        // Whichever is next, a signature or the binding of a successor.
        self.binding.not_before = self.time.apparent.saturating_add(FIRST_PAUSE);
        effects.extend(self.fail(|machine| &mut machine.signing, &setback));
        effects
    }

    /// Where PIA says that there is no port forwarding, a failure of any kind confirms it. Where
    /// there has been some, a closed port is that of a server that starts again.
    fn seen_from_here(&self, setback: Setback) -> Setback {
        match setback {
            Setback::Passing { why, .. } | Setback::Refused { why, .. }
                if !self.supported && self.bound.is_none() =>
            {
                Setback::Closed { why }
            }
            Setback::Closed { why } if self.bound.is_some() => Setback::Passing {
                why,
                not_before: None,
            },
            setback => setback,
        }
    }

    fn fail(
        &mut self,
        which: impl Fn(&mut Self) -> &mut Attempts,
        setback: &Setback,
    ) -> Vec<Effect> {
        let (why, not_before, longest) = match setback {
            Setback::Passing { why, not_before } => {
                (why, *not_before, MAX_PAUSE.min(self.options.interval))
            }
            Setback::Closed { why } => (why, None, MAX_PAUSE_WITHOUT_SERVICE),
            Setback::Refused { why, .. } => (why, None, MAX_PAUSE.min(self.options.interval)),
        };
        let mut effects = Vec::new();
        if matches!(setback, Setback::Closed { .. })
            && !std::mem::replace(&mut self.not_here_said, true)
        {
            effects.push(Effect::NotHere { why: why.clone() });
        }
        if self.until_gone().is_none_or(|left| left.is_zero()) {
            effects.extend(self.withdraw(why));
        }
        effects.extend(self.judge_grace(why));
        let failed = which(self).failed;
        let jitter = self.rng.u32(80..=120);
        let grown = (FIRST_PAUSE * 2_u32.pow(failed.min(10))).min(longest) * jitter / 100;
        let pause = self
            .until_a_decision()
            .map_or(grown, |left| grown.min(left))
            .max(not_before.unwrap_or_default());
        let not_before = self.time.apparent.saturating_add(pause);
        *which(self) = Attempts {
            failed: failed.saturating_add(1),
            not_before,
        };
        effects.push(Effect::Failing {
            why: why.clone(),
            again: pause,
        });
        effects
    }

    fn withdraw(&mut self, why: &str) -> Vec<Effect> {
        if self.announced.take().is_none() {
            return Vec::new();
        }
        self.lost_since = Some(self.time.awake);
        vec![Effect::Withdraw {
            why: why.to_owned(),
        }]
    }

    fn judge_grace(&mut self, why: &str) -> Option<Effect> {
        let over = self.grace_left().is_some_and(|left| left.is_zero());
        if !over || std::mem::replace(&mut self.fatal_said, true) {
            return None;
        }
        Some(Effect::Fatal {
            why: format!(
                "no port could be had for {} minutes: {why}",
                FATAL_AFTER.as_secs() / 60
            ),
        })
    }

    fn grace_left(&self) -> Option<Duration> {
        let since = self.lost_since.filter(|_| self.options.fatal)?;
        Some(
            since
                .saturating_add(FATAL_AFTER)
                .saturating_sub(self.time.awake),
        )
    }

    /// Until the binding must be taken for gone, or the grace is over: an attempt is made at that
    /// moment.
    fn until_a_decision(&self) -> Option<Duration> {
        self.until_gone()
            .into_iter()
            .chain(self.grace_left())
            .filter(|left| !left.is_zero())
            .min()
    }

    fn may_log_in(&self) -> bool {
        self.supported && self.left(self.no_login_before).is_zero()
    }

    fn left(&self, until: Duration) -> Duration {
        until.saturating_sub(self.time.apparent)
    }
}
