//! Whatever happens, the machine goes on, announces nothing that is not bound, and recovers.

use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::lease_machine::LeaseMachine;
use super::lease_machine_tests::{lease, no_login};
use super::step::{Effect, LeaseOptions, LeaseWish, Step};
use super::timekeeper::Now;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::error::{ApiErrorKind, LeaseRefusal};
use crate::pia::lease::Lease;

const DAY: u64 = 24 * 3600;
/// The model's server forgets a binding after this: as long as the machine trusts it.
const HELD: Duration = Duration::from_secs(1200);

/// How the server, or the account, meets a request.
#[derive(Debug, Clone, Copy)]
enum Reaction {
    Good,
    Down,
    Patience(u64),
    Closed,
    Refused(LeaseRefusal),
    /// A good one that ends after so many days, or has ended.
    Short(u64),
}

/// What happens beside the requests.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Time(u64),
    Sleep(u64),
    Forward(u64),
    Backward(u64),
    /// A reconnect, to a server that forwards ports or does not.
    Server(bool),
    /// The server forgets its bindings, as when it restarts.
    Reboot,
    /// The user asks for something.
    Wish(LeaseWish),
}

fn answers() -> impl Strategy<Value = Reaction> {
    prop_oneof![
        4 => Just(Reaction::Good),
        2 => Just(Reaction::Down),
        1 => (0_u64..2000).prop_map(Reaction::Patience),
        1 => Just(Reaction::Closed),
        1 => Just(Reaction::Refused(LeaseRefusal::Unauthorized)),
        1 => Just(Reaction::Refused(LeaseRefusal::Busy)),
        1 => Just(Reaction::Refused(LeaseRefusal::Other)),
        1 => (0_u64..9).prop_map(Reaction::Short),
    ]
}

fn happenings() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0_u64..4000).prop_map(Happening::Time),
        1 => (0_u64..70 * DAY).prop_map(Happening::Time),
        1 => (0_u64..70 * DAY).prop_map(Happening::Sleep),
        1 => (0_u64..900 * DAY).prop_map(Happening::Forward),
        1 => (0_u64..400 * DAY).prop_map(Happening::Backward),
        1 => any::<bool>().prop_map(Happening::Server),
        1 => Just(Happening::Reboot),
        1 => Just(Happening::Wish(LeaseWish::NewPort)),
        1 => Just(Happening::Wish(LeaseWish::Rebind)),
    ]
}

/// A server that keeps books, and the machine.
struct Model {
    machine: LeaseMachine,
    now: Now,
    /// True time since the start, which no clock of the machine's shows reliably.
    truth: Duration,
    next_port: u16,
    /// What the present server has bound, and when that was last refreshed.
    binding: Option<(u16, Duration)>,
    /// Whether the machine could not know that the binding is gone.
    rebooted: bool,
    announced: Option<u16>,
    /// Since the last happening.
    logins: u32,
}

impl Model {
    fn new(options: LeaseOptions, stored: Option<u64>) -> Self {
        let now = Now {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * DAY),
            steady: Instant::now(),
        };
        let stored = stored.map(|days| lease(30_000, now.wall + Duration::from_secs(days * DAY)));
        let mut machine = LeaseMachine::new(options, stored, fastrand::Rng::with_seed(1));
        machine.move_to_server(true, now);
        Self {
            machine,
            now,
            truth: Duration::ZERO,
            next_port: 40_000,
            binding: None,
            rebooted: false,
            announced: None,
            logins: 0,
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.logins = 0;
        let seconds = Duration::from_secs;
        match happening {
            Happening::Time(time) => {
                self.now.steady += seconds(time);
                self.now.wall += seconds(time);
                self.truth += seconds(time);
            }
            Happening::Sleep(time) => {
                self.now.wall += seconds(time);
                self.truth += seconds(time);
            }
            Happening::Wish(wish) => self.machine.wish(wish),
            Happening::Forward(time) => self.now.wall += seconds(time),
            Happening::Backward(time) => self.now.wall -= seconds(time),
            Happening::Server(supported) => {
                self.machine.move_to_server(supported, self.now);
                self.binding = None;
            }
            Happening::Reboot => {
                self.binding = None;
                self.rebooted = true;
            }
        }
    }

    /// Takes steps until the machine waits; it must, before long.
    fn settle(&mut self, mut answer: impl FnMut() -> Reaction) -> Result<Duration, TestCaseError> {
        for _ in 0..12 {
            let effects = match self.machine.next(self.now) {
                Step::Wait(pause) => {
                    self.check_truth()?;
                    prop_assert!(self.logins <= 1, "it hammers the login");
                    return Ok(pause);
                }
                Step::Withdraw => self.machine.lapsed(),
                Step::DeclareFatal => self.machine.declare_fatal(),
                Step::Lease => {
                    let lease = self.sign(answer());
                    self.machine.leased(lease, self.now)
                }
                Step::Bind(lease) => {
                    let bound = self.bind(&lease, answer());
                    self.machine.bound(&lease, bound, self.now)
                }
                Step::LogIn => {
                    self.logins += 1;
                    let answer = match answer() {
                        Reaction::Good | Reaction::Short(_) => Ok(()),
                        Reaction::Refused(LeaseRefusal::Unauthorized) => {
                            Err(no_login(ApiErrorKind::CredentialsRefused { status: 401 }))
                        }
                        Reaction::Refused(_) => Err(no_login(ApiErrorKind::SubscriptionOver)),
                        _ => Err(failure(FailureKind::Network, Retry::Later(None))),
                    };
                    self.machine.logged_in(answer, self.now)
                }
            };
            for effect in effects {
                match effect {
                    Effect::Bound { port } => self.announced = Some(port),
                    Effect::Withdraw { .. } => self.announced = None,
                    _ => (),
                }
            }
        }
        prop_assert!(false, "it does not come to rest");
        Ok(Duration::ZERO)
    }

    fn check_truth(&self) -> Result<(), TestCaseError> {
        let Some(announced) = self.announced else {
            return Ok(());
        };
        if self.rebooted {
            return Ok(());
        }
        let bound = self
            .binding
            .filter(|(_, at)| self.truth - *at < HELD)
            .map(|(port, _)| port);
        prop_assert_eq!(Some(announced), bound, "announced, but not bound");
        Ok(())
    }

    fn sign(&mut self, answer: Reaction) -> Result<Lease, Failure> {
        let days = match answer {
            Reaction::Good => 60,
            Reaction::Short(days) => days,
            other => return Err(setback(other)),
        };
        self.next_port += 1;
        Ok(lease(
            self.next_port,
            self.now.wall + Duration::from_secs(days * DAY),
        ))
    }

    fn bind(&mut self, lease: &Lease, answer: Reaction) -> Result<(), Failure> {
        match answer {
            Reaction::Good | Reaction::Short(_) => {
                self.binding = Some((lease.port, self.truth));
                self.rebooted = false;
                Ok(())
            }
            other => Err(setback(other)),
        }
    }
}

fn failure(kind: FailureKind, retry: Retry) -> Failure {
    Failure::new(kind, retry, "why")
}

fn setback(answer: Reaction) -> Failure {
    let later = Retry::Later(None);
    match answer {
        Reaction::Closed => failure(FailureKind::NoPortForwarding, Retry::NextServer),
        Reaction::Refused(reason) => failure(FailureKind::LeaseRefused(reason), later),
        Reaction::Patience(seconds) => {
            let patience = Retry::Later(Some(Duration::from_secs(seconds)));
            failure(FailureKind::PortForwarding, patience)
        }
        _ => failure(FailureKind::PortForwarding, later),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_never_sticks_nor_announces_what_is_not_bound(
        stored in proptest::option::of(0_u64..60),
        interval in prop_oneof![1_u64..900, 900_u64..7200],
        fatal in any::<bool>(),
        other_servers in any::<bool>(),
        events in proptest::collection::vec(
            (happenings(), proptest::collection::vec(answers(), 12)),
            0..40,
        ),
    ) {
        let interval = Duration::from_secs(interval);
        let mut model = Model::new(LeaseOptions { interval, fatal, other_servers }, stored);
        for (happening, answers) in events {
            model.happen(happening);
            let mut answers = answers.into_iter();
            model.settle(|| answers.next().unwrap_or(Reaction::Down))?;
        }
        // From now on all is well. What is left is an hour's pause at the most, or the patience
        // that was asked for.
        let begun = model.truth;
        while model.truth - begun < Duration::from_secs(2 * 3600) {
            let pause = model.settle(|| Reaction::Good)?;
            prop_assert!(!pause.is_zero(), "it spins");
            model.happen(Happening::Time(pause.as_secs() + 1));
        }
        // And it stays so.
        for _ in 0..20 {
            let pause = model.settle(|| Reaction::Good)?;
            model.happen(Happening::Time(pause.as_secs() + 1));
            model.settle(|| Reaction::Good)?;
            prop_assert!(model.announced.is_some(), "it does not recover");
        }
    }
}
