//! What the chain at the network card costs: a start, and throughput, with and without it.
//!
//! Both kinds take turns, so that a slow minute of the machine is slow for both.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::UP;
use harness::netns::Namespace;
use harness::world::World;
use harness::world::container::Container;
use harness::world::network::{LAN, PINGABLE};

use super::{SOON, median, print, world};

/// How long data is sent.
const SENDING: Duration = Duration::from_secs(2);
const PIECE: usize = 64 * 1024;

/// What is measured in each run.
#[derive(Default)]
struct Values {
    ready: Vec<f64>,
    tunnel: Vec<f64>,
    lan: Vec<f64>,
}

/// Without and with the chain.
struct Pair<'a>([&'a [f64]; 2]);

impl Pair<'_> {
    fn print(&self, name: &str, unit: &str) {
        for (values, which) in self.0.iter().zip(["without", "with"]) {
            print(&format!("{name}, {which}"), values, unit);
        }
        let [without, with] = self.0.map(median);
        println!("  {:24}{:9.1} {unit}", "  difference", with - without);
        println!("  {:24}{:9.1} %", "  or", 100.0 * (with / without - 1.0));
    }
}

/// Measures and prints.
pub fn run(runs: usize, program: &Path) {
    let (mut without, mut with) = (Values::default(), Values::default());
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        measure(program, false, &mut without);
        measure(program, true, &mut with);
    }
    println!("the chain at the network card");
    Pair([&without.ready, &with.ready]).print("ready", "ms");
    Pair([&without.tunnel, &with.tunnel]).print("through the tunnel", "MB/s");
    Pair([&without.lan, &with.lan]).print("to the LAN", "MB/s");
}

fn measure(program: &Path, with_chain: bool, values: &mut Values) {
    let world = world();
    let mut recipe = world.container(program).credentials();
    if with_chain {
        recipe = recipe.with_nft();
    }
    let container = recipe
        .env("LOC", "swiss")
        .env("LOCAL_NETWORK", format!("{LAN}/32"))
        .command(["wireguard-pia", "run"])
        .saying_when_executed()
        .start();
    values.ready.push(time_to_ready(&container));
    let tunnel = throughput(&world, world.internet(), PINGABLE);
    values.tunnel.push(tunnel);
    values.lan.push(throughput(&world, world.lan(), LAN));
}

/// Milliseconds.
fn time_to_ready(container: &Container) -> f64 {
    let ready = container.wait_for_log(UP, SOON).at;
    let took = ready.saturating_duration_since(container.executed());
    took.as_secs_f64() * 1000.0
}

/// Megabytes a second from a program that shares the network to a host there.
fn throughput(world: &World, there: &Namespace, address: Ipv4Addr) -> f64 {
    let (listener, port) = there.listen();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let (mut buffer, mut count) = (vec![0; PIECE], 0);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            count += length;
        }
        count
    });
    let connected = world.client().run(|| TcpStream::connect((address, port)));
    let mut stream = connected.expect("the host is reached");
    let begun = Instant::now();
    let piece = vec![0; PIECE];
    while begun.elapsed() < SENDING {
        stream.write_all(&piece).expect("it reads");
    }
    drop(stream);
    let count = reader.join().expect("the reader ends");
    super::number(u64::try_from(count).unwrap_or(u64::MAX)) / begun.elapsed().as_secs_f64() / 1e6
}
