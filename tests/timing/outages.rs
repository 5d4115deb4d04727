//! How soon after an outage all is well again, and how often PIA is asked meanwhile.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use harness::log_lines::{FORWARDING, RECONNECTED, UP};
use harness::simulator::faults::{Api, Fault};
use harness::simulator::server::{Server, TUNNEL_DNS};
use harness::waiting::{LATER, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::internet::Outage;
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// "A tunnel stands within a second and a half after an outage of seconds" (CHANGELOG.md).
const SOON_AFTER: Duration = Duration::from_millis(1500);
const LASTS: Duration = Duration::from_secs(8);
/// Between the starts of outages beside each other.
const APART: Duration = Duration::from_millis(1500);

/// Does the same to all servers that are tried.
fn all(act: impl Fn(&Server)) -> impl Fn(&World) {
    move |world| {
        for server in world.pia.servers_of("swiss") {
            act(&server);
        }
    }
}

/// Starts in an outage; the time from its end to the tunnel.
#[track_caller]
fn tunnel_after(what: &str, begin: impl Fn(&World), end: impl Fn(&World)) -> Duration {
    let world = World::new();
    begin(&world);
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe.saying_when_executed().start();
    let over = container.executed() + LASTS;
    thread::sleep(over.saturating_duration_since(Instant::now()));
    end(&world);
    let over = Instant::now();
    let up = container.wait_for_log(UP, LATER).at;
    let took = up.saturating_duration_since(over);
    let asked = world.pia.records().all().len();
    println!("{what}: a tunnel {took:?} after it, {asked} requests");
    assert!(asked <= 8, "{asked} requests in eight seconds");
    took
}

type Act<'a> = Box<dyn Fn(&World) + Send + 'a>;

/// [`tunnel_after`] in a world for each, beside each other as most of it is waiting: all have
/// started before the first outage ends, and no two end at the same time.
#[track_caller]
fn tunnels_stand_soon_after<const N: usize>(outages: [(&str, Act<'_>, Act<'_>); N]) {
    let took = thread::scope(|scope| {
        let mut number = 0;
        let all = outages.map(|(what, begin, end)| {
            let apart = APART * number;
            number += 1;
            scope.spawn(move || {
                thread::sleep(apart);
                tunnel_after(what, begin, end)
            })
        });
        all.map(|one| one.join().expect("a tunnel"))
    });
    assert!(took.iter().all(|took| *took < SOON_AFTER), "{took:?}");
}

fn outage<'a>(what: &'a str, outage: Outage) -> (&'a str, Act<'a>, Act<'a>) {
    let begin = move |world: &World| world.begin(outage);
    (
        what,
        Box::new(begin),
        Box::new(move |world| world.end(outage)),
    )
}

#[test]
fn a_tunnel_stands_soon_after_a_start_in_silence() {
    let (down, up) = (all(Server::down), all(Server::up));
    tunnels_stand_soon_after([
        outage("DNS", Outage::DnsSilent),
        outage("account", Outage::Api),
        outage("list", Outage::List),
        outage("network", Outage::Everything),
        ("servers", Box::new(down), Box::new(up)),
    ]);
}

#[test]
fn a_tunnel_stands_soon_after_a_start_among_refusals() {
    let closed = all(Server::close_registration);
    let open = all(Server::open_registration);
    tunnels_stand_soon_after([
        outage("DNS", Outage::DnsRefuses),
        ("registration", Box::new(closed), Box::new(open)),
    ]);
}

/// Registrations are answered, and WireGuard is not; and however long before the next handshake
/// that ends.
#[test]
fn a_tunnel_stands_soon_after_a_start_where_wireguard_alone_is_silent() {
    let silent = |later| -> (&str, Act<'_>, Act<'_>) {
        let end = move |world: &World| {
            thread::sleep(later);
            all(Server::restore_endpoint)(world);
        };
        (
            "WireGuard",
            Box::new(all(Server::silence_endpoint)),
            Box::new(end),
        )
    };
    let phases = [0, 400, 800, 1200, 1600].map(Duration::from_millis);
    tunnels_stand_soon_after(phases.map(silent));
}

/// Who takes a connection and says nothing more is asked once more beside that: for a list each
/// 2.8 seconds, and for a login after 8.4, as each is a try at the account. Beside a server that
/// hangs the next one is asked, as often.
#[test]
fn who_hangs_is_asked_once_more_before_its_time_is_over() {
    let cases = [
        ("login hangs", Api::Token, Fault::Hang),
        ("login without TLS", Api::Token, Fault::HangInHandshake),
        ("list hangs", Api::List, Fault::Hang),
        ("list without TLS", Api::List, Fault::HangInHandshake),
        ("addKey hangs", Api::AddKey, Fault::Hang),
        ("addKey without TLS", Api::AddKey, Fault::HangInHandshake),
    ];
    // Most of it is waiting.
    thread::scope(|scope| {
        for (what, api, fault) in cases {
            scope.spawn(move || {
                let took = tunnel_after(
                    what,
                    |world| world.pia.fail(api, fault),
                    |world| world.pia.heal(api),
                );
                assert!(took < SOON_AFTER, "{what}: {took:?}");
            });
        }
    });
}

/// "beside one that has not answered for 2.8 the next one is asked" (docs/pia-api.md).
#[test]
fn a_server_that_does_not_answer_is_overtaken_by_the_next() {
    thread::scope(|scope| {
        for is_there in [true, false] {
            scope.spawn(move || {
                let world = World::builder()
                    .servers("one", Kind::New, 1)
                    .servers("other", Kind::New, 1)
                    .build();
                let first = &world.pia.servers_of("one")[0];
                if is_there {
                    first.mute_registration();
                } else {
                    first.down();
                }
                let recipe = world.container(PROGRAM).credentials();
                let container = recipe.env("LOC", "one other").start();
                let asked = container.wait_for_log("Registering with one", LATER).at;
                let told = format!("; {} has not answered for 2.8 s", first.cn());
                container.wait_for_log(&told, LATER);
                let up = container.wait_for_log(UP, LATER).at;
                let took = up.duration_since(asked);
                println!("a tunnel by the next server after {took:?}; connected: {is_there}");
                let overtaken = Duration::from_millis(2800);
                assert!(
                    (overtaken..overtaken + SOON_AFTER).contains(&took),
                    "{took:?}"
                );
                assert_eq!(world.server_in_use().plan().location, "other");
            });
        }
    });
}

/// Of two keys at one server the first ends, so it is one key that a server is asked to take again.
#[test]
fn the_only_server_is_asked_again_to_take_the_same_key() {
    let world = World::builder().servers("one", Kind::New, 1).build();
    world.pia.hang(Api::AddKey);
    let recipe = world.container(PROGRAM).credentials().env("LOC", "one");
    let container = recipe.start();
    assert!(world.pia.records().wait_for(Api::AddKey, 2, LATER));
    world.pia.heal(Api::AddKey);
    container.wait_for_log(UP, LATER);
    let asked = world.pia.records().of(Api::AddKey);
    let keys: BTreeSet<&str> = asked
        .iter()
        .filter_map(|one| one.request.parameter("pubkey"))
        .collect();
    assert_eq!((asked.len(), keys.len()), (3, 1), "{asked:?}");
}

/// The same in a reconnect, where the only server is that of the tunnel that is up.
#[test]
fn the_only_server_is_asked_again_in_a_reconnect_too() {
    let world = World::builder().servers("one", Kind::New, 1).build();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "one");
    let container = recipe.connect();
    world.pia.hang(Api::AddKey);
    let asked = Instant::now();
    container.signal(Signal::SIGHUP);
    assert!(world.pia.records().wait_for(Api::AddKey, 3, LATER));
    let took = asked.elapsed();
    world.pia.heal(Api::AddKey);
    assert!(took < Duration::from_secs(4), "{took:?}");
    container.wait_for_log(RECONNECTED, LATER);
    assert!(
        asked.elapsed() < Duration::from_secs(7),
        "{:?}",
        asked.elapsed()
    );
}

/// A login that takes long is refused as one that does not.
#[test]
fn a_login_that_is_refused_late_is_sent_twice_at_most() {
    let world = World::new();
    world.pia.refuse_login();
    world.pia.set_round_trip(Duration::from_millis(3500));
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe.start();
    container.wait_for_log("Fatal error", LATER);
    thread::sleep(SOON_AFTER);
    let logins = world.pia.records().of(Api::Token).len();
    assert!((1..=2).contains(&logins), "{logins}");
}

/// `CURL_RETRY_DELAY`: "Seconds between those retries" (README.md); who answers is not asked more
/// often.
#[test]
fn who_answers_is_asked_no_more_often_than_curl_retry_delay_says() {
    let cases = [
        ("cut login", Api::Token, Fault::Close),
        ("cut list", Api::List, Fault::Close),
        ("503 login", Api::Token, Fault::Status(503, u32::MAX)),
        ("503 list", Api::List, Fault::Status(503, u32::MAX)),
        ("503 addKey", Api::AddKey, Fault::Status(503, u32::MAX)),
    ];
    // Most of it is waiting, and the limit is wide.
    thread::scope(|scope| {
        for (what, api, fault) in cases {
            scope.spawn(move || {
                let took = tunnel_after(
                    what,
                    |world| world.pia.fail(api, fault),
                    |world| world.pia.heal(api),
                );
                assert!(took < Duration::from_secs(5) + SOON_AFTER, "{took:?}");
            });
        }
    });
}

/// All of a running tunnel's servers are away, with somebody who sends all the time.
#[track_caller]
fn traffic_after(lasts: Duration, limit: Duration, begin: impl Fn(&Server), end: impl Fn(&Server)) {
    let world = World::new();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe.env("RECONNECT", "1").connect();
    world.assert_carries();
    let begun = Instant::now();
    all(begin)(&world);
    all(Server::forget_keys)(&world);
    while begun.elapsed() < lasts {
        world.client().is_kept_from((TUNNEL_DNS[0], 53));
    }
    let asked = world.pia.records().all().len();
    all(end)(&world);
    let over = Instant::now();
    let reconnected = container.wait_for_log(RECONNECTED, LATER).at;
    let took = reconnected.saturating_duration_since(over);
    world.assert_carries();
    println!("traffic {took:?} after it, {asked} requests until then");
    assert!(took < limit, "{took:?}");
    assert!(asked <= 8, "{asked}");
}

#[test]
fn traffic_passes_soon_after_all_servers_were_silent() {
    traffic_after(
        Duration::from_secs(20),
        SOON_AFTER,
        Server::down,
        Server::up,
    );
}

#[test]
fn traffic_passes_soon_after_all_servers_refused() {
    let begin = |server: &Server| {
        server.silence_endpoint();
        server.close_registration();
    };
    let end = |server: &Server| {
        server.restore_endpoint();
        server.open_registration();
    };
    traffic_after(Duration::from_secs(30), SOON_AFTER, begin, end);
}

/// "asked at most twelve times meanwhile, and the port is back within three seconds"
/// (CHANGELOG.md).
#[track_caller]
fn port_after(what: &str, begin: impl Fn(&World), end: impl Fn(&World)) {
    let world = World::new();
    begin(&world);
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe.env("PORT_FORWARDING", "1").connect();
    thread::sleep(Duration::from_secs(25));
    let records = world.pia.records();
    let asked = records.of(Api::GetSignature).len() + records.of(Api::BindPort).len();
    end(&world);
    let over = Instant::now();
    let announced = container.wait_for_log(FORWARDING, LATER).at;
    let took = announced.saturating_duration_since(over);
    println!("{what}: a port {took:?} after it, {asked} requests until then");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(asked <= 12, "{asked}");
}

#[test]
fn a_port_is_there_soon_after_its_service_was_away() {
    thread::scope(|scope| {
        scope.spawn(|| {
            port_after(
                "refused",
                all(Server::no_port_forwarding),
                all(Server::port_forwarding),
            );
        });
        for (what, api) in [
            ("503 lease", Api::GetSignature),
            ("503 binding", Api::BindPort),
        ] {
            let fault = Fault::Status(503, u32::MAX);
            scope.spawn(move || {
                port_after(
                    what,
                    |world| world.pia.fail(api, fault),
                    |world| world.pia.heal(api),
                );
            });
        }
    });
}

/// The same where a port was forwarded before: the service has forgotten it when it is back.
#[test]
fn a_port_that_was_lost_is_back_soon_after_its_service_was_away() {
    let world = World::new();
    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let recipe = recipe.env("PORT_FORWARDING", "1");
    let container = recipe.env("PORT_REBIND_INTERVAL", "5").connect();
    container.wait_for_log(FORWARDING, LATER);
    let server = world.server_in_use();
    let records = world.pia.records();
    let asked = || records.of(Api::GetSignature).len() + records.of(Api::BindPort).len();
    world.pia.fail(Api::BindPort, Fault::Status(503, u32::MAX));
    server.forget_ports();
    let before = asked();
    thread::sleep(Duration::from_secs(25));
    let meanwhile = asked() - before;
    world.pia.heal(Api::BindPort);
    let over = Instant::now();
    wait_until("the port is bound", LATER, || {
        !server.bound_ports().is_empty()
    });
    let took = over.elapsed();
    println!("lost: a port {took:?} after it, {meanwhile} requests until then");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(meanwhile <= 12, "{meanwhile}");
}
