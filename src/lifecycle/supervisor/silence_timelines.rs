//! Days in the life of tunnels, half a second by half a second: a tunnel that carries is never
//! called dead, whatever goes by it, and one that is dead is called so in time.

use super::*;
use std::collections::VecDeque;
use std::thread;

/// Half a second.
const TICK: Duration = Duration::from_millis(500);
const fn ticks(seconds: u64) -> u64 {
    seconds * 2
}
const A_DAY: u64 = ticks(24 * 3600);

/// How WireGuard goes about its keys; its white paper, section 6.
const REKEY_AFTER: u64 = ticks(120);
const REJECT_AFTER: u64 = ticks(180);
const HANDSHAKE_INTERVAL: u64 = ticks(5);
/// A handshake that was begun is tried again for so long.
const HANDSHAKE_PATIENCE: u64 = ticks(90);
const PASSIVE_KEEPALIVE: u64 = ticks(10);
const PERSISTENT_KEEPALIVE: u64 = ticks(25);

const RESPONSE_BYTES: u64 = 92;
/// A question of the watch, of which three are sent each time, twice in half a second.
const QUESTION_BYTES: u64 = 60;
const QUESTIONS: u64 = 6;
/// Between two replies of an overfull queue.
const REPLY_BYTES: u64 = 96;

/// What is at this end.
#[derive(Clone, Copy, Debug)]
struct Flavour {
    /// Only data is counted, and no packet of WireGuard's own.
    user_space: bool,
    keepalive: bool,
}

/// What the link and the server do at a moment.
#[derive(Clone, Copy)]
struct Link {
    /// Packets of a hundred that are lost, each way.
    loss: u64,
    /// Ticks from a question to its answer.
    delay: usize,
    server_hears: bool,
    server_is_heard: bool,
}

const GOOD: Link = Link {
    loss: 0,
    delay: 0,
    server_hears: true,
    server_is_heard: true,
};

/// What users do in a tick.
#[derive(Clone, Copy, Default)]
struct Users {
    /// Packets and bytes of each.
    sent: (u64, u64),
    /// What comes for each packet that got there, in packets; or by itself, in a hundredth.
    answers: u64,
    pushed: u64,
}

/// By the tick.
type LinkAt = fn(u64) -> Link;
type UsersAt = fn(u64) -> Users;

/// What happens to a tunnel.
struct Day {
    name: &'static str,
    link: LinkAt,
    traffic: UsersAt,
    /// Ticks that the machine slept for before this one.
    slept: fn(u64) -> u64,
}

/// A tunnel with what watches it.
struct WatchedTunnel<'a> {
    kind: Flavour,
    timeline: &'a Day,
    rng: fastrand::Rng,
    counters: Counters,
    /// By the clock that goes on while the machine sleeps.
    session_at: Option<u64>,
    shaken_at: Option<u64>,
    /// It is tried again until then.
    shaking_until: u64,
    heard_at: u64,
    spoken_at: u64,
    slept: u64,
    /// For each tick to come: packets, and whether an answer to the watch is among them.
    on_the_way: VecDeque<(u64, bool)>,
    has_passed: bool,
    silence: Silence,
    watch: Waiting,
}

enum Waiting {
    Until(u64),
    /// Until something passes, or until then.
    Resting(u64),
    /// From then on, until then.
    Asking(u64, u64, Counters),
}

fn count(traffic: &mut Traffic, packets: u64, bytes_each: u64) {
    traffic.packets += packets;
    traffic.bytes += packets * bytes_each;
}

impl WatchedTunnel<'_> {
    fn new(kind: Flavour, timeline: &Day) -> WatchedTunnel<'_> {
        WatchedTunnel {
            kind,
            timeline,
            rng: fastrand::Rng::with_seed(7),
            counters: Counters::default(),
            session_at: None,
            shaken_at: None,
            shaking_until: 0,
            heard_at: 0,
            spoken_at: 0,
            slept: 0,
            on_the_way: VecDeque::new(),
            has_passed: false,
            silence: Silence::default(),
            watch: Waiting::Until(0),
        }
    }

    /// The ticks at which the endpoint was called dead.
    fn alarms(mut self, range: std::ops::Range<u64>) -> Vec<u64> {
        range.filter(|tick| self.tick(*tick)).collect()
    }

    fn gets_through(&mut self, is_possible: bool, loss: u64) -> bool {
        is_possible && self.rng.u64(0..100) >= loss
    }

    /// Whether the watch calls the endpoint dead.
    fn tick(&mut self, tick: u64) -> bool {
        self.slept += (self.timeline.slept)(tick);
        let link = (self.timeline.link)(tick);
        let is_answered = self.receive(tick);
        let traffic = (self.timeline.traffic)(tick);
        self.say(tick, link, traffic.sent, traffic.answers, false);
        if traffic.pushed > 0 && self.has_session(tick) && link.server_is_heard {
            self.arrive(link, traffic.pushed, false);
        }
        self.keep_alive(tick, link);
        self.look(tick, link, is_answered)
    }

    fn age(&self, tick: u64) -> Option<u64> {
        self.session_at.map(|at| tick + self.slept - at)
    }

    fn has_session(&self, tick: u64) -> bool {
        self.age(tick).is_some_and(|age| age < REJECT_AFTER)
    }

    /// Takes what is due; whether an answer to the watch is among it.
    fn receive(&mut self, tick: u64) -> bool {
        let (packets, is_answer) = self.on_the_way.pop_front().unwrap_or_default();
        if packets > 0 {
            count(&mut self.counters.received, packets, REPLY_BYTES);
            self.heard_at = tick;
            self.has_passed = true;
        }
        is_answer
    }

    fn arrive(&mut self, link: Link, packets: u64, is_answer: bool) {
        if self.on_the_way.len() <= link.delay {
            self.on_the_way.resize(link.delay + 1, (0, false));
        }
        let due = &mut self.on_the_way[link.delay];
        *due = (due.0 + packets, due.1 || is_answer);
    }

    /// Sends packets, of which each that gets there has so many answers.
    fn say(&mut self, tick: u64, link: Link, sent: (u64, u64), answers: u64, by_watch: bool) {
        let (packets, bytes) = sent;
        if packets == 0 {
            return;
        }
        if self.age(tick).is_none_or(|age| age >= REKEY_AFTER) {
            self.shaking_until = tick + HANDSHAKE_PATIENCE;
            self.shake_hands(tick, link);
        }
        self.has_passed = true;
        // A user-space WireGuard has counted it already.
        if self.kind.user_space || self.has_session(tick) {
            count(&mut self.counters.sent, packets, bytes);
        }
        if !self.has_session(tick) {
            return;
        }
        self.spoken_at = tick;
        for _ in 0..packets {
            let is_heard = self.gets_through(link.server_hears, link.loss);
            if is_heard && self.gets_through(answers > 0 && link.server_is_heard, link.loss) {
                self.arrive(link, answers, by_watch);
            }
        }
    }

    fn shake_hands(&mut self, tick: u64, link: Link) {
        if self
            .shaken_at
            .is_some_and(|at| tick < at + HANDSHAKE_INTERVAL)
        {
            return;
        }
        self.shaken_at = Some(tick);
        let is_heard = self.gets_through(link.server_hears, link.loss);
        let is_answered = is_heard && self.gets_through(link.server_is_heard, link.loss);
        if is_answered {
            self.session_at = Some(tick + self.slept);
            self.shaking_until = 0;
        }
        if !self.kind.user_space {
            count(&mut self.counters.sent, 1, INITIATION_BYTES);
            if is_answered {
                count(&mut self.counters.received, 1, RESPONSE_BYTES);
            }
        }
    }

    /// What WireGuard sends by itself, at either end. A server that hears nothing cries for a
    /// handshake.
    fn keep_alive(&mut self, tick: u64, link: Link) {
        if tick < self.shaking_until {
            self.shake_hands(tick, link);
        }
        let is_due = self.kind.keepalive && tick.is_multiple_of(PERSISTENT_KEEPALIVE);
        if is_due && self.age(tick).is_none_or(|age| age >= REKEY_AFTER) {
            self.shake_hands(tick, link);
        }
        if self.kind.user_space {
            return;
        }
        let is_owed = self.heard_at > self.spoken_at;
        if is_due || is_owed && tick == self.heard_at + PASSIVE_KEEPALIVE {
            count(&mut self.counters.sent, 1, KEEPALIVE_BYTES);
        }
        let is_answered = tick.is_multiple_of(PASSIVE_KEEPALIVE) && self.spoken_at > self.heard_at;
        if is_answered && link.server_hears && link.server_is_heard {
            count(&mut self.counters.received, 1, 32);
        }
        if !link.server_hears && link.server_is_heard && tick.is_multiple_of(HANDSHAKE_INTERVAL) {
            count(&mut self.counters.received, 1, INITIATION_BYTES);
        }
    }

    fn look(&mut self, tick: u64, link: Link, is_answered: bool) -> bool {
        match self.watch {
            Waiting::Until(due) if tick < due => return false,
            Waiting::Resting(due) if tick < due => {
                if std::mem::take(&mut self.has_passed) {
                    self.watch = Waiting::Until(tick + in_ticks(AFTER_REST));
                }
                return false;
            }
            Waiting::Asking(begun, until, before) => {
                let lasted = TICK * u32::try_from(tick - begun).unwrap();
                let judgement = match is_answered {
                    true => Judgement::Alive,
                    false if tick >= until => judge(before, self.counters, lasted),
                    false => Judgement::AskOn,
                };
                if judgement != Judgement::AskOn {
                    self.watch = Waiting::Until(tick + in_ticks(CALM_INTERVAL));
                    return judgement == Judgement::Dead;
                }
                if tick >= until {
                    let until = tick + in_ticks(CHECK_TIMEOUT);
                    self.watch = Waiting::Asking(begun, until, self.counters);
                }
                self.say(tick, link, (QUESTIONS, QUESTION_BYTES), 1, true);
                return false;
            }
            Waiting::Until(_) | Waiting::Resting(_) => {}
        }
        let steady = TICK * u32::try_from(tick).unwrap();
        let wall = steady + TICK * u32::try_from(self.slept).unwrap();
        let now = Moment {
            steady,
            wall: SystemTime::UNIX_EPOCH + wall,
        };
        self.watch = match self.silence.look(now, self.counters) {
            Verdict::LookAgain(pause) => Waiting::Until(tick + in_ticks(pause)),
            Verdict::Rest(at_most) => {
                self.has_passed = false;
                Waiting::Resting(tick + in_ticks(at_most))
            }
            Verdict::Suspect => {
                Waiting::Asking(tick, tick + in_ticks(CHECK_TIMEOUT), self.counters)
            }
        };
        false
    }
}

fn in_ticks(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis().div_ceil(TICK.as_millis())).unwrap()
}

fn nothing(_: u64) -> Users {
    Users::default()
}

fn hourly(tick: u64) -> Users {
    Users {
        sent: (u64::from(tick % ticks(3600) == 20), 70),
        answers: 1,
        pushed: 0,
    }
}

fn both_ways(_: u64) -> Users {
    Users {
        sent: (5, 96),
        answers: 2,
        pushed: 0,
    }
}

/// Some seconds of each minute.
fn browsing(tick: u64) -> Users {
    if tick % ticks(60) < ticks(7) {
        both_ways(tick)
    } else {
        nothing(tick)
    }
}

fn download(_: u64) -> Users {
    Users {
        pushed: 25,
        ..Users::default()
    }
}

fn upload(_: u64) -> Users {
    Users {
        sent: (25, 1420),
        ..Users::default()
    }
}

/// What users have open goes by the old address, in vain, for the first minute of every ten.
fn given_up(tick: u64) -> Users {
    if tick % ticks(600) < ticks(60) {
        Users {
            sent: (u64::from(tick.is_multiple_of(3)), 96),
            ..Users::default()
        }
    } else {
        both_ways(tick)
    }
}

fn good(_: u64) -> Link {
    GOOD
}

fn lossy(_: u64) -> Link {
    Link { loss: 30, ..GOOD }
}

/// Three seconds of packets wait in it, and one of five finds it full.
fn queued(_: u64) -> Link {
    Link {
        loss: 20,
        delay: 6,
        ..GOOD
    }
}

/// Nothing passes for three seconds, every ten minutes.
fn rotating(tick: u64) -> Link {
    let carries = tick % ticks(600) >= ticks(3);
    Link {
        server_hears: carries,
        server_is_heard: carries,
        ..GOOD
    }
}

/// The link is there ten seconds after the machine woke up.
fn waking(tick: u64) -> Link {
    let carries = tick < ticks(10) || tick % ticks(3600) >= ticks(10);
    Link {
        server_hears: carries,
        server_is_heard: carries,
        ..GOOD
    }
}

fn never(_: u64) -> u64 {
    0
}

/// For two hours after each hour.
fn hourly_sleep(tick: u64) -> u64 {
    if tick > 0 && tick.is_multiple_of(ticks(3600)) {
        ticks(7200)
    } else {
        0
    }
}

const HEALTHY: [Day; 12] = [
    timeline("idle", good, nothing),
    timeline("a question an hour", good, hourly),
    timeline("both ways", good, both_ways),
    timeline("browsing", good, browsing),
    timeline("download only", good, download),
    timeline("upload only", good, upload),
    timeline("a full queue", queued, upload),
    timeline("a full queue, both ways", queued, both_ways),
    timeline("a server that rotates its address", rotating, given_up),
    timeline("a link that drops 30 %", lossy, both_ways),
    timeline("browsing on a link that drops 30 %", lossy, browsing),
    Day {
        name: "a sleeping laptop",
        link: waking,
        traffic: both_ways,
        slept: hourly_sleep,
    },
];

const fn timeline(name: &'static str, link: fn(u64) -> Link, traffic: fn(u64) -> Users) -> Day {
    Day {
        name,
        link,
        traffic,
        slept: never,
    }
}

const KINDS: [Flavour; 4] = [
    kind(false, false),
    kind(false, true),
    kind(true, false),
    kind(true, true),
];

const fn kind(user_space: bool, keepalive: bool) -> Flavour {
    Flavour {
        user_space,
        keepalive,
    }
}

#[test]
fn no_tunnel_that_carries_is_called_dead_in_a_day() {
    thread::scope(|scope| {
        for timeline in &HEALTHY {
            scope.spawn(move || {
                for kind in KINDS {
                    let alarms = WatchedTunnel::new(kind, timeline).alarms(0..A_DAY);
                    assert_eq!(alarms, [0; 0], "{}, {kind:?}", timeline.name);
                }
            });
        }
    });
}

const DEATH: u64 = ticks(300);

/// Dead both ways, one that hears nothing, one that says nothing.
const DEAD: [(&str, LinkAt); 3] = [
    ("dead", |tick| dead_from(tick, false, false)),
    ("deaf", |tick| dead_from(tick, false, true)),
    ("mute", |tick| dead_from(tick, true, false)),
];

fn dead_from(tick: u64, server_hears: bool, server_is_heard: bool) -> Link {
    if tick < DEATH {
        return GOOD;
    }
    Link {
        server_hears,
        server_is_heard,
        ..GOOD
    }
}

/// At every phase of what was before: users begin a number of ticks before the death, or after it,
/// and go on.
#[test]
fn a_dead_endpoint_is_known_within_fifteen_seconds_of_traffic() {
    let traffics: [(&str, UsersAt); 2] = [
        ("both ways", both_ways),
        ("one packet in two seconds", |tick| Users {
            sent: (u64::from(tick.is_multiple_of(4)), 96),
            answers: 1,
            pushed: 0,
        }),
    ];
    let mut worst = 0;
    for (death, link) in DEAD {
        for (name, traffic) in traffics {
            for kind in KINDS {
                for begins in DEATH - ticks(20)..DEATH + ticks(20) {
                    let timeline = timeline(name, link, traffic);
                    let idle = Day {
                        traffic: hourly,
                        ..timeline
                    };
                    let mut tunnel = WatchedTunnel::new(kind, &idle);
                    assert!((0..begins).all(|tick| !tunnel.tick(tick)));
                    tunnel.timeline = &timeline;
                    let alarm = (begins..begins + ticks(60)).find(|tick| tunnel.tick(*tick));
                    let since = begins.max(DEATH);
                    let took = alarm.map_or(u64::MAX, |alarm| alarm - since);
                    let what = format!("{death}, {name}, {kind:?}, {begins}: {took}");
                    assert!(took < ticks(15), "{what} half seconds");
                    worst = worst.max(took);
                }
            }
        }
    }
    println!("at most {} ms", worst * 500);
}

/// The kernel counts nothing then but handshakes that it tries.
#[test]
fn a_dead_endpoint_is_known_where_its_keys_have_expired() {
    let quiet = |tick| match tick {
        ..580 => both_ways(tick),
        1000.. => both_ways(tick),
        _ => nothing(tick),
    };
    for (death, link) in DEAD {
        for kind in KINDS {
            let timeline = timeline("quiet while the keys expire", link, quiet);
            let mut tunnel = WatchedTunnel::new(kind, &timeline);
            let alarm = (0..ticks(600)).find(|tick| tunnel.tick(*tick));
            let what = format!("{death}, {kind:?}: {alarm:?}");
            assert!(alarm.is_some_and(|tick| tick < 1000 + ticks(90)), "{what}");
        }
    }
}
