//! The main job, shown: a container joins the simulated PIA while a hostile neighbour tries to get
//! out past it.

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::{CLOSED, FORWARDING, UP};
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::capture::Capture;
use harness::world::container::Container;
use harness::world::journal::Line;
use harness::world::prober::Probe;

/// How long the tunnel is watched for leaks when nobody looks on.
const WATCH: Duration = Duration::from_secs(5);
/// Before something is said to be in vain.
const TRIES: usize = 5;

/// What the log says on the way up, and what is shown of it.
const STEPS: [(&str, &str); 5] = [
    (CLOSED, "kill switch closed"),
    ("Got a new token", "account: logged in, token stored"),
    ("Verified server list", "server list: signature verified"),
    (
        "Bringing up WireGuard",
        "registered a fresh key with a server",
    ),
    (UP, "tunnel up"),
];

/// Shows it all; holds the tunnel until `stopped` if `hold`. Whether all of it was seen.
pub fn run(program: &Path, hold: bool, stopped: &Receiver<()>) -> bool {
    say(
        "building the world: a container's network, a router, an internet with PIA and four VPN \
         servers in it",
    );
    let world = World::new();
    let capture = world.capture();
    let _neighbour = world.probe();
    show_that_all_gets_out(&capture);

    let begun = Instant::now();
    let container = start(&world, program);
    for (text, what) in STEPS {
        show_line(&container, begun, text, what);
    }
    let tunnelled = check("page fetched through the tunnel", page(&world));
    let announced = show_line(&container, begun, FORWARDING, "port forwarded").text;
    let forwarded = check(
        "connection from the internet to the forwarded port",
        greeting(&world, &announced),
    );

    if hold {
        hold_on(&world, stopped);
    } else {
        let _ = stopped.recv_timeout(WATCH);
    }
    let closed = container.wait_for_log(CLOSED, SOON).at;
    let sealed = show_leaks(&capture, closed);
    let stop = container.stop();
    let took = format!("in {} ms, exit status 0", stop.took.as_millis());
    let clean = check("stop", stop.status.success().then_some(took));
    tunnelled && forwarded && sealed && clean
}

/// The control: what is not seen later could have been.
fn show_that_all_gets_out(capture: &Capture) {
    let what = "every kind of leak on the wire, while nothing prevents them";
    wait_until(what, SOON, || capture.probes() == Probe::steady());
    let kinds = Probe::steady().len();
    seen(
        "control",
        &format!(
            "a neighbour in the container's network sends {kinds} kinds of traffic, and all of it \
             gets out"
        ),
    );
}

fn page(world: &World) -> Option<String> {
    let visitor = tried(|| world.address_seen_from(world.client()))?;
    let mut servers = world.pia.servers().into_iter();
    let server = servers.find(|server| server.address() == visitor)?;
    Some(format!("the page inside sees {visitor} ({})", server.cn()))
}

/// What a program in the container says to a host on the internet that connects to the port.
fn greeting(world: &World, announced: &str) -> Option<String> {
    let port = announced.rsplit(' ').next()?.parse().ok()?;
    let server = tried(|| world.address_seen_from(world.client()))?;
    let listener = world.client().run(|| TcpListener::bind(("0.0.0.0", port)));
    let listener = listener.ok()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever has gone knocks again.
            let _ = stream.write_all(b"hello from the container");
        }
    });
    let heard = || world.knock_from_internet(server.into(), port);
    tried(|| heard().filter(|text| !text.is_empty()))
}

/// What somebody gets who tries again a few times: one packet may be late on a busy machine.
fn tried<T>(attempt: impl Fn() -> Option<T>) -> Option<T> {
    (0..TRIES).find_map(|_| attempt())
}

fn show_leaks(capture: &Capture, closed: Instant) -> bool {
    let leaks = capture.leaks_since(closed, |packet| packet.probe().is_none());
    let watched = closed.elapsed().as_secs();
    let none =
        format!("0 packets of the neighbour's leaked in {watched} s since the kill switch closed");
    let sealed = check("leaks", leaks.is_empty().then_some(none));
    for leak in &leaks {
        println!("    {leak:?}");
    }
    sealed
}

fn start(world: &World, program: &Path) -> Container {
    say("starting wireguard-pia in the container, with LOC, USER, PASS and PORT_FORWARDING=1");
    world
        .container(program)
        .credentials()
        .env("LOC", "swiss nl_amsterdam")
        .env("PORT_FORWARDING", "1")
        .start()
}

/// Waits for a line of the log, and shows when it came.
fn show_line(container: &Container, begun: Instant, text: &str, what: &str) -> Line {
    let line = container.wait_for_log(text, SOON);
    let after = line.at.duration_since(begun).as_millis();
    seen(&format!("{after:>4} ms"), what);
    line
}

fn hold_on(world: &World, stopped: &Receiver<()>) {
    say(
        "the tunnel is held until Ctrl-C. A shell in the container's network, from another \
         terminal as root:",
    );
    say(&format!("    ip netns exec {} bash", world.client().name()));
    say(&format!(
        "    … and there: curl http://{}/    ping 1.1.1.1    wg show",
        harness::world::network::INSIDE
    ));
    // Either way it is over.
    let _ = stopped.recv();
    println!();
}

fn check(what: &str, outcome: Option<String>) -> bool {
    match &outcome {
        Some(text) => seen("ok", &format!("{what}: {text}")),
        None => println!("{} {what}: NOT SEEN", tag("FAILED", 31)),
    }
    outcome.is_some()
}

fn seen(when: &str, what: &str) {
    println!("{} {what}", tag(when, 32));
}

fn say(text: &str) {
    println!("{text}");
}

fn tag(text: &str, colour: u8) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[{colour}m[{text:>8}]\u{1b}[0m")
    } else {
        format!("[{text:>8}]")
    }
}
