//! What the kernel tells in `/proc` of the network that a thread is in.

use std::path::{Path, PathBuf};

/// Where the table is. It is this thread's, for a process may have threads in several namespaces;
/// Linux before 3.17 has only the process's.
pub fn path(name: &str) -> PathBuf {
    path_in(Path::new("/proc"), name)
}

fn path_in(proc: &Path, name: &str) -> PathBuf {
    let of_thread = proc.join("thread-self");
    let whose = if of_thread.exists() {
        of_thread
    } else {
        proc.join("self")
    };
    whose.join("net").join(name)
}

/// Whether this network has IPv6, however little of it.
pub fn has_ipv6() -> bool {
    path("if_inet6").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_thread_s_or_else_the_process_s() {
        assert!(path("tcp").starts_with("/proc/thread-self"));
        assert!(path("tcp").exists());
        let old = tempfile::tempdir().unwrap();
        let table = path_in(old.path(), "if_inet6");
        assert_eq!(table, old.path().join("self/net/if_inet6"));
    }
}
