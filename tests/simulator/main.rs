//! `simulator demo`: the program's main job, shown in a world of its own. `simulator demo-world
//! [LOCATION...]`: brings a world up, says what is in it, and holds it until told to stop.

mod demo;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::{env, thread};

use harness::simulator::account::{OTHER_PASSWORD, OTHER_USER, PASSWORD, USER};
use harness::world::builder::Kind;
use harness::world::{World, network};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was seen that is to be seen.
fn run(words: &[&str]) -> Result<bool, Box<dyn Error>> {
    let at_terminal = io::stdin().is_terminal();
    match words {
        ["demo", program, options @ ..] if matches!(options, [] | ["--once"]) => {
            let hold = at_terminal && options.is_empty();
            Ok(demo::run(Path::new(program), hold, &stop_signals()?.1))
        }
        ["demo-world", locations @ ..] => {
            hold(locations, stop_signals()?);
            Ok(true)
        }
        _ => Err("usage: demo PROGRAM [--once] | demo-world [LOCATION...]".into()),
    }
}

/// Something comes out of this channel when a signal asks to stop, or its other end is told so.
fn stop_signals() -> io::Result<(Sender<()>, Receiver<()>)> {
    let (stop, stopped) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let by_signal = stop.clone();
    thread::spawn(move || signals.forever().next().map(|_| by_signal.send(())));
    Ok((stop, stopped))
}

/// Holds a world until standard input ends or a signal comes: the usual one, or one with a server
/// at each of these locations, so that several clients of one account are not in each other's way.
fn hold(locations: &[&str], (stop, stopped): (Sender<()>, Receiver<()>)) {
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
    println!("NAMESERVER={}", network::DNS);
    println!("INSIDE_PAGE=http://{}/", network::INSIDE);
    println!("ELSEWHERE={}", network::ELSEWHERE);
    println!("ELSEWHERE_V6={}", network::ELSEWHERE_V6);
    println!("API={}", network::API);
    println!("USER={USER}");
    println!("PASS={PASSWORD}");
    println!("OTHER_USER={OTHER_USER}");
    println!("OTHER_PASS={OTHER_PASSWORD}");
    if let Some(server) = world.pia.servers().first() {
        println!("PIA_DIP_TOKEN={}", world.pia.dedicate(server));
    }
    for server in world.pia.servers() {
        let plan = server.plan();
        println!(
            "SERVER={} {} {} {}",
            plan.location, plan.cn, plan.address, plan.port
        );
    }
    println!("READY=1");
}
