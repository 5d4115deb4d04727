//! A control group of its own for a container, of either version of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::waiting::{SOON, wait_until};

/// Where control groups are, all of them or a directory for each controller.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// A control group; dropping it removes it, after all that runs in it has ended.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
    /// The file with the limit.
    limit: PathBuf,
}

impl Cgroup {
    /// With this limit of this controller's, `pids` or `memory`.
    pub(super) fn make(name: &str, controller: &str, limit: &str) -> io::Result<Self> {
        let root = Path::new(ROOT);
        let of_controller = root.join(controller);
        let (parent, file) = if of_controller.is_dir() {
            let of_memory = controller == "memory";
            let file = if of_memory { "limit_in_bytes" } else { "max" };
            (of_controller, file)
        } else {
            let enabled = root.join("cgroup.subtree_control");
            fs::write(enabled, format!("+{controller}"))?;
            (root.to_owned(), "max")
        };
        let directory = parent.join(name);
        fs::create_dir(&directory)?;
        let group = Self {
            limit: directory.join(format!("{controller}.{file}")),
            directory,
        };
        group.set(limit)?;
        // Where there is swap, memory does not run out but in years.
        let swap = ["memory.swap.max", "memory.swappiness"];
        let swap = swap.map(|file| group.directory.join(file));
        for file in swap.iter().filter(|file| file.exists()) {
            fs::write(file, "0")?;
        }
        Ok(group)
    }

    /// Changes the limit.
    pub(super) fn set(&self, limit: &str) -> io::Result<()> {
        fs::write(&self.limit, limit)
    }

    /// What a process writes a 0 to, to join it.
    pub(super) fn members(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let gone = || fs::remove_dir(&self.directory).is_ok() || !self.directory.exists();
        if !std::thread::panicking() {
            wait_until("the control group is empty", SOON, gone);
        } else {
            gone();
        }
    }
}
