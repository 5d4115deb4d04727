//! Timelines: what the counters of a tunnel show second by second, and when that is suspicious.

use super::*;

const DAY: u64 = 24 * 3600;

/// One tunnel, looked at as the monitor does.
struct TunnelTimeline {
    counters: Counters,
    suspicions: Vec<u64>,
}

/// What happens in the tunnel in one second.
type Second = fn(u64, &mut Counters);

fn add(traffic: &mut Traffic, packets: u64, bytes_each: u64) {
    traffic.packets += packets;
    traffic.bytes += packets * bytes_each;
}

fn at(second: u64) -> Moment {
    asleep_before(second, 0)
}

fn asleep_before(second: u64, asleep: u64) -> Moment {
    Moment {
        steady: Duration::from_secs(second),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second + asleep),
    }
}

/// The seconds at which there was a suspicion; a probe is answered each time.
fn suspicions(seconds: u64, happens: Second) -> Vec<u64> {
    suspicions_on(seconds, happens, at)
}

fn suspicions_on(seconds: u64, happens: Second, clock: fn(u64) -> Moment) -> Vec<u64> {
    let mut line = TunnelTimeline {
        counters: Counters::default(),
        suspicions: Vec::new(),
    };
    let mut silence = Silence::default();
    let mut next_look = 0;
    for second in 0..seconds {
        happens(second, &mut line.counters);
        if second < next_look {
            continue;
        }
        let pause = match silence.look(clock(second), line.counters) {
            Verdict::LookAgain(pause) => pause.as_secs().max(1),
            // As where packets cannot be seen.
            Verdict::Rest(at_most) => at_most.min(IDLE_INTERVAL).as_secs(),
            Verdict::Suspect => {
                line.suspicions.push(second);
                add(&mut line.counters.received, 1, 28);
                1
            }
        };
        next_look = second + pause;
    }
    line.suspicions
}

fn idle(second: u64, counters: &mut Counters) {
    // One question and its answer an hour.
    if second % 3600 == 10 {
        add(&mut counters.sent, 2, 148);
        add(&mut counters.received, 2, 92);
    }
}

fn idle_with_keepalive(second: u64, counters: &mut Counters) {
    if second.is_multiple_of(25) {
        add(&mut counters.sent, 1, KEEPALIVE_BYTES);
    }
    if second.is_multiple_of(120) {
        add(&mut counters.sent, 1, INITIATION_BYTES);
        add(&mut counters.received, 1, 92);
    }
}

fn both_ways(_: u64, counters: &mut Counters) {
    add(&mut counters.sent, 10, 96);
    add(&mut counters.received, 30, 1452);
}

/// Nothing is sent but a keepalive now and then.
fn download_only(second: u64, counters: &mut Counters) {
    add(&mut counters.received, 50, 1452);
    if second.is_multiple_of(10) {
        add(&mut counters.sent, 1, KEEPALIVE_BYTES);
    }
}

/// In user space a download only leaves no trace at all among the packets sent.
fn download_in_user_space(_: u64, counters: &mut Counters) {
    add(&mut counters.received, 50, 1200);
}

/// Three packets of ten are lost, each way.
fn lossy(second: u64, counters: &mut Counters) {
    add(&mut counters.sent, 1, 96);
    let chance = fastrand::Rng::with_seed(second).f64();
    if chance < 0.7 * 0.7 {
        add(&mut counters.received, 1, 96);
    }
}

#[test]
fn healthy_tunnels_are_not_suspected() {
    for (name, happens) in [
        ("idle with keepalives", idle_with_keepalive as Second),
        ("both ways", both_ways),
        ("download only", download_only),
        ("download in user space", download_in_user_space),
    ] {
        assert_eq!(suspicions(DAY, happens), [0; 0], "{name}");
    }
}

/// Where keepalives and handshakes are not counted, a dead endpoint looks the same.
#[test]
fn a_tunnel_by_which_nothing_comes_is_probed_before_its_keys_end() {
    for happens in [idle as Second, |_, _| ()] {
        let probed = suspicions(DAY, happens).len();
        assert!((540..=576).contains(&probed), "{probed}");
    }
}

/// The server answers an upload by a keepalive every ten seconds, and in user space not even that
/// is counted: nothing but a probe can tell this from a dead endpoint, so each suspicion costs one
/// probe, and there are not more of them than one in three seconds.
#[test]
fn an_upload_only_is_probed_now_and_then() {
    let upload: Second = |second, counters| {
        add(&mut counters.sent, 50, 1452);
        if second.is_multiple_of(10) {
            add(&mut counters.received, 1, 32);
        }
    };
    let in_user_space: Second = |_, counters| add(&mut counters.sent, 50, 1420);
    for happens in [upload, in_user_space] {
        let probed = suspicions(3600, happens).len();
        assert!(probed <= 1200, "{probed}");
    }
}

/// Each of these probes sends twenty requests, of which one has to be answered.
#[test]
fn a_link_that_loses_much_is_seldom_probed() {
    let probed = suspicions(DAY, lossy).len();
    assert!(probed < 7000, "{probed}");
}

fn dies(second: u64, counters: &mut Counters, dead: Second) {
    if second < 100 {
        both_ways(second, counters);
    } else {
        dead(second, counters);
    }
}

/// The first suspicion after the death at second 100.
#[track_caller]
fn is_suspected_soon(happens: Second) {
    let suspicions = suspicions(200, happens);
    let first = suspicions.first().copied().unwrap_or(u64::MAX);
    assert!((100..=107).contains(&first), "{suspicions:?}");
}

#[test]
fn an_endpoint_that_is_dead_both_ways_is_suspected_within_seconds() {
    is_suspected_soon(|second, counters| {
        dies(second, counters, |_, counters| {
            add(&mut counters.sent, 3, 96);
        });
    });
}

#[test]
fn an_endpoint_that_hears_nothing_and_cries_for_a_handshake_is_suspected() {
    is_suspected_soon(|second, counters| {
        dies(second, counters, |second, counters| {
            add(&mut counters.sent, 3, 96);
            if second.is_multiple_of(5) {
                add(&mut counters.received, 1, INITIATION_BYTES);
                add(&mut counters.sent, 1, 92);
            }
        });
    });
}

/// TCP repeats the end of a connection after 0.2, 0.6, 1.4, 3, 6.2 and 12.6 seconds.
#[test]
fn an_endpoint_that_hears_nothing_and_repeats_what_it_said_is_suspected() {
    is_suspected_soon(|second, counters| {
        dies(second, counters, |second, counters| {
            add(&mut counters.sent, 2, 60);
            if [101, 103, 106, 112].contains(&second) {
                add(&mut counters.received, 1, 52);
            }
        });
    });
}

#[test]
fn in_user_space_where_no_handshake_is_counted_too() {
    is_suspected_soon(|second, counters| {
        dies(second, counters, |_, counters| {
            add(&mut counters.sent, 1, 28);
        });
    });
}

/// After idle hours: the first thing sent is a handshake's initiation, again and again.
#[test]
fn a_dead_endpoint_is_suspected_at_the_first_packets_after_idle_hours() {
    let happens: Second = |second, counters| {
        if second >= 7200 && second.is_multiple_of(5) {
            add(&mut counters.sent, 1, INITIATION_BYTES);
        }
    };
    let first = suspicions(7300, happens).first().copied();
    assert!(first.is_some_and(|first| first <= 7206), "{first:?}");
}

/// It sends at once, but its own network needs some seconds.
#[test]
fn a_machine_that_slept_is_given_the_time_to_wake_up() {
    let woken: fn(u64) -> Moment =
        |second| asleep_before(second, if second < 60 { 0 } else { DAY });
    let happens: Second = |second, counters| {
        add(&mut counters.sent, 2, 96);
        if !(60..70).contains(&second) {
            add(&mut counters.received, 2, 96);
        }
    };
    assert_eq!(suspicions_on(600, happens, woken), [0; 0]);
}

#[test]
fn an_interface_made_anew_is_not_suspected() {
    let mut silence = Silence::default();
    let old = Counters {
        received: Traffic {
            packets: 9,
            bytes: 900,
        },
        sent: Traffic {
            packets: 9,
            bytes: 900,
        },
    };
    silence.look(at(0), old);
    let new = Counters::default();
    assert_eq!(silence.look(at(3), new), Verdict::LookAgain(BUSY_INTERVAL));
}

/// Until it has to be asked for something.
#[test]
fn an_idle_tunnel_wakes_nobody() {
    let mut silence = Silence::default();
    let look = |silence: &mut Silence, second| silence.look(at(second), Counters::default());
    look(&mut silence, 0);
    assert_eq!(look(&mut silence, 2), Verdict::Rest(QUIET - BUSY_INTERVAL));
    let rest = QUIET - Duration::from_secs(100);
    assert_eq!(look(&mut silence, 100), Verdict::Rest(rest));
    assert_eq!(look(&mut silence, QUIET.as_secs()), Verdict::Suspect);
}

#[test]
fn what_others_repeat_is_no_sign_that_the_endpoint_hears() {
    let counters = |received: u64, sent: u64| Counters {
        received: Traffic {
            packets: received,
            bytes: received * 52,
        },
        sent: Traffic {
            packets: sent,
            bytes: sent * 28,
        },
    };
    let found = |packets| judge(counters(9, 9), counters(9 + packets, 49), CHECK_TIMEOUT);
    for (packets, expected) in [
        (0_u64, Judgement::Dead),
        (3, Judgement::Dead),
        (10, Judgement::Alive),
        (100, Judgement::Alive),
    ] {
        assert_eq!(found(packets), expected, "{packets}");
    }
}

#[test]
fn an_answer_is_what_comes_where_something_was_sent() {
    let counters = |received: u64, sent: u64| {
        let mut counters = Counters::default();
        add(&mut counters.received, received, 1000);
        add(&mut counters.sent, sent, 60);
        Some(counters)
    };
    for (before, now, expected) in [
        (counters(9, 9), counters(9, 9), false),
        // What comes unasked may be of one that does not hear.
        (counters(9, 9), counters(19, 9), false),
        (counters(9, 9), counters(9, 19), false),
        (counters(9, 9), counters(12, 19), false),
        (counters(9, 9), counters(19, 19), true),
        (None, counters(9, 9), false),
        (counters(9, 9), None, false),
    ] {
        let was_answered = was_answered(before, now, true);
        assert_eq!(was_answered, expected, "{before:?} {now:?}");
    }
}

/// The kernel counts a handshake's own packets.
#[test]
fn a_handshake_is_no_answer() {
    let mut after = Counters::default();
    add(&mut after.received, 1, 92);
    add(&mut after.sent, 2, 90);
    assert!(!was_answered(Some(Counters::default()), Some(after), true));
}

#[test]
fn where_nothing_could_be_sent_the_silence_counts_after_a_while() {
    let mut after = Counters::default();
    let found = |after, asked_for| judge(Counters::default(), after, asked_for);
    for patience in [WAYLESS_PATIENCE, KEYLESS_PATIENCE] {
        let short = patience.saturating_sub(Duration::from_secs(1));
        assert_eq!(found(after, short), Judgement::AskOn);
        assert_eq!(found(after, patience), Judgement::Dead);
        add(&mut after.sent, 2, INITIATION_BYTES);
    }
}
