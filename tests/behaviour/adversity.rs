//! The machine fails: its disks, its memory, its files. In each case nothing leaves outside the
//! tunnel, the log says what is wrong and what to do, and the program goes on as soon as it can.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use harness::log_lines::{CLOSED, FORWARDING, RECONNECTED, UP};
use harness::simulator::faults::Api;
use harness::simulator::server::TUNNEL_DNS;
use harness::simulator::{API_HOST, LIST_HOST};
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::{CGROUP, Recipe};
use harness::world::watch::{Watch, ours};
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// What becomes of a start.
enum End {
    Connected,
    /// It is tried again, in vain.
    Blocked,
    /// It is tried again until the user does this in the container.
    BlockedUntil(&'static str),
}

/// A start in trouble says what it is and how to cure it, ends like this, and leaks nothing.
#[track_caller]
fn a_start(in_trouble: impl Fn(Recipe) -> Recipe, says: &[&str], end: End) {
    a_start_in(&World::new(), in_trouble, says, end);
}

#[track_caller]
fn a_start_in(world: &World, in_trouble: impl Fn(Recipe) -> Recipe, says: &[&str], end: End) {
    let watch = Watch::begin(world);
    let container = in_trouble(recipe(world)).start();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    for text in says {
        container.wait_for_log(text, SOON);
    }
    if !matches!(end, End::Connected) {
        container.wait_for_log("Trying again in", SOON);
        Watch::many_probes_are_dropped(world);
    }
    if let End::BlockedUntil(cure) = end {
        container.shell(cure);
        container.signal(Signal::SIGHUP);
    }
    if !matches!(end, End::Blocked) {
        container.wait_for_log(UP, SOON);
        world.assert_carries();
    }
    Watch::many_probes_are_dropped(world);
    assert!(container.stop().status.success());
    Watch::many_probes_are_dropped(world);
    watch.expect_only(closed, None, ours(world));
}

fn recipe(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

// Disks and files.

/// A disk without room, mounted there.
fn full(path: &'static str) -> impl Fn(Recipe) -> Recipe {
    move |recipe| {
        let fill = format!("head -c 4096 /dev/zero >{path}/all");
        recipe.tmpfs(path, "size=4k").first(&fill)
    }
}

#[test]
fn nothing_leaks_with_a_full_disk_at_pia() {
    let says = ["writing /pia/.token: No space left", "make room there"];
    a_start(full("/pia"), &says, End::Connected);
}

#[test]
fn nothing_leaks_with_a_full_disk_at_run() {
    let says = [
        "status and health check do not know of this life: writing /run/wireguard-pia/status.json",
        "Fatal error: writing /run/wireguard-pia/wg-quick.bash: No space left",
        "make room there",
    ];
    // Room for all of its files.
    let cure = End::BlockedUntil("rm /run/all; rm /run/wireguard-pia/status.json");
    let small = |recipe: Recipe| {
        let fill = "head -c 64k /dev/zero >/run/all";
        recipe.tmpfs("/run", "size=64k").first(fill)
    };
    a_start(small, &says, cure);
}

#[test]
fn nothing_leaks_with_a_full_disk_at_etc_wireguard() {
    let says = [
        "writing /etc/wireguard/wg0.conf: No space left",
        "make room there",
    ];
    let cure = End::BlockedUntil("rm /etc/wireguard/all");
    a_start(full("/etc/wireguard"), &says, cure);
}

#[test]
fn nothing_leaks_with_a_read_only_pia() {
    let read_only = |recipe: Recipe| recipe.tmpfs("/pia", "ro");
    let says = [
        "writing /pia/.token: Read-only",
        "`volumes: [pia:/pia]`, without `:ro`",
    ];
    a_start(read_only, &says, End::Connected);
}

#[test]
fn nothing_leaks_where_run_cannot_be_made() {
    let read_only = |recipe: Recipe| recipe.tmpfs("/run", "ro");
    let says = ["creating /run/wireguard-pia: Read-only", "`tmpfs: [/run]`"];
    a_start(read_only, &says, End::Blocked);
}

#[test]
fn nothing_leaks_where_resolv_conf_cannot_be_read() {
    let unreadable = |recipe: Recipe| {
        let recipe = recipe.cap_drop("dac_override");
        recipe.first("chmod 0 /etc/resolv.conf")
    };
    let says = [
        "Fatal error: reading /etc/resolv.conf: Permission denied",
        "add `cap_add: [DAC_OVERRIDE]`",
    ];
    let cure = End::BlockedUntil("chmod 644 /etc/resolv.conf");
    a_start(unreadable, &says, cure);
}

/// "no more than 1 MiB of either" (docs/security.md)
#[test]
fn nothing_leaks_where_resolv_conf_has_no_end() {
    let endless = |recipe: Recipe| {
        let recipe = recipe.memory(200 << 20);
        recipe.first("cp /etc/resolv.conf /run/former; truncate -s 3G /etc/resolv.conf")
    };
    let says = [
        "Fatal error: reading /etc/resolv.conf: it is larger than 1 MiB",
        "write it anew",
    ];
    let cure = End::BlockedUntil("cat /run/former >/etc/resolv.conf");
    a_start(endless, &says, cure);
}

#[test]
fn nothing_leaks_where_the_hosts_file_has_no_end() {
    let endless = |recipe: Recipe| {
        let recipe = recipe.memory(200 << 20);
        recipe.first("truncate -s 3G /etc/hosts")
    };
    let says = ["reading /etc/hosts: it is larger than 1 MiB"];
    a_start(endless, &says, End::Connected);
}

// Processes and memory.

/// Where the kernel has WireGuard, what is left to be started does with little.
#[track_caller]
fn a_start_without_means(limited: impl Fn(Recipe) -> Recipe, advice: &str) {
    let world = World::new();
    if world.kernel_has_wireguard() {
        a_start_in(&world, limited, &[], End::Connected);
    } else {
        a_start_in(&world, limited, &["Fatal error: ", advice], End::Blocked);
    }
}

/// "`pids_limit: 10`" (docs/security.md)
#[test]
fn nothing_leaks_with_a_limit_of_ten_processes() {
    a_start_without_means(|recipe| recipe.pids_limit(10), "`pids_limit`");
}

/// "a search that gets no thread is tried again" (docs/security.md)
#[test]
fn nothing_leaks_where_a_reconnect_gets_no_thread() {
    let world = World::new();
    let watch = Watch::begin(&world);
    let container = recipe(&world).pids_limit(1000).connect();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    let asked = || {
        let records = world.pia.records();
        let names = records.questions().into_iter();
        // The probes ask for another name.
        let ours = names.filter(|one| {
            one.through.is_none() && [API_HOST, LIST_HOST].contains(&one.name.as_str())
        });
        let of = |api| records.of(api).len();
        (ours.count(), of(Api::List), of(Api::Token))
    };
    let before = asked();
    container.update_limits("1");
    container.signal(Signal::SIGHUP);
    container.wait_for_log("search cannot be started", SOON);
    container.wait_for_log("raise its `pids_limit`", SOON);
    Watch::many_probes_are_dropped(&world);
    container.update_limits("1000");
    container.wait_for_log(RECONNECTED, LATER);
    world.assert_carries();
    assert_eq!(asked(), before, "what was learnt is not lost");
    watch.expect_only(closed, None, ours(&world));
}

/// "what watches the server, and what keeps the port, are started as soon as they get one"
/// (docs/security.md)
#[test]
fn what_gets_no_thread_after_a_search_is_started_when_it_gets_one() {
    const TASKS: [&str; 3] = ["endpoint", "monitor", "port-forward"];
    let world = World::new();
    // The search asks it about the old tunnel, and goes on when the test says so.
    let probe = "[ -p /pia/hold ] || exit 0; echo >/pia/asked; read -r _ </pia/hold";
    let container = recipe(&world)
        .env("LOC", "nl_amsterdam")
        .env("PORT_FORWARDING", "1")
        .env("PORT_REBIND_INTERVAL", "1")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1000")
        .script("/scripts/healthcheck.sh", probe)
        .pids_limit(1000)
        .connect();
    container.wait_for_log(FORWARDING, SOON);
    for server in world.pia.servers() {
        server.close_registration();
    }
    let hold = container.path("/pia/hold");
    container.shell("mkfifo /pia/hold");
    container.signal(Signal::SIGHUP);
    let asked = container.path("/pia/asked");
    wait_until("the old tunnel is asked", SOON, || asked.exists());
    container.update_limits("1");
    fs::write(&hold, "\n").expect("somebody reads it");
    for task in TASKS {
        container.wait_for_log(&format!("{task} cannot be started"), SOON);
    }
    fs::remove_file(&hold).expect("it is there");
    let refreshed = || world.pia.records().of(Api::BindPort).len();
    let before = refreshed();
    container.update_limits("1000");
    wait_until("the port is refreshed again", SOON, || refreshed() > before);
    assert_eq!(world.pia.bound_ports().len(), 1, "it is the same port");
    let names = format!("/proc/{}/task", container.pid());
    let runs = |task: &str| {
        let threads = fs::read_dir(&names).expect("the program runs");
        let names = threads.flatten().map(|thread| thread.path().join("comm"));
        names
            .flat_map(fs::read_to_string)
            .any(|name| name.trim() == task)
    };
    for task in TASKS {
        wait_until(task, SOON, || runs(task));
    }
}

/// "rules that could not be loaded are loaded when they can be" (docs/security.md)
#[test]
fn rules_that_get_neither_process_nor_thread_are_loaded_when_they_get_one() {
    let world = World::new();
    let container = recipe(&world).pids_limit(1000).connect();
    world.pia.hang(Api::AddKey);
    container.signal(Signal::SIGHUP);
    let said = |words| container.logs().matches(words).count();
    wait_until("the way to servers is open", SOON, || {
        said("Registering with") > 1
    });
    container.update_limits("1");
    container.wait_for_log("old tunnel again; keeping it", LATER);
    // At the end of the attempt, and at the end of the search.
    wait_until("in vain", SOON, || said("firewall: loading rules with") > 1);
    container.update_limits("1000");
    container.wait_for_log("that could not be loaded before are in force", SOON);
    // A WireGuard in user space that wants a thread meanwhile ends, and is started anew.
    world.pia.heal(Api::AddKey);
    wait_until("it carries", LATER, || {
        world.client().reaches((TUNNEL_DNS[0], 53))
    });
}

#[test]
fn nothing_leaks_where_memory_is_refused() {
    let limited = |recipe: Recipe| recipe.first("ulimit -v 100000");
    a_start_without_means(limited, "`mem_limit`");
}

/// A life that ends so leaves the network sealed, and the next one says so and is whole.
#[track_caller]
fn an_end(recipe: impl Fn(Recipe) -> Recipe, by: impl Fn(&Container), signal: Signal) {
    let world = World::new();
    let watch = Watch::begin(&world);
    let mut container = recipe(self::recipe(&world)).connect();
    let closed = container.wait_for_log(CLOSED, SOON).at;
    by(&container);
    assert_eq!(container.wait(SOON).signal(), Some(signal as i32));
    Watch::many_probes_are_dropped(&world);
    container.restart();
    container.wait_for_log("the life before this one was killed, or it crashed", SOON);
    container.wait_for_log(UP, SOON);
    world.assert_carries();
    assert!(container.stop().status.success());
    watch.expect_only(closed, None, ours(&world));
}

#[test]
fn nothing_leaks_through_a_crash() {
    // The first takes away the handler that Rust's library has for a stack that overflows.
    let crash = |container: &Container| {
        wait_until("it crashes", SOON, || {
            container.signal(Signal::SIGSEGV);
            container.exit_status().is_some()
        });
    };
    an_end(Recipe::shared_pid_namespace, crash, Signal::SIGSEGV);
}

#[test]
fn nothing_leaks_when_memory_runs_out() {
    let hog = |container: &Container| {
        // Of all in the container the kernel chooses the program.
        let badness = format!("/proc/{}/oom_score_adj", container.pid());
        fs::write(badness, "1000").unwrap();
        let hog = format!("echo 0 >{CGROUP}; head -c 512M /dev/zero | tail");
        container.shell(&hog);
    };
    an_end(|recipe| recipe.memory(128 << 20), hog, Signal::SIGKILL);
}
