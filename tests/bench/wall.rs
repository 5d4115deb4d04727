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

use super::{SOON, median, print};

/// How long data is sent.
const SENDING: Duration = Duration::from_secs(2);
const PIECE: usize = 64 * 1024;

/// A figure without and with the chain, a value for each run.
#[derive(Default)]
struct Pair([Vec<f64>; 2]);

impl Pair {
    fn print(&self, name: &str, unit: &str) {
        for (values, which) in self.0.iter().zip(["without", "with"]) {
            print(&format!("{name}, {which}"), values, unit);
        }
        let [without, with] = self.0.each_ref().map(|values| median(values));
        println!("  {:24}{:9.1} {unit}", "  difference", with - without);
        println!("  {:24}{:9.1} %", "  or", 100.0 * (with / without - 1.0));
    }
}

/// Measures and prints.
pub fn run(runs: usize, program: &Path) {
    let (mut ready, mut tunnel, mut lan) = (Pair::default(), Pair::default(), Pair::default());
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        for which in 0..2 {
            let world = World::new();
            let mut recipe = world.container(program).credentials();
            if which == 1 {
                recipe = recipe.with_nft();
            }
            let container = recipe
                .env("LOC", "swiss")
                .env("LOCAL_NETWORK", format!("{LAN}/32"))
                .command(["wireguard-pia", "run"])
                .saying_when_executed()
                .start();
            ready.0[which].push(time_to_ready(&container));
            tunnel.0[which].push(throughput(&world, world.internet(), PINGABLE));
            lan.0[which].push(throughput(&world, world.lan(), LAN));
        }
    }
    println!("the chain at the network card");
    ready.print("ready", "ms");
    tunnel.print("through the tunnel", "MB/s");
    lan.print("to the LAN", "MB/s");
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
