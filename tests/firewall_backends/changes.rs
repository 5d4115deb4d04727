//! A load is over when the kernel has put it in force, though the program that made it runs on.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

const NOT_YET: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(20);

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
    other.change("add table ip filter; add table ip mangle");
    own.change("add table ip filter");
    own.change("add table ip nat");
    assert!(told.recv_timeout(NOT_YET).is_err());
    assert!(run("nft list tables").contains("table ip nat"));
    own.change("add table ip mangle; add chain ip mangle x");
    assert_eq!(told.recv_timeout(SOON), Ok(true));
    assert!(run("nft list chains").contains("chain x"));
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
