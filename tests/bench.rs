//! Figures of the program, and of the image that it replaces, in the same world: run by
//! `scripts/bench`.
//!
//! Every run has a world of its own. What is measured where: the time to ready from the program's
//! exec to its line in the log; processor time as the kernel counts it for the whole container, an
//! idle container's subtracted, until a second after ready; processes by strace, in a run of their
//! own; the last leak by probers and a capture, too; a dead endpoint is one that is silenced, at
//! equal settings, until a page comes through another one; a minute of rest is watched by the
//! kernel's counters. A look at them from inside makes processes too, which are taken off.

#![allow(clippy::expect_used, reason = "a panic is how a measurement fails")]

#[path = "bench/deaths.rs"]
mod deaths;
#[path = "bench/phases.rs"]
mod phases;
#[path = "bench/wall.rs"]
mod wall;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use harness::log_lines::UP;
use harness::waiting::wait_until;
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::{PATH, Recipe};
use nix::sys::resource::{UsageWho, getrusage};

const SOON: Duration = Duration::from_secs(30);
/// A dead endpoint takes the original minutes.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long it is left alone.
const RESTING: Duration = Duration::from_secs(60);
/// What a hook says when a reconnect begins.
const RECONNECTING: &str = "begins to reconnect";
/// From ready until everything is set up and the program rests.
const TO_REST: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let starts_alone = arguments.first().is_some_and(|what| what == "starts");
    if starts_alone {
        arguments.remove(0);
    }
    if let [what, runs, program] = arguments.as_slice()
        && let Ok(runs @ 1..) = runs.parse()
    {
        let program = Path::new(program);
        match what.as_str() {
            "deaths" => return deaths::print(runs, program),
            "phases" => return phases::print(runs, program),
            "wall" => {
                wall::run(runs, program);
                return ExitCode::SUCCESS;
            }
            _ => {}
        }
    }
    let (runs, program, original) = match arguments.as_slice() {
        [runs, program] => (runs, program, None),
        [runs, program, original] => (runs, program, Some(PathBuf::from(original))),
        _ => {
            eprintln!(
                "usage: bench [wall|deaths|phases|starts] RUNS PROGRAM [ORIGINAL]; scripts/bench \
                 prepares all of them"
            );
            return ExitCode::FAILURE;
        }
    };
    let Ok(runs @ 1..) = runs.parse() else {
        eprintln!("bench: {runs}: not a number of runs");
        return ExitCode::FAILURE;
    };
    let program = Path::new(program);
    compare(runs, program, original.as_deref(), starts_alone);
    if let Ok(metadata) = fs::metadata(program) {
        println!(
            "wireguard-pia, the binary\n  {:24}{:9.2} MB",
            "size",
            megabytes(metadata.size())
        );
    }
    ExitCode::SUCCESS
}

/// In turn, so that a slow minute of the machine is slow for both.
fn compare(runs: usize, program: &Path, original: Option<&Path>, starts_alone: bool) {
    let ours = Subject {
        program,
        original: None,
    };
    let theirs = original.map(|folder| Subject {
        program,
        original: Some(folder),
    });
    let subjects: Vec<Subject<'_>> = [Some(ours), theirs].into_iter().flatten().collect();
    let mut figures = vec![Figures::default(); subjects.len()];
    for run in 1..=runs {
        for (subject, figures) in subjects.iter().zip(&mut figures) {
            eprintln!("run {run} of {runs}: {}", subject.name());
            if starts_alone {
                subject.measure_start(figures);
            } else {
                subject.measure(figures);
            }
        }
    }
    for (subject, figures) in subjects.iter().zip(&figures) {
        println!("{}", subject.name());
        figures.print();
    }
}

/// What is measured.
struct Subject<'a> {
    program: &'a Path,
    /// A folder with the original's `scripts` and the programs that it needs in `bin`.
    original: Option<&'a Path>,
}

/// A value for each run.
#[derive(Clone, Default)]
struct Figures {
    /// Seconds.
    ready: Vec<f64>,
    cpu: Vec<f64>,
    last_leak: Vec<f64>,
    processes: Vec<f64>,
    executions: Vec<f64>,
    detected: Vec<f64>,
    recovered: Vec<f64>,
    /// Megabytes.
    memory: Vec<f64>,
    anonymous: Vec<f64>,
    /// A minute.
    wake_ups: Vec<f64>,
    /// Processes and threads, a minute.
    made_at_rest: Vec<f64>,
    /// Seconds.
    stop: Vec<f64>,
}

/// What a minute of rest takes, and the stop after it.
struct Resting {
    /// Megabytes.
    memory: f64,
    anonymous: f64,
    /// Of all threads.
    wake_ups: u64,
    /// Processes and threads.
    made: u64,
    /// From SIGTERM to its end.
    stop: Duration,
}

impl Subject<'_> {
    fn name(&self) -> &'static str {
        if self.original.is_some() {
            "the original"
        } else {
            "wireguard-pia"
        }
    }

    fn measure_start(&self, figures: &mut Figures) {
        let (ready, cpu) = self.time();
        figures.ready.push(ready.as_secs_f64());
        figures.cpu.push(cpu.as_secs_f64());
    }

    fn measure(&self, figures: &mut Figures) {
        self.measure_start(figures);
        figures.last_leak.push(self.last_leak().as_secs_f64());
        let (processes, executions) = self.processes();
        figures.processes.push(count(processes));
        figures.executions.push(count(executions));
        let rest = self.rest();
        figures.memory.push(rest.memory);
        figures.anonymous.push(rest.anonymous);
        figures.wake_ups.push(number(rest.wake_ups));
        figures.made_at_rest.push(number(rest.made));
        figures.stop.push(rest.stop.as_secs_f64());
        let (detected, recovered) = self.recovery();
        figures.detected.push(detected.as_secs_f64());
        figures
            .recovered
            .extend(recovered.map(|recovered| recovered.as_secs_f64()));
    }

    /// From exec to ready, and the processor time of everything in the container.
    fn time(&self) -> (Duration, Duration) {
        let world = world();
        let idle = self.recipe(&world, &["sleep", "100"]).start();
        idle.executed();
        let idle = cpu_until_killed(&idle);
        let container = self.recipe(&world, &self.words()).start();
        let ready = container
            .wait_for_log(UP, SOON)
            .at
            .saturating_duration_since(container.executed());
        thread::sleep(TO_REST);
        (ready, cpu_until_killed(&container).saturating_sub(idle))
    }

    /// From exec to the last packet of others on the wire.
    fn last_leak(&self) -> Duration {
        let world = world();
        let capture = world.capture();
        let _prober = world.probe();
        let container = self.recipe(&world, &self.words()).start();
        container.wait_for_log(UP, SOON);
        thread::sleep(TO_REST);
        let leaks = capture.leaks(|packet| packet.probe().is_none());
        let executed = container.executed();
        leaks.last().map_or(Duration::ZERO, |last| {
            last.at.saturating_duration_since(executed)
        })
    }

    /// How many processes were forked, and how many programs executed, until the program rests.
    fn processes(&self) -> (usize, usize) {
        let world = world();
        let strace = [
            "strace",
            "-D",
            "-f",
            "-qq",
            "-e",
            "trace=process",
            "-o",
            "/pia-shared/trace",
        ];
        let container = self
            .recipe(&world, &[&strace[..], &self.words()].concat())
            .start();
        container.wait_for_log(UP, SOON);
        let trace = at_rest(&container, "/pia-shared/trace");
        let forks = ["clone(", "clone3(", "fork("];
        let forked = |line: &&str| {
            forks.iter().any(|call| line.contains(call)) && !line.contains("CLONE_THREAD")
        };
        // Where another process comes between, the second half of a call is a line of its own.
        let executed = |line: &&str| {
            (line.contains("execve(") || line.contains("execve resumed")) && line.ends_with(" = 0")
        };
        (
            trace.lines().filter(forked).count(),
            trace.lines().filter(executed).count(),
        )
    }

    /// At rest, with a port forwarded and the tunnel monitored; and its stop.
    fn rest(&self) -> Resting {
        let world = world();
        let recipe = self.recipe(&world, &self.words());
        let container = recipe
            .env("PORT_FORWARDING", "1")
            .env("RECONNECT", "1")
            .start();
        container.wait_for_log(UP, SOON);
        thread::sleep(2 * TO_REST);
        let rest = container.rest(RESTING);
        let memory = container.memory("VmRSS");
        let anonymous = container.memory("RssAnon");
        Resting {
            memory: megabytes(memory),
            anonymous: megabytes(anonymous),
            wake_ups: rest.all_wake_ups(),
            made: rest.made,
            stop: container.stop().took,
        }
    }

    /// From the silence of the endpoint to the start of the reconnect, and to a page through
    /// another server. The original may draw the same dead server again, for as long as chance will
    /// have it, so its recovery is not measured.
    fn recovery(&self) -> (Duration, Option<Duration>) {
        let world = world();
        let container = self
            .recipe(&world, &self.words())
            .env("RECONNECT", "1")
            .env("MONITOR_INTERVAL", "5")
            .env("MONITOR_RETRIES", "3")
            .env("PRE_RECONNECT", format!("echo {RECONNECTING}"))
            .start();
        container.wait_for_log(UP, SOON);
        world.server_in_use().silence_endpoint();
        let silenced = Instant::now();
        let reconnecting = container.wait_for_log(RECONNECTING, PATIENCE).at;
        let detected = reconnecting.saturating_duration_since(silenced);
        if self.original.is_some() {
            return (detected, None);
        }
        wait_until("a page through another server", PATIENCE, || {
            world.address_seen_from(world.client()).is_some()
        });
        (detected, Some(silenced.elapsed()))
    }

    fn words(&self) -> Vec<&'static str> {
        if self.original.is_some() {
            vec!["/scripts/run"]
        } else {
            vec!["wireguard-pia", "run"]
        }
    }

    /// A container that says when it executes these words.
    fn recipe(&self, world: &World, words: &[&str]) -> Recipe {
        let recipe = world
            .container(self.program)
            .credentials()
            .env("LOC", "swiss")
            .command(words.iter().copied())
            .saying_when_executed();
        match self.original {
            None => recipe,
            Some(folder) => recipe
                .env("PATH", format!("/original/bin:{PATH}"))
                .bind(folder.join("scripts"), "/scripts")
                .bind(folder, "/original"),
        }
    }
}

impl Figures {
    fn print(&self) {
        let milliseconds = |values: &[f64]| {
            values
                .iter()
                .map(|value| value * 1000.0)
                .collect::<Vec<_>>()
        };
        print("ready", &milliseconds(&self.ready), "ms");
        print("processor time", &milliseconds(&self.cpu), "ms");
        print("last leak", &milliseconds(&self.last_leak), "ms");
        print("processes forked", &self.processes, "");
        print("programs executed", &self.executions, "");
        print("dead endpoint detected", &self.detected, "s");
        print("traffic flows again", &self.recovered, "s");
        print("memory at rest", &self.memory, "MB");
        print("of it anonymous", &self.anonymous, "MB");
        print("wake-ups a minute", &self.wake_ups, "");
        print("processes made a minute", &self.made_at_rest, "");
        print("stop", &milliseconds(&self.stop), "ms");
    }
}

/// PIA, as far as its times go.
/// With PIA's hosts as far away as `ROUND_TRIP` says, in milliseconds.
fn world() -> World {
    let world = World::builder().usual_ports().build();
    let far = env::var("ROUND_TRIP").map(|time| time.parse().expect("ROUND_TRIP is a number"));
    world
        .pia
        .set_round_trip(Duration::from_millis(far.unwrap_or_default()));
    world
}

/// Of an odd number of values, the one in the middle.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median, least and greatest.
pub fn print(name: &str, values: &[f64], unit: &str) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(median), Some(greatest)) =
        (values.first(), values.get(values.len() / 2), values.last())
    else {
        return;
    };
    println!(
        "  {name:24}{median:9.1} {unit:3} ({least:.1} to {greatest:.1}, {} runs)",
        values.len()
    );
}

/// A file's text once nothing is added to it any more: strace slows everything down.
fn at_rest(container: &Container, path: &str) -> String {
    let mut text = String::new();
    loop {
        thread::sleep(TO_REST);
        let now = container.read(path).unwrap_or_default();
        if now.len() == text.len() {
            return now;
        }
        text = now;
    }
}

/// Kills a container; its first process inherits the times of all others, and we inherit its.
fn cpu_until_killed(container: &Container) -> Duration {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("every process has usage");
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| {
                Duration::from_micros(
                    u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0),
                )
            })
            .sum::<Duration>()
    };
    let before = used();
    container.kill();
    used().saturating_sub(before)
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}

fn number(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
