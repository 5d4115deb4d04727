//! What cannot be done about the port at the moment is done later, and nobody is told before.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use nix::mount::{MsFlags, mount};

use super::forwarding;
use super::told::{agreed_port, all_agree_that_there_is_none};

/// While this file is there, loads that match the pattern in it fail.
const TROUBLE: &str = "/pia/trouble";
/// A rule that lets a forwarded port in, by tcp.
const WAY_IN: &str = "-A PIA_INPUT -i wg0 .*--dport";
const PORT_FILE: &str = "/pia-shared/port.dat";

/// A container with an iptables that has trouble at times.
fn troubled(world: &World) -> Recipe {
    let restore = format!(
        r#"#!/bin/bash
input=$(cat)
pattern=$(cat {TROUBLE} 2>/dev/null)
if [[ -n $pattern ]]; then
	[[ $pattern == "!"* ]] && ! grep -qe "${{pattern:1}}" <<<"$input" && exit 4
	[[ $pattern != "!"* ]] && grep -qe "$pattern" <<<"$input" && exit 4
fi
exec -a iptables-nft-restore /usr/sbin/xtables-nft-multi "$@" <<<"$input"
"#
    );
    forwarding(world)
        .env("NFTABLES", "1")
        .script("/usr/sbin/iptables-nft-restore", restore.as_bytes())
}

fn trouble(container: &Container, pattern: &str) {
    fs::write(container.path(TROUBLE), pattern).expect("writable");
}

fn end_trouble(container: &Container) {
    fs::remove_file(container.path(TROUBLE)).expect("there was trouble");
}

/// The words of the health check, if it is unwell.
fn unwell(container: &Container) -> Option<String> {
    let checked = container.exec(&["wireguard-pia", "healthcheck"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    (!checked.status.success()).then_some(said)
}

#[test]
fn a_port_is_told_to_nobody_before_its_way_in_is_open() {
    let world = World::new();
    let container = troubled(&world)
        .file(TROUBLE, WAY_IN)
        // So that it is not the next refresh that mends it.
        .env("PORT_REBIND_INTERVAL", "900")
        .start();
    container.wait_for_log("cannot be opened", SOON);
    all_agree_that_there_is_none(&world, &container);
    assert!(unwell(&container).is_some_and(|why| why.contains("cannot be opened")));
    assert!(!container.logs().contains("Forwarding on port"));
    end_trouble(&container);
    agreed_port(&world, &container);
    assert_eq!(unwell(&container), None);
}

#[test]
fn a_withdrawn_ports_way_in_is_closed_as_soon_as_that_can_be_done() {
    let world = World::new();
    let container = troubled(&world).start();
    let port = agreed_port(&world, &container);
    trouble(&container, &format!("!{WAY_IN}"));
    world.pia.port_unauthorized();
    container.wait_for_log(&format!("former port {port} cannot be closed"), SOON);
    assert_eq!(container.read(PORT_FILE), None, "others are told at once");
    container.wait_for_log("[port-down-script] down", SOON);
    end_trouble(&container);
    all_agree_that_there_is_none(&world, &container);
    world.pia.forward_ports();
    agreed_port(&world, &container);
}

#[test]
fn a_port_file_that_somebody_deletes_or_changes_is_written_again() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    fs::remove_file(container.path(PORT_FILE)).expect("it is there");
    assert_eq!(agreed_port(&world, &container), port);
    fs::write(container.path(PORT_FILE), "1\n").expect("writable");
    assert_eq!(agreed_port(&world, &container), port);
    let scripts = container.logs().matches("[port-script]").count();
    assert_eq!(scripts, 1, "for hooks nothing has changed");
}

/// "A port file that somebody deletes or changes is written again within a minute" (README.md)
#[test]
fn a_port_file_that_somebody_deletes_is_missed_before_the_next_refresh() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_REBIND_INTERVAL", "900")
        .start();
    let port = agreed_port(&world, &container);
    fs::remove_file(container.path(PORT_FILE)).expect("it is there");
    let written = format!("{port}\n");
    wait_until("the file is back", Duration::from_secs(120), || {
        container.read(PORT_FILE).as_deref() == Some(&written)
    });
}

/// A folder that is a mount of its own.
fn volume(world: &World) -> PathBuf {
    let folder = world.files().directory.join("volume");
    fs::create_dir(&folder).expect("a new folder");
    mount(
        Some("tmpfs"),
        &folder,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .expect("we are root");
    folder
}

fn remount(folder: &PathBuf, flags: MsFlags) {
    let flags = MsFlags::MS_REMOUNT | flags;
    mount(None::<&str>, folder, None::<&str>, flags, None::<&str>).expect("it is mounted");
}

#[test]
fn a_volume_that_is_read_only_for_a_while_makes_it_unhealthy_until_the_file_is_written() {
    let world = World::new();
    let folder = volume(&world);
    remount(&folder, MsFlags::MS_RDONLY);
    // The file system alone, whose state is the same at each place where it is mounted.
    remount(&folder, MsFlags::MS_BIND);
    let container = forwarding(&world)
        .env("PORT_REBIND_INTERVAL", "900")
        .bind(&folder, "/pia-shared")
        .start();
    container.wait_for_log("Forwarding on port ", SOON);
    container.wait_for_log("PORT_FILE: ", SOON);
    wait_until("the health check says why", SOON, || {
        unwell(&container).is_some_and(|why| why.contains("Read-only file system"))
    });
    let file = folder.join("port.dat");
    assert!(!file.exists());
    remount(&folder, MsFlags::empty());
    wait_until("the file is written", SOON, || {
        fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
    });
    wait_until("healthy again", SOON, || unwell(&container).is_none());
    drop(container);
    nix::mount::umount2(&folder, nix::mount::MntFlags::MNT_DETACH).expect("it is mounted");
}
