//! Programs of this workspace that tests start, beside the one under test.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// What sends all the traffic that must not leave.
pub fn prober() -> PathBuf {
    static PROBER: OnceLock<PathBuf> = OnceLock::new();
    PROBER
        .get_or_init(|| build(&["--package", "prober", "--bin", "prober"]))
        .clone()
}

/// Has Cargo build a program, unless it is up to date, and says where it is: for tests of a
/// package Cargo builds that package's own program only.
fn build(target: &[&str]) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--message-format", "json"])
        .args(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start cargo: {error}"));
    assert!(
        output.status.success(),
        "cargo build {target:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut executables =
        messages.filter_map(|message: Value| Some(message["executable"].as_str()?.to_owned()));
    let last = executables.next_back();
    last.expect("Cargo names the program that it has built")
        .into()
}
