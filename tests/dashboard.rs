//! Makes the picture of the dashboard (docs/monitoring): a container in a simulated world, a real
//! Prometheus that asks it every second, some minutes in which things happen, and then what
//! Prometheus answers to the dashboard's own questions, drawn by docs/monitoring/draw.py.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use harness::log_lines::{FORWARDING, RECONNECTED, UP};
use harness::simulator::faults::Api;
use harness::waiting::{LATER, SOON};
use harness::world::World;
use harness::world::network::ELSEWHERE;
use nix::sys::signal::Signal;

const USAGE: &str = "usage: dashboard PROGRAM PYTHON SECONDS; PYTHON has matplotlib";
/// Of one burst of traffic.
const BURST: [u8; 4096] = [b'x'; 4096];

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dashboard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    let [program, python, seconds] = words else {
        return Err(USAGE.into());
    };
    let seconds: u32 = seconds.parse()?;
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    let world = World::new();
    let container = world
        .container(program)
        .credentials()
        .with_nft()
        .env("LOC", "swiss")
        .env("STATUS_LISTEN", ":8000")
        .env("STATUS_EXIT_ADDRESS", "1")
        .env("PORT_FORWARDING", "1")
        .env("RECONNECT", "1")
        .start();
    let folder = tempfile::tempdir()?;
    let configuration = fs::read_to_string(documents.join("prometheus.yml"))?
        .replace("vpn:8000", "127.0.0.1:8000")
        .replace("30s", "1s");
    fs::write(folder.path().join("prometheus.yml"), configuration)?;
    fs::copy(
        documents.join("alerts.yml"),
        folder.path().join("alerts.yml"),
    )?;
    let mut prometheus = Command::new("prometheus");
    prometheus
        .current_dir(folder.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut prometheus = world.client().spawn(&mut prometheus)?;
    container.wait_for_log(UP, SOON);
    container.wait_for_log(FORWARDING, SOON);

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| world.client().run(|| pass(&is_over)));
        happen(&world, &container, Duration::from_secs(1) * seconds / 6);
        is_over.store(true, Ordering::Relaxed);
    });
    let mut draw = Command::new(python);
    draw.arg(documents.join("draw.py"))
        .arg(documents.join("grafana.json"))
        .arg(documents.join("dashboard.png"))
        .arg(seconds.to_string());
    let drawn = world.client().spawn(&mut draw)?.wait()?;
    prometheus.kill()?;
    prometheus.wait()?;
    container.stop();
    if drawn.success() {
        Ok(())
    } else {
        Err("it could not be drawn".into())
    }
}

/// A reconnect by hand, a neighbour that tries to get out past the tunnel, a server that falls
/// silent, and one that does not take keys at first: a sixth of the time apart.
fn happen(world: &World, container: &harness::world::container::Container, apart: Duration) {
    thread::sleep(apart);
    container.signal(Signal::SIGHUP);
    thread::sleep(apart);
    let neighbour = world.probe();
    thread::sleep(apart);
    drop(neighbour);
    world.server_in_use().silence_endpoint();
    container.wait_for_log(RECONNECTED, LATER);
    thread::sleep(apart);
    world.pia.fail_times(Api::AddKey, 503, 4);
    container.signal(Signal::SIGHUP);
    thread::sleep(apart * 2);
}

/// Has something pass through the tunnel, now more and now less, and by a new connection where one
/// breaks off.
fn pass(is_over: &AtomicBool) {
    let begun = Instant::now();
    let mut stream = None;
    while !is_over.load(Ordering::Relaxed) {
        let wave = (begun.elapsed().as_secs_f32() / 12.0).sin();
        thread::sleep(Duration::from_secs_f32(0.05 + 0.03 * wave));
        if stream.is_none() {
            let to = (ELSEWHERE, 7).into();
            stream = TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok();
        }
        let timeout = Some(Duration::from_secs(1));
        let carried = stream.as_mut().is_some_and(|stream: &mut TcpStream| {
            let mut answer = [0; BURST.len()];
            stream.set_read_timeout(timeout).is_ok()
                && stream.write_all(&BURST).is_ok()
                && stream.read_exact(&mut answer).is_ok()
        });
        if !carried {
            stream = None;
        }
    }
}
