//! What people see on a terminal, and programs in a pipe do not.

use std::process::Output;

use harness::by_hand::TOKEN;
use harness::log_lines::UP;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::container::Container;

use crate::PROGRAM;

/// Both streams, as they come.
fn words(container: &Container, script: &str) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = container.exec(&["bash", "-c", script]);
    (status.code(), String::from_utf8(stdout).unwrap())
}

/// The same in a terminal of its own.
fn on_terminal(container: &Container, script: &str) -> (Option<i32>, String) {
    words(container, &format!("script -qec '{script}' /dev/null"))
}

#[test]
fn a_terminal_shows_what_renews_itself_and_a_pipe_does_not() {
    let world = World::new();
    // Before the network is closed.
    let container = world
        .container(PROGRAM)
        .file(TOKEN, world.pia.issue_token())
        .command(["sleep", "infinity"])
        .start();
    for far in [
        "wireguard-pia locations --ping --country CH",
        "LOC=\"fastest: swiss, austria\" wireguard-pia wg-gen -t /pia-shared/token -o /tmp/wg.conf",
    ] {
        let (status, shown) = on_terminal(&container, far);
        assert_eq!(status, Some(0), "{shown}");
        assert!(shown.contains("\rmeasured 1 of "), "{shown:?}");
        let (status, shown) = words(&container, &format!("{far} 2>&1"));
        assert_eq!(status, Some(0), "{shown}");
        assert!(!shown.contains("measured") && !shown.contains('\r'));
    }
    drop(container);

    let container = world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .start();
    container.wait_for_log(UP, SOON);

    let watch = "timeout --foreground -s INT --preserve-status 2.5 wireguard-pia status --watch";
    let (status, shown) = on_terminal(&container, watch);
    assert_eq!(status, Some(0), "{shown}");
    let looks: Vec<&str> = shown.split("\x1b[H").collect();
    assert!(looks.len() >= 3, "{shown:?}");
    assert_eq!(looks[0], "\x1b[?1049h\x1b[?25l");
    for look in &looks[1..] {
        assert!(look.starts_with("state         connected for"), "{look:?}");
        assert!(look.contains("received, "), "{look:?}");
    }
    // Nothing is ever wiped before it is written again.
    assert!(!shown.contains("\x1b[2J"));
    let (_, left) = shown.split_once("\x1b[?1049l").expect("it gives back");
    assert!(left.starts_with("state         connected"), "{left:?}");

    // Nothing changes, so there is one page; then something does.
    let then = format!("{{ sleep 0.7; kill -HUP 1; }} & {watch} 2>&1");
    let (status, shown) = words(&container, &then);
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains('\x1b'));
    assert!(
        !shown.starts_with('\n') && shown.contains("\n\nstate"),
        "{shown}"
    );
    let pages: Vec<&str> = shown.split("\n\n").collect();
    assert!((2..=4).contains(&pages.len()), "{shown}");
}
