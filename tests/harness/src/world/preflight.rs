//! What a world needs from the machine; `scripts/setup` installs the programs.

use std::path::Path;

use nix::unistd::Uid;

/// The list from which `scripts/setup` installs them, too.
const PROGRAMS: &str = include_str!("../../../programs.txt");

/// Ends the test with one clear sentence where something is lacking.
pub fn check() {
    assert!(
        Uid::effective().is_root(),
        "these tests make network namespaces and need root: run them by sudo, or in a privileged \
         container"
    );
    for line in PROGRAMS.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [program, package, "world"] = words[..] {
            assert!(
                which::which(program).is_ok(),
                "these tests need the program {program}: install the package {package}"
            );
        }
    }
    assert!(
        Path::new("/dev/net/tun").exists(),
        "these tests need /dev/net/tun: load the module tun, or give the container the device"
    );
    assert!(
        Path::new("/dev/shm").is_dir(),
        "these tests need a tmpfs at /dev/shm: mount one"
    );
}
