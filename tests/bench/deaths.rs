//! Endpoints that die at every phase of the monitor's interval, at the defaults with `RECONNECT`:
//! until it is noticed, and until traffic flows again.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use harness::simulator::server::Server;
use harness::waiting::wait_until;

use super::{PATIENCE, print as print_figure, world};

/// `MONITOR_INTERVAL` by default.
const INTERVAL: Duration = Duration::from_secs(60);
/// Worlds at a time of each way, as most of it is waiting; each takes at least five of the inotify
/// instances of a user, of which there are 128.
const AT_A_TIME: usize = 3;
const NOTICED: Duration = Duration::from_secs(15);
const CARRIED: Duration = Duration::from_secs(20);

/// Each way to die so often.
pub fn print(runs: usize, program: &Path) -> ExitCode {
    type Death = fn(&Server);
    let deaths: [(&str, Death); 3] = [
        ("is dead both ways", Server::silence_endpoint),
        ("hears nothing", Server::deafen_endpoint),
        ("says nothing", Server::mute_endpoint),
    ];
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    let took = thread::scope(|scope| {
        let ways = deaths.map(|(_, death)| scope.spawn(move || all_phases(runs, program, death)));
        ways.map(|way| way.join().expect("a way to die is measured"))
    });
    for ((name, _), took) in deaths.iter().zip(&took) {
        println!("an endpoint that {name}");
        print_figure("noticed", &seconds(took, |one| one.0), "s");
        print_figure("traffic flows again", &seconds(took, |one| one.1), "s");
    }
    let is_in_time = |one: &Took| one.0 <= NOTICED && one.1 <= CARRIED;
    if took.iter().flatten().all(is_in_time) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Until it was noticed, and until traffic flowed again.
type Took = (Duration, Duration);

fn seconds(took: &[Took], which: impl Fn(&Took) -> Duration) -> Vec<f64> {
    took.iter().map(|one| which(one).as_secs_f64()).collect()
}

fn all_phases(runs: u32, program: &Path, death: fn(&Server)) -> Vec<Took> {
    let phases: Vec<Duration> = (0..runs).map(|run| INTERVAL * run / runs).collect();
    let mut took = Vec::new();
    for at_a_time in phases.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            let lives: Vec<_> = at_a_time
                .iter()
                .map(|phase| scope.spawn(move || one(program, *phase, death)))
                .collect();
            let lives = lives.into_iter();
            took.extend(lives.map(|life| life.join().expect("a life is measured")));
        });
    }
    took
}

/// Dies so long after the first probe, while somebody tries on and on.
fn one(program: &Path, phase: Duration, death: fn(&Server)) -> Took {
    let world = world();
    let recipe = world.container(program).credentials().env("LOC", "swiss");
    let container = recipe.env("RECONNECT", "1").connect();
    let server = world.server_in_use();
    thread::sleep(phase);
    world.assert_carries();
    death(&server);
    let died = Instant::now();
    wait_until("a page through another server", PATIENCE, || {
        world.address_seen_from(world.client()).is_some()
    });
    let carried = died.elapsed();
    let noticed = container.wait_for_log("Reconnecting: unresponsive endpoint", PATIENCE);
    (noticed.at.saturating_duration_since(died), carried)
}
