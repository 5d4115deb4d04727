//! Every failure says on which side it lies: `doctor`, the log and `status` in the same words.

use std::time::{Duration, SystemTime};

use harness::simulator::certificates::WebCert;
use harness::simulator::faults::{Api, Fault};
use harness::simulator::{API_HOST, LIST_HOST, Simulator};
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::internet::Outage;
use harness::world::network::{API, LIST};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;
use crate::doctor::Diagnosis;

fn recipe(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "swiss")
        .env("CURL_RETRY", "0")
        .env("CURL_MAX_TIME", "3")
}

/// What is wrong, and how it is told.
struct Side {
    set: fn(&World, bool),
    /// The check of `doctor` that finds it, unless another test has that.
    check: Option<&'static str>,
    words: &'static str,
    cure: &'static str,
}

fn status(container: &Container) -> String {
    let output = container.exec(&["wireguard-pia", "status", "--json"]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Its log and its `status` have the words.
#[track_caller]
fn says(container: &Container, words: &str) {
    container.wait_for_log(words, LATER);
    wait_until(&format!("status: {words}"), SOON, || {
        status(container).contains(words)
    });
}

fn names(world: &World, lie: bool) {
    let lied = "0.0.0.0".parse().expect("an address");
    for (host, address) in [(API_HOST, API), (LIST_HOST, LIST)] {
        let address = if lie { lied } else { address };
        world.pia.names().set(host, &[address]);
    }
}

fn outage(world: &World, outage: Outage, on: bool) {
    if on {
        world.begin(outage);
    } else {
        world.end(outage);
    }
}

fn certificates(world: &World, kind: WebCert, on: bool) {
    let kind = if on { kind } else { WebCert::Right };
    world.pia.web_certificates(kind);
}

fn fault(world: &World, fault: Fault, on: bool) {
    if on {
        world.pia.fail(Api::Token, fault);
    } else {
        world.pia.heal(Api::Token);
    }
}

/// The router at home knows no way there, and says so each time.
fn no_way(world: &World, on: bool) {
    let router = world.router();
    router.sysctl("net/ipv4/icmp_ratelimit", "0");
    let change = if on { "add" } else { "del" };
    router.ip(format!("route {change} unreachable {API}"));
}

/// In the order of a start; what comes first is noticed first.
const SIDES: [Side; 10] = [
    Side {
        set: |world, on| outage(world, Outage::DnsRefuses, on),
        check: Some("name servers"),
        words: "203.0.113.53 could not be asked (Connection refused",
        cure: "--dns",
    },
    Side {
        set: names,
        check: Some("name servers"),
        words: "203.0.113.53 answered 0.0.0.0, which no public host has (a DNS filter?)",
        cure: "--dns",
    },
    Side {
        set: |world, on| certificates(world, WebCert::Impostor, on),
        check: Some("account API"),
        words: "somebody else answers in PIA's place (a captive portal, a block page, a proxy, or \
                a name server that lies)",
        cure: "log in to the portal",
    },
    Side {
        set: |world, on| fault(world, Fault::Portal, on),
        check: Some("account API"),
        // As the TLS library calls what is no TLS.
        words: "InvalidContentType: somebody else answers in PIA's place (a captive portal",
        cure: "log in to the portal",
    },
    Side {
        set: |world, on| fault(world, Fault::Close, on),
        check: Some("account API"),
        words: "connections end as soon as they name it, so its name is blocked on the way",
        cure: "META_IP and META_CN",
    },
    Side {
        set: |world, on| fault(world, Fault::HangInHandshake, on),
        check: Some("account API"),
        words: "no answer in time (TLS handshake): connections end as soon as they name it, so its \
                name is blocked on the way",
        cure: "META_IP and META_CN",
    },
    Side {
        set: no_way,
        check: Some("account API"),
        words: "the network that this container hangs on has no way there",
        cure: "check the host's own connection",
    },
    Side {
        set: |world, on| outage(world, Outage::Api, on),
        // `the_account_api_does_not_answer`
        check: None,
        words: "its name is known and nothing answers there, so its address is blocked on the way",
        cure: "META_IP and META_CN",
    },
    Side {
        set: |world, on| certificates(world, WebCert::Early, on),
        check: Some("account API"),
        words: "so the clock is behind by that at least",
        cure: "timedatectl",
    },
    Side {
        set: |world, on| certificates(world, WebCert::Ended, on),
        check: Some("account API"),
        words: "so the clock is ahead by that, or the certificate is too old",
        cure: "timedatectl",
    },
];

/// "`doctor`, the log and `status` say so in the same words" (docs/pia-api.md)
#[test]
fn every_failure_on_the_way_to_pia_says_on_which_side_it_lies() {
    let world = World::new();
    // Before a life seals the network.
    for side in &SIDES {
        if let Some(check) = side.check {
            (side.set)(&world, true);
            let found = Diagnosis::of(recipe(&world), &[]);
            found.assert_says("failure", check, side.words, side.cure);
            (side.set)(&world, false);
        }
    }
    // Nothing connects between two of them.
    world.pia.refuse_login();
    let mut life = None;
    for side in &SIDES {
        (side.set)(&world, true);
        match &life {
            None => life = Some(recipe(&world).start()),
            Some(container) => container.signal(Signal::SIGHUP),
        }
        says(life.as_ref().expect("it lives"), side.words);
        (side.set)(&world, false);
    }
    let life = life.expect("it lives");
    life.signal(Signal::SIGHUP);
    says(&life, "the user name or the password was refused");
}

#[test]
fn a_network_without_link_or_route_is_called_so() {
    let world = World::new();
    let client = world.client();
    let address = world.look("ip -o -4 address show dev eth0");
    let address = address
        .split_whitespace()
        .skip_while(|word| *word != "inet")
        .nth(1)
        .expect("an address");
    let no_link = "there is no link";
    let no_route = "there is no default route, so nothing can be reached";
    client.ip("route del default");
    let found = Diagnosis::of(recipe(&world), &[]);
    found.assert_says("failure", "route", no_route, "not `internal`");
    client.ip("address flush dev eth0");
    let found = Diagnosis::of(recipe(&world), &[]);
    found.assert_says("failure", "route", no_link, "network_mode");

    let life = recipe(&world).start();
    says(&life, no_link);
    client.ip(format!("address add {address} dev eth0"));
    life.signal(Signal::SIGHUP);
    says(&life, no_route);
    assert!(life.logs().contains("a network that is not `internal`"));
}

/// The number in front of `days`, behind these words.
#[track_caller]
fn days_behind(words: &str, text: &str) -> u64 {
    let days = text.split_once(words).and_then(|(_, rest)| {
        let (number, _) = rest.split_once(" days ")?;
        number.parse().ok()
    });
    days.unwrap_or_else(|| panic!("no days behind {words:?}: {text}"))
}

#[test]
fn a_wrong_clock_is_told_by_how_many_days() {
    // The dates of the simulator's certificates: 2032-01-01 and 2024-01-01.
    for (kind, date, words) in [
        (WebCert::Early, 1_956_528_000, "not valid now (it begins "),
        (WebCert::Ended, 1_704_067_200, "not valid now (it ended "),
    ] {
        let world = World::new();
        certificates(&world, kind, true);
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(date);
        let days = || {
            let now = SystemTime::now();
            let apart = date
                .duration_since(now)
                .or_else(|_| now.duration_since(date));
            apart.expect("one is later").as_secs() / 86_400
        };
        // A day may end meanwhile.
        let first = days();
        let found = Diagnosis::of(recipe(&world), &[]);
        let life = recipe(&world).start();
        let logged = life.wait_for_log(words, SOON).text;
        for said in [found.failure("account API").0, &logged, &status(&life)] {
            let told = days_behind(words, said);
            assert!([first, days()].contains(&told), "{first}: {said}");
        }
    }
}

/// What the login says to everybody, and how that is told.
struct Refusal {
    set: fn(&Simulator),
    words: &'static str,
    cure: &'static str,
}

const REFUSALS: [Refusal; 4] = [
    Refusal {
        set: Simulator::refuse_login,
        words: "the user name or the password was refused (HTTP 401)",
        cure: "`$$` for each `$`",
    },
    Refusal {
        set: Simulator::lock_out,
        words: "too many attempts, the account is locked out for some minutes",
        cure: "wait, then check USER and PASS",
    },
    Refusal {
        set: Simulator::payment_required,
        words: "the subscription is over (HTTP 402)",
        cure: "renew it with PIA",
    },
    Refusal {
        set: Simulator::block_login,
        words: "this address or network is blocked by PIA's content network (error 1020)",
        cure: "META_IP and META_CN",
    },
];

#[test]
fn what_is_wrong_with_an_account_is_told_with_its_own_cure() {
    let world = World::new();
    for refusal in &REFUSALS {
        (refusal.set)(&world.pia);
        let found = Diagnosis::of(recipe(&world), &["--login"]);
        found.assert_says("failure", "login", refusal.words, refusal.cure);
        let others = REFUSALS.iter().filter(|other| other.words != refusal.words);
        for other in others {
            let (_, cure) = found.failure("login");
            assert!(!cure.contains(other.cure), "{}: {cure}", refusal.words);
        }
    }
    let mut life = None;
    for refusal in &REFUSALS {
        (refusal.set)(&world.pia);
        match &life {
            None => life = Some(recipe(&world).start()),
            Some(container) => container.signal(Signal::SIGHUP),
        }
        says(life.as_ref().expect("it lives"), refusal.words);
    }
}

#[test]
fn a_location_that_is_none_is_told_so_everywhere() {
    let world = World::new();
    let words = "location swis: there is no such location: did you mean swiss";
    let recipe = || recipe(&world).env("LOC", "swis");
    let found = Diagnosis::of(recipe(), &[]);
    found.assert_says("failure", "location", words, "wireguard-pia locations");
    says(&recipe().start(), words);
}

#[test]
fn a_server_that_does_not_answer_is_told_so_everywhere() {
    let world = World::new();
    let servers = world.pia.servers_of("swiss");
    for server in &servers {
        server.close_registration();
    }
    let found = Diagnosis::of(recipe(&world), &[]);
    let life = recipe(&world).start();
    for server in &servers {
        let words = format!("{} ({}): ", server.cn(), server.address());
        found.assert_says("failure", "servers", &words, "TCP port 1337");
        says(&life, &words);
    }
    says(&life, "Connection refused");
    assert!(found.failure("servers").0.contains("Connection refused"));
}

#[test]
fn a_port_that_is_not_forwarded_is_told_so_everywhere() {
    let world = World::new();
    for server in world.pia.servers() {
        server.no_port_forwarding();
    }
    let life = recipe(&world).env("PORT_FORWARDING", "1").connect();
    let words = "no port forwarding here (";
    says(&life, words);
    let found = Diagnosis::inside(&life);
    found.assert_says("failure", "port", words, "locations --port-forward");
}

#[test]
fn strict_reverse_path_filtering_is_told_everywhere() {
    let world = World::builder()
        .sysctl("net/ipv4/conf/all/rp_filter", "1")
        .sysctl("net/ipv4/conf/all/src_valid_mark", "0")
        .build();
    let words =
        "rp_filter is strict and src_valid_mark is off, so the tunnel's packets are dropped";
    let found = Diagnosis::of(recipe(&world), &[]);
    found.assert_says("failure", "reverse path", words, "src_valid_mark=1");
    says(&recipe(&world).start(), words);
}
