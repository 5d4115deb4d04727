//! What a start consists of, by the program's own log, and figures of smaller things.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::log_lines::{ENABLED, FORWARDING, RECONNECTED, UP};
use harness::world::World;
use harness::world::container::Container;
use nix::sys::signal::Signal;

use super::{PATIENCE, RESTING, SOON, print as print_figure, world};

/// The line that ends each phase, in the order of a start.
const PHASES: [(&str, &str); 9] = [
    ("seal", "Kill switch closed"),
    ("settings, names", "resolves "),
    ("token", "/token: 200"),
    ("list", "GET serverlist"),
    ("registration", "/addKey: 200"),
    ("interface up", "waiting for the first packet"),
    ("first sign", "the tunnel carries"),
    ("up", UP),
    ("rules", ENABLED),
];

/// Health checks that are timed together.
const CHECKS: u32 = 50;

/// Medians of so many lives.
pub fn print(runs: usize, program: &Path) -> ExitCode {
    let mut phases = vec![Vec::new(); PHASES.len()];
    let (mut reconnects, mut checks, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let world = world();
        let container = start(&world, program, ("DEBUG", "1"));
        for (times, (_, line)) in phases.iter_mut().zip(PHASES) {
            times.extend(ended(&container, line).map(milliseconds));
        }
        reconnects.push(milliseconds(reconnect(&container)));
        checks.push(check(&container));
        drop(container);
        let container = start(&world, program, ("MONITOR_INTERVAL", "1"));
        busy.push(milliseconds(container.rest(RESTING).cpu));
    }
    println!("since exec, the end of");
    for (times, (name, _)) in phases.iter().zip(PHASES) {
        print_figure(name, times, "ms");
    }
    println!("and");
    print_figure("reconnect by SIGHUP", &reconnects, "ms");
    print_figure("CPU of a health check", &checks, "ms");
    print_figure("CPU a minute, interval 1", &busy, "ms");
    ExitCode::SUCCESS
}

fn start(world: &World, program: &Path, (name, value): (&str, &str)) -> Container {
    let container = world
        .container(program)
        .credentials()
        .env("LOC", "swiss")
        .env(name, value)
        .env("RECONNECT", "1")
        .env("PORT_FORWARDING", "1")
        .saying_when_executed()
        .start();
    container.wait_for_log(ENABLED, SOON);
    container.wait_for_log(FORWARDING, SOON);
    container
}

fn ended(container: &Container, line: &str) -> Option<Duration> {
    let executed = container.executed();
    let lines = container.lines();
    let line = lines.iter().find(|logged| logged.text.contains(line))?;
    Some(line.at.saturating_duration_since(executed))
}

fn reconnect(container: &Container) -> Duration {
    let begun = Instant::now();
    container.signal(Signal::SIGHUP);
    let done = container.wait_for_log(RECONNECTED, PATIENCE).at;
    done.saturating_duration_since(begun)
}

/// Milliseconds of one passive check, those of `/bin/true` taken off.
fn check(container: &Container) -> f64 {
    let cpu = |command: &str| {
        let script = format!(
            "TIMEFORMAT='%3U %3S'; \
             time (for i in {{1..{CHECKS}}}; do {command} >&3; done) 3>/dev/null"
        );
        let said = container.shell(&format!("{{ {script}; }} 2>&1"));
        let last = said.lines().last().unwrap_or_default();
        let seconds = last.split(' ').filter_map(|part| part.parse::<f64>().ok());
        seconds.sum::<f64>() * 1000.0 / f64::from(CHECKS)
    };
    cpu("wireguard-pia healthcheck") - cpu("/bin/true")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
