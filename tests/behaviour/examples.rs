//! The README shows what a start logs and what `status` and `doctor` print. That is real output,
//! written by `scripts/readme-examples` and compared here, but for what differs each time.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use harness::log_lines::FORWARDING;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;

use crate::PROGRAM;

/// Set by the script: write the README's examples instead of comparing them.
const WRITE: &str = "WRITE_README_EXAMPLES";

/// What is seen of `docker logs` without scrolling.
const SCREEN_LINES: usize = 24;
const SCREEN_COLUMNS: usize = 80;

/// A fenced block of the README, after a comment that names it.
struct Example {
    name: &'static str,
    text: String,
}

#[test]
fn the_readme_shows_what_is_printed() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("PORT_FORWARDING", "1")
        // As the image has it.
        .bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft")
        .start();
    let line = container.wait_for_log(FORWARDING, SOON).text;
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
    // A client that has its port.
    let any = (Ipv4Addr::UNSPECIFIED, port.expect("a port"));
    let _client = world.client().run(|| TcpListener::bind(any)).unwrap();
    // It comes a second later.
    wait_until("the exit address is known", SOON, || {
        printed(&container, "status").contains("exit address")
    });
    let examples = [
        Example {
            name: "log",
            text: without_machine(&container.logs()),
        },
        Example {
            name: "status",
            text: printed(&container, "status"),
        },
        Example {
            name: "doctor",
            text: printed(&container, "doctor"),
        },
    ];
    let log = &examples[0].text;
    assert!(
        log.lines().count() <= SCREEN_LINES,
        "a healthy start does not fit on a screen: {log}"
    );
    for line in log.lines() {
        assert!(line.chars().count() <= SCREEN_COLUMNS, "{line}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut readme = fs::read_to_string(&path).unwrap();
    for Example { name, text } in examples {
        let shown = block(&readme, name);
        if std::env::var_os(WRITE).is_some() {
            readme = readme.replace(&shown, &text);
        } else {
            let (shown, text) = (form(&shown), form(&text));
            assert_eq!(
                shown, text,
                "{name}: scripts/readme-examples writes it anew"
            );
        }
    }
    fs::write(path, readme).unwrap();
}

fn printed(container: &Container, verb: &str) -> String {
    container.shell(&format!("wireguard-pia {verb} 2>&1"))
}

/// Without what only kernels that lack WireGuard have said.
fn without_machine(log: &str) -> String {
    let is_shown = |line: &&str| !line.starts_with("[wg-quick]");
    log.lines()
        .filter(is_shown)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The block's text, with a newline at its end.
#[track_caller]
fn block(readme: &str, name: &str) -> String {
    let head = format!("<!-- example: {name} -->\n\n```text\n");
    let (_, rest) = readme.split_once(&head).expect("the example is there");
    let (text, _) = rest.split_once("```\n").expect("it ends");
    text.to_owned()
}

/// What is the same each time: keys and numbers are not, nor is what WireGuard has sent so far, nor
/// whose WireGuard it is.
fn form(text: &str) -> Vec<String> {
    // Long lines of a diagnosis go on under their beginning.
    let whole = text.replace(&format!("\n{:24}", ""), " ");
    let differs = [
        "  transfer:",
        "  latest handshake:",
        "traffic ",
        "wireguard-pia ",
        "ok       wireguard",
    ];
    let lines = whole
        .lines()
        .filter(|line| !differs.iter().any(|start| line.starts_with(start)));
    let is_fixed = |word: &&str| !word.contains(|c: char| c.is_ascii_digit()) && word.len() < 40;
    lines
        .map(|line| {
            line.split_whitespace()
                .filter(is_fixed)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}
