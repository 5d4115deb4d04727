//! Loads of rules that fail in passing, at each place of a life: in the end it is connected,
//! sealed, and what it says is true.

use std::env;
use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::{CLOSED, FORWARDING, RECONNECTED, UP};
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::capture::Capture;
use harness::world::container::Container;
use harness::world::pcap::Packet;
use harness::world::prober::Probe;
use harness::world::recipe::Recipe;
use harness::world::watch::{Watch, ours};
use nix::sys::signal::Signal;

use crate::PROGRAM;
use crate::leaks::send_probes;

const NF_TABLES: &str = "nft";
const LEGACY: &str = "legacy";
const BACKENDS: [&str; 2] = [NF_TABLES, LEGACY];
const WAYS: [&str; 3] = ["exit 1", "exit 4", "kill -KILL $$"];
/// Somebody else takes the lock of iptables right before the load, and holds it for two seconds.
const OTHERS_LOCK: &str = "exec 9>>/run/xtables.lock; flock 9; sleep 2 >/dev/null 2>&1 & \
                           exec 9>&-; break";
/// Whoever does not ask to wait for the lock is turned away, as iptables-restore(8) says; 1.8.9
/// lets everybody wait for ever.
const UNLESS_ASKED: &str = "[[ $* == *--wait* ]] || flock -n /run/xtables.lock true || \
    { echo 'Another app is currently holding the xtables lock.' >&2; exit 4; }\n";
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
const MINUTE: Duration = Duration::from_secs(60);
/// How often it is looked at most whether what is told holds.
const LOOKS: u32 = 20;
const CANDIDATES: &str = "-p tcp .*--dport 1337 ";

/// A life in which loads can fail.
struct Life {
    world: World,
    container: Container,
    backend: &'static str,
}

impl Life {
    fn new(backend: &'static str, how: &str) -> Self {
        Self::among(World::new(), backend, how)
    }

    /// Where many live at a time: the kernel has room for so many wireguard-go alone.
    fn beside_others(backend: &'static str, how: &str) -> Self {
        let world = World::builder().servers("swiss", Kind::New, 2).build();
        Self::among(world, backend, how)
    }

    fn among(world: World, backend: &'static str, how: &str) -> Self {
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

    /// It is over.
    fn end_trouble(&self, place: &str) {
        let folder = self.container.path("/run/trouble").join(place);
        fs::remove_dir_all(folder).unwrap();
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

    /// Nothing passes but what a rule admits.
    fn drops_the_rest(&self) -> bool {
        let save = |family| {
            self.world
                .look(&format!("{family}-{}-save -t filter", self.backend))
        };
        let drops = |rules: String| rules.contains(":OUTPUT DROP") && rules.contains(":INPUT DROP");
        ["iptables", "ip6tables"].map(save).into_iter().all(drops)
    }

    fn is_healthy(&self) -> bool {
        let checked = self.container.exec(&["wireguard-pia", "healthcheck"]);
        checked.status.success()
    }

    fn carries(&self) -> bool {
        self.world.address_seen_from(self.world.client()).is_some()
    }

    /// A sibling sends by every way once more; returns what of it has left since then, but for
    /// frames, which no packet filter sees, and what is let out with the mark while it registers.
    fn gets_out(&self, capture: &Capture, since: Instant) -> Vec<Packet> {
        send_probes(&self.world, "eth0");
        let (allowed, steady) = (ours(&self.world), Probe::steady());
        capture.leaks_since(since, |packet| {
            let probe = packet.probe();
            allowed(packet) || probe.is_some_and(|probe| !steady.contains(&probe))
        })
    }

    /// A capture on the wire; what a sibling sends before the start is seen there.
    #[track_caller]
    fn capture_that_sees(&self) -> Capture {
        let (capture, begun) = (self.world.capture(), Instant::now());
        assert!(self.gets_out(&capture, begun).len() > 10);
        capture
    }

    /// Calls `look` again and again for a minute, and sees that nothing gets out that should not.
    #[track_caller]
    fn for_a_minute(&self, capture: &Capture, since: Instant, look: impl Fn()) {
        let begun = Instant::now();
        for number in 0.. {
            if begun.elapsed() > MINUTE {
                break;
            }
            thread::sleep(MINUTE / LOOKS);
            look();
            if number % 5 == 0 {
                assert_eq!(self.gets_out(capture, since), []);
            }
        }
    }

    /// Connected, sealed, and what it says is true.
    #[track_caller]
    fn is_whole(&self) {
        self.world.assert_carries();
        wait_until("healthy", SOON, || self.is_healthy());
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
        // Most loads meet none, and are not to cost two programs for each place.
        script += &format!(
            "failures=(/run/trouble/{place}/*)\n((${{#failures[@]}})) &&\n\
             grep -qe '{like}' <<<\"$input\" && ! grep -qe '{unlike}' <<<\"$input\" &&\n\
             for failure in \"${{failures[@]}}\"; do\n\
             rm \"$failure\" 2>/dev/null && {{ echo trouble >&2; {how}; }}\ndone\n"
        );
    }
    if name.contains("legacy") {
        script += UNLESS_ASKED;
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
    // Each of them is followed by a dozen loads on trial.
    life.container.wait_for_log(FORWARDING, LATER);
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
    assert!(life.drops_the_rest());
    // To fail may cost a start; to wait does not.
    assert!(how != OTHERS_LOCK || !life.container.logs().contains("Fatal error"));
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

/// It is over, after the log has said this so often.
#[track_caller]
fn end_trouble(life: &Life, place: &str, said: &str, times: usize) {
    wait_until(&format!("{said:?}, {times} times"), LATER, || {
        life.container.logs().matches(said).count() >= times
    });
    life.end_trouble(place);
}

/// Trouble at one place of a life, for a minute: what is told meanwhile holds, and in the end it is
/// connected and sealed.
#[track_caller]
fn a_minute_of_trouble(mut life: Life, place: &str, expected: &[String]) {
    let capture = life.capture_that_sees();
    life.trouble(place, LONG);
    life.container.start();
    let says = |life: &Life, word: &str| {
        let status = life.container.shell("wireguard-pia status --json || true");
        status.contains(&format!("\"state\": \"{word}\""))
    };
    match place {
        // The network is cut by other means.
        "any" => drop(life.container.wait_for_log("IPv6 is blocked by", SOON)),
        "port" => drop(life.container.wait_for_log(UP, LATER)),
        _ => drop(life.container.wait_for_log(CLOSED, SOON)),
    }
    let cut = Instant::now();
    life.for_a_minute(&capture, cut, || {
        assert_eq!(says(&life, "connected"), place == "port", "{place}");
        assert!(
            !life.container.path("/pia-shared/port.dat").exists(),
            "{place}"
        );
        assert!(place == "any" || life.drops_the_rest(), "{place}");
        assert!(!life.is_healthy(), "{place}");
        assert!(!life.container.logs().contains(FORWARDING), "{place}");
    });
    life.end_trouble(place);
    life.container.wait_for_log(FORWARDING, 2 * LATER);
    life.is_whole();
    wait_until("the same rules", LATER, || life.rules() == expected);
    assert_eq!(life.gets_out(&capture, cut), []);
}

/// The same in a reconnect.
#[track_caller]
fn a_minute_of_trouble_beside_a_tunnel(mut life: Life, place: &str, expected: &[String]) {
    let capture = life.capture_that_sees();
    life.container.start();
    life.container.wait_for_log(FORWARDING, LATER);
    let connected = Instant::now();
    life.trouble(place, LONG);
    life.container.signal(Signal::SIGHUP);
    life.for_a_minute(&capture, connected, || {
        assert!(life.drops_the_rest(), "{place}");
        if life.is_healthy() {
            let holds = life.carries() || !life.is_healthy();
            assert!(holds, "{place}: healthy, and nothing is carried");
        }
    });
    life.end_trouble(place);
    wait_until("the same rules", 2 * LATER, || life.rules() == expected);
    life.is_whole();
    life.trouble("any", LONG);
    assert!(life.container.stop().status.success());
    assert_eq!(life.gets_out(&capture, connected), []);
}

/// All at the same time: they wait rather than compute. Each place has a way of failing, with the
/// other backend another one; `LOADS_WAY`, from 0 to 2, changes which.
fn loads_that_fail_for_a_minute(backend: &'static str, way: usize) {
    let [expected, _] = a_life(backend, "exit 1", 0);
    let first = env::var("LOADS_WAY").map_or(0, |number| number.parse().expect("a number"));
    let way = |place: usize| WAYS[(first + way + place) % WAYS.len()];
    thread::scope(|scope| {
        let expected = &expected;
        for (number, place) in ["any", "candidates", "connected", "port"]
            .into_iter()
            .enumerate()
        {
            let life = Life::beside_others(backend, way(number));
            scope.spawn(move || a_minute_of_trouble(life, place, expected));
        }
        for (number, place) in ["any", "narrowed"].into_iter().enumerate() {
            let life = Life::beside_others(backend, way(number + 1));
            scope.spawn(move || a_minute_of_trouble_beside_a_tunnel(life, place, expected));
        }
    });
}

#[test]
fn loads_that_fail_for_a_minute_at_each_place_of_a_life_with_nf_tables() {
    loads_that_fail_for_a_minute(BACKENDS[0], 0);
}

#[test]
fn loads_that_fail_for_a_minute_at_each_place_of_a_life_with_legacy() {
    loads_that_fail_for_a_minute(BACKENDS[1], 1);
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

/// What a stop cannot load for others stays as it is, and closed.
#[test]
fn a_lock_that_others_hold_at_each_place_of_a_life_changes_nothing_while_it_lasts() {
    let [expected, _] = a_life(LEGACY, WAYS[0], 0);
    let [connected, _] = a_life(LEGACY, OTHERS_LOCK, 1);
    assert_eq!(connected, expected);
}

/// It is legacy's: a load that waited for it would do so for 20 seconds.
#[test]
fn with_nf_tables_a_lock_that_others_hold_all_the_time_is_not_waited_for() {
    let mut life = Life::new(NF_TABLES, WAYS[0]);
    let lock = File::create(life.container.path("/run/xtables.lock")).unwrap();
    lock.lock().unwrap();
    let begun = Instant::now();
    life.container.start();
    life.container.wait_for_log(FORWARDING, LATER);
    life.is_whole();
    life.container.signal(Signal::SIGHUP);
    life.container.wait_for_log(RECONNECTED, LATER);
    life.is_whole();
    assert!(life.container.stop().status.success());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    lock.unlock().unwrap();
}
