//! A WireGuard in user space that hangs: it holds the interface and takes every question, and
//! whoever waits for its answer, as `wg` and wg-quick do, waits without an end.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::peers::user_space;
use super::show;
use crate::system::cancellation::CancellationToken;
use crate::system::paths::INTERFACE;

/// It answers at once or is stuck. A stop, which has a second for everything, waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);
/// For the kernel to take the interface of a program away that has ended.
const GONE_TIMEOUT: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Ends the program that carries the interface if it hangs, and the interface with it.
pub fn end() {
    if !hangs() {
        return;
    }
    log::warn!("the program that carries {INTERFACE} does not answer, and is ended");
    let Some(carrier) = carrier() else {
        log::warn!("that program is not among the processes of this container, and stays");
        return;
    };
    if let Err(error) = kill(carrier, Signal::SIGKILL) {
        log::warn!("ending the program that carries {INTERFACE}: {error}");
    }
    let started = Instant::now();
    while show::exists() && started.elapsed() < GONE_TIMEOUT {
        // Nothing can cancel it.
        let _ = CancellationToken::never().pause(LOOK_INTERVAL);
    }
}

fn hangs() -> bool {
    // That is how a limit at a socket ends.
    show::is_in_user_space()
        && user_space::peers(ANSWER_TIMEOUT)
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// The process in this network that holds the interface's tun device.
fn carrier() -> Option<Pid> {
    let network = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let ours = network(Path::new("/proc/self"))?;
    let line = format!("iff:\t{INTERFACE}");
    let holds_device = |process: &Path| {
        let files = fs::read_dir(process.join("fdinfo")).into_iter().flatten();
        files.flatten().any(|file| {
            let text = fs::read_to_string(file.path());
            text.is_ok_and(|text| text.lines().any(|one| one == line))
        })
    };
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let folder = process.path();
        let is_it = network(&folder).is_some_and(|of| of == ours) && holds_device(&folder);
        is_it.then(|| Pid::from_raw(pid))
    })
}
