//! Credentials, tokens, and the servers that are chosen by hand.

use harness::simulator::API_HOST;
use harness::simulator::account::{PASSWORD, USER};
use harness::simulator::faults::Api;

use super::locations::without_forwarding;
use crate::life::Life;
use crate::see::{
    Check, asked, ends_with, file_is, file_lacks, leaves_by, logged, no_file, not_logged, now,
    registered_with, so,
};

pub fn lives() -> Vec<Life> {
    vec![
        files(),
        carriage_returns(),
        no_files(),
        stored_token(),
        stored_token_with_newline(),
        refused_token(),
        refused_token_and_login(),
        wrong_password(),
        no_credentials(),
        trouble_at_the_login(),
        by_hand(),
        by_hand_in_part(),
        dedicated_ip(),
        expired_dedicated_ip(),
        american_dedicated_ip(),
        meta_server(),
        meta_server_at_another_port(),
    ]
}

fn files() -> Life {
    Life::of("secret_files")
        .env("USER", "somebody")
        .env("PASS", "wrong")
        .env("USER_FILE", "/run/secrets/user")
        .env("PASS_FILE", "/run/secrets/pass")
        .given(|_, recipe| {
            recipe
                .file("/run/secrets/user", format!("{USER}\n"))
                .file("/run/secrets/pass", format!("{PASSWORD}\n\n"))
        })
        .connects()
        .sees(
            "win_and_lose_all_newlines_at_their_end",
            leaves_by("nl_amsterdam"),
        )
        .sees("one_login_is_enough", asked(Api::Token, 1))
}

fn carriage_returns() -> Life {
    Life::of("secret_files_of_windows")
        .env("PASS", "")
        .env("PASS_FILE", "/run/secrets/pass")
        .given(|_, recipe| recipe.file("/run/secrets/pass", format!("{PASSWORD}\r\n")))
        .starts()
        .sees("lose_carriage_returns_too", leaves_by("nl_amsterdam"))
        .differs("carriage returns at the end are cut, too")
}

fn no_files() -> Life {
    Life::of("secret_files_that_are_not_there")
        .env("USER_FILE", "/run/secrets/user")
        .env("PASS_FILE", "/run/secrets/pass")
        .connects()
        .sees("leave_the_variables", leaves_by("nl_amsterdam"))
}

/// Nobody can log in.
fn without_credentials(life: Life) -> Life {
    life.env("USER", "").env("PASS", "")
}

fn stored_token() -> Life {
    without_credentials(Life::of("stored_token"))
        .given(|world, recipe| recipe.file_mode("/pia/.token", world.pia.issue_token(), 0o600))
        .connects()
        .sees("is_enough", leaves_by("nl_amsterdam"))
        .sees("saves_the_login", asked(Api::Token, 0))
}

fn stored_token_with_newline() -> Life {
    without_credentials(Life::of("stored_token_with_newline"))
        .given(|world, recipe| {
            recipe.file_mode(
                "/pia/.token",
                format!("{}\n", world.pia.issue_token()),
                0o600,
            )
        })
        .connects()
        .sees("is_accepted", leaves_by("nl_amsterdam"))
        .sees("loses_it", file_lacks("/pia/.token", "\n"))
}

fn refused_token() -> Life {
    Life::of("refused_token")
        .given(|_, recipe| recipe.file_mode("/pia/.token", "an old one", 0o600))
        .connects()
        .sees("leads_to_one_login", asked(Api::Token, 1))
        .sees("and_a_tunnel", leaves_by("nl_amsterdam"))
        .sees(
            "the_new_one_is_stored",
            now(|stage| {
                let token = stage.container.read("/pia/.token").unwrap_or_default();
                so(stage.world.pia.account().knows(&token), || token.clone())
            }),
        )
}

fn refused_token_and_login() -> Life {
    Life::of("refused_token_and_login")
        .env("EXIT_ON_FATAL", "1")
        .given(|_, recipe| recipe.file_mode("/pia/.token", "an old one", 0o600))
        .does(|stage| stage.world.pia.refuse_login())
        .starts()
        .sees("are_fatal", ends_with(1))
        .sees("after_one_login", asked(Api::Token, 1))
        .sees("the_old_token_stays", file_is("/pia/.token", "an old one"))
        .differs("the old one stays until the new one is there, so that a failed login costs")
}

fn wrong_password() -> Life {
    Life::of("wrong_password")
        .env("PASS", "wrong")
        .env("EXIT_ON_FATAL", "1")
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("one_attempt_is_made", asked(Api::Token, 1))
        .sees("no_token_is_stored", no_file("/pia/.token"))
        .sees("is_not_in_the_log", not_logged("wrong"))
}

fn no_credentials() -> Life {
    without_credentials(Life::of("no_credentials"))
        .env("EXIT_ON_FATAL", "1")
        .starts()
        .sees("are_fatal", ends_with(1))
        .sees("before_any_attempt", asked(Api::Token, 0))
}

fn trouble_at_the_login() -> Life {
    Life::of("trouble_at_the_login")
        .env("CURL_RETRY_DELAY", "1")
        .does(|stage| stage.world.pia.fail_times(Api::Token, 503, 1))
        .starts()
        .sees("is_waited_out", leaves_by("nl_amsterdam"))
        .differs("the login is retried, too")
}

fn by_hand() -> Life {
    Life::of("server_by_hand")
        .env("LOC", "nowhere")
        .env("PIA_IP", "198.51.100.13")
        .env("PIA_CN", "Server-12158-2a")
        .env("PIA_PORT", "1337")
        .env("PORT_FORWARDING", "1")
        .connects()
        .sees("is_the_one", leaves_by("swiss"))
        .sees("no_list_is_fetched", asked(Api::List, 0))
        .sees("may_forward_a_port", logged("Forwarding on port"))
        .differs("port forwarding is tried, as only the attempt can tell")
}

fn by_hand_in_part() -> Life {
    Life::of("server_by_hand_in_part")
        .env("PIA_IP", "198.51.100.13")
        .env("PIA_CN", "Server-12158-2a")
        .connects()
        .sees("counts_as_none", leaves_by("nl_amsterdam"))
        .sees("what_is_missing_is_named", logged("PIA_PORT"))
        .differs("a warning names what is missing, and port forwarding is tried")
}

fn dedicated_ip() -> Life {
    Life::of("dedicated_ip")
        .env("LOC", "nowhere")
        .env("PIA_IP", "198.51.100.11")
        .env("PIA_CN", "amsterdam447")
        .env("PIA_PORT", "1337")
        .env("PORT_FORWARDING", "1")
        .given(|world, recipe| {
            let server = world.pia.server("Server-12158-2a");
            recipe.env("PIA_DIP_TOKEN", world.pia.dedicate(&server))
        })
        .connects()
        .sees("wins_over_server_and_location", registered_with(&["swiss"]))
        .sees("is_asked_for_once", asked(Api::DedicatedIp, 1))
        .sees("no_list_is_fetched", asked(Api::List, 0))
        .sees("carries", leaves_by("swiss"))
        .sees("has_a_port", logged("Forwarding on port"))
}

fn expired_dedicated_ip() -> Life {
    Life::of("expired_dedicated_ip")
        .env("EXIT_ON_FATAL", "1")
        .given(|world, recipe| {
            let token = world.pia.dedicate(&world.pia.server("Server-12158-2a"));
            world.pia.set_dedicated_ip_status("expired");
            recipe.env("PIA_DIP_TOKEN", token)
        })
        .starts()
        .sees("is_fatal", ends_with(1))
        .sees("is_not_replaced_by_the_location", asked(Api::AddKey, 0))
}

/// No request of this kind went to the usual hosts.
fn only_by_meta(api: Api) -> Check {
    now(move |stage| {
        let asked = stage.world.pia.records().of(api);
        let hosts: Vec<String> = asked.into_iter().map(|record| record.host).collect();
        let meta = |host: &String| host.starts_with("meta-");
        so(!hosts.is_empty() && hosts.iter().all(meta), || {
            format!("{hosts:?} {API_HOST}")
        })
    })
}

fn meta_server() -> Life {
    Life::of("meta_server")
        .env("LOC", "swiss")
        .env("META_IP", "198.51.100.11")
        .env("META_CN", "meta-amsterdam447")
        .does(|stage| {
            stage.world.pia.names().set(API_HOST, &[]);
        })
        .connects()
        .sees("logs_in", only_by_meta(Api::Token))
        .sees("has_the_list", only_by_meta(Api::List))
        .sees("is_not_the_server", leaves_by("swiss"))
}

fn meta_server_at_another_port() -> Life {
    Life::of("meta_server_at_another_port")
        .env("META_IP", "198.51.100.11")
        .env("META_CN", "meta-amsterdam447")
        .env("META_PORT", "8080")
        .starts()
        .sees("works", leaves_by("nl_amsterdam"))
        .differs("mended: any port works")
}

fn american_dedicated_ip() -> Life {
    Life::of("american_dedicated_ip")
        .in_world(without_forwarding)
        .env("PORT_FORWARDING", "1")
        .given(|world, recipe| {
            let server = world.pia.servers().remove(0);
            recipe.env("PIA_DIP_TOKEN", world.pia.dedicate(&server))
        })
        .connects()
        .sees("carries", leaves_by("us_chicago"))
        .sees(
            "is_said_to_forward_no_ports",
            logged("Warning: Port forwarding"),
        )
}
