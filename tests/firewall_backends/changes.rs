//! A load is over when the kernel has put it in force, though the program that made it runs on.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use wireguard_pia::parser_internals::nf_tables::CommitListener;

use crate::namespace::{Namespace, run};

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
        heard.send(commits.hear(pid, &tables, ended.as_fd()))
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
    assert!(!commits.hear(1, &["filter".to_owned()], ended.as_fd()));
}
