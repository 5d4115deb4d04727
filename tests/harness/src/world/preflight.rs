//! What a world needs from the machine; `scripts/setup` installs the programs.

use std::path::Path;

use nix::unistd::Uid;

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 15] = [
    ("bash", "bash"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("ip", "iproute2"),
    ("iptables-restore", "iptables"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("pgrep", "procps"),
    ("ping", "iputils-ping"),
    ("setpriv", "util-linux"),
    ("ss", "iproute2"),
    ("strace", "strace"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("wg", "wireguard-tools"),
];

/// Ends the test with one clear sentence where something is lacking.
pub fn check() {
    assert!(
        Uid::effective().is_root(),
        "these tests make network namespaces and need root: run them by sudo, or in a privileged \
         container"
    );
    for (program, package) in PROGRAMS {
        assert!(
            which::which(program).is_ok(),
            "these tests need the program {program}: install the package {package}"
        );
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
