//! Which server is taken.

use harness::simulator::certificates::Cert;
use harness::simulator::faults::Api;
use harness::waiting::SOON;
use harness::world::World;
use harness::world::builder::Kind;

use crate::life::Life;
use crate::see::{
    asked, closed, ends_with, file_has, leaves_by, logged, no_file, not_logged, now,
    registered_with, so,
};

pub fn lives() -> Vec<Life> {
    vec![
        fallback(),
        refused(),
        false_certificate(),
        unknown(),
        upper_case(),
        names(),
        quotes(),
        offline(),
        empty(),
        empty_and_staying(),
        mixed_up_keys(),
        bad_signature(),
        list_down(),
        list_slow_to_come(),
        list_that_hangs(),
    ]
}

fn fallback() -> Life {
    Life::of("locations")
        .env("LOC", "nowhere,jamaica  \nswiss nl_amsterdam\n")
        .connects()
        .sees(
            "are_tried_in_order_and_unknown_ones_passed_over",
            leaves_by("swiss"),
        )
        .sees("one_registration_is_enough", registered_with(&["swiss"]))
}

fn refused() -> Life {
    Life::of("location_that_refuses")
        .env("LOC", "nl_amsterdam, swiss")
        .does(|stage| {
            for server in stage.world.pia.servers_of("nl_amsterdam") {
                server.refuse_registration("no room");
            }
        })
        .connects()
        .sees("is_followed_by_the_next", leaves_by("swiss"))
}

fn unknown() -> Life {
    Life::of("unknown_location")
        .env("LOC", "nowhere")
        .env("EXIT_ON_FATAL", "1")
        .env("POST_DOWN", "echo down hooks run")
        .env("FATAL_SCRIPT", "echo fatal >/pia/fatal")
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("says_so", logged("Fatal error"))
        .sees("runs_the_fatal_script", file_has("/pia/fatal", "fatal"))
        .sees("runs_no_down_hooks", not_logged("down hooks run"))
        .sees("leaves_the_network_closed", closed())
        .sees("is_not_registered", asked(Api::AddKey, 0))
}

fn upper_case() -> Life {
    Life::of("location_in_upper_case")
        .env("LOC", "SWISS")
        .starts()
        .sees("is_found", leaves_by("swiss"))
        .differs("mended: any case; offline ones are skipped")
}

fn names() -> Life {
    Life::of("location_by_name")
        .env("LOC", "Switzerland")
        .starts()
        .sees("is_found", leaves_by("swiss"))
        .differs("names of locations and countries count where they are clear")
}

fn quotes() -> Life {
    Life::of("quoted_location")
        .env("LOC", "\"swiss\"")
        .starts()
        .sees("is_found", leaves_by("swiss"))
        .differs("mended: they come off with a warning, but for shell code")
}

fn offline() -> Life {
    Life::of("offline_location")
        .env("LOC", "nl_amsterdam swiss")
        .does(|stage| stage.world.pia.location_offline("nl_amsterdam"))
        .starts()
        .sees("is_passed_over", leaves_by("swiss"))
        .differs("offline ones are skipped, as nobody can connect there")
}

fn empty() -> Life {
    Life::of("no_location")
        .env("LOC", "")
        .env("EXIT_ON_FATAL", "1")
        .env("FATAL_SCRIPT", "touch /pia/fatal")
        .starts()
        .sees("ends_with_1", ends_with(1))
        .sees(
            "prints_objects",
            now(|stage| {
                let log = stage.container.logs();
                let log = log.split_whitespace().collect::<Vec<_>>().join(" ");
                let mut objects = log
                    .split("} ")
                    .filter(|text| text.contains(r#""id": "swiss""#));
                let object = objects.next().unwrap_or_default();
                let fields = [r#""name": "Switzerland""#, r#""port_forward": true"#];
                so(fields.iter().all(|field| object.contains(field)), || {
                    object.to_owned()
                })
            }),
        )
        .sees("needs_no_account", asked(Api::Token, 0))
        .sees("runs_no_fatal_script", no_file("/pia/fatal"))
        .differs("An empty LOC")
}

fn empty_and_staying() -> Life {
    Life::of("no_location_without_exit_on_fatal")
        .env("LOC", "")
        .starts()
        .sees("ends_with_1_too", ends_with(1))
        .differs("An empty LOC")
}

fn mixed_up_keys() -> Life {
    Life::of("mixed_up_keys")
        .env("LOC", "nl_amsterdam swiss")
        .does(|stage| {
            for server in stage.world.pia.servers_of("nl_amsterdam") {
                server.answer_with_wrong_key();
            }
        })
        .starts()
        .sees("are_followed_by_the_next_server", leaves_by("swiss"))
        .differs("*Mended:* that server has failed, and the next is tried.")
}

fn bad_signature() -> Life {
    Life::of("list_with_a_bad_signature")
        .env("EXIT_ON_FATAL", "1")
        .does(|stage| stage.world.pia.bad_list_signature())
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("no_server_of_it_is_asked", asked(Api::AddKey, 0))
}

fn list_down() -> Life {
    Life::of("list_that_is_down")
        .env("EXIT_ON_FATAL", "1")
        .env("CURL_RETRY", "0")
        .does(|stage| stage.world.pia.fail_times(Api::List, 503, 100))
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("curl_retry_0_is_one_try", asked(Api::List, 1))
}

fn list_slow_to_come() -> Life {
    Life::of("list_that_is_down_for_a_while")
        .env("CURL_RETRY", "2")
        .env("CURL_RETRY_DELAY", "1")
        .does(|stage| stage.world.pia.fail_times(Api::List, 503, 2))
        .starts()
        .sees(
            "curl_retry_2_is_three_tries",
            now(|stage| {
                let records = stage.world.pia.records();
                let three = records.wait_for(Api::List, 3, SOON);
                so(three, || format!("{} tries", records.of(Api::List).len()))
            }),
        )
        .sees("the_last_leads_to_a_tunnel", leaves_by("nl_amsterdam"))
        .differs("a try that brought an error page spoils the next")
}

fn list_that_hangs() -> Life {
    Life::of("list_that_hangs")
        .env("EXIT_ON_FATAL", "1")
        .env("CURL_RETRY", "0")
        .env("CURL_MAX_TIME", "2")
        .does(|stage| stage.world.pia.hang(Api::List))
        .starts()
        .sees("curl_max_time_is_its_limit", ends_with(1))
}

/// A world with a location that forwards no ports.
pub fn without_forwarding() -> World {
    let world = World::builder()
        .servers("us_chicago", Kind::Stable, 2)
        .build();
    for server in world.pia.servers() {
        server.no_port_forwarding();
    }
    world
}

fn false_certificate() -> Life {
    Life::of("false_certificate")
        .env("LOC", "nl_amsterdam swiss")
        .does(|stage| {
            for server in stage.world.pia.servers_of("nl_amsterdam") {
                server.certificate(Cert::Foreign);
            }
        })
        .connects()
        .sees("is_refused", leaves_by("swiss"))
        .sees("and_sent_no_token", asked(Api::AddKey, 1))
}
