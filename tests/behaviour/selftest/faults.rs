//! Every fault of the simulator is one.

use std::time::Duration;

use harness::simulator::certificates::Cert;
use harness::simulator::faults::{Api, Fault};
use harness::simulator::{API_HOST, Simulator};
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::internet::Outage;
use harness::world::network::API;
use harness::world::privileges::Privileges;
use serde_json::Value;

use super::{
    CUT, REFUSED, RESET, add_key, body, curl, list, list_hangs, log_in, login_hangs,
    registration_hangs, status,
};

type Verb = fn(&Simulator);

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

#[test]
fn logins_are_refused_in_every_way() {
    let world = World::new();
    let pia = &world.pia;
    let cases: [(Verb, u16, &str); 7] = [
        (Simulator::refuse_login, 401, "authentication failed"),
        (Simulator::forbid_login, 403, "<html>"),
        (Simulator::deny_login, 401, "HTTP Token: Access denied."),
        (Simulator::lock_out, 401, "too_many_attempts"),
        (Simulator::payment_required, 402, "payment_required"),
        (Simulator::accept_login, 200, "token"),
        (Simulator::answer_html, 200, "<!DOCTYPE html>"),
    ];
    for (verb, expected, text) in cases {
        verb(pia);
        let answer = log_in(&world);
        assert_eq!(status(&answer), expected, "{text}");
        assert!(body(&answer).contains(text), "{text}: {}", body(&answer));
    }
    pia.rate_limit(Duration::from_secs(7));
    let answer = log_in(&world);
    assert_eq!(status(&answer), 429);
    assert!(String::from_utf8_lossy(&answer.stdout).contains("Retry-After: 7\r\n"));
    assert_eq!(pia.login_attempts(), 8);
    assert_eq!(pia.records().accepted_logins(), 1);
}

#[test]
fn apis_hang_fail_and_break_off() {
    let world = World::new();
    let pia = &world.pia;
    pia.hang(Api::Token);
    assert!(login_hangs(&world));
    pia.accept_tls_never(Api::Token);
    assert!(login_hangs(&world));
    pia.fail(Api::Token, Fault::Close);
    assert_eq!(log_in(&world).status.code(), Some(RESET));
    pia.fail(Api::Token, Fault::Portal);
    let answer = log_in(&world);
    let says = String::from_utf8_lossy(&answer.stderr);
    assert!(says.contains("wrong version number"), "{says}");
    pia.cut_body(Api::Token);
    assert_eq!(log_in(&world).status.code(), Some(CUT));
    pia.malformed(Api::Token);
    assert!(serde_json::from_str::<Value>(&body(&log_in(&world))).is_err());
    pia.fail_times(Api::Token, 503, 2);
    assert_eq!([0; 3].map(|_| status(&log_in(&world))), [503, 503, 200]);
    pia.hang(Api::Token);
    pia.heal(Api::Token);
    assert_eq!(status(&log_in(&world)), 200);
}

#[test]
fn lists_change_from_download_to_download() {
    let world = World::new();
    let regions = |list: &str| -> Vec<Value> {
        let line = list.lines().next().unwrap();
        let list: Value = serde_json::from_str(line).unwrap();
        list["regions"].as_array().unwrap().clone()
    };
    let find = |list: &str, id: &str| regions(list).into_iter().find(|region| region["id"] == id);
    world.pia.location_missing_from_next_list("swiss");
    assert!(find(&body(&list(&world, "v6")), "swiss").is_none());
    world.pia.location_offline("swiss");
    assert_eq!(
        find(&body(&list(&world, "v6")), "swiss").unwrap()["offline"],
        true
    );
    world.pia.lists().servers_per_download(1);
    let named =
        || find(&body(&list(&world, "v6")), "nl_amsterdam").unwrap()["servers"]["wg"].clone();
    let first = named();
    assert_eq!(first.as_array().unwrap().len(), 1);
    assert!(
        (0..50).any(|_| named() != first),
        "downloads name servers at random"
    );
    assert!(
        find(&world.pia.lists().download(false), "jamaica").unwrap()["servers"]["wg"]
            == Value::Array(vec![])
    );

    world.pia.wireguard_flickers("austria");
    world.pia.location_flickers("spain");
    for there in [false, true, false] {
        for v7 in [false, true] {
            let list = world.pia.lists().download(v7);
            let austria = find(&list, "austria").unwrap();
            assert_eq!(austria["servers"].get("wg").is_some(), there);
            assert_eq!(find(&list, "spain").is_some(), there);
        }
    }

    let good = world.pia.lists().download(false);
    world.pia.bad_list_signature();
    let bad = world.pia.lists().download(false);
    let signature = |list: &str| list.split_once("\n\n").unwrap().1.to_owned();
    assert_ne!(signature(&good), signature(&bad));
}

/// Each kind with its subject, the names in its extension, and what openssl thinks of it.
const CERTIFICATES: [(Cert, &str, &str, &str); 11] = [
    (
        Cert::San,
        "CN = amsterdam447",
        "DNS:amsterdam447",
        "return code: 0",
    ),
    (Cert::CnOnly, "CN = amsterdam447", "", "return code: 0"),
    (
        Cert::WrongName,
        "CN = berlin499",
        "DNS:berlin499",
        "return code: 0",
    ),
    (Cert::WrongCn, "CN = berlin499", "", "return code: 0"),
    (
        Cert::SanWrongCnRight,
        "CN = amsterdam447",
        "DNS:berlin499",
        "return code: 0",
    ),
    (
        Cert::SanRightCnWrong,
        "CN = berlin499",
        "DNS:amsterdam447",
        "return code: 0",
    ),
    (
        Cert::WrongCa,
        "CN = amsterdam447",
        "DNS:amsterdam447",
        "certificate signature failure",
    ),
    (
        Cert::Expired,
        "CN = amsterdam447",
        "",
        "certificate has expired",
    ),
    (Cert::WildcardCn, "CN = *", "", "return code: 0"),
    (
        Cert::TwoCns,
        "CN = amsterdam447, CN = berlin499",
        "",
        "return code: 0",
    ),
    (
        Cert::Foreign,
        "CN = cdn.example.net",
        "DNS:cdn.example.net",
        "unable to",
    ),
];

#[test]
fn certificates_are_as_ordered() {
    let world = World::new();
    let server = world.pia.server("amsterdam447");
    let authority = world.files().pia_ca.display();
    let address = server.address();
    for (kind, subject, names, verdict) in CERTIFICATES {
        server.certificate(kind);
        let script = format!(
            "openssl s_client -connect {address}:1337 -CAfile {authority} </dev/null 2>&1 | tee \
             /dev/stderr |
             openssl x509 -noout -subject -ext subjectAltName"
        );
        let output = world.beside(&Privileges::docker(), &["sh", "-c", &script]);
        let (shown, talk) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            shown.lines().next().unwrap().ends_with(subject),
            "{kind:?}: {shown}"
        );
        assert!(talk.contains(verdict), "{kind:?}: {talk}");
        assert!(
            names.is_empty() != shown.contains("DNS:") && shown.contains(names),
            "{kind:?}: {shown}"
        );
    }
}

#[test]
fn servers_refuse_and_vanish() {
    let world = World::new();
    let server = world.pia.server("amsterdam447");
    let token = world.pia.issue_token();
    let message = |token: &str| -> Value {
        let answer: Value =
            serde_json::from_str(&body(&add_key(&world, &server, token, KEY))).unwrap();
        answer["message"].clone()
    };
    assert_eq!(message("stale"), "Login failed!");
    assert_eq!(message(&token), Value::Null);
    assert_eq!(server.peers().len(), 1);
    server.refuse_registration("Server is full");
    assert_eq!(message(&token), "Server is full");
    server.accept_registration();
    world.pia.forget_tokens();
    assert_eq!(message(&token), "Login failed!");

    server.down();
    assert!(registration_hangs(&world, &server));
    server.up();
    server.close_registration();
    assert_eq!(
        add_key(&world, &server, "", KEY).status.code(),
        Some(REFUSED)
    );
    server.open_registration();
    server.slow_down();
    assert!(registration_hangs(&world, &server));
    server.speed_up();
    server.reboot();
    assert!(server.peers().is_empty());
    assert_eq!(message("stale"), "Login failed!");
    assert_eq!(world.pia.records().registrations().len(), 1);
}

#[test]
fn a_dedicated_ip_has_credentials_of_its_own() {
    let world = World::new();
    let server = world.pia.server("amsterdam447");
    let (bought, token) = (world.pia.dedicate(&server), world.pia.issue_token());
    let ask = |token: &str| {
        let url = format!("https://{API_HOST}/api/client/v2/dedicated_ip");
        let (account, tokens) = (
            format!("Authorization: Token {token}"),
            format!(r#"{{"tokens":["{bought}"]}}"#),
        );
        let kind = "Content-Type: application/json";
        body(&curl(
            &world,
            "web-authorities.pem",
            API_HOST,
            API,
            &[&url, "-H", &account, "-H", kind, "-d", &tokens],
        ))
    };
    assert!(ask("stale").contains("Access denied"));
    let answer: Value = serde_json::from_str(&ask(&token)).unwrap();
    assert_eq!(answer[0]["cn"], "amsterdam447");
    let register = |user: &str| {
        let url = format!(
            "https://{}:1337/addKey?pubkey=xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg%3D",
            server.cn()
        );
        body(&curl(
            &world,
            "rsa_4096.crt",
            server.cn(),
            server.address(),
            &[&url, "-u", user],
        ))
    };
    let right = format!("dedicated_ip_{bought}:{}", server.address());
    assert!(register("dedicated_ip_x:y").contains("Login failed!"));
    assert!(register(&right).contains("server_key"));
    world.pia.set_dedicated_ip_status("expired");
    assert!(ask(&token).contains("expired"));
    assert!(register(&right).contains("Login failed!"));
}

#[test]
fn outages_begin_and_end() {
    let world = World::new();
    let beside = |words: &[&str]| world.beside(&Privileges::docker(), words).status.success();
    let dns = || beside(&["dig", "+time=1", "+tries=1", "@203.0.113.53", API_HOST]);
    let ping = || beside(&["ping", "-c1", "-W1", "1.1.1.1"]);
    let api = || log_in(&world).status.success();
    let lists = || list(&world, "v6").status.success();
    let all_is_well = || {
        wait_until("all is well", SOON, || dns() && ping());
        assert!(api() && lists());
    };
    all_is_well();
    world.begin(Outage::Api);
    world.begin(Outage::Pings);
    wait_until("names are resolved", SOON, dns);
    assert!(!ping() && login_hangs(&world) && lists());
    world.end(Outage::Api);
    world.end(Outage::Pings);
    world.begin(Outage::List);
    world.begin(Outage::DnsSilent);
    wait_until("pings are answered", SOON, ping);
    assert!(!dns() && api() && list_hangs(&world));
    world.end(Outage::DnsSilent);
    world.begin(Outage::DnsRefuses);
    assert!(!dns());
    world.begin(Outage::Everything);
    assert!(!ping() && login_hangs(&world));
    for outage in [Outage::Everything, Outage::List, Outage::DnsRefuses] {
        world.end(outage);
    }
    all_is_well();
}
