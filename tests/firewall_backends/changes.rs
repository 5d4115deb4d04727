//! A load is over when the kernel has put it in force, though the program that made it runs on, and
//! that program makes the next one.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use wireguard_pia::firewall_internals::{Backend, Firewall, Programs};
use wireguard_pia::parser_internals::nf_tables::CommitListener;

use crate::namespace::{Namespace, run, saved};
use crate::rules::{bootstrap, closed, connected};

/// An `nft` that changes what it is told to, and goes on.
struct Nft(Child);

impl Nft {
    fn start() -> Self {
        let mut command = Command::new("nft");
        command.arg("-i").stdin(Stdio::piped());
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn change(&mut self, text: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{text}").unwrap();
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SOON: Duration = Duration::from_secs(20);

/// Waits until this is listed.
#[track_caller]
fn wait_for(listed: &str) {
    let begun = Instant::now();
    while !run("nft list ruleset").contains(listed) {
        assert!(begun.elapsed() < SOON, "{listed}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_program_has_changed_is_heard_while_it_runs_on() {
    let _namespace = Namespace::enter();
    let commits = CommitListener::listen().unwrap();
    let (mut own, mut other) = (Nft::start(), Nft::start());
    let (ended, _running) = io::pipe().unwrap();
    let pid = own.0.id();
    let (heard, told) = mpsc::channel();
    thread::spawn(move || {
        let tables = ["filter", "mangle"].map(str::to_owned);
        heard.send(commits.hear(pid, &tables, ended.as_fd(), SOON))
    });
    other.change("add table ip filter; add table ip mangle; add chain ip mangle others");
    wait_for("chain others");
    own.change("add chain ip filter x");
    own.change("add table ip nat");
    wait_for("table ip nat");
    assert!(told.try_recv().is_err());
    own.change("add chain ip mangle x");
    assert_eq!(told.recv_timeout(SOON), Ok(true));
    wait_for("chain x");
    assert!(own.0.try_wait().unwrap().is_none());
}

#[test]
fn a_program_that_ends_without_a_change_is_not_waited_for() {
    let _namespace = Namespace::enter();
    let commits = CommitListener::listen().unwrap();
    let (ended, running) = io::pipe().unwrap();
    drop(running);
    assert!(!commits.hear(1, &["filter".to_owned()], ended.as_fd(), SOON));
}

/// Rules that are loaded by programs whose process ids are noted.
struct Noted {
    namespace: Namespace,
    firewall: Firewall,
}

impl Noted {
    fn open() -> Self {
        let namespace = Namespace::enter();
        let mut programs = Programs::find(Backend::NfTables, Path::new("/nonexistent")).unwrap();
        let path = namespace.directory.path().join("iptables-restore");
        let real = programs.path("iptables-restore").unwrap().display();
        let notes = namespace.directory.path().join("notes");
        let text = format!(
            "#!/bin/bash\necho $$ >>{}\nexec {real} \"$@\"\n",
            notes.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        programs.replace("iptables-restore", path);
        let firewall = Firewall::new(programs, &namespace.bin(), false);
        let firewall = Firewall::open_any(vec![firewall], Some(&closed())).unwrap();
        Self {
            namespace,
            firewall,
        }
    }

    /// Of the programs that ran so far.
    fn programs(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.namespace.directory.path().join("notes")).unwrap();
        notes.lines().map(str::to_owned).collect()
    }

    /// Waits until the last of them is gone.
    #[track_caller]
    fn wait_for_the_end(&self) {
        let last = self.programs().pop().unwrap();
        let begun = Instant::now();
        while Path::new("/proc").join(&last).exists() {
            assert!(begun.elapsed() < SOON, "{last} runs on");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What others change meanwhile stays, and what they take away is no matter.
#[test]
fn loads_that_follow_each_other_are_made_by_one_program() {
    let mut noted = Noted::open();
    noted.firewall.apply(&bootstrap()).unwrap();
    run("iptables-nft -A INPUT -s 192.0.2.99 -j ACCEPT; iptables-nft -A PIA_OUTPUT -j ACCEPT");
    noted.firewall.apply(&connected()).unwrap();
    run("iptables-nft -F PIA_INPUT; iptables-nft -t nat -F PIA_PREROUTING");
    noted.firewall.apply(&closed()).unwrap();
    noted.firewall.apply(&connected()).unwrap();
    assert_eq!(noted.programs().len(), 1);
    let theirs = "-A INPUT -s 192.0.2.99/32 -j ACCEPT\n";
    let loaded = saved(Backend::NfTables);
    assert!(loaded.contains(theirs), "{loaded}");
    // It is kept for a second.
    noted.wait_for_the_end();
    noted.firewall.apply(&bootstrap()).unwrap();
    noted.firewall.apply(&connected()).unwrap();
    assert_eq!(noted.programs().len(), 2);
    assert_eq!(saved(Backend::NfTables), loaded);
    let namespace = Namespace::enter();
    let mut other = namespace.open(Backend::NfTables, &closed());
    other.apply(&connected()).unwrap();
    assert_eq!(saved(Backend::NfTables), loaded.replace(theirs, ""));
}

#[test]
fn a_program_that_dies_while_it_is_kept_takes_nothing_with_it() {
    let mut noted = Noted::open();
    run(&format!("kill -KILL {}", noted.programs().pop().unwrap()));
    noted.firewall.apply(&connected()).unwrap();
    assert_eq!(noted.programs().len(), 2);
    let rules = saved(Backend::NfTables);
    for once in ["-A INPUT -j PIA_INPUT\n", "-o wg0 -j MASQUERADE\n"] {
        assert!(rules.contains(once), "{rules}");
    }
}
