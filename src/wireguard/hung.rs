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

/// Ends the program that carries the interface if it hangs, and the interface with it; where there
/// is no interface, the program that has outlived it, whose socket the next could not have.
pub fn end() {
    if show::exists() {
        if hangs() {
            log::warn!("the program that carries {INTERFACE} does not answer, and is ended");
            kill_one(carrier());
            wait_until(|| !show::exists());
        }
        return;
    }
    // One that does not hang ends by itself.
    if !wait_until(has_nobody) {
        log::warn!("the program that carried {INTERFACE} has not ended with it, and is ended");
        kill_one(listener());
        wait_until(has_nobody);
    }
}

/// Whether nobody takes questions about the interface. A full queue is somebody's.
fn has_nobody() -> bool {
    user_space::connect().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
}

/// Whether it is so in time.
fn wait_until(is_so: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if started.elapsed() >= GONE_TIMEOUT {
            return false;
        }
        // Nothing can cancel it.
        let _ = CancellationToken::never().pause(LOOK_INTERVAL);
    }
}

fn kill_one(program: Option<Pid>) {
    let Some(program) = program else {
        log::warn!("that program is not among the processes of this container, and stays");
        return;
    };
    if let Err(error) = kill(program, Signal::SIGKILL) {
        log::warn!("ending the program of {INTERFACE}: {error}");
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
    let line = format!("iff:\t{INTERFACE}");
    process_with("fdinfo", |file| {
        let text = fs::read_to_string(file);
        text.is_ok_and(|text| text.lines().any(|one| one == line))
    })
}

/// The process in this network that has the interface's socket. It is not whoever made it: that
/// one has put itself into the background.
fn listener() -> Option<Pid> {
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    let sockets = sockets_at(&user_space::socket(), &table);
    process_with("fd", |file| {
        let link = fs::read_link(file).unwrap_or_default();
        sockets.iter().any(|socket| link == Path::new(socket))
    })
}

/// The sockets that are bound there, as links to them read: the seventh field is a socket's number,
/// the last one its path.
fn sockets_at(path: &Path, table: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, _, _, _, number, bound] = fields.as_slice()
            && Path::new(bound) == path
        {
            found.push(format!("socket:[{number}]"));
        }
    }
    found
}

/// The first process in this network with such a file in this folder of its own.
fn process_with(folder: &str, is_it: impl Fn(&Path) -> bool) -> Option<Pid> {
    let network = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let ours = network(Path::new("/proc/self"))?;
    let has_it = |process: &Path| {
        let files = fs::read_dir(process.join(folder)).into_iter().flatten();
        files.flatten().any(|file| is_it(&file.path()))
    };
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let path = process.path();
        let is_it = network(&path).is_some_and(|of| of == ours) && has_it(&path);
        is_it.then(|| Pid::from_raw(pid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_known_by_their_path() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
ffff8881: 00000002 00000000 00010000 0001 01 4711 /var/run/wireguard/wg0.sock
ffff8882: 00000003 00000000 00000000 0001 03 4712 /var/run/wireguard/wg0.sock
ffff8883: 00000002 00000000 00010000 0001 01 4713 /var/run/wireguard/wg1.sock
ffff8884: 00000002 00000000 00010000 0001 01 4714
";
        let path = Path::new("/var/run/wireguard/wg0.sock");
        assert_eq!(sockets_at(path, table), ["socket:[4711]", "socket:[4712]"]);
    }
}
