//! `simulator demo`: the program's main job, shown in a world of its own. `simulator demo-world
//! [LOCATION...]`: brings a world up, says what is in it, and holds it until told to stop.

#![allow(
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a world that cannot be built is no use to anybody"
)]

#[path = "harness/src/demo.rs"]
mod demo;
#[path = "harness/src/netns.rs"]
mod netns;
#[path = "harness/src/programs.rs"]
#[allow(
    dead_code,
    reason = "tests and demonstrations are built from this tree"
)]
mod programs;
#[path = "harness/src/simulator/mod.rs"]
mod simulator;
#[path = "harness/src/world/mod.rs"]
mod world;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::{env, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use simulator::account::{PASSWORD, USER};
use world::World;
use world::builder::Kind;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let seen = match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["demo", program] => demo::run(
            Path::new(program),
            io::stdin().is_terminal(),
            &stop_signals().1,
        ),
        ["demo", program, "--once"] => demo::run(Path::new(program), false, &stop_signals().1),
        ["demo-world", locations @ ..] => hold(locations),
        _ => {
            eprintln!(
                "usage: simulator demo PROGRAM [--once] | simulator demo-world [LOCATION...]"
            );
            false
        }
    };
    if seen {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Something comes out of this channel when a signal asks to stop, or its other end is told so.
fn stop_signals() -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (stop, stopped) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM]).expect("signals can be handled");
    let by_signal = stop.clone();
    thread::spawn(move || signals.forever().next().map(|_| by_signal.send(())));
    (stop, stopped)
}

/// Holds a world until standard input ends or a signal comes: the usual one, or one with a server
/// at each of these locations, so that several clients of one account are not in each other's way.
fn hold(locations: &[&str]) -> bool {
    let (stop, stopped) = stop_signals();
    let kinds = [Kind::New, Kind::Stable].into_iter().cycle();
    let builder = locations.iter().zip(kinds);
    let world = builder
        .fold(World::builder(), |world, (location, kind)| {
            world.servers(location, kind, 1)
        })
        .build();
    describe(&world);
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        stop.send(())
    });
    let _ = stopped.recv();
    true
}

fn describe(world: &World) {
    let files = world.files();
    println!("CLIENT_NETNS={}", world.client().name());
    println!("ROUTER_NETNS={}", world.router().name());
    println!("ROUTER_WIRE=wire");
    println!("LAN_NETNS={}", world.lan().name());
    println!("INTERNET_NETNS={}", world.internet().name());
    println!("PIA_CA_FILE={}", files.pia_ca.display());
    println!("PIA_SERVERLIST_KEY_FILE={}", files.list_key.display());
    println!("SSL_CERT_FILE={}", files.web_ca.display());
    println!("NAMESERVER={}", world::network::DNS);
    println!("INSIDE_PAGE=http://{}/", world::network::INSIDE);
    println!("ELSEWHERE={}", world::network::ELSEWHERE);
    println!("USER={USER}");
    println!("PASS={PASSWORD}");
    for server in world.pia.servers() {
        let plan = server.plan();
        println!(
            "SERVER={} {} {} {}",
            plan.location, plan.cn, plan.address, plan.port
        );
    }
    println!("READY=1");
}
