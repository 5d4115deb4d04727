//! Random faults, one after the other and together: connected again soon after each, without a
//! leak, without growing.
//!
//! `SOAK_SECONDS=1800 scripts/test soak` is the long version; `SOAK_SEED` repeats one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use harness::log_lines::UP;
use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::internet::Outage;

use crate::PROGRAM;

/// After the end of the last fault.
const RECOVERED: Duration = Duration::from_secs(30);
/// A test among others lasts that long; alone it may soak for longer.
const SECONDS: u64 = 60;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Network(Outage),
    ServersDown,
    EndpointsSilent,
    Reboot,
    KeysForgotten,
    TokensForgotten,
    Hang(Api),
    Flap,
    SigHup,
}

const FAULTS: [Fault; 14] = [
    Fault::Network(Outage::DnsSilent),
    Fault::Network(Outage::DnsRefuses),
    Fault::Network(Outage::Api),
    Fault::Network(Outage::List),
    Fault::Network(Outage::Everything),
    Fault::ServersDown,
    Fault::EndpointsSilent,
    Fault::Reboot,
    Fault::KeysForgotten,
    Fault::TokensForgotten,
    Fault::Hang(Api::AddKey),
    Fault::Hang(Api::List),
    Fault::Flap,
    Fault::SigHup,
];

impl Fault {
    fn begin(self, world: &World, container: &Container) {
        let servers = world.pia.servers();
        match self {
            Self::Network(outage) => world.begin(outage),
            Self::ServersDown => servers.iter().for_each(|server| server.down()),
            Self::EndpointsSilent => servers.iter().for_each(|server| server.silence_endpoint()),
            Self::Reboot => servers.iter().for_each(|server| server.reboot()),
            Self::KeysForgotten => servers.iter().for_each(|server| server.forget_keys()),
            Self::TokensForgotten => world.pia.forget_tokens(),
            Self::Hang(api) => world.pia.hang(api),
            Self::Flap => world.router().ip("link set wire down"),
            Self::SigHup => container.signal(nix::sys::signal::Signal::SIGHUP),
        }
    }

    fn end(self, world: &World) {
        let servers = world.pia.servers();
        match self {
            Self::Network(outage) => world.end(outage),
            Self::ServersDown => servers.iter().for_each(|server| server.up()),
            Self::EndpointsSilent => servers.iter().for_each(|server| server.restore_endpoint()),
            Self::Hang(api) => world.pia.heal(api),
            Self::Flap => world.router().ip("link set wire up"),
            Self::Reboot | Self::KeysForgotten | Self::TokensForgotten | Self::SigHup => {}
        }
    }
}

/// What must not grow: resident memory in kB, open files.
#[derive(Debug)]
struct Size {
    memory: u64,
    files: usize,
}

fn size(container: &Container) -> Size {
    let process = format!("/proc/{}", container.pid());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    Size {
        memory: memory.trim().trim_end_matches(" kB").parse().unwrap(),
        files: fs::read_dir(format!("{process}/fd")).unwrap().count(),
    }
}

/// Processes that have died and that nobody has taken notice of, by pid and name.
fn zombies(container: &Container) -> BTreeSet<String> {
    let shown = container.shell("cat /proc/[0-9]*/stat 2>/dev/null");
    let names = shown.lines().filter_map(|line| line.split_once(") Z "));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// A number that the user may set.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn random_faults() {
    let seconds = number("SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = number("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SOAK_SECONDS={seconds} SOAK_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);

    let world = World::new();
    let (capture, _neighbour) = (world.capture(), world.probe());
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam swiss")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("PORT_FORWARDING", "1")
        .start();
    let up = container.wait_for_log(UP, SOON).at;
    world.assert_carries();
    // wg-quick may leave one that it did not wait for to process 1, which is not tini here.
    let inherited = zombies(&container);
    let before = size(&container);
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(seconds) {
        print!("{:>5} s ", begun.elapsed().as_secs());
        slowest = slowest.max(recovery(&world, &container, &mut rng));
    }
    let after = size(&container);
    println!("slowest recovery {slowest:?}; before {before:?}, after {after:?}");
    // The kill switch was closed all the time: nothing of the neighbour's got out.
    let leaks = capture.leaks_since(up, |packet| packet.probe().is_none());
    let first = leaks.first();
    assert!(leaks.is_empty(), "{} leaked, first {first:?}", leaks.len());
    assert!(after.memory < before.memory + 4096, "memory in kB grew");
    // What has just ended may wait for a moment.
    wait_until("open files did not grow", SOON, || {
        size(&container).files <= before.files + 8
    });
    wait_until("no zombie is left", SOON, || {
        zombies(&container).is_subset(&inherited)
    });
    assert!(container.stop().status.success());
}

/// Lets up to three things go wrong for a while; how long it then took until all was well again.
fn recovery(world: &World, container: &Container, rng: &mut fastrand::Rng) -> Duration {
    let faults: Vec<Fault> = (0..rng.usize(1..=3))
        .map(|_| FAULTS[rng.usize(..FAULTS.len())])
        .collect();
    let lasting = Duration::from_millis(rng.u64(200..12_000));
    println!("{faults:?} for {lasting:?}");
    faults
        .iter()
        .for_each(|fault| fault.begin(world, container));
    thread::sleep(lasting);
    faults.iter().for_each(|fault| fault.end(world));
    let ended = Instant::now();
    wait_until("connected again", RECOVERED, || {
        world.address_seen_from(world.client()).is_some()
    });
    ended.elapsed()
}
