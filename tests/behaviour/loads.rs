//! Loads of rules that fail in passing, at each place of a life: in the end it is connected,
//! sealed, and what it says is true.

use std::fs;
use std::thread;

use harness::log_lines::{CLOSED, FORWARDING, RECONNECTED, UP};
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use harness::world::watch::{Watch, ours};
use nix::sys::signal::Signal;

use crate::PROGRAM;

const BACKENDS: [&str; 2] = ["nft", "legacy"];
const WAYS: [&str; 3] = ["exit 1", "exit 4", "kill -KILL $$"];
/// One more, and a load counts as one that failed.
const MAX_TIMES: usize = 4;
/// More than all tries of a load.
const LONG: usize = 1000;
/// What loads at these places hold, and what they do not.
const PLACES: [(&str, &str, &str); 6] = [
    ("any", ".", "^$"),
    ("candidates", CANDIDATES, "^$"),
    ("connected", "-o wg0 -j ACCEPT", "^$"),
    ("narrowed", "-o wg0 -j ACCEPT", CANDIDATES),
    ("port", "-i wg0 -p tcp", "^$"),
    ("wg-quick", "wg-quick", "^$"),
];
const CANDIDATES: &str = "-p tcp .*--dport 1337 ";

/// A life in which loads can fail.
struct Life {
    world: World,
    container: Container,
    backend: &'static str,
}

impl Life {
    fn new(backend: &'static str, how: &str) -> Self {
        let world = World::new();
        let nf_tables = if backend == "nft" { "1" } else { "0" };
        let mut recipe = world
            .container(PROGRAM)
            .credentials()
            .env("LOC", "swiss")
            .env("PORT_FORWARDING", "1")
            .env("NFTABLES", nf_tables);
        for family in ["iptables", "ip6tables"] {
            recipe = failing(recipe, &format!("{family}-{backend}-restore"), how);
            // Of wg-quick; with legacy it has the other one.
            recipe = failing(recipe, &format!("{family}-restore"), how);
        }
        let container = recipe.create();
        Self {
            world,
            container,
            backend,
        }
    }

    /// The next loads at this place fail, so many times.
    fn trouble(&self, place: &str, times: usize) {
        let folder = self.container.path("/run/trouble").join(place);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..times {
            fs::write(folder.join(number.to_string()), "").unwrap();
        }
    }

    /// All of the trouble has happened.
    #[track_caller]
    fn no_trouble_is_left(&self) {
        for (place, _, _) in PLACES {
            let left = fs::read_dir(self.container.path("/run/trouble").join(place));
            let left = left.map_or(0, Iterator::count);
            assert_eq!(left, 0, "{place}");
        }
    }

    /// The rules in force, without what differs from life to life.
    fn rules(&self) -> Vec<String> {
        let save = |family| self.world.look(&format!("{family}-{}-save", self.backend));
        let text = ["iptables", "ip6tables"].map(save).concat();
        let rules = text.lines().filter(|line| !line.starts_with('#'));
        rules.map(without_numbers).collect()
    }

    /// Connected, sealed, and what it says is true.
    #[track_caller]
    fn is_whole(&self) {
        self.world.assert_carries();
        let healthy = || {
            let checked = self.container.exec(&["wireguard-pia", "healthcheck"]);
            checked.status.success()
        };
        wait_until("healthy", SOON, healthy);
        let ports = self.world.pia.bound_ports();
        let status = self.container.shell("wireguard-pia status --json");
        let says = |port| status.contains(&format!("\"number\": {port},"));
        assert!(ports.iter().any(|bound| says(bound.port)), "{status}");
        assert!(status.contains("\"state\": \"connected\""), "{status}");
        assert!(status.contains("\"not_blocked\": null"), "{status}");
    }
}

/// Puts a program in front of this one that fails as the files in `/run/trouble` say.
fn failing(recipe: Recipe, name: &str, how: &str) -> Recipe {
    let mut script = String::from("#!/bin/bash\nshopt -s nullglob\ninput=$(cat)\n");
    for (place, like, unlike) in PLACES {
        script += &format!(
            "grep -qe '{like}' <<<\"$input\" && ! grep -qe '{unlike}' <<<\"$input\" &&\n\
             for failure in /run/trouble/{place}/*; do\n\
             rm \"$failure\" 2>/dev/null && {{ echo trouble >&2; {how}; }}\ndone\n"
        );
    }
    script += &format!("exec /usr/sbin/{name} \"$@\" <<<\"$input\"\n");
    recipe.script(format!("/usr/local/sbin/{name}"), script)
}

fn without_numbers(rule: &str) -> String {
    let rule = rule.split(" [").next().unwrap_or(rule);
    let words = rule.split(' ').map(|word| {
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if is_number { "N" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One life, with so many failures at each place; returns the rules while it was connected, and
/// after its end.
#[track_caller]
fn a_life(backend: &'static str, how: &str, times: usize) -> [Vec<String>; 2] {
    let mut life = Life::new(backend, how);
    // Probers are much work for the machine.
    let watch = (times == MAX_TIMES).then(|| Watch::begin(&life.world));
    for (place, _, _) in PLACES {
        life.trouble(place, times);
    }
    life.container.start();
    let closed = life.container.wait_for_log(CLOSED, SOON).at;
    life.container.wait_for_log(UP, LATER);
    life.container.wait_for_log(FORWARDING, SOON);
    life.is_whole();
    life.no_trouble_is_left();
    life.trouble("any", times);
    life.container.signal(Signal::SIGHUP);
    life.container.wait_for_log(RECONNECTED, LATER);
    life.is_whole();
    life.no_trouble_is_left();
    let connected = life.rules();
    life.trouble("any", times);
    assert!(life.container.stop().status.success());
    life.no_trouble_is_left();
    if let Some(watch) = watch {
        Watch::many_probes_are_dropped(&life.world);
        watch.expect_only(closed, None, ours(&life.world));
    }
    [connected, life.rules()]
}

fn loads_that_fail(backend: &'static str) {
    let expected = a_life(backend, "exit 1", 0);
    for how in WAYS {
        let lives: Vec<_> = (1..=MAX_TIMES)
            .map(|times| thread::spawn(move || a_life(backend, how, times)))
            .collect();
        for (times, life) in lives.into_iter().enumerate() {
            let rules = life.join().expect("a life without a fault");
            assert_eq!(rules, expected, "{backend}: {how}, {} times", times + 1);
        }
    }
}

#[test]
fn loads_that_fail_at_each_place_of_a_life_change_nothing_in_the_end_with_nf_tables() {
    loads_that_fail(BACKENDS[0]);
}

#[test]
fn loads_that_fail_at_each_place_of_a_life_change_nothing_in_the_end_with_legacy() {
    loads_that_fail(BACKENDS[1]);
}

/// It is over, after the log has said this so often that a minute would be no worse.
#[track_caller]
fn end_trouble(life: &Life, place: &str, said: &str, times: usize) {
    wait_until(&format!("{said:?}, {times} times"), LATER, || {
        life.container.logs().matches(said).count() >= times
    });
    let folder = life.container.path("/run/trouble").join(place);
    fs::remove_dir_all(folder).unwrap();
}

/// One life with trouble at each place that lasts longer than a load is tried again.
#[track_caller]
fn loads_that_fail_for_long(backend: &'static str, how: &str) {
    let [expected, _] = a_life(backend, how, 0);
    let mut life = Life::new(backend, how);
    let watch = Watch::begin(&life.world);
    life.trouble("any", LONG);
    life.container.start();
    let cut = life.container.wait_for_log("IPv6 is blocked by", SOON).at;
    wait_until("blocked", SOON, || {
        let status = life.container.shell("wireguard-pia status --json");
        status.contains("\"state\": \"blocked\"")
    });
    end_trouble(&life, "any", "firewall: no rules can be set", 2);
    life.trouble("connected", LONG);
    life.container.wait_for_log(CLOSED, LATER);
    end_trouble(&life, "connected", "firewall: loading rules with", 2);
    life.trouble("port", LONG);
    life.container.wait_for_log(UP, LATER);
    end_trouble(&life, "port", "the way in for port", 1);
    life.container.wait_for_log(FORWARDING, LATER);
    life.is_whole();
    assert!(!life.container.logs().contains("the life before this one"));
    life.trouble("any", LONG);
    life.container.signal(Signal::SIGHUP);
    end_trouble(&life, "any", "old tunnel again; keeping it", 1);
    life.is_whole();
    wait_until("the same rules", LATER, || life.rules() == expected);
    assert!(life.container.stop().status.success());
    Watch::many_probes_are_dropped(&life.world);
    watch.expect_only(cut, None, ours(&life.world));
}

#[test]
fn loads_that_fail_for_long_at_each_place_of_a_life_with_nf_tables() {
    loads_that_fail_for_long(BACKENDS[0], WAYS[0]);
}

#[test]
fn loads_that_fail_for_long_at_each_place_of_a_life_with_legacy() {
    loads_that_fail_for_long(BACKENDS[1], WAYS[2]);
}

/// What ends a reconnect is loaded with trouble, and in the end nothing but the tunnel is let out.
#[track_caller]
fn the_end_of_a_reconnect(prepare: impl Fn(&World), ends: &str, loads: usize) {
    for backend in BACKENDS {
        let [expected, _] = a_life(backend, WAYS[1], 0);
        let mut life = Life::new(backend, WAYS[1]);
        life.container.start();
        life.container.wait_for_log(FORWARDING, LATER);
        prepare(&life.world);
        life.trouble("narrowed", LONG);
        life.container.signal(Signal::SIGHUP);
        end_trouble(&life, "narrowed", "firewall: loading rules with", loads);
        life.container.wait_for_log(ends, LATER);
        wait_until("rules that were owed", LATER, || life.rules() == expected);
        life.is_whole();
    }
}

/// The tunnel has another endpoint by then.
#[test]
fn the_load_that_ends_a_reconnect_may_fail_for_long() {
    the_end_of_a_reconnect(|_| (), RECONNECTED, 1);
}

#[test]
fn the_load_that_ends_a_search_in_vain_may_fail_for_long() {
    let nobody_registers = |world: &World| {
        for server in world.pia.servers() {
            server.close_registration();
        }
    };
    the_end_of_a_reconnect(nobody_registers, "old tunnel again; keeping it", 2);
}

#[test]
fn what_a_stop_cannot_load_stays_closed() {
    for backend in BACKENDS {
        let mut life = Life::new(backend, WAYS[0]);
        let watch = Watch::begin(&life.world);
        life.container.start();
        let closed = life.container.wait_for_log(CLOSED, SOON).at;
        life.container.wait_for_log(UP, LATER);
        life.trouble("any", LONG);
        assert!(life.container.stop().status.success());
        Watch::many_probes_are_dropped(&life.world);
        watch.expect_only(closed, None, ours(&life.world));
    }
}
