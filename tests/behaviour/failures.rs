//! What fails is said, with what to do about it; what may pass is tried again, what would lock the
//! account is not.

use std::fs;
use std::thread;
use std::time::Duration;

use harness::log_lines::{RECONNECTED, UP, count, in_order};
use harness::simulator::faults::{Api, Fault};
use harness::simulator::{API_HOST, LIST_HOST};
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::internet::Outage;
use harness::world::network::{API, DNS, ELSEWHERE, INTERNET, LIST};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

const WAITING: &str = "Waiting, sealed, to be stopped";

/// A container with the right credentials and a location, which is patient for a second only.
fn container(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam")
        .env("CURL_RETRY_DELAY", "1")
}

/// With `EXIT_ON_FATAL=1` it ends with status 1, sealed, and says this.
#[track_caller]
fn ends_saying(world: &World, recipe: Recipe, messages: &[&str]) {
    let container = recipe.env("EXIT_ON_FATAL", "1").start();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    let fatal = log
        .lines()
        .find(|line| line.starts_with("Error: Fatal error: "))
        .expect("a fatal error");
    messages
        .iter()
        .for_each(|message| assert!(fatal.contains(message), "{message:?} is not in {fatal:?}"));
    assert!(world.is_sealed());
    assert!(world.elsewhere.all().is_empty());
}

// The account.

/// One login, for good: more of them would lock the account, or keep it locked.
///
/// "Refused credentials are not tried again, as before." (docs/migration.md)
#[track_caller]
fn a_login_is_tried_once_that(fails: fn(&World), message: &str) {
    let world = World::new();
    fails(&world);
    ends_saying(
        &world,
        container(&world),
        &["logging in with www.privateinternetaccess.com", message],
    );
    assert_eq!(world.pia.login_attempts(), 1);

    let container = container(&world).start();
    container.wait_for_log(WAITING, SOON);
    assert!(!container.logs().contains("Trying again"));
    assert!(container.stop().status.success());
    assert!(world.is_sealed());
    assert_eq!(world.pia.login_attempts(), 2);
}

#[test]
fn wrong_password() {
    a_login_is_tried_once_that(|world| world.pia.refuse_login(), "check USER and PASS");
}

#[test]
fn forbidden_by_a_web_page() {
    a_login_is_tried_once_that(
        |world| world.pia.forbid_login(),
        "a web page came instead of an answer (HTTP 403)",
    );
}

#[test]
fn access_denied_in_plain_text() {
    a_login_is_tried_once_that(|world| world.pia.deny_login(), "check USER and PASS");
}

#[test]
fn refused_with_a_status_of_success() {
    a_login_is_tried_once_that(
        |world| world.pia.deny_login_with_200(),
        "check USER and PASS",
    );
}

/// "a refusal in any form" (docs/pia-api.md)
#[test]
fn a_login_is_sent_once_for_each_form_of_refusal() {
    let world = World::new();
    let no = "the user name or the password was refused";
    let unclear = "Trying again in 300 s";
    let forms = [
        (401, "", no),
        (403, "", no),
        (403, "{}", no),
        (400, r#"{"message":"wrong password"}"#, no),
        (422, r#"{"code":"invalid"}"#, no),
        (200, r#"{"status":"error"}"#, no),
        (200, "HTTP Token: Access denied.", no),
        (200, "", unclear),
        (200, "{}", unclear),
        (200, "<html>", unclear),
        (404, "odd", unclear),
    ];
    world.pia.payment_required();
    let container = container(&world).start();
    container.wait_for_log("the subscription is over", SOON);
    for (sent, (status, body, said)) in (1..).zip(forms) {
        assert_eq!(world.pia.login_attempts(), sent, "before {status} {body}");
        world.pia.answer_login(status, body);
        let times = || container.logs().matches(said).count();
        let before = times();
        container.signal(Signal::SIGHUP);
        wait_until(&format!("{status} {body}"), SOON, || times() > before);
    }
    assert_eq!(world.pia.login_attempts(), 1 + forms.len());
}

/// Each attempt sends a password that is refused.
#[test]
fn signals_that_come_while_an_attempt_fails_are_one_further_attempt() {
    let world = World::new();
    world.pia.refuse_login();
    let container = container(&world)
        .env("FATAL_SCRIPT", "echo begun; sleep 2; echo ended")
        .start();
    let times = |what: &str| container.logs().matches(what).count();
    wait_until("it fails", SOON, || times("begun") == 1);
    for _ in 0..5 {
        container.signal(Signal::SIGHUP);
        thread::sleep(Duration::from_millis(100));
    }
    wait_until("the further attempt fails", SOON, || times("ended") == 2);
    wait_until("it waits", SOON, || times(WAITING) == 2);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(world.pia.login_attempts(), 2);
}

#[test]
fn blocked_by_the_content_network() {
    a_login_is_tried_once_that(
        |world| world.pia.block_login(),
        "this address or network is blocked by PIA's content network (error 1020)",
    );
}

#[test]
fn the_account_is_locked_out() {
    a_login_is_tried_once_that(
        |world| world.pia.lock_out(),
        "the account is locked out for some minutes",
    );
}

#[test]
fn the_subscription_is_over() {
    a_login_is_tried_once_that(
        |world| world.pia.payment_required(),
        "the subscription is over (HTTP 402); renew it",
    );
}

#[test]
fn missing_credentials() {
    let world = World::new();
    let recipe = world.container(PROGRAM).env("LOC", "swiss");
    ends_saying(
        &world,
        recipe,
        &["set USER (or USER_FILE) and PASS (or PASS_FILE)"],
    );
    assert!(world.pia.records().all().is_empty());
}

#[test]
fn unreadable_file_with_the_password() {
    let world = World::new();
    let recipe = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .env("USER", "p1")
        .env("PASS_FILE", "/run/secrets/none");
    ends_saying(&world, recipe, &["set PASS (or PASS_FILE)"]);
    let container = container(&world)
        .env("PASS_FILE", "/run/secrets/none")
        .start();
    container.wait_for_log("PASS_FILE=/run/secrets/none: cannot be read", SOON);
    container.wait_for_log(UP, SOON);
}

// The fatal handling itself.

/// "Command line that is run when a fatal error occurs" (README.md)
#[test]
fn the_fatal_script_runs_before_the_exit() {
    let world = World::new();
    world.pia.refuse_login();
    let recipe = container(&world)
        .env("FATAL_SCRIPT", "echo told $PWD; (exit 3)")
        .env("EXIT_ON_FATAL", "1");
    let (status, log) = recipe.start().end();
    assert_eq!(status, Some(1));
    assert!(in_order(
        &log,
        &[
            "Fatal error: ",
            "[fatal-script] told /scripts",
            "The fatal-script hook failed (exit status 3)"
        ]
    ));
}

/// "Otherwise the container stays, unhealthy and with the kill switch closed" (README.md)
#[test]
fn without_exit_on_fatal_the_container_stays_sealed_until_it_is_stopped() {
    let world = World::new();
    world.pia.refuse_login();
    let recipe = container(&world)
        .env("FATAL_SCRIPT", "echo told")
        .env("POST_DOWN", "echo down");
    let container = recipe.start();
    container.wait_for_log(WAITING, SOON);
    assert!(world.is_sealed());
    let stopped = container.stop();
    assert!(stopped.status.success(), "{stopped:?}");
    assert_eq!(count(&container.logs(), "[fatal-script] told"), 1);
    assert_eq!(count(&container.logs(), "[post-down] down"), 1);
}

/// "`docker kill --signal HUP vpn` makes it reconnect now." (README.md)
#[test]
fn sighup_tries_again_at_once() {
    let world = World::new();
    world.pia.refuse_login();
    let container = container(&world).start();
    container.wait_for_log(WAITING, SOON);
    world.pia.accept_login();
    container.signal(Signal::SIGHUP);
    container.wait_for_log(UP, SOON);
}

/// "A start that fails for a passing reason is tried again" (docs/migration.md)
#[test]
fn when_the_network_is_back_it_connects_by_itself() {
    let world = World::new();
    world.begin(Outage::Everything);
    let container = container(&world).env("FATAL_SCRIPT", "echo told").start();
    container.wait_for_log("Trying again in", LATER);
    assert!(world.is_sealed());
    world.end(Outage::Everything);
    container.wait_for_log(UP, LATER);
    assert_eq!(count(&container.logs(), "[fatal-script] told"), 1);
}

// An API that does not answer properly.

#[test]
fn trouble_at_the_login_that_passes() {
    let world = World::new();
    world.pia.fail_times(Api::Token, 502, 2);
    let container = container(&world).start();
    container.wait_for_log(
        "trouble at the server (HTTP 502). Trying again in 1 s",
        SOON,
    );
    container.wait_for_log(UP, SOON);
    assert_eq!(world.pia.login_attempts(), 3);
}

#[test]
fn trouble_at_the_list_that_passes() {
    let world = World::new();
    world.pia.fail_times(Api::List, 503, 2);
    let container = container(&world).start();
    container.wait_for_log(UP, SOON);
    assert_eq!(world.pia.records().of(Api::List).len(), 3);
}

/// It is asked for without a token, so no answer to that says anything of the account.
#[test]
fn a_list_that_is_forbidden_for_a_while_says_nothing_of_the_account() {
    let world = World::new();
    world.pia.fail_times(Api::List, 403, 2);
    let container = container(&world).start();
    let fatal = container.wait_for_log("Fatal error: fetching the server list", SOON);
    assert!(!fatal.text.contains("token"), "{}", fatal.text);
    container.wait_for_log("Trying again in", SOON);
    container.wait_for_log(UP, SOON);
    assert_eq!(world.pia.login_attempts(), 1);
    // The two that were refused, and the one that was not.
    assert_eq!(world.pia.records().of(Api::List).len(), 3);
}

/// "Retries after a failure of PIA's API or of name servers that may pass" (README.md)
#[test]
fn trouble_that_does_not_pass_ends_with_the_number_of_tries() {
    let world = World::new();
    world.pia.fail_times(Api::List, 500, 99);
    ends_saying(
        &world,
        container(&world).env("CURL_RETRY", "2"),
        &["trouble at the server (HTTP 500)", "(3 tries)"],
    );
}

#[test]
fn too_many_requests_are_followed_by_the_pause_that_was_asked_for() {
    let world = World::new();
    world.pia.rate_limit(Duration::from_secs(3));
    let container = container(&world).start();
    container.wait_for_log("too many requests (HTTP 429), not again for 3s", SOON);
    world.pia.accept_login();
    container.wait_for_log(UP, SOON);
    let logins = world.pia.records().of(Api::Token);
    assert!(logins[1].at.duration_since(logins[0].at) >= Duration::from_secs(3));
}

#[test]
fn a_longer_pause_than_curl_max_time_is_kept_too() {
    let world = World::new();
    world.pia.rate_limit(Duration::from_secs(600));
    let container = container(&world).start();
    container.wait_for_log("Trying again in 600 s", SOON);
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn servers_that_ask_for_patience_are_left_alone_for_as_long() {
    let world = World::new();
    world.pia.fail(Api::AddKey, Fault::RateLimit(600));
    let container = container(&world).env("LOC", "nl_amsterdam").start();
    container.wait_for_log("Trying again in 600 s", SOON);
    let servers = world.pia.servers_of("nl_amsterdam").len();
    assert_eq!(world.pia.records().of(Api::AddKey).len(), servers);
}

/// Not anew at each server that refuses the old token.
#[test]
fn a_login_that_has_to_wait_is_asked_for_once_in_a_search() {
    let world = World::new();
    world.pia.rate_limit(Duration::from_secs(600));
    let recipe = container(&world).file("/pia/.token", "stale");
    let container = recipe.env("LOC", "nl_amsterdam").start();
    container.wait_for_log("Trying again in 600 s", SOON);
    assert_eq!(world.pia.login_attempts(), 1);
    let servers = world.pia.servers_of("nl_amsterdam").len();
    assert!(servers > 1);
    assert_eq!(world.pia.records().of(Api::AddKey).len(), servers);
}

#[test]
fn a_stored_list_serves_where_an_answer_is_no_list() {
    let world = World::new();
    let list = world.pia.lists().download(false);
    world.pia.malformed(Api::List);
    let recipe = container(&world).file("/pia/servers.json", list);
    let container = recipe.start();
    container.wait_for_log("using the stored server list", SOON);
    container.wait_for_log(UP, SOON);
}

#[test]
fn a_pause_longer_than_any_clock_is_an_hour() {
    let world = World::new();
    world.pia.rate_limit(Duration::MAX);
    let container = container(&world).start();
    container.wait_for_log("Trying again in 3600 s", SOON);
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn an_answer_to_the_login_that_nobody_understands_is_asked_for_rarely() {
    let world = World::new();
    world.pia.malformed(Api::Token);
    let container = container(&world).start();
    container.wait_for_log("Trying again in 300 s", SOON);
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn trouble_inside_pia_with_a_dedicated_ip_passes() {
    let world = World::new();
    let token = world.pia.dedicate(&world.pia.servers_of("nl_amsterdam")[0]);
    world.pia.set_dedicated_ip_status("error");
    let container = container(&world).env("PIA_DIP_TOKEN", token).start();
    container.wait_for_log("PIA itself has trouble with this dedicated IP", SOON);
    container.wait_for_log("Trying again in", SOON);
    let records = world.pia.records();
    assert!(records.wait_for(Api::DedicatedIp, 4, LATER));
    world.pia.set_dedicated_ip_status("active");
    container.wait_for_log(UP, LATER);
    let asked = records.of(Api::DedicatedIp);
    let pauses = asked.windows(2).map(|pair| pair[1].at - pair[0].at);
    let shortest = pauses.min().expect("it was asked again");
    // `CURL_RETRY_DELAY`
    assert!(shortest > Duration::from_millis(900), "{shortest:?}");
    assert_eq!(world.pia.login_attempts(), 1);
}

/// Its own host is asked with the account's token, which takes a login.
#[test]
fn a_dedicated_ip_waits_for_the_login_that_it_needs() {
    let (patience, trouble) = (Fault::RateLimit(600), Fault::Status(503, 9));
    // The tenth login of the second brings a token, in its second attempt. Each attempt begins with
    // the old one.
    for (fault, words, logins, asked) in [
        (patience, "Trying again in 600 s", 1, 1),
        (trouble, UP, 10, 3),
    ] {
        let world = World::new();
        let token = world.pia.dedicate(&world.pia.servers_of("nl_amsterdam")[0]);
        world.pia.fail(Api::Token, fault);
        let recipe = container(&world).env("PIA_DIP_TOKEN", token);
        let container = recipe.file("/pia/.token", "stale").start();
        container.wait_for_log(words, LATER);
        assert_eq!(world.pia.login_attempts(), logins);
        assert_eq!(world.pia.records().of(Api::DedicatedIp).len(), asked);
    }
}

#[test]
fn a_web_page_instead_of_a_token() {
    let world = World::new();
    world.pia.answer_html();
    ends_saying(
        &world,
        container(&world),
        &["a web page came instead of an answer (HTTP 200)"],
    );
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn malformed_answers() {
    for (api, message) in [
        (Api::Token, "the answer cannot be used"),
        (Api::List, "the server list cannot be used"),
        (
            Api::AddKey,
            "no server could be connected to. Tried nl_amsterdam",
        ),
    ] {
        let world = World::new();
        world.pia.malformed(api);
        ends_saying(&world, container(&world), &[message]);
    }
}

#[test]
fn answers_that_are_cut_off_are_asked_for_again() {
    for api in [Api::Token, Api::List] {
        let world = World::new();
        world.pia.cut_body(api);
        let container = container(&world).start();
        container.wait_for_log("the connection was cut", SOON);
        world.pia.heal(api);
        container.wait_for_log(UP, SOON);
    }
}

// The server list.

#[test]
fn no_list_and_none_stored() {
    let world = World::new();
    world.begin(Outage::List);
    let recipe = container(&world)
        .env("CURL_RETRY", "0")
        .env("CURL_MAX_TIME", "3");
    ends_saying(
        &world,
        recipe,
        &["fetching the server list with serverlist.piaservers.net"],
    );
}

#[test]
fn the_stored_list_serves_while_its_host_is_down() {
    let world = World::new();
    let mut container = container(&world).start();
    container.wait_for_log(UP, SOON);
    container.stop();
    world.begin(Outage::List);
    container.restart();
    container.wait_for_log("using the stored server list", LATER);
    container.wait_for_log(UP, SOON);
}

#[test]
fn a_stored_list_that_was_tampered_with_is_not_used() {
    let world = World::new();
    let mut container = container(&world)
        .env("EXIT_ON_FATAL", "1")
        .env("CURL_RETRY", "0")
        .start();
    container.wait_for_log(UP, SOON);
    container.stop();
    let list = container.read("/pia/servers.json").expect("a stored list");
    fs::write(
        container.path("/pia/servers.json"),
        list.replacen("amsterdam44", "amsterdam66", 1),
    )
    .unwrap();
    world.pia.fail(Api::List, Fault::Status(503, 99));
    container.restart();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    assert!(
        log.contains("stored server list, /pia/servers.json: ") && log.contains("it is not used"),
        "{log}"
    );
    assert_eq!(world.pia.records().registrations().len(), 1);
}

#[test]
fn a_list_with_a_bad_signature_is_neither_used_nor_stored() {
    let world = World::new();
    world.pia.bad_list_signature();
    ends_saying(
        &world,
        container(&world),
        &["the server list cannot be used", "signature"],
    );
    let records = world.pia.records();
    assert!(records.registrations().is_empty());
    assert_eq!(records.of(Api::List).len(), 1);
    // The next try is a new one.
    let container = container(&world).start();
    container.wait_for_log("Trying again in", SOON);
    world.pia.good_list_signature();
    let before = records.of(Api::List).len();
    container.wait_for_log(UP, SOON);
    assert_eq!(records.of(Api::List).len(), before + 1);
    assert_eq!(world.pia.login_attempts(), 2);
}

#[test]
fn a_bad_signature_is_fatal_though_a_good_list_is_stored() {
    let world = World::new();
    let mut container = container(&world).env("EXIT_ON_FATAL", "1").start();
    container.wait_for_log(UP, SOON);
    container.stop();
    let stored = container.read("/pia/servers.json");
    world.pia.bad_list_signature();
    container.restart();
    assert_eq!(container.end().0, Some(1));
    assert_eq!(container.read("/pia/servers.json"), stored);
}

// The network and the machine.

#[test]
fn silent_name_servers() {
    let world = World::new();
    world.begin(Outage::DnsSilent);
    ends_saying(
        &world,
        container(&world),
        &[
            "resolving www.privateinternetaccess.com",
            "check the container's DNS",
        ],
    );
}

#[test]
fn name_servers_that_refuse() {
    let world = World::new();
    world.begin(Outage::DnsRefuses);
    ends_saying(
        &world,
        container(&world),
        &[
            "resolving www.privateinternetaccess.com",
            "check the container's DNS",
        ],
    );
}

/// As after a power cut, when the router is not up yet: who shares the network would lose it for
/// good if the container ended.
#[test]
fn name_servers_that_are_not_up_yet_are_waited_for_as_curl_retry_says() {
    let nameless = |world: &World, so: bool| {
        for (host, address) in [(API_HOST, API), (LIST_HOST, LIST)] {
            let addresses = [address];
            let addresses = if so { &[][..] } else { &addresses };
            world.pia.names().set(host, addresses);
        }
    };
    for (outage, is_logged_in) in [
        (Some(Outage::DnsRefuses), false),
        (Some(Outage::DnsSilent), false),
        (Some(Outage::DnsRefuses), true),
        (None, false),
    ] {
        let world = World::new();
        let mut recipe = container(&world).env("CURL_RETRY_DELAY", "5");
        if is_logged_in {
            recipe = recipe.file("/pia/.token", world.pia.issue_token());
        }
        match outage {
            Some(outage) => world.begin(outage),
            None => nameless(&world, true),
        }
        let container = recipe.env("EXIT_ON_FATAL", "1").start();
        container.wait_for_log(". Trying again for ", SOON);
        thread::sleep(Duration::from_secs(4));
        let records = world.pia.records();
        if outage.is_none() {
            let asked = records.questions();
            let asked = asked.iter().filter(|question| question.name == API_HOST);
            let asked = u32::try_from(asked.count()).expect("not that many");
            let lasted = container.started().elapsed();
            // Two servers each time; the shortest pause is 0.64 s.
            let most = 2.0 * (lasted.as_secs_f64() / 0.64 + 1.0);
            assert!(asked >= 4, "{asked} in {lasted:?}");
            assert!(f64::from(asked) <= most, "{asked} in {lasted:?}");
        }
        match outage {
            Some(outage) => world.end(outage),
            None => nameless(&world, false),
        }
        container.wait_for_log(UP, SOON);
        assert!(!container.logs().contains("Fatal error"));
        assert_eq!(records.of(Api::Token).len(), usize::from(!is_logged_in));
        assert_eq!(records.of(Api::List).len(), 1);
    }
}

/// As that of a router that leads everybody to itself until its way out is there.
#[test]
fn a_name_server_that_lies_for_a_moment_is_asked_again_after_a_failed_try() {
    let world = World::new();
    let names = |api, list| {
        world.pia.names().set(API_HOST, &[api]);
        world.pia.names().set(LIST_HOST, &[list]);
    };
    // Nobody listens there.
    names(DNS, DNS);
    let container = container(&world).env("CURL_RETRY_DELAY", "5");
    let container = container.env("EXIT_ON_FATAL", "1").start();
    container.wait_for_log("Trying again in 5 s", SOON);
    names(API, LIST);
    container.wait_for_log(UP, SOON);
}

/// Its certificate has proved the address; what a name server says next is no truer.
#[test]
fn an_address_that_answered_is_kept_where_a_name_server_lies_later() {
    let world = World::new();
    let container = container(&world).env("CURL_RETRY", "1").connect();
    world.pia.forget_tokens();
    world.pia.fail_times(Api::Token, 503, 99);
    let records = world.pia.records();
    let before = records.of(Api::Token).len();
    container.signal(Signal::SIGHUP);
    world.server_in_use().silence_endpoint();
    assert!(records.wait_for(Api::Token, before + 2, LATER));
    // Nobody listens there.
    world.pia.names().set(API_HOST, &[DNS]);
    let before = records.of(Api::Token).len();
    assert!(records.wait_for(Api::Token, before + 4, LATER));
    world.pia.heal(Api::Token);
    container.wait_for_log(RECONNECTED, LATER);
}

#[test]
fn a_second_name_server_serves_while_the_first_is_silent() {
    let world = World::new();
    let container = container(&world)
        .resolv_conf("nameserver 198.19.0.1\nnameserver 203.0.113.54\n")
        .start();
    container.wait_for_log(UP, SOON);
}

/// As Pi-hole, AdGuard and providers' filters do with names that they block.
#[test]
fn a_name_server_that_lies_is_named_and_nobody_is_connected_to() {
    let world = World::new();
    let lie = |address: &str| {
        for host in [API_HOST, LIST_HOST] {
            world
                .pia
                .names()
                .set(host, &[address.parse().expect("an address")]);
        }
    };
    lie("0.0.0.0");
    let container = container(&world).start();
    container.wait_for_log(
        "answered 0.0.0.0, which no public host has (a DNS filter?)",
        SOON,
    );
    let is_named = |lied: &str| {
        container.wait_for_log(&format!("answered {lied}, which no public host has"), LATER);
    };
    lie("127.0.0.1");
    is_named("127.0.0.1");
    assert!(
        !container.logs().contains("connecting to"),
        "{}",
        container.logs()
    );
    // It may be a proxy, and whoever else is there fails at the certificate.
    for lied in ["172.18.0.1", "192.168.1.2"] {
        lie(lied);
        is_named(lied);
        container.wait_for_log(&format!("connecting to {lied}:443"), LATER);
    }
}

/// Some reach PIA's hosts by addresses of their own network only.
#[test]
fn pias_hosts_may_have_private_addresses() {
    let world = World::new();
    let proxies = [(API_HOST, "10.99.0.1", API), (LIST_HOST, "10.99.0.2", LIST)];
    let mut rules = "*nat\n".to_owned();
    for (host, address, real) in proxies {
        let names = world.pia.names();
        names.set(host, &[address.parse().expect("an address")]);
        rules += &format!("-A PREROUTING -d {address} -j DNAT --to-destination {real}\n");
    }
    world
        .router()
        .ip(format!("route add 10.99.0.0/24 via {INTERNET}"));
    world.internet().firewall(rules + "COMMIT\n");
    let container = container(&world).connect();
    container.wait_for_log("so it is asked there", SOON);
    world.assert_carries();
}

#[test]
fn no_server_can_be_reached() {
    let world = World::new();
    let servers = world.pia.servers_of("nl_amsterdam");
    servers
        .iter()
        .for_each(|server| server.close_registration());
    let names = [
        servers[0].cn(),
        servers[1].cn(),
        "add other locations to LOC",
    ];
    ends_saying(&world, container(&world), &names);
}

/// Where the server was chosen otherwise, other locations in `LOC` would change nothing.
#[test]
fn what_can_be_done_about_a_server_is_said_as_it_was_chosen() {
    let world = World::new();
    let servers = world.pia.servers_of("nl_amsterdam");
    let (server, dip) = (&servers[0], world.pia.dedicate(&servers[1]));
    let manual = |cn: &str| {
        container(&world)
            .env("PIA_IP", server.plan().address.to_string())
            .env("PIA_CN", cn)
            .env("PIA_PORT", server.plan().port.to_string())
    };
    let wrong = format!(
        "its certificate is for another server (it names {})",
        server.cn()
    );
    let cure = "check PIA_IP, PIA_CN and PIA_PORT";
    ends_saying(&world, manual("zurich400"), &[&wrong, cure]);
    servers
        .iter()
        .for_each(|server| server.close_registration());
    ends_saying(&world, manual(server.cn()), &[cure]);
    let dedicated = container(&world).env("PIA_DIP_TOKEN", dip);
    let cure = "without PIA_DIP_TOKEN the locations in LOC are used";
    ends_saying(&world, dedicated, &[cure]);
}

/// "A bad value of a variable is a warning that names it, and the default applies." (CHANGELOG.md)
#[test]
fn a_log_filter_without_a_level_for_us_silences_nothing() {
    let world = World::new();
    // In env_logger's form that is the name of a module.
    let container = container(&world).env("RUST_LOG", "warning").connect();
    container.wait_for_log("Warning: RUST_LOG: warning ", SOON);
}

/// `user: 1000:1000`: `cap_add` is there, and of no use.
#[test]
fn an_ordinary_user_is_told_to_run_it_as_root() {
    let world = World::new();
    let container = container(&world).ordinary_user(1000);
    let (status, log) = container.env("EXIT_ON_FATAL", "1").start().end();
    assert_eq!(status, Some(1));
    assert!(log.contains("NET_ADMIN is missing"), "{log}");
    assert!(log.contains("remove `user:` from the service"), "{log}");
    assert!(!log.contains("DAC_OVERRIDE"), "{log}");
}

/// Containers that share the network can write its `/etc/hosts`, and would see the real address.
#[test]
fn what_a_sibling_writes_into_the_hosts_file_is_not_believed() {
    let world = World::new();
    world.pia.fail_times(Api::Token, 503, 99);
    let container = container(&world).env("CURL_RETRY", "0").start();
    container.wait_for_log("Trying again in", SOON);
    let poison = format!("echo {ELSEWHERE} {API_HOST} {LIST_HOST} >>/etc/hosts");
    container.shell(&poison);
    world.pia.accept_login();
    container.wait_for_log(UP, LATER);
    assert!(!container.logs().contains(&ELSEWHERE.to_string()));
}

#[test]
fn without_net_admin_nothing_is_tried() {
    let world = World::new();
    let (status, log) = container(&world)
        .cap_drop("net_admin")
        .env("EXIT_ON_FATAL", "1")
        .start()
        .end();
    assert_eq!(status, Some(1));
    assert!(
        log.contains("Fatal error: the capability NET_ADMIN is missing")
            && log.contains("cap_add: [NET_ADMIN]")
    );
    assert!(world.pia.records().all().is_empty());

    let container = container(&world)
        .cap_drop("net_admin")
        .env("PRE_DOWN", "echo down")
        .start();
    container.wait_for_log("Waiting to be stopped", SOON);
    assert!(container.stop().status.success());
    assert!(!container.logs().contains("[pre-down]"));
    assert!(!container.logs().contains("sealed"), "it cannot know that");
}

/// "then … stay, kill switch closed": also where it was open yet, for the pre-up hooks.
#[test]
fn what_fails_around_the_pre_up_hooks_fails_with_the_network_closed() {
    let world = World::new();
    let closed = |recipe: Recipe| {
        let container = recipe.start();
        container.wait_for_log("Trying again in", SOON);
        assert!(world.is_sealed());
        assert!(world.client().is_kept_from((ELSEWHERE, 80)));
        assert!(container.stop().status.success());
        container.logs()
    };
    let log = closed(container(&world).env("PRE_UP", ":").tmpfs("/run", "ro"));
    let expected = [
        "backend: ",
        "Kill switch closed",
        "Fatal error: creating /run/",
    ];
    assert!(in_order(&log, &expected), "{log}");
}

/// "If the filter cannot be loaded … the network is cut by other means", by whomever it was broken.
#[test]
fn a_pre_up_hook_that_breaks_iptables_opens_nothing() {
    let world = World::new();
    let break_it = "for p in /usr/sbin/ip{,6}tables{,-nft,-legacy}-restore; do
        rm $p; printf '#!/bin/sh\\nexit 1\\n' >$p; chmod +x $p; done";
    let container = container(&world).env("PRE_UP", break_it).start();
    container.wait_for_log("Trying again in", SOON);
    assert!(world.client().is_kept_from((ELSEWHERE, 80)));
    assert!(container.stop().status.success());
    assert!(world.client().is_kept_from((ELSEWHERE, 80)));
    let log = container.logs();
    assert!(log.contains("a routing rule blocks all IPv4"), "{log}");
}

/// The same where the hook then ends the life: "a guard must not fail open".
#[test]
fn a_pre_up_hook_that_breaks_iptables_and_exits_opens_nothing() {
    let world = World::new();
    let break_it = "for p in /usr/sbin/ip{,6}tables{,-nft,-legacy}-restore; do
        rm $p; printf '#!/bin/sh\\nexit 1\\n' >$p; chmod +x $p; done; exit 3";
    let container = container(&world).env("PRE_UP", break_it).start();
    assert_eq!(container.end().0, Some(3));
    assert!(world.client().is_kept_from((ELSEWHERE, 80)));
}

/// With WireGuard in the kernel there is no need for it.
#[test]
fn without_a_tun_device() {
    let world = World::new();
    let recipe = container(&world).without_tun();
    if world.kernel_has_wireguard() {
        recipe.start().wait_for_log(UP, SOON);
    } else {
        ends_saying(
            &world,
            recipe,
            &["add `devices: [/dev/net/tun:/dev/net/tun]`"],
        );
    }
}

#[test]
fn what_wg_quick_did_before_it_failed_is_undone() {
    let world = World::new();
    let broken = "#!/bin/bash\n[[ $1 != setconf ]] || { echo broken >&2; exit 1; }\nexec \
                  /usr/local/bin/wg \"$@\"\n";
    let recipe = container(&world)
        .bind("/usr/bin/wg", "/usr/local/bin/wg")
        .script("/usr/bin/wg", broken);
    let container = recipe.env("EXIT_ON_FATAL", "1").start();
    let (status, log) = container.end();
    assert_eq!(status, Some(1));
    assert!(
        log.contains("Fatal error: bringing up wg0: wg-quick: exit status 1: "),
        "{log}"
    );
    assert!(
        log.contains(" / broken; see the lines of wg-quick above"),
        "{log}"
    );
    assert!(!world.look("ip link").contains("wg0"));
    assert!(
        !container
            .read("/etc/resolv.conf")
            .unwrap()
            .contains("10.0.0.243")
    );
    assert!(world.is_sealed());
}

// Servers that answer, but do not take us.

const DELAY: Duration = Duration::from_secs(2);

/// Blocks until each server of Amsterdam was asked three times more, and says how often that was:
/// "What answers, but with an error, is asked no more often than `CURL_RETRY_DELAY` says"
/// (CHANGELOG.md).
#[track_caller]
fn registrations_are_apart(world: &World) {
    let records = world.pia.records();
    let before = records.of(Api::AddKey).len();
    let servers = world.pia.servers_of("nl_amsterdam");
    assert!(records.wait_for(Api::AddKey, before + 3 * servers.len(), LATER));
    let asked = records.of(Api::AddKey).split_off(before);
    for server in servers {
        let times = asked.iter().filter(|record| record.host == server.cn());
        let times: Vec<_> = times.map(|record| record.at).collect();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        let shortest = pauses.min().expect("it was asked again");
        assert!(shortest > DELAY.mul_f64(0.9), "{shortest:?}");
    }
}

#[test]
fn servers_that_refuse_are_left_alone_for_curl_retry_delay_at_the_start() {
    let world = World::new();
    for server in world.pia.servers() {
        server.refuse_registration("Login failed!");
    }
    let _container = container(&world).env("CURL_RETRY_DELAY", "2").start();
    registrations_are_apart(&world);
}

#[test]
fn servers_that_refuse_are_left_alone_for_curl_retry_delay_in_a_reconnect() {
    let world = World::new();
    let container = container(&world).env("CURL_RETRY_DELAY", "2").connect();
    for server in world.pia.servers() {
        server.answer_with_wrong_key();
        server.silence_endpoint();
    }
    container.signal(Signal::SIGHUP);
    registrations_are_apart(&world);
}

/// "the server list at most every 30 seconds" (CHANGELOG.md), also where it names no other server.
#[test]
fn the_list_is_left_alone_while_the_only_server_of_a_location_refuses() {
    let world = World::builder().servers("one", Kind::Stable, 1).build();
    let container = container(&world).env("LOC", "one").connect();
    let server = world.server_in_use();
    server.refuse_registration("no");
    server.silence_endpoint();
    let records = world.pia.records();
    let before = [Api::AddKey, Api::List].map(|api| records.of(api).len());
    container.signal(Signal::SIGHUP);
    assert!(records.wait_for(Api::AddKey, before[0] + 5, LATER));
    let asked = records.of(Api::List).len() - before[1];
    assert!(asked <= 1, "{asked} in five attempts");
}

/// Nor is the account API asked for its dedicated IP several times in one attempt.
#[test]
fn a_dedicated_ip_is_asked_for_once_in_an_attempt() {
    let world = World::new();
    let server = &world.pia.servers()[0];
    let token = world.pia.dedicate(server);
    let container = container(&world).env("PIA_DIP_TOKEN", token).connect();
    world.pia.set_dedicated_ip_status("error");
    server.silence_endpoint();
    let records = world.pia.records();
    let before = [Api::AddKey, Api::DedicatedIp].map(|api| records.of(api).len());
    container.signal(Signal::SIGHUP);
    assert!(records.wait_for(Api::AddKey, before[0] + 5, LATER));
    let [attempts, asked] = [Api::AddKey, Api::DedicatedIp].map(|api| records.of(api).len());
    let (attempts, asked) = (attempts - before[0], asked - before[1]);
    assert!(asked <= attempts, "{asked} in {attempts} attempts");
}
