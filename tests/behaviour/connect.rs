//! The main job: from an empty container to a sealed tunnel and back.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use harness::log_lines::{RECONNECTED, UP, count};
use harness::simulator::account::{PASSWORD, USER};
use harness::simulator::certificates::Cert;
use harness::simulator::faults::Api;
use harness::simulator::regions::Wireguard;
use harness::simulator::server::Server;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::network::CLIENT;
use harness::world::recipe::Recipe;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// A container with the right credentials that is to connect there.
fn to(world: &World, locations: &str) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", locations)
}

/// One that was given a token and no credentials.
fn with_token(world: &World, locations: &str) -> Recipe {
    world
        .container(PROGRAM)
        .env("LOC", locations)
        .file("/pia/.token", world.pia.issue_token())
}

/// The location to which the container gets a tunnel that carries.
#[track_caller]
fn location_reached(world: &World, container: &Container) -> String {
    container.wait_for_log(UP, LATER);
    world.location_in_use()
}

// Names in certificates.

#[test]
fn connects_to_servers_with_a_name_in_san() {
    let world = World::new();
    let container = to(&world, "nl_amsterdam").start();
    assert_eq!(location_reached(&world, &container), "nl_amsterdam");
    assert!(container.stop().status.success());
}

#[test]
fn the_server_list_is_fetched_while_the_login_takes_its_time() {
    let world = World::new();
    world.pia.hang(Api::Token);
    let container = to(&world, "nl_amsterdam").start();
    container.wait_for_log("Verified server list", LATER);
    // Whichever of the two arrives first.
    let records = world.pia.records();
    assert!(records.wait_for(Api::Token, 1, SOON));
    assert_eq!(records.of(Api::Token).len(), 1);
    assert!(container.stop().status.success());
}

/// "They can, with the name checked" (docs/migration.md)
#[test]
fn connects_to_servers_with_a_name_in_the_subject_only() {
    let world = World::new();
    let container = to(&world, "swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert!(world.server_in_use().cn().starts_with("Server-"));
}

#[test]
fn the_subject_does_not_matter_where_the_san_is_right() {
    let world = World::builder().servers("austria", Kind::Stable, 1).build();
    world.pia.servers()[0].certificate(Cert::SanRightCnWrong);
    let container = to(&world, "austria").start();
    assert_eq!(location_reached(&world, &container), "austria");
}

/// The next server is tried, and the first was not even told the key.
#[track_caller]
fn a_server_is_refused_that_shows(certificate: Cert, reason: &str) {
    let world = World::builder()
        .servers("austria", Kind::Stable, 1)
        .servers("swiss", Kind::New, 1)
        .build();
    world.pia.servers_of("austria")[0].certificate(certificate);
    let container = to(&world, "austria,swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log(
        &format!("austria: registering with austria447: {reason}"),
        SOON,
    );
    assert_eq!(world.pia.records().of(Api::AddKey).len(), 1);
}

#[test]
fn a_wrong_san_is_refused_though_the_subject_is_right() {
    a_server_is_refused_that_shows(
        Cert::SanWrongCnRight,
        "its certificate is for another server",
    );
}

#[test]
fn a_certificate_of_another_server_is_refused() {
    a_server_is_refused_that_shows(Cert::WrongName, "its certificate is for another server");
}

#[test]
fn a_subject_of_another_server_is_refused() {
    a_server_is_refused_that_shows(Cert::WrongCn, "its certificate is for another server");
}

#[test]
fn a_wildcard_as_subject_is_refused() {
    a_server_is_refused_that_shows(Cert::WildcardCn, "its certificate is for another server");
}

#[test]
fn two_subjects_are_refused() {
    a_server_is_refused_that_shows(Cert::TwoCns, "its certificate is for another server");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    a_server_is_refused_that_shows(
        Cert::WrongCa,
        "its certificate is signed by an authority that is not trusted here",
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    a_server_is_refused_that_shows(Cert::Expired, "its certificate is not valid now (it ended ");
}

// Locations and their servers.

#[test]
fn a_dead_first_location_is_passed_over() {
    let world = World::new();
    world.pia.list_dead_server("atlantis", "atlantis401");
    let container = to(&world, "ATLANTIS Swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
}

#[test]
fn every_server_of_a_location_is_tried() {
    let world = World::builder().servers("swiss", Kind::New, 4).build();
    world.pia.lists().servers_per_download(4);
    let servers = world.pia.servers();
    servers[..3]
        .iter()
        .for_each(|server| server.close_registration());
    let container = to(&world, "swiss").start();
    container.wait_for_log(UP, LATER);
    assert_eq!(world.server_in_use().cn(), servers[3].cn());
}

#[test]
fn a_server_that_refuses_or_mixes_up_keys_is_passed_over() {
    let world = World::builder()
        .servers("austria", Kind::Stable, 2)
        .servers("swiss", Kind::New, 1)
        .build();
    let servers = world.pia.servers();
    servers[0].refuse_registration("Server is full");
    servers[1].answer_with_wrong_key();
    let container = to(&world, "austria,swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log("the server refused: ERROR: Server is full", SOON);
    container.wait_for_log("the server registered another key than ours", SOON);
}

/// An own address as the tunnel's would have wg-quick drop the answers to our requests outside it.
#[test]
fn a_server_whose_addresses_cannot_be_true_is_passed_over() {
    let world = World::builder()
        .servers("austria", Kind::Stable, 2)
        .servers("swiss", Kind::New, 1)
        .build();
    let servers = world.pia.servers();
    servers[0].answer_with("peer_ip", "0.0.0.0");
    servers[1].answer_with("peer_ip", CLIENT.to_string());
    let container = to(&world, "austria,swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log("peer_ip is 0.0.0.0, which no tunnel has", SOON);
    container.wait_for_log(
        &format!("peer_ip is {CLIENT}, an address of this container"),
        SOON,
    );
}

#[test]
fn busy_servers_are_asked_again() {
    let world = World::builder().servers("swiss", Kind::New, 2).build();
    world.pia.fail_times(Api::AddKey, 503, 3);
    let container = to(&world, "swiss").env("CURL_RETRY_DELAY", "1").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(world.pia.records().of(Api::AddKey).len(), 4);
}

#[test]
fn a_location_can_be_in_the_newer_list_only() {
    let world = World::new();
    world
        .pia
        .lists()
        .edit("swiss", |region| region.only_v7 = true);
    let container = to(&world, "swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
}

#[test]
fn a_location_can_be_missing_from_one_download() {
    let world = World::new();
    world.pia.location_missing_from_next_list("swiss");
    let container = to(&world, "swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
}

/// It may be the one that names the location.
#[test]
fn a_newer_list_that_cannot_be_had_for_a_moment_is_asked_for_again() {
    for (failures, exits) in [(2, "1"), (8, "0")] {
        let world = World::new();
        let lists = world.pia.lists();
        lists.edit("swiss", |region| region.only_v7 = true);
        lists.fail_newer(failures);
        let recipe = to(&world, "swiss").env("CURL_RETRY_DELAY", "1");
        let container = recipe.env("EXIT_ON_FATAL", exits).start();
        assert_eq!(location_reached(&world, &container), "swiss");
        let is_said = container
            .logs()
            .contains("whether the newer list names the location");
        assert_eq!(is_said, exits == "0");
    }
}

/// "a whole location can be missing for hours and come back" (docs/pia-api.md)
#[test]
fn a_location_that_todays_lists_lack_is_taken_from_the_stored_one() {
    let world = World::new();
    let mut container = to(&world, "swiss").start();
    container.wait_for_log(UP, SOON);
    container.stop();
    let lists = world.pia.lists();
    lists.edit("swiss", |region| region.missing = true);
    for _ in 0..2 {
        container.restart();
        assert_eq!(location_reached(&world, &container), "swiss");
        container.stop();
    }
}

#[test]
fn a_newer_list_whose_host_asks_for_patience_is_left_alone() {
    let world = World::new();
    let lists = world.pia.lists();
    lists.edit("swiss", |region| region.only_v7 = true);
    lists.fail_newer(100);
    let container = to(&world, "swiss").env("CURL_RETRY", "0").start();
    let pause = container.wait_for_log("Trying again in", SOON).text;
    let seconds: Option<u32> = pause.split(' ').find_map(|word| word.parse().ok());
    assert!(seconds.is_some_and(|seconds| seconds >= 29), "{pause}");
    assert_eq!(world.pia.records().of(Api::List).len(), 2);
}

#[test]
fn a_location_may_be_without_wireguard_for_a_while() {
    let world = World::new();
    world.pia.wireguard_flickers("swiss");
    let container = to(&world, "swiss").start();
    container.wait_for_log("swiss: it has no WireGuard server in this", SOON);
    assert_eq!(location_reached(&world, &container), "swiss");
}

/// "`docker kill --signal HUP vpn` makes it reconnect now." (README.md)
#[test]
fn a_location_that_is_back_in_the_list_is_found_when_asked_for() {
    let world = World::new();
    world.pia.location_flickers("swiss");
    let container = to(&world, "swiss").start();
    container.wait_for_log("Trying again in", SOON);
    container.signal(Signal::SIGHUP);
    assert_eq!(location_reached(&world, &container), "swiss");
}

#[test]
fn an_offline_location_is_passed_over() {
    let world = World::new();
    world.pia.location_offline("nl_amsterdam");
    let container = to(&world, "nl_amsterdam,swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log("location nl_amsterdam: it is offline", SOON);
}

#[test]
fn an_unknown_location_is_fatal_and_others_are_proposed() {
    let world = World::new();
    let container = to(&world, "swis").start();
    container.wait_for_log(
        "Fatal error: location swis: there is no such location: did you mean swiss",
        SOON,
    );
    assert!(world.is_sealed());
}

/// "is looked for again after five minutes, later hourly" (docs/migration.md)
#[test]
fn a_location_that_vanished_is_looked_for_again_without_a_login() {
    let world = World::new();
    let lists = world.pia.lists();
    let vanish = |so| lists.edit("swiss", |region| region.missing = so);
    let asked = |api| world.pia.records().of(api).len();
    vanish(true);
    let container = to(&world, "swiss").env("FATAL_SCRIPT", "echo told").start();
    container.wait_for_log(
        "Fatal error: location swiss: there is no such location",
        SOON,
    );
    let pause = container.wait_for_log("Trying again in", SOON).text;
    let minutes = |seconds: u32| (240..=360).contains(&seconds);
    let seconds = pause.split(' ').find_map(|word| word.parse().ok());
    assert!(seconds.is_some_and(minutes), "{pause}");
    assert_eq!((asked(Api::Token), asked(Api::List)), (1, 2));

    container.signal(Signal::SIGHUP);
    wait_until("it looks again", SOON, || asked(Api::List) >= 4);
    wait_until("in vain", SOON, || {
        container.logs().matches("Trying again in").count() == 2
    });
    vanish(false);
    container.signal(Signal::SIGHUP);
    container.wait_for_log(UP, SOON);
    assert_eq!(asked(Api::Token), 1, "lists cost no login");
    assert_eq!(container.logs().matches("[fatal-script] told").count(), 1);
}

#[test]
fn an_unknown_location_beside_a_good_one_is_only_warned_of() {
    let world = World::new();
    let container = to(&world, "swis,swiss").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log("Warning: location swis: there is no such location", SOON);
}

/// "A reconnect needs neither name servers nor the server list, also where one of several ids in
/// `LOC` is in none." (CHANGELOG.md)
#[test]
fn an_unknown_location_beside_a_good_one_costs_a_reconnect_no_list() {
    let world = World::new();
    let container = to(&world, "swis,swiss").connect();
    let lists = || world.pia.records().of(Api::List).len();
    let before = lists();
    world.pia.hang(Api::List);
    container.signal(Signal::SIGHUP);
    container.wait_for_log(RECONNECTED, SOON);
    assert_eq!(lists(), before);
}

/// "When empty, all locations are printed and the container exits" (README.md)
#[test]
fn a_location_may_be_named_and_quoted_as_compose_files_have_it() {
    let world = World::builder().servers("us_chicago", Kind::New, 1).build();
    let container = to(&world, "\"US Chicago, Switzerland\"").start();
    assert_eq!(location_reached(&world, &container), "us_chicago");
    container.wait_for_log("Warning: LOC: there are quotes around the value", SOON);
}

#[test]
fn without_loc_the_locations_are_printed() {
    let world = World::new();
    world.pia.location_offline("nl_amsterdam");
    world
        .pia
        .lists()
        .edit("austria", |region| region.wireguard = Wireguard::Empty);
    world
        .pia
        .lists()
        .edit("spain", |region| region.wireguard = Wireguard::Missing);
    let container = world.container(PROGRAM).start();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    assert!(container.lines().iter().all(|line| !line.error));
    let is_listed = |id: &str| log.contains(&format!("\"id\": \"{id}\""));
    assert!(is_listed("swiss"), "{log}");
    assert_eq!(
        ["nl_amsterdam", "austria", "spain"].map(is_listed),
        [false; 3]
    );
    assert_eq!(world.pia.login_attempts(), 0);
}

/// "`auto` takes the location with the lowest latency" (README.md)
#[test]
fn auto_is_the_nearest_location() {
    let world = World::new();
    world
        .pia
        .servers_of("swiss")
        .iter()
        .for_each(|server| server.slow_down());
    let container = to(&world, "auto").start();
    assert_eq!(location_reached(&world, &container), "nl_amsterdam");
}

#[test]
fn auto_with_port_forwarding_is_the_nearest_location_that_has_it() {
    let world = World::new();
    world
        .pia
        .lists()
        .edit("nl_amsterdam", |region| region.port_forward = false);
    let container = to(&world, "auto").env("PORT_FORWARDING", "1").start();
    assert_eq!(location_reached(&world, &container), "swiss");
}

#[test]
fn where_no_location_of_a_stored_list_answers_auto_asks_for_another_list() {
    let world = World::new();
    let live = |missing| {
        for location in ["nl_amsterdam", "swiss"] {
            let lists = world.pia.lists();
            lists.edit(location, |region| region.missing = missing);
        }
    };
    live(true);
    let stored = world.pia.lists().download(false);
    live(false);
    world.pia.fail_times(Api::List, 503, 99);
    let container = to(&world, "auto").file("/pia/servers.json", stored).start();
    container.wait_for_log("LOC=auto: no location answered", LATER);
    world.pia.heal(Api::List);
    container.wait_for_log(UP, LATER);
}

/// "only servers whose public address stays the same from connection to connection" (README.md)
#[test]
fn a_stable_address_is_looked_for_in_further_downloads() {
    let world = World::builder()
        .servers("swiss", Kind::New, 3)
        .servers("swiss", Kind::Stable, 1)
        .build();
    // Each download names three of the four at random.
    world.pia.lists().servers_per_download(3);
    let container = to(&world, "swiss").env("STABLE_IP", "1").start();
    container.wait_for_log(UP, SOON);
    assert_eq!(world.server_in_use().cn(), "swiss450");
}

#[test]
fn where_no_server_keeps_its_address_other_locations_are_named() {
    let world = World::new();
    let container = to(&world, "swiss")
        .env("STABLE_IP", "1")
        .env("EXIT_ON_FATAL", "1")
        .start();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    let message = log
        .lines()
        .find(|line| line.starts_with("Error: Fatal error: STABLE_IP=1"))
        .expect("a message");
    assert!(
        message.contains("for swiss; these locations have one: ")
            && message.contains("nl_amsterdam"),
        "{message}"
    );
    assert_eq!(world.pia.records().of(Api::List).len(), 6);
}

/// "the server list at most every 30 seconds" (CHANGELOG.md), also where it lacks what is wanted:
/// so many lists `at_first`, and one of either version each half minute after that.
#[track_caller]
fn lists_are_left_alone_between_attempts(world: &World, recipe: Recipe, at_first: usize) {
    let container = recipe.env("CURL_RETRY_DELAY", "1").start();
    wait_until("five attempts", LATER, || {
        container.logs().matches("Trying again in").count() >= 5
    });
    let lists = world.pia.records().of(Api::List);
    let half_minutes = lists.first().map_or(0, |it| it.at.elapsed().as_secs() / 30);
    let allowed = at_first + 2 * usize::try_from(half_minutes).unwrap();
    assert!(lists.len() <= allowed, "{} lists", lists.len());
}

#[test]
fn a_stable_address_that_no_list_names_is_looked_for_in_many_lists_once() {
    let world = World::new();
    let recipe = to(&world, "swiss").env("STABLE_IP", "1");
    lists_are_left_alone_between_attempts(&world, recipe, 6);
}

#[test]
fn lists_are_left_alone_while_they_name_no_server_of_a_location() {
    let world = World::new();
    let lists = world.pia.lists();
    lists.edit("swiss", |region| region.wireguard = Wireguard::Empty);
    lists_are_left_alone_between_attempts(&world, to(&world, "swiss"), 2);
}

// The account.

/// "a start needs no login" (docs/migration.md)
#[test]
fn a_stored_token_needs_no_credentials() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .file("/pia/.token", world.pia.issue_token() + "\n")
        .start();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(world.pia.login_attempts(), 0);
}

/// It is looked for more than once before there is a new one.
#[test]
fn a_stored_token_that_is_none_is_said_once() {
    let world = World::new();
    let recipe = world.container(PROGRAM).credentials();
    let recipe = recipe.env("LOC", "nl_amsterdam").file("/pia/.token", "\n");
    let log = recipe.connect().logs();
    let said = "Warning: /pia/.token: the token is empty or has characters that no token has; \
                a new one is fetched";
    assert_eq!(count(&log, said), 1, "{log}");
}

#[test]
fn a_refused_token_is_renewed_once() {
    let world = World::new();
    let container = to(&world, "swiss").file("/pia/.token", "stale").start();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(world.pia.login_attempts(), 1);
    let stored = container.read("/pia/.token").unwrap();
    assert!(world.pia.account().knows(&stored), "{stored:?}");
    let mode = container
        .path("/pia/.token")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_old_token_is_kept_until_there_is_a_new_one() {
    let world = World::new();
    world.pia.lock_out();
    let container = to(&world, "swiss")
        .file("/pia/.token", "stale")
        .env("EXIT_ON_FATAL", "1")
        .start();
    assert_eq!(container.end().0, Some(1));
    assert_eq!(container.read("/pia/.token").as_deref(), Some("stale"));
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn a_new_token_that_servers_refuse_is_their_trouble_and_costs_one_login() {
    let world = World::new();
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.refuse_registration("Login failed!"));
    let container = to(&world, "swiss").file("/pia/.token", "stale").start();
    container.wait_for_log("no server could be connected to. Tried swiss", SOON);
    container.wait_for_log("Trying again in", SOON);
    for server in world.pia.servers() {
        server.accept_registration();
    }
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn where_there_are_no_credentials_one_server_that_refuses_the_token_is_passed_over() {
    let world = World::builder().servers("six", Kind::New, 6).build();
    world.pia.lists().servers_per_download(6);
    for server in world.pia.servers_of("six").iter().skip(1) {
        server.refuse_registration("Login failed!");
    }
    let container = with_token(&world, "six").start();
    assert_eq!(location_reached(&world, &container), "six");
    assert!(!container.logs().contains("Fatal error"));
}

#[test]
fn a_fresh_token_that_is_refused_costs_one_login() {
    let world = World::new();
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.refuse_registration("Login failed!"));
    let container = to(&world, "swiss").env("EXIT_ON_FATAL", "1").start();
    assert_eq!(container.end().0, Some(1));
    assert_eq!(world.pia.login_attempts(), 1);
}

/// "wins over `PASS` when it can be read" (README.md)
#[test]
fn files_with_credentials_win_over_the_environment() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .env("USER", "nobody")
        .env("PASS", "wrong")
        .env("USER_FILE", "/pia/user")
        .env("PASS_FILE", "/pia/password")
        .file("/pia/user", format!("{USER}\n"))
        .file("/pia/password", format!("{PASSWORD}\r\n"))
        .start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log("PASS_FILE: everybody can read /pia/password; ", SOON);
}

/// "a secret named `pia_user` is used" (README.md)
#[test]
fn secrets_of_the_usual_names_need_no_variable() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        // Open to all, as engines leave it; nothing can be done about it.
        .file("/run/secrets/status", "key")
        .env("STATUS_KEY_FILE", "/run/secrets/status")
        .file("/run/secrets/pia_user", format!("{USER}\n"))
        .file("/run/secrets/pia_pass", format!("{PASSWORD}\n"))
        .start();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert!(!container.logs().contains("everybody can read"));
}

/// "of systemd's `LoadCredential`" (README.md)
#[test]
fn a_password_is_found_where_systemd_puts_it_and_one_for_all_to_read_is_told() {
    let world = World::new();
    let container = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .env("CREDENTIALS_DIRECTORY", "/run/credentials/vpn.service")
        .file("/run/credentials/vpn.service/pia_user", USER)
        .file("/run/credentials/vpn.service/pia_pass", PASSWORD)
        .file("/pia/key", "open")
        .env("STATUS_KEY_FILE", "/pia/key")
        .start();
    assert_eq!(location_reached(&world, &container), "swiss");
    container.wait_for_log("STATUS_KEY_FILE: everybody can read /pia/key; ", SOON);
}

// Several containers on one account.

/// A place at a server, as a container takes it; false where another one has it.
fn take_place(locks: &File, server: &Server) -> bool {
    let range = libc::flock {
        l_type: libc::c_short::try_from(libc::F_WRLCK).unwrap(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap(),
        l_start: (u32::from(server.address()) & 0x7fff_ffff).into(),
        l_len: 1,
        l_pid: 0,
    };
    fcntl(locks, FcntlArg::F_OFD_SETLK(&range)).is_ok()
}

/// "Containers that share `/pia` leave each other's servers alone" (README.md)
#[test]
fn a_server_is_left_to_another_container_with_the_same_volume() {
    let world = World::builder().servers("first", Kind::New, 6).build();
    world.pia.lists().servers_per_download(6);
    let volume = tempfile::tempdir().unwrap();
    let locks = || File::create(volume.path().join("servers.lock")).unwrap();
    let life = || to(&world, "first").bind(volume.path(), "/pia").connect();
    let others = locks();
    let servers = world.pia.servers();
    let (free, held) = servers.split_last().unwrap();
    assert!(held.iter().all(|server| take_place(&others, server)));
    let container = life();
    assert_eq!(world.server_in_use().cn(), free.cn());
    assert!(!take_place(&others, free), "it has that place now");
    container.kill();
    wait_until("the place is free", SOON, || take_place(&others, free));
    // Another list may name another server. Where none does, somebody has to go, and it is said.
    let lists = || world.pia.records().of(Api::List).len();
    let before = lists();
    let second = life();
    assert!(lists() >= before + 4, "{} lists", lists() - before);
    second.wait_for_log(
        "first: another container with this volume is connected to",
        SOON,
    );
}

/// A place is held by who asks there or is connected, not by who has been sent away.
#[test]
fn a_server_that_refused_is_free_for_another_container_while_the_search_goes_on() {
    let world = World::builder()
        .servers("one", Kind::New, 1)
        .servers("other", Kind::New, 1)
        .build();
    let volume = tempfile::tempdir().unwrap();
    let others = File::create(volume.path().join("servers.lock")).unwrap();
    let of = |location| world.pia.servers_of(location).remove(0);
    let (one, other) = (of("one"), of("other"));
    one.close_registration();
    other.mute_registration();
    let recipe = to(&world, "one other").bind(volume.path(), "/pia");
    let container = recipe.start();
    container.wait_for_log("Registering with other", SOON);
    assert!(take_place(&others, &one), "nobody is there");
    // The control.
    assert!(!take_place(&others, &other), "it may answer yet");
}

/// "a server that another container with the volume is connected to, makes way for `LOC`"
/// (README.md)
#[test]
fn a_kept_server_is_left_to_another_container_with_the_same_volume() {
    let world = World::new();
    let volume = tempfile::tempdir().unwrap();
    let others = File::create(volume.path().join("servers.lock")).unwrap();
    let server = &world.pia.servers_of("swiss")[0];
    let choice = format!("{{\"server\":\"{}\"}}", server.cn());
    fs::write(volume.path().join("choice.json"), choice).unwrap();
    let recipe = || to(&world, "nl_amsterdam").bind(volume.path(), "/pia");
    // The control: nobody is there.
    let container = recipe().connect();
    assert_eq!(world.server_in_use().cn(), server.cn());
    container.kill();
    wait_until("the place is free", SOON, || take_place(&others, server));
    let container = recipe().connect();
    assert_eq!(world.location_in_use(), "nl_amsterdam");
    let said = format!(
        "The kept choice of a server: another container with this volume is connected to {}; LOC \
         is used in this life",
        server.cn()
    );
    container.wait_for_log(&said, SOON);
}

// Servers that are not chosen from the list.

/// "With `PIA_CN` and `PIA_PORT` it is used instead of `LOC`" (README.md)
#[test]
fn a_manual_server_needs_neither_list_nor_location() {
    let world = World::new();
    let server = &world.pia.servers_of("swiss")[1];
    let container = world
        .container(PROGRAM)
        .credentials()
        .env("PIA_IP", server.address().to_string())
        .env("PIA_CN", server.cn())
        .env("PIA_PORT", "1337")
        .env("LOC", "nowhere")
        .start();
    container.wait_for_log(UP, SOON);
    assert_eq!(world.server_in_use().cn(), server.cn());
    assert!(world.pia.records().of(Api::List).is_empty());
}

/// "Token of a dedicated IP; `LOC` is not used then" (README.md)
#[test]
fn a_dedicated_ip_is_registered_by_its_own_token() {
    let world = World::new();
    let server = &world.pia.servers_of("nl_amsterdam")[1];
    let token = world.pia.dedicate(server);
    let container = to(&world, "nowhere").env("PIA_DIP_TOKEN", token).start();
    container.wait_for_log(UP, SOON);
    assert_eq!(world.server_in_use().cn(), server.cn());
    let request = &world.pia.records().of(Api::AddKey)[0].request;
    assert!(
        request
            .header("authorization")
            .is_some_and(|header| header.starts_with("Basic "))
    );
    assert_eq!(request.parameter("pt"), None);
    assert!(world.pia.records().of(Api::List).is_empty());
}

#[test]
fn a_dedicated_ip_renews_a_refused_token() {
    let world = World::new();
    let token = world.pia.dedicate(&world.pia.servers_of("swiss")[0]);
    let container = to(&world, "")
        .env("PIA_DIP_TOKEN", token)
        .file("/pia/.token", "stale")
        .start();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(world.pia.login_attempts(), 1);
    // With the refused token, and with the new one.
    assert_eq!(world.pia.records().of(Api::DedicatedIp).len(), 2);
}

/// The account's token is no part of that registration.
#[test]
fn a_dedicated_ip_that_its_server_refuses_costs_no_further_login() {
    let world = World::new();
    let server = &world.pia.servers_of("swiss")[0];
    let token = world.pia.dedicate(server);
    server.refuse_registration("Login failed!");
    let container = to(&world, "")
        .env("PIA_DIP_TOKEN", token)
        .env("CURL_RETRY_DELAY", "1")
        .start();
    assert!(world.pia.records().wait_for(Api::AddKey, 5, LATER));
    container.wait_for_log("the server refused the dedicated IP: login failed", SOON);
    server.accept_registration();
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(world.pia.login_attempts(), 1);
}

#[track_caller]
fn a_dedicated_ip_is_fatal_that_is(status: &str, message: &str) {
    let world = World::new();
    let token = world.pia.dedicate(&world.pia.servers()[0]);
    world.pia.set_dedicated_ip_status(status);
    let container = with_token(&world, "")
        .env("PIA_DIP_TOKEN", token)
        .env("EXIT_ON_FATAL", "1")
        .start();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    assert!(log.contains(message), "{log}");
    assert_eq!(world.pia.records().of(Api::DedicatedIp).len(), 1);
}

#[test]
fn an_expired_dedicated_ip_is_fatal() {
    a_dedicated_ip_is_fatal_that_is("expired", "the dedicated IP has expired; renew it");
}

#[test]
fn an_invalid_dedicated_ip_is_fatal() {
    a_dedicated_ip_is_fatal_that_is("invalid", "check PIA_DIP_TOKEN");
}

// Meta servers.

/// Neither PIA's hosts nor DNS are asked.
#[track_caller]
fn a_meta_server_replaces_the_hosts_of_the_api(port: &str) {
    let world = World::new();
    let meta = world.pia.servers_of("nl_amsterdam")[0].plan().clone();
    let container = to(&world, "swiss")
        .env("META_IP", meta.address.to_string())
        .env("META_CN", &meta.meta_cn)
        .env("META_PORT", port)
        .start();
    assert_eq!(location_reached(&world, &container), "swiss");
    let asked = [Api::Token, Api::List].map(|api| world.pia.records().of(api)[0].host.clone());
    assert_eq!(asked, [meta.meta_cn.clone(), meta.meta_cn]);
    assert!(
        world
            .pia
            .records()
            .questions()
            .iter()
            .all(|question| question.through.is_some())
    );
}

#[test]
fn a_meta_server_on_port_443() {
    a_meta_server_replaces_the_hosts_of_the_api("443");
}

/// "A meta server on another port than 443 was blocked by the firewall" (docs/migration.md)
#[test]
fn a_meta_server_on_port_8080() {
    a_meta_server_replaces_the_hosts_of_the_api("8080");
}

#[test]
fn a_host_that_is_no_meta_server_any_more_is_called_so() {
    let world = World::new();
    let meta = world.pia.servers_of("swiss")[0].plan().clone();
    let container = to(&world, "swiss")
        .env("META_IP", meta.address.to_string())
        .env("META_CN", meta.meta_cn)
        .env("EXIT_ON_FATAL", "1")
        .start();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    assert!(
        log.contains("this is no meta server, perhaps no longer"),
        "{log}"
    );
}

/// A portal that answers in its place passes.
#[test]
fn a_host_that_is_no_meta_server_now_is_asked_again() {
    let world = World::new();
    let server = &world.pia.servers_of("nl_amsterdam")[0];
    server.meta_certificate(Cert::Foreign);
    let meta = server.plan().clone();
    let container = to(&world, "swiss")
        .env("META_IP", meta.address.to_string())
        .env("META_CN", meta.meta_cn)
        .start();
    container.wait_for_log("this is no meta server, perhaps no longer", SOON);
    container.wait_for_log("Trying again in", SOON);
    let asked = || [Api::Token, Api::List].map(|api| world.pia.records().of(api).len());
    assert_eq!(asked(), [0, 0]);
    server.meta_certificate(Cert::San);
    assert_eq!(location_reached(&world, &container), "swiss");
    assert_eq!(asked(), [1, 1]);
}

/// Whoever has its certificate has seen the password.
#[test]
fn a_meta_server_without_an_api_is_shown_the_password_once_in_five_minutes() {
    let world = World::new();
    let meta = world.pia.servers_of("nl_amsterdam")[0].plan().clone();
    world.pia.answer_login(404, "<html>not found</html>");
    let container = to(&world, "swiss")
        .env("META_IP", meta.address.to_string())
        .env("META_CN", meta.meta_cn)
        .start();
    container.wait_for_log("this is no meta server, perhaps no longer", SOON);
    container.wait_for_log("Trying again in 300 s", SOON);
    assert_eq!(world.pia.login_attempts(), 1);
}
