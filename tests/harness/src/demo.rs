//! The main job, shown: a container joins the simulated PIA while a hostile neighbour tries to get
//! out past it.

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use prober::Probe;

use crate::world::container::Container;
use crate::world::{World, wait_until};

/// For each thing that is to be seen, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the tunnel is watched for leaks when nobody looks on.
const WATCH: Duration = Duration::from_secs(5);

/// Shows it all; holds the tunnel until `stopped` if `hold`. Whether all of it was seen.
pub fn run(program: &Path, hold: bool, stopped: &Receiver<()>) -> bool {
    say(
        "building the world: a container's network, a router, an internet with PIA and four VPN \
         servers in it",
    );
    let world = World::new();
    let capture = world.capture();
    let _neighbour = world.probe();
    wait_until(
        "every kind of leak on the wire, while nothing prevents them",
        PATIENCE,
        || capture.probes() == Probe::steady(),
    );
    let kinds = Probe::steady().len();
    seen(
        "control",
        &format!(
            "a neighbour in the container's network sends {kinds} kinds of traffic, and all of it \
             gets out"
        ),
    );

    let begun = Instant::now();
    let container = start(&world, program);
    let closed = await_line(
        &container,
        begun,
        "Kill switch closed",
        "kill switch closed",
    );
    await_line(
        &container,
        begun,
        "Got a new token",
        "account: logged in, token stored",
    );
    await_line(
        &container,
        begun,
        "Verified server list",
        "server list: signature verified",
    );
    await_line(
        &container,
        begun,
        "Bringing up WireGuard",
        "registered a fresh key with a server",
    );
    await_line(
        &container,
        begun,
        "WireGuard successfully started",
        "tunnel up",
    );

    let servers = world.pia.servers();
    let visitor = world.address_seen_from(world.client());
    let server = servers
        .iter()
        .find(|server| Some(server.address()) == visitor);
    let page = server.map(|server| {
        format!(
            "the page inside sees {} ({})",
            server.address(),
            server.cn()
        )
    });
    let tunnelled = check("page fetched through the tunnel", page);

    let port = await_line(&container, begun, "Forwarding on port", "port forwarded").text;
    let forwarded = check(
        "connection from the internet to the forwarded port",
        server.and_then(|server| {
            let port = port.rsplit(' ').next()?.parse().ok()?;
            let listener = world
                .client()
                .run(|| TcpListener::bind(("0.0.0.0", port)))
                .ok()?;
            thread::spawn(move || {
                listener
                    .accept()
                    .map(|(mut stream, _)| stream.write_all(b"hello from the container"))
            });
            world
                .knock_from_internet(server.address().into(), port)
                .filter(|text| !text.is_empty())
        }),
    );

    if hold {
        hold_on(&world, stopped);
    } else {
        let _ = stopped.recv_timeout(WATCH);
    }
    let leaks = capture.leaks_since(closed.at, |packet| packet.probe().is_none());
    let watched = closed.at.elapsed().as_secs();
    let sealed = check(
        "leaks",
        leaks.is_empty().then(|| {
            format!(
                "0 packets of the neighbour's leaked in {watched} s since the kill switch closed"
            )
        }),
    );
    for leak in &leaks {
        println!("    {leak:?}");
    }
    let stop = container.stop();
    let clean = check(
        "stop",
        stop.status
            .success()
            .then(|| format!("in {} ms, exit status 0", stop.took.as_millis())),
    );
    tunnelled && forwarded && sealed && clean
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

fn await_line(
    container: &Container,
    begun: Instant,
    text: &str,
    what: &str,
) -> crate::world::journal::Line {
    let line = container.wait_for_log(text, PATIENCE);
    seen(
        &format!("{:>4} ms", line.at.duration_since(begun).as_millis()),
        what,
    );
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
        crate::world::network::INSIDE
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
