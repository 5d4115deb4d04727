//! Leftovers of runs that were killed before they could clean up.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup;
use crate::netns;

/// Every name begins with this and the process id of the run.
pub const PREFIX: &str = "wp";

/// Overlay file systems need their upper layer outside `/`'s own file system: a tmpfs.
const TMPFS: &str = "/dev/shm";

/// Where a world of this prefix keeps its files.
pub fn directory(prefix: &str) -> PathBuf {
    Path::new(TMPFS).join(prefix)
}

/// Removes what dead runs left behind: processes, namespaces, files.
pub fn reap_stale() {
    let namespaces = netns::names(PREFIX)
        .into_iter()
        .filter(|name| is_stale(name));
    for namespace in namespaces {
        end_processes_in(&namespace);
        netns::remove(&namespace);
    }
    for directory in entries(TMPFS)
        .into_iter()
        .filter(|path| is_stale(&file_name(path)))
    {
        let _ = fs::remove_dir_all(directory);
    }
    for controller in ["", "pids", "memory"] {
        let groups = entries(&format!("{}/{controller}", cgroup::ROOT));
        for group in groups.iter().filter(|path| is_stale(&file_name(path))) {
            let _ = fs::remove_dir(group);
        }
    }
    for socket in entries("/var/run/wireguard") {
        let name = file_name(&socket);
        if name
            .strip_prefix('w')
            .is_some_and(|rest| is_stale(&format!("{PREFIX}{rest}")))
        {
            let _ = fs::remove_file(socket);
        }
    }
}

/// Whether a name has the form of ours and its run is over.
fn is_stale(name: &str) -> bool {
    let pid = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next());
    let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// Kills whatever still runs in a namespace.
pub fn end_processes_in(namespace: &str) {
    let Ok(place) = fs::metadata(Path::new("/run/netns").join(namespace)) else {
        return;
    };
    for process in entries("/proc") {
        let Ok(pid) = file_name(&process).parse() else {
            continue;
        };
        let there = fs::metadata(process.join("ns/net")).is_ok_and(|own| same(&own, &place));
        if there {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn entries(directory: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
