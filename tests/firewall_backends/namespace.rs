//! A network namespace for one test, and iptables in it that fails as ordered.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

use nix::sched::{CloneFlags, unshare};
use wireguard_pia::firewall_internals::{Backend, CancellationToken, Firewall, Policy, Programs};

pub const MARK: u32 = 51820;
pub const BOTH: [Backend; 2] = [Backend::NfTables, Backend::Legacy];

/// A network namespace that this thread, and the commands that it runs, are in until it ends.
pub struct Namespace {
    pub directory: tempfile::TempDir,
}

impl Namespace {
    pub fn enter() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes a network namespace and needs root: run it by sudo"
        );
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Self::here()
    }

    /// The one that this thread is in already.
    pub fn here() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// What [`lacking`] refuses from now on.
    pub fn lack(&self, words: &str) {
        fs::write(self.directory.path().join("words"), words).unwrap();
    }

    pub fn open(&self, backend: Backend, first: &Policy) -> Firewall {
        Firewall::open(
            Some(backend),
            &self.bin(),
            Some(first),
            false,
            true,
            &CancellationToken::never(),
        )
        .unwrap()
    }
}

#[track_caller]
pub fn run(command: &str) -> String {
    let output = process::Command::new("bash")
        .args(["-c", command])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn iptables(backend: Backend) -> &'static str {
    match backend {
        Backend::NfTables => "iptables-nft",
        Backend::Legacy => "iptables-legacy",
    }
}

pub fn other(backend: Backend) -> Backend {
    match backend {
        Backend::NfTables => Backend::Legacy,
        Backend::Legacy => Backend::NfTables,
    }
}

/// Everything that iptables knows, without counters and comments.
pub fn saved(backend: Backend) -> String {
    let name = iptables(backend);
    run(&format!(
        "{name}-save 2>/dev/null | sed '/^#/d; s/ \\[.*//'; ip6{}-save 2>/dev/null | sed '/^#/d; \
         s/ \\[.*//'",
        name.trim_start_matches("ip")
    ))
}

/// Puts a program in the place of this one: it reads its input, does what `script` says, and goes
/// on as the real one.
pub fn install(namespace: &Namespace, programs: &mut Programs, name: &'static str, script: &str) {
    let path = namespace.directory.path().join(name);
    let real = programs.path(name).unwrap();
    // A program of many names goes by the one that it is called by.
    let real = match real.ends_with("xtables-legacy-multi") {
        true => format!("{} {name}", real.display()),
        false => real.display().to_string(),
    };
    let text = format!("#!/bin/bash\ninput=$(cat)\n{script}\nexec {real} \"$@\" <<<\"$input\"\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    programs.replace(name, path);
}

/// An iptables whose kernel refuses rules with one of `words` in them.
pub fn lacking(namespace: &Namespace, words: &str) -> Programs {
    let mut programs = Programs::find(Backend::NfTables, Path::new("/nonexistent")).unwrap();
    namespace.lack(words);
    let words = namespace.directory.path().join("words");
    let script = format!(
        "grep -qEf {} <<<\"$input\" && {{ echo refused >&2; exit 2; }}",
        words.display()
    );
    for name in ["iptables-restore", "ip6tables-restore"] {
        install(namespace, &mut programs, name, &script);
    }
    programs
}
