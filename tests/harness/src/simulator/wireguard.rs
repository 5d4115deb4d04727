//! The WireGuard interface of a VPN server: the kernel's if it has one, else wireguard-go's.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::netns::{Namespace, feed};

/// An interface with a key of its own and no peers.
#[derive(Debug)]
pub struct Interface {
    name: String,
    namespace: Arc<Namespace>,
    public_key: String,
}

impl Interface {
    /// `name` must be unique on the machine: wireguard-go's control sockets share a directory.
    pub fn start(namespace: &Arc<Namespace>, name: &str, port: u16) -> Self {
        if kernel_has_wireguard() {
            namespace.ip(format_args!("link add {name} type wireguard"));
        } else {
            start_wireguard_go(namespace, name);
        }
        let key: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let mut interface = Self {
            name: name.to_owned(),
            namespace: Arc::clone(namespace),
            public_key: String::new(),
        };
        let port = port.to_string();
        let arguments = ["listen-port", &port, "private-key", "/dev/stdin"];
        interface.set(&arguments, &BASE64_STANDARD.encode(key));
        let shown = interface.wg(&["show", name, "public-key"], "");
        interface.public_key = shown.trim().to_owned();
        interface
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Adds a peer, and in the same step removes the one it takes the place of.
    pub fn add_peer(&self, key: &str, address: Ipv4Addr, instead_of: Option<&str>) {
        let allowed = format!("{address}/32");
        let mut arguments = vec!["peer", key, "allowed-ips", &allowed];
        if let Some(former) = instead_of.filter(|former| *former != key) {
            arguments.extend(["peer", former, "remove"]);
        }
        self.set(&arguments, "");
    }

    pub fn remove_peers(&self, keys: &[String]) {
        let arguments = keys.iter().flat_map(|key| ["peer", key, "remove"]);
        self.set(&arguments.collect::<Vec<_>>(), "");
    }

    /// The latest handshake with this peer in seconds since 1970, if there was any.
    pub fn latest_handshake(&self, key: &str) -> Option<u64> {
        let shown = self.wg(&["show", &self.name, "latest-handshakes"], "");
        let line = shown.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok().filter(|seconds| *seconds > 0)
    }

    fn set(&self, arguments: &[&str], input: &str) {
        self.wg(&[&["set", &self.name], arguments].concat(), input);
    }

    fn wg(&self, arguments: &[&str], input: &str) -> String {
        self.namespace
            .run(|| feed(Command::new("wg").args(arguments), input))
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // wireguard-go ends when its control socket is gone; a kernel interface ends with its
        // namespace.
        let _ = fs::remove_file(control_socket(&self.name));
    }
}

fn kernel_has_wireguard() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let name = format!("wt{}", std::process::id());
        let quietly = |verb: &[&str]| {
            let ip = Command::new("ip").args(verb).stderr(Stdio::null()).status();
            ip.is_ok_and(|status| status.success())
        };
        let added = quietly(&["link", "add", &name, "type", "wireguard"]);
        added && quietly(&["link", "del", &name])
    })
}

fn start_wireguard_go(namespace: &Namespace, name: &str) {
    // It goes to the background by itself once its interface and control socket are there.
    let status = namespace.run(|| {
        Command::new("wireguard-go")
            .arg(name)
            .env("LOG_LEVEL", "silent")
            .env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .status()
    });
    let status = status.unwrap_or_else(|error| {
        panic!(
            "cannot start wireguard-go: {error}: this kernel has no WireGuard: install wireguard-go"
        )
    });
    assert!(
        status.success(),
        "wireguard-go {name}: {status}: is there a /dev/net/tun?"
    );
}

fn control_socket(name: &str) -> PathBuf {
    PathBuf::from("/var/run/wireguard")
        .join(name)
        .with_extension("sock")
}
