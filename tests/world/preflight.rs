//! What a world needs from the machine.

use std::path::Path;

use nix::unistd::Uid;

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("iptables-restore", "iptables"),
    ("wg", "wireguard-tools"),
    ("tcpdump", "tcpdump"),
    ("setpriv", "util-linux"),
    ("bash", "bash"),
    ("curl", "curl"),
    ("openssl", "openssl"),
];

/// Ends the test with one clear sentence where something is lacking.
pub fn check() {
    assert!(
        Uid::effective().is_root(),
        "these tests make network namespaces and need root: run them by sudo, or in a privileged container"
    );
    for (program, package) in PROGRAMS {
        assert!(which::which(program).is_ok(), "these tests need the program {program}: install the package {package}");
    }
    assert!(
        Path::new("/dev/net/tun").exists(),
        "these tests need /dev/net/tun: load the module tun, or give the container the device"
    );
    assert!(Path::new("/dev/shm").is_dir(), "these tests need a tmpfs at /dev/shm: mount one");
}
