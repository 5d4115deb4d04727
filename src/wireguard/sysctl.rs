//! Settings of the kernel that decide whether a tunnel can carry, read from `/proc/sys`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// What becomes of packets whose source is not routed the way they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReversePath {
    /// Strict reverse path filtering (`rp_filter` = 1) is in force on some interface: it drops
    /// them.
    pub strict: bool,
    /// `src_valid_mark` makes strict filtering obey the mark.
    pub obeys_mark: bool,
}

/// What is in force on the interfaces that there are, and will be on wg0.
pub fn reverse_path() -> ReversePath {
    ReversePath {
        strict: strict_in(Path::new("/proc/sys/net/ipv4/conf")),
        obeys_mark: is_on("conf/all/src_valid_mark"),
    }
}

/// Whether the namespace forwards packets between interfaces; gateway mode needs it.
pub fn forwards() -> bool {
    is_on("ip_forward")
}

fn is_on(name: &str) -> bool {
    fs::read_to_string(Path::new("/proc/sys/net/ipv4").join(name))
        .is_ok_and(|text| text.trim() == "1")
}

/// The kernel takes the larger of `all` and the interface's own value; interfaces yet to come start
/// with `default`.
fn strict_in(directory: &Path) -> bool {
    let value = |name: &OsStr| -> u8 {
        let text = fs::read_to_string(directory.join(name).join("rp_filter")).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    };
    let all = value("all".as_ref());
    let Ok(interfaces) = fs::read_dir(directory) else {
        return false;
    };
    let mut names = interfaces
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != "all" && name != "lo");
    names.any(|name| value(&name).max(all) == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(values: &[(&str, &str)]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in values {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::write(directory.path().join(name).join("rp_filter"), value).unwrap();
        }
        strict_in(directory.path())
    }

    #[test]
    fn the_larger_value_holds() {
        assert!(strict(&[
            ("all", "1\n"),
            ("default", "0\n"),
            ("eth0", "0\n")
        ]));
        assert!(strict(&[("all", "0\n"), ("eth0", "1\n")]));
        assert!(strict(&[("all", "0\n"), ("default", "1\n")]));
        assert!(!strict(&[
            ("all", "2\n"),
            ("default", "1\n"),
            ("eth0", "1\n")
        ]));
        assert!(!strict(&[("all", "0\n"), ("lo", "1\n"), ("eth0", "2\n")]));
        assert!(!strict(&[]));
    }
}
