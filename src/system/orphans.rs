//! Children that nobody waits for. The first process of a container becomes the parent of whatever
//! outlives its own: a WireGuard in user space, what a hook leaves running, what `docker exec`
//! started. In the image that is tini; below an entry point of somebody's own it may be this
//! program. One that ends keeps its number, which counts for `pids_limit`, until its parent asks
//! for its status.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};

/// Whoever has started a child has asked for its status by then.
const GRACE: Duration = Duration::from_secs(10);

/// A child that has ended: its number, and when it began, as numbers are used again.
type Ended = (Pid, u64);

/// Those that have ended and may have nobody who asks.
#[derive(Debug, Default)]
pub struct Orphans {
    seen: Vec<Ended>,
    due: Option<Instant>,
}

impl Orphans {
    /// When to look again; `None` where nothing is there to be seen.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Asks for the status of those that had ended some time ago already, when that is due.
    pub fn look(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        let mut ended = ended_children();
        ended.retain(|child| {
            let is_left = self.seen.contains(child);
            if is_left {
                let status = waitpid(child.0, Some(WaitPidFlag::WNOHANG));
                log::debug!("process {}, which nobody waited for: {status:?}", child.0);
            }
            !is_left
        });
        self.due = (!ended.is_empty())
            .then(|| now.checked_add(GRACE))
            .flatten();
        self.seen = ended;
    }
}

fn ended_children() -> Vec<Ended> {
    // One question where there is none, as at most times.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    if let Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) = waitid(Id::All, flags) {
        return Vec::new();
    }
    let own = getpid();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_process = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        let began = start_of_ended(&String::from_utf8_lossy(&stat), own)?;
        Some((Pid::from_raw(number), began))
    };
    processes.filter_map(of_process).collect()
}

/// When the process of this `/proc/PID/stat` began, in ticks since the machine did, if it has ended
/// and `parent` is to ask for its status (proc_pid_stat(5)).
fn start_of_ended(stat: &str, parent: Pid) -> Option<u64> {
    // The name in brackets may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let is_ended = fields.first() == Some(&"Z");
    let is_ours = fields.get(1)?.parse() == Ok(parent.as_raw());
    let began = fields.get(19)?.parse().ok()?;
    (is_ended && is_ours).then_some(began)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_told_by_its_state_and_its_parent() {
        let stat = |state, parent| {
            let rest = "1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
            format!("7 (a) Z 1 (b) {state} {parent} {rest}")
        };
        let found = |state, parent| start_of_ended(&stat(state, parent), Pid::from_raw(1));
        assert_eq!(found("Z", 1), Some(4711));
        assert_eq!((found("S", 1), found("Z", 2)), (None, None));
        assert_eq!(start_of_ended("", Pid::from_raw(1)), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(start_of_ended(&own, Pid::parent()), None);
    }
}
