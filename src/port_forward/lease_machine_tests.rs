//! Timelines of minutes and months, without waiting.

use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::lease_machine::LeaseMachine;
use super::step::{Effect, LeaseOptions, LeaseWish, Step};
use super::timekeeper::Now;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::error::{ApiError, ApiErrorKind, Call, LeaseRefusal};
use crate::pia::lease::Lease;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub const TERMS: LeaseOptions = LeaseOptions {
    interval: Duration::from_secs(900),
    fatal: false,
    other_servers: false,
};

/// A lease as PIA gives it.
pub fn lease(port: u16, expires_at: SystemTime) -> Lease {
    let end = humantime::format_rfc3339_nanos(expires_at);
    let payload = BASE64_STANDARD.encode(format!(
        r#"{{"token":"t","port":{port},"expires_at":"{end}"}}"#
    ));
    let answer = format!(r#"{{"status":"OK","payload":"{payload}","signature":"s{port}"}}"#);
    Lease::parse(answer.as_bytes()).unwrap()
}

/// A machine on a timeline.
struct Timeline {
    machine: LeaseMachine,
    now: Now,
    next_port: u16,
}

impl Timeline {
    fn new(options: LeaseOptions, stored: Option<Lease>) -> Self {
        let now = Now {
            wall: SystemTime::now(),
            steady: Instant::now(),
        };
        let mut machine = LeaseMachine::new(options, stored, fastrand::Rng::with_seed(7));
        machine.move_to_server(true, now);
        Self {
            machine,
            now,
            next_port: 40_001,
        }
    }

    /// With port 40001 announced.
    fn announced(options: LeaseOptions) -> Self {
        let mut line = Self::new(options, None);
        line.sign();
        assert_eq!(line.bind().last(), Some(&Effect::Bound { port: 40_001 }));
        line
    }

    fn pass(&mut self, time: Duration) {
        self.now.steady += time;
        self.now.wall += time;
    }

    fn step(&mut self) -> Step {
        self.machine.next(self.now)
    }

    #[track_caller]
    fn waits(&mut self) -> Duration {
        match self.step() {
            Step::Wait(pause) => pause,
            other => panic!("{other:?} is due"),
        }
    }

    #[track_caller]
    fn sign(&mut self) {
        assert_eq!(self.step(), Step::Lease);
        let lease = lease(self.next_port, self.now.wall + 60 * DAY);
        self.next_port += 1;
        assert_eq!(self.machine.leased(Ok(lease), self.now), []);
    }

    #[track_caller]
    fn fail_to_sign(&mut self, setback: Failure) -> Vec<Effect> {
        assert_eq!(self.step(), Step::Lease);
        self.machine.leased(Err(setback), self.now)
    }

    #[track_caller]
    fn bind_with(&mut self, answer: Result<(), Failure>) -> Vec<Effect> {
        match self.step() {
            Step::Bind(lease) => self.machine.bound(&lease, answer, self.now),
            other => panic!("{other:?} is due, not a binding"),
        }
    }

    #[track_caller]
    fn bind(&mut self) -> Vec<Effect> {
        self.bind_with(Ok(()))
    }
}

fn failure(kind: FailureKind, retry: Retry) -> Failure {
    Failure::new(kind, retry, "why")
}

fn down() -> Failure {
    failure(FailureKind::PortForwarding, Retry::Later(None))
}

fn closed() -> Failure {
    failure(FailureKind::NoPortForwarding, Retry::NextServer)
}

fn refused(reason: LeaseRefusal) -> Failure {
    failure(FailureKind::LeaseRefused(reason), Retry::Later(None))
}

fn withdrawn(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Withdraw { .. }))
}

fn fatal(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Fatal { .. }))
}

fn pause(effects: &[Effect]) -> Duration {
    match effects.last() {
        Some(Effect::Failing { again, .. }) => *again,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tunnel_that_carries_again_keeps_its_port_while_that_is_confirmed() {
    let mut line = Timeline::announced(TERMS);
    line.pass(5 * MINUTE);
    line.machine.return_to_server(line.now);
    let is_withdrawn = |effects: &[Effect]| {
        effects
            .iter()
            .any(|it| matches!(it, Effect::Withdraw { .. }))
    };
    assert!(!is_withdrawn(&line.bind_with(Err(down()))));
    let pause = line.waits();
    assert!(pause < MINUTE, "{pause:?}");
    line.pass(pause);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
    assert!(line.waits() > 14 * MINUTE);
    // By then its time is over.
    line.pass(21 * MINUTE);
    line.machine.return_to_server(line.now);
    assert!(is_withdrawn(&line.bind_with(Err(down()))));
}

#[test]
fn a_port_is_signed_bound_kept_and_refreshed_every_quarter_of_an_hour() {
    let mut line = Timeline::new(TERMS, None);
    line.sign();
    let effects = line.bind();
    assert!(
        matches!(
            effects[..],
            [Effect::Store(_), Effect::Bound { port: 40_001 }]
        ),
        "{effects:?}"
    );
    assert_eq!(line.waits(), 15 * MINUTE);
    line.pass(14 * MINUTE);
    assert_eq!(line.waits(), MINUTE);
    line.pass(MINUTE);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
}

#[test]
fn a_stored_lease_is_bound_without_a_new_one() {
    let stored = lease(33_333, SystemTime::now() + 30 * DAY);
    let mut line = Timeline::new(TERMS, Some(stored));
    assert_eq!(line.bind(), [Effect::Bound { port: 33_333 }]);
}

#[test]
fn a_stored_lease_near_its_end_is_replaced_before_it_is_announced() {
    let stored = lease(33_333, SystemTime::now() + 6 * DAY);
    let mut line = Timeline::new(TERMS, Some(stored.clone()));
    line.sign();
    assert!(line.bind().contains(&Effect::Bound { port: 40_001 }));

    let mut line = Timeline::new(TERMS, Some(stored));
    line.fail_to_sign(down());
    assert_eq!(
        line.bind(),
        [Effect::Bound { port: 33_333 }],
        "better than none"
    );
}

#[test]
fn a_lease_is_renewed_a_week_before_its_end_while_the_old_one_stays_bound() {
    let mut line = Timeline::announced(TERMS);
    line.pass(52 * DAY);
    line.bind();
    assert_eq!(line.waits(), 15 * MINUTE);
    line.pass(DAY + 10 * MINUTE);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
    line.fail_to_sign(down());
    let left = line.waits();
    line.pass(left);
    line.sign();
    line.bind_with(Err(down()));
    let left = line.waits();
    line.pass(left);
    let effects = line.bind();
    assert!(
        matches!(
            effects[..],
            [Effect::Store(_), Effect::Bound { port: 40_002 }]
        ),
        "{effects:?}"
    );
    line.pass(15 * MINUTE);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_002 }]);
}

#[test]
fn a_refused_successor_costs_nothing_and_is_tried_again_an_hour_later() {
    let stored = lease(33_333, SystemTime::now() + 6 * DAY);
    let mut line = Timeline::new(
        LeaseOptions {
            fatal: true,
            ..TERMS
        },
        Some(stored),
    );
    line.fail_to_sign(down());
    line.bind();
    line.pass(MINUTE);
    line.sign();
    let effects = line.bind_with(Err(refused(LeaseRefusal::Busy)));
    assert!(!withdrawn(&effects) && !fatal(&effects), "{effects:?}");
    line.pass(15 * MINUTE);
    assert_eq!(line.bind(), [Effect::Bound { port: 33_333 }]);
    line.pass(HOUR);
    line.bind();
    line.sign();
}

#[test]
fn leases_that_are_always_short_are_not_renewed_without_end() {
    let mut line = Timeline::new(TERMS, None);
    assert_eq!(line.step(), Step::Lease);
    let short = lease(50_000, line.now.wall + DAY);
    line.machine.leased(Ok(short), line.now);
    line.bind();
    assert!(line.waits() > 14 * MINUTE);
}

#[test]
fn a_port_service_that_was_away_is_asked_again_soon_and_not_often() {
    let mut line = Timeline::new(TERMS, None);
    let begun = line.now.steady;
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while line.now.steady - begun < Duration::from_secs(25) {
        let effects = line.fail_to_sign(down());
        asked += 1;
        longest = longest.max(pause(&effects));
        line.pass(pause(&effects));
    }
    assert!(asked <= 12, "{asked}");
    assert!(longest <= Duration::from_secs(3), "{longest:?}");
}

#[test]
fn failures_that_pass_are_tried_again_with_pauses_that_grow_with_the_outage() {
    let mut line = Timeline::new(TERMS, None);
    let begun = line.now.steady;
    let mut pauses = Vec::new();
    while line.now.steady - begun < 4 * HOUR {
        let effects = line.fail_to_sign(down());
        pauses.push(pause(&effects).as_secs_f32());
        line.pass(pause(&effects));
    }
    assert!(pauses.len() < 250, "{}", pauses.len());
    assert!(
        pauses
            .last()
            .is_some_and(|last| (240.0..=360.0).contains(last))
    );
    assert!(
        pauses.iter().any(|pause| pause.fract() != 0.0),
        "no jitter: {pauses:?}"
    );
}

#[test]
fn refusals_are_followed_by_pauses_that_double() {
    let mut line = Timeline::announced(TERMS);
    line.pass(15 * MINUTE);
    line.bind_with(Err(refused(LeaseRefusal::Other)));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        line.sign();
        let effects = line.bind_with(Err(refused(LeaseRefusal::Other)));
        pauses.push(pause(&effects).as_secs_f32());
        line.pass(pause(&effects));
    }
    assert!(pauses.iter().all(|pause| *pause >= 4.0), "{pauses:?}");
}

#[test]
fn the_other_side_may_ask_for_patience() {
    let mut line = Timeline::new(TERMS, None);
    let patience = failure(FailureKind::PortForwarding, Retry::Later(Some(10 * MINUTE)));
    assert_eq!(pause(&line.fail_to_sign(patience)), 10 * MINUTE);
}

#[test]
fn while_refreshes_fail_the_port_stays_announced_for_twenty_minutes_at_most() {
    let mut line = Timeline::announced(TERMS);
    line.pass(15 * MINUTE);
    let since = line.now.steady;
    loop {
        let effects = line.bind_with(Err(down()));
        if withdrawn(&effects) {
            break;
        }
        line.pass(pause(&effects));
    }
    // The last refresh takes its time, too.
    assert_eq!(line.now.steady - since + 15 * SECOND, 5 * MINUTE);
    let left = line.waits();
    line.pass(left);
    assert_eq!(
        line.bind(),
        [Effect::Bound { port: 40_001 }],
        "the same lease"
    );
}

#[test]
fn an_interval_longer_than_a_binding_lasts_loses_no_port() {
    let mut line = Timeline::announced(LeaseOptions {
        interval: HOUR,
        ..TERMS
    });
    for _ in 0..10 {
        assert_eq!(line.waits(), 15 * MINUTE);
        line.pass(15 * MINUTE);
        assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
    }
}

#[test]
fn with_short_intervals_it_stays_announced_for_two_of_them() {
    let interval = MINUTE;
    let mut line = Timeline::announced(LeaseOptions { interval, ..TERMS });
    line.pass(interval);
    let since = line.now.steady;
    while !withdrawn(&line.bind_with(Err(down()))) {
        let left = line.waits();
        line.pass(left);
    }
    assert_eq!(line.now.steady - since, interval);
}

#[test]
fn a_refusal_withdraws_at_once_and_leads_to_a_new_lease() {
    let mut line = Timeline::announced(TERMS);
    line.pass(15 * MINUTE);
    assert!(withdrawn(
        &line.bind_with(Err(refused(LeaseRefusal::Other)))
    ));
    line.sign();
    assert!(line.bind().contains(&Effect::Bound { port: 40_002 }));
}

#[test]
fn a_refusal_of_the_new_lease_too_is_followed_by_pauses() {
    let mut line = Timeline::announced(TERMS);
    line.pass(15 * MINUTE);
    line.bind_with(Err(refused(LeaseRefusal::Other)));
    for nominal in [5, 10, 20, 40, 80, 160, 300, 300] {
        line.sign();
        let effects = line.bind_with(Err(refused(LeaseRefusal::Other)));
        let part = pause(&effects).as_secs_f64() / f64::from(nominal);
        assert!((0.8..=1.2).contains(&part), "{effects:?}");
        line.pass(pause(&effects));
    }
    // What is bound after all ends that.
    line.sign();
    line.bind();
    for _ in 0..2 {
        line.pass(15 * MINUTE);
        line.bind_with(Err(refused(LeaseRefusal::Other)));
        line.sign();
        let effects = line.bind_with(Err(refused(LeaseRefusal::Other)));
        assert!(pause(&effects) <= Duration::from_secs(6), "{effects:?}");
        line.pass(pause(&effects));
        line.sign();
        line.bind();
    }
}

#[test]
fn a_busy_port_leads_to_another_server_if_the_user_lets_us() {
    let asked = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::AskAnotherServer { .. }))
    };
    for other_servers in [false, true] {
        let mut line = Timeline::new(
            LeaseOptions {
                other_servers,
                fatal: true,
                ..TERMS
            },
            None,
        );
        line.sign();
        assert!(!asked(&line.bind_with(Err(refused(LeaseRefusal::Busy)))));
        line.sign();
        let effects = line.bind_with(Err(refused(LeaseRefusal::Busy)));
        assert_eq!(
            (asked(&effects), fatal(&effects)),
            (other_servers, !other_servers),
            "{effects:?}"
        );
        // Not one server after the other.
        line.machine.move_to_server(true, line.now);
        line.sign();
        line.bind_with(Err(refused(LeaseRefusal::Busy)));
        line.sign();
        assert!(!asked(&line.bind_with(Err(refused(LeaseRefusal::Busy)))));
    }
}

#[test]
fn a_token_that_is_refused_is_renewed_once_an_hour_at_most() {
    let mut line = Timeline::new(TERMS, None);
    line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    assert_eq!(line.step(), Step::LogIn);
    line.machine.logged_in(Ok(()), line.now);
    let effects = line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    line.pass(pause(&effects));
    assert_eq!(line.step(), Step::Lease, "the token was not the cause");
    line.pass(HOUR);
    line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    assert_eq!(line.step(), Step::LogIn);
}

#[test]
fn a_lease_of_another_account_is_replaced_and_the_token_only_if_that_does_not_help() {
    let mut line = Timeline::new(TERMS, Some(lease(33_333, SystemTime::now() + 30 * DAY)));
    line.bind_with(Err(refused(LeaseRefusal::Unauthorized)));
    line.sign();
    line.bind_with(Err(refused(LeaseRefusal::Unauthorized)));
    assert_eq!(line.step(), Step::LogIn);
    line.machine.logged_in(Ok(()), line.now);
    line.sign();
    assert!(line.bind().contains(&Effect::Bound { port: 40_002 }));
}

#[test]
fn refused_credentials_are_left_alone_for_a_day() {
    let mut line = Timeline::new(TERMS, None);
    line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    assert_eq!(line.step(), Step::LogIn);
    let wrong_password = no_login(ApiErrorKind::CredentialsRefused { status: 401 });
    line.machine.logged_in(Err(wrong_password), line.now);
    line.pass(23 * HOUR);
    let effects = line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    assert_eq!(line.waits(), pause(&effects));
    line.pass(2 * HOUR);
    line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    assert_eq!(line.step(), Step::LogIn);
}

/// Else a port would stay away for a day after a quarter of an hour's trouble.
#[test]
fn a_login_that_fails_for_good_but_for_the_credentials_is_tried_again_after_an_hour() {
    for kind in [
        ApiErrorKind::LockedOut {
            message: "later".into(),
        },
        ApiErrorKind::SubscriptionOver,
        ApiErrorKind::Blocked {
            code: "1020".into(),
        },
    ] {
        let mut line = Timeline::new(TERMS, None);
        line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
        assert_eq!(line.step(), Step::LogIn);
        line.machine.logged_in(Err(no_login(kind)), line.now);
        line.pass(HOUR - MINUTE);
        let effects = line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
        assert_eq!(line.waits(), pause(&effects));
        line.pass(pause(&effects).max(2 * MINUTE));
        line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
        assert_eq!(line.step(), Step::LogIn);
    }
}

/// A login that is not to be tried again soon.
pub fn no_login(kind: ApiErrorKind) -> Failure {
    let error = ApiError {
        call: Call::Token,
        host: "host".into(),
        kind,
        tries: 1,
    };
    let failure = Failure::from(error);
    assert_eq!(failure.retry, Retry::Never);
    failure
}

/// The service may take the old one again, and so may another server.
#[test]
fn a_login_that_cannot_be_had_keeps_no_lease_from_being_asked_for() {
    let mut line = Timeline::new(TERMS, None);
    for was_said in [false, true] {
        let told = line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
        assert_eq!(told.is_empty(), was_said);
        assert_eq!(line.step(), Step::LogIn);
        let away = failure(FailureKind::Login, Retry::Later(None));
        let effects = line.machine.logged_in(Err(away), line.now);
        line.pass(pause(&effects));
        assert_eq!(line.step(), Step::Lease);
    }
    line.fail_to_sign(refused(LeaseRefusal::Unauthorized));
    assert_eq!(line.step(), Step::LogIn);
    line.machine.move_to_server(true, line.now);
    line.sign();
    line.bind();
}

/// A lease that is to be renewed is good for another week.
#[test]
fn at_another_server_the_port_that_is_told_is_bound_before_a_renewal() {
    let stored = lease(33_333, SystemTime::now() + 6 * DAY);
    let mut line = Timeline::new(TERMS, Some(stored));
    line.fail_to_sign(down());
    assert!(line.bind().contains(&Effect::Bound { port: 33_333 }));
    line.machine.move_to_server(true, line.now);
    assert_eq!(line.bind(), [Effect::Bound { port: 33_333 }]);
}

#[test]
fn leases_that_a_server_refuses_time_and_again_lead_to_another_one() {
    for (other_servers, refusals) in [(false, None), (true, Some(3))] {
        let options = LeaseOptions {
            other_servers,
            ..TERMS
        };
        let mut line = Timeline::new(options, None);
        let first = (1..9).find(|_| {
            line.sign();
            let effects = line.bind_with(Err(refused(LeaseRefusal::Other)));
            line.pass(pause(&effects));
            elsewhere(&effects)
        });
        assert_eq!(first, refusals);
    }
}

#[test]
fn a_machine_that_slept_or_whose_clock_jumped_refreshes_at_once() {
    let mut line = Timeline::announced(TERMS);
    line.now.wall += 8 * HOUR;
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
    line.now.wall -= 300 * DAY;
    assert_eq!(line.waits(), 15 * MINUTE);
    line.pass(14 * MINUTE);
    line.now.wall -= DAY;
    assert_eq!(line.waits(), MINUTE);
    line.pass(MINUTE);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
    line.now.wall += 8 * HOUR;
    assert!(
        withdrawn(&line.bind_with(Err(down()))),
        "after so long it is gone"
    );
}

#[test]
fn at_another_server_the_same_port_is_bound_and_the_first_failure_withdraws_it() {
    let mut line = Timeline::announced(TERMS);
    line.machine.move_to_server(true, line.now);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
    line.machine.move_to_server(true, line.now);
    assert!(withdrawn(&line.bind_with(Err(down()))));
    let left = line.waits();
    line.pass(left);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
}

#[test]
fn a_server_without_port_forwarding_is_warned_of_once_and_tried_now_and_then() {
    let told = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::NotHere { .. }))
    };
    let mut line = Timeline::new(TERMS, None);
    let effects = line.fail_to_sign(closed());
    assert!(told(&effects));
    line.pass(pause(&effects));
    let mut longest = Duration::ZERO;
    for _ in 0..300 {
        let effects = line.fail_to_sign(closed());
        assert!(!told(&effects));
        longest = longest.max(pause(&effects));
        line.pass(pause(&effects));
    }
    assert!(longest > 50 * MINUTE);
    // As PIA said that there is none, any failure is taken for that.
    line.machine.move_to_server(false, line.now);
    assert!(told(&line.fail_to_sign(down())));
}

#[test]
fn a_server_that_starts_again_is_not_one_without_port_forwarding() {
    let mut line = Timeline::announced(TERMS);
    line.pass(15 * MINUTE);
    let effects = line.bind_with(Err(closed()));
    assert!(
        matches!(effects[..], [Effect::Failing { .. }]),
        "{effects:?}"
    );
}

#[test]
fn the_loss_is_fatal_after_ten_minutes_and_said_once() {
    let mut line = Timeline::announced(LeaseOptions {
        fatal: true,
        ..TERMS
    });
    line.pass(15 * MINUTE);
    let mut effects = Vec::new();
    while !withdrawn(&effects) {
        effects = line.bind_with(Err(down()));
        line.pass(pause(&effects));
    }
    let lost = line.now.steady - pause(&effects);
    while !fatal(&effects) {
        effects = line.bind_with(Err(down()));
        line.pass(pause(&effects));
    }
    assert_eq!(line.now.steady - pause(&effects) - lost, 10 * MINUTE);
    for _ in 0..10 {
        let effects = line.bind_with(Err(down()));
        assert!(!fatal(&effects));
        line.pass(pause(&effects));
    }
    line.bind();
    line.machine.move_to_server(true, line.now);
    assert!(
        !fatal(&line.bind_with(Err(down()))),
        "a new loss has its own grace"
    );
}

#[test]
fn a_service_that_asks_for_patience_does_not_put_the_fatal_error_off() {
    let mut line = Timeline::new(
        LeaseOptions {
            fatal: true,
            ..TERMS
        },
        None,
    );
    let busy = failure(FailureKind::PortForwarding, Retry::Later(Some(HOUR)));
    assert!(!fatal(&line.fail_to_sign(busy)));
    assert_eq!(line.waits(), 10 * MINUTE);
    line.pass(10 * MINUTE);
    assert_eq!(line.step(), Step::DeclareFatal);
    assert_eq!(
        line.machine.declare_fatal(),
        [Effect::Fatal {
            why: "no port could be had for 10 minutes: why".into()
        }]
    );
    // It is said once, and the service is left alone for as long as it asked for.
    assert_eq!(line.waits(), 50 * MINUTE);
    line.pass(50 * MINUTE);
    line.sign();
    line.bind();
}

#[test]
fn a_night_of_sleep_or_a_jump_of_the_clock_is_no_ten_minutes_of_loss() {
    let mut line = Timeline::new(
        LeaseOptions {
            fatal: true,
            ..TERMS
        },
        None,
    );
    line.fail_to_sign(down());
    line.now.wall += 9 * HOUR;
    assert!(!fatal(&line.fail_to_sign(down())));
}

#[test]
fn without_port_fatal_nothing_is() {
    let mut line = Timeline::new(TERMS, None);
    for _ in 0..200 {
        let effects = line.fail_to_sign(down());
        assert!(!fatal(&effects));
        line.pass(pause(&effects));
    }
}

/// Whether another server is asked for.
fn elsewhere(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::AskAnotherServer { .. }))
}

const RECONNECT: LeaseOptions = LeaseOptions {
    other_servers: true,
    ..TERMS
};

/// Fails to bind the lease in use for a while, without a port.
fn suspected(options: LeaseOptions) -> Timeline {
    let mut line = Timeline::new(options, None);
    line.sign();
    let begun = line.now.steady;
    while line.step() != Step::Lease {
        let effects = line.bind_with(Err(down()));
        assert!(!elsewhere(&effects));
        if line.step() != Step::Lease {
            line.pass(pause(&effects));
        }
    }
    let took = line.now.steady - begun;
    assert!((30..34).contains(&took.as_secs()), "{took:?}");
    line
}

#[test]
fn a_lease_that_cannot_be_bound_is_replaced_by_one_that_can() {
    let mut line = suspected(RECONNECT);
    let begun = line.now.steady;
    line.sign();
    assert!(line.bind().contains(&Effect::Bound { port: 40_002 }));
    assert_eq!(line.now.steady, begun);
    assert_eq!(line.waits(), 15 * MINUTE);
}

#[test]
fn where_no_lease_can_be_bound_the_first_is_kept_and_another_server_asked_for() {
    let mut line = suspected(RECONNECT);
    line.sign();
    let begun = line.now.steady;
    while !elsewhere(&line.bind_with(Err(down()))) {
        if let Step::Wait(left) = line.step() {
            line.pass(left);
        }
    }
    let took = line.now.steady - begun;
    assert!((26..40).contains(&took.as_secs()), "{took:?}");
    line.machine.move_to_server(true, line.now);
    assert_eq!(line.bind().last(), Some(&Effect::Bound { port: 40_001 }));
}

#[test]
fn a_trouble_of_all_leases_that_passes_costs_nobody_the_port() {
    let mut line = suspected(TERMS);
    line.sign();
    line.bind_with(Err(down()));
    let left = line.waits();
    line.pass(left);
    assert_eq!(line.bind().last(), Some(&Effect::Bound { port: 40_001 }));
    assert_eq!(line.waits(), 15 * MINUTE, "the other lease is dropped");
}

#[test]
fn a_port_service_that_is_silent_leads_to_another_server_more_and_more_seldom() {
    let mut line = Timeline::new(RECONNECT, None);
    let mut asked = Vec::new();
    let begun = line.now.steady;
    while asked.len() < 5 {
        let effects = line.fail_to_sign(down());
        let left = pause(&effects);
        if elsewhere(&effects) {
            asked.push(line.now.steady - begun);
            line.machine.move_to_server(true, line.now);
        }
        line.pass(left);
    }
    assert!(asked[0] < MINUTE, "{asked:?}");
    for (pair, apart) in asked.windows(2).zip([15, 30, 60, 120]) {
        let between = pair[1] - pair[0];
        assert!(
            between >= apart * MINUTE && between < (apart + 8) * MINUTE,
            "{asked:?}"
        );
    }
}

#[test]
fn a_port_service_that_nobody_serves_leads_to_another_server() {
    let mut line = Timeline::announced(RECONNECT);
    line.machine.move_to_server(true, line.now);
    let mut failures = 0;
    loop {
        let effects = line.bind_with(Err(closed()));
        failures += 1;
        if elsewhere(&effects) {
            break;
        }
        line.pass(pause(&effects));
    }
    assert!((5..=9).contains(&failures), "{failures}");
}

#[test]
fn without_leave_no_other_server_is_asked_for() {
    let mut line = Timeline::new(TERMS, None);
    for _ in 0..20 {
        let effects = line.fail_to_sign(down());
        assert!(!elsewhere(&effects));
        line.pass(pause(&effects));
    }
}

#[test]
fn patience_that_is_asked_for_is_not_the_servers_fault() {
    let mut line = Timeline::new(RECONNECT, None);
    let minute = Retry::Later(Some(MINUTE));
    for _ in 0..10 {
        let effects = line.fail_to_sign(failure(FailureKind::PortForwarding, minute));
        assert!(!elsewhere(&effects));
        line.pass(pause(&effects));
    }
}

#[test]
fn another_lease_is_tried_once_an_hour_at_one_server() {
    let mut line = Timeline::new(TERMS, None);
    line.sign();
    let begun = line.now.steady;
    while line.now.steady - begun < 4 * HOUR {
        match line.step() {
            Step::Lease => line.sign(),
            Step::Wait(pause) => line.pass(pause),
            _ => drop(line.bind_with(Err(down()))),
        }
    }
    let leases = line.next_port - 40_001;
    assert!((3..=5).contains(&leases), "{leases}");
}

#[test]
fn where_pia_says_that_there_is_no_port_forwarding_its_loss_is_never_fatal() {
    let fatal_if_lost = LeaseOptions {
        fatal: true,
        ..RECONNECT
    };
    let mut line = Timeline::new(fatal_if_lost, None);
    line.machine.move_to_server(false, line.now);
    for _ in 0..20 {
        let effects = line.fail_to_sign(closed());
        assert!(!fatal(&effects) && !elsewhere(&effects), "{effects:?}");
        line.pass(pause(&effects));
    }
    line.machine.move_to_server(true, line.now);
    assert!(!fatal(&line.fail_to_sign(down())), "the grace begins here");
}

#[test]
fn another_port_takes_the_place_of_one_that_stays_until_then() {
    let mut line = Timeline::announced(TERMS);
    line.pass(MINUTE);
    line.machine.wish(LeaseWish::NewPort);
    line.sign();
    let effects = line.bind();
    let bound = Effect::Bound { port: 40_002 };
    assert!(
        matches!(&effects[..], [Effect::Store(_), told, Effect::Granted { port: 40_002 }]
        if *told == bound)
    );
    assert_eq!(line.waits(), 15 * MINUTE);
}

#[test]
fn a_new_port_that_is_denied_is_not_taken_later() {
    let mut line = Timeline::announced(TERMS);
    line.machine.wish(LeaseWish::NewPort);
    line.sign();
    let effects = line.bind_with(Err(down()));
    let denied = Effect::Denied { why: "why".into() };
    assert_eq!(effects.last(), Some(&denied));
    assert_eq!(line.waits(), 15 * MINUTE, "the former port is as it was");
    // Neither where no lease is given.
    line.machine.wish(LeaseWish::NewPort);
    assert_eq!(line.fail_to_sign(down()).last(), Some(&denied));
    line.pass(15 * MINUTE);
    assert_eq!(line.bind(), [Effect::Bound { port: 40_001 }]);
}

#[test]
fn a_refused_token_is_renewed_for_a_new_port() {
    let mut line = Timeline::announced(TERMS);
    line.machine.wish(LeaseWish::NewPort);
    let refused = FailureKind::LeaseRefused(LeaseRefusal::Unauthorized);
    let effects = line.fail_to_sign(failure(refused, Retry::LogIn));
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Denied { .. }))
    );
    assert_eq!(line.step(), Step::LogIn);
    line.machine.logged_in(Ok(()), line.now);
    line.sign();
    assert_eq!(line.bind().last(), Some(&Effect::Granted { port: 40_002 }));
}

#[test]
fn a_port_is_bound_again_at_once_whatever_pause_there_is() {
    let mut line = Timeline::announced(TERMS);
    line.pass(15 * MINUTE);
    line.bind_with(Err(down()));
    assert!(line.waits() > Duration::ZERO);
    line.machine.wish(LeaseWish::Rebind);
    let bound = Effect::Bound { port: 40_001 };
    assert_eq!(line.bind(), [bound, Effect::Granted { port: 40_001 }]);
    assert_eq!(line.waits(), 15 * MINUTE);
    line.machine.wish(LeaseWish::Rebind);
    let effects = line.bind_with(Err(down()));
    assert_eq!(effects.last(), Some(&Effect::Denied { why: "why".into() }));
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Withdraw { .. }))
    );
}
