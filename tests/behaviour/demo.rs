//! The demonstration shows all that it promises, and a Ctrl-C at the terminal ends it in order.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::PROGRAM;

#[test]
fn ctrl_c_ends_it_in_order_with_all_of_it_seen() {
    let simulator = Path::new(PROGRAM)
        .with_file_name("examples")
        .join("simulator");
    assert!(
        simulator.exists(),
        "{} is missing: cargo build --example simulator",
        simulator.display()
    );
    // A terminal sends the signal to the whole group.
    let mut demo = Command::new(simulator)
        .args(["demo", PROGRAM])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let group = Pid::from_raw(i32::try_from(demo.id()).unwrap());
    let mut shown = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        if line.contains("connection from the internet") {
            killpg(group, Signal::SIGINT).unwrap();
        }
        shown.push(line);
    }
    assert!(demo.wait().unwrap().success(), "{shown:#?}");
    assert!(
        shown.iter().any(|line| line.contains("leaks: 0 packets")),
        "{shown:#?}"
    );
    let leftovers = std::fs::read_dir("/run/netns").unwrap().flatten();
    let its_own = format!("wp{}-", demo.id());
    assert!(
        leftovers
            .into_iter()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with(&its_own))
    );
}
