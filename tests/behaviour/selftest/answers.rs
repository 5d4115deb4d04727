//! What PIA's interfaces say when all is well.

use std::fs;
use std::net::Ipv4Addr;

use harness::simulator::API_HOST;
use harness::simulator::account::{OTHER_PASSWORD, OTHER_USER};
use harness::simulator::faults::Api;
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::network::{API, HOME, LIST};
use harness::world::privileges::Privileges;
use serde_json::{Value, json};

use super::{add_key, body, curl, list, log_in, status};

const KEYS: [&str; 2] = [
    "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
];

#[test]
fn a_world_leaves_nothing() {
    let world = World::new();
    let names = [world.client().path(), world.files().directory.clone()];
    assert!(names.iter().all(|path| path.exists()));
    drop(world);
    assert!(names.iter().all(|path| !path.exists()));
}

#[test]
fn a_login_needs_the_very_password() {
    let world = World::new();
    let token: Value = serde_json::from_str(&body(&log_in(&world))).unwrap();
    assert_eq!(token["token"].as_str().unwrap().len(), 128);
    let url = format!("https://{API_HOST}/api/client/status");
    let seen = curl(&world, "web-authorities.pem", API_HOST, API, &[&url]);
    let outside = json!({"connected": false, "ip": HOME}).to_string();
    assert_eq!(body(&seen).trim(), outside);
    let url = format!("https://{API_HOST}/api/client/v2/token");
    let unencoded = [
        &url,
        "-d",
        "username=p1234567",
        "-d",
        r#"password=p&s+w%d"=;$ x"#,
    ];
    assert_eq!(
        status(&curl(
            &world,
            "web-authorities.pem",
            API_HOST,
            API,
            &unencoded
        )),
        401
    );
    assert_eq!(
        (
            world.pia.login_attempts(),
            world.pia.records().accepted_logins()
        ),
        (2, 1)
    );
    let (name, password) = (
        format!("username={OTHER_USER}"),
        format!("password={OTHER_PASSWORD}"),
    );
    let object = json!({"username": OTHER_USER, "password": OTHER_PASSWORD}).to_string();
    for form in [
        &["--data-urlencode", &name, "--data-urlencode", &password][..],
        &["--form", &name, "--form", &password],
        &["-H", "Content-Type: application/json", "-d", &object],
    ] {
        let words = [&[url.as_str()], form].concat();
        let answer = curl(&world, "web-authorities.pem", API_HOST, API, &words);
        let token: Value = serde_json::from_str(&body(&answer)).unwrap();
        let owner = world.pia.account().owner(token["token"].as_str().unwrap());
        assert_eq!(owner, Some(OTHER_USER), "{form:?}");
    }

    let url = format!("https://{API_HOST}/api/client/v2/expire_token");
    let header = format!("Authorization: Token {}", token["token"].as_str().unwrap());
    let expire = || {
        status(&curl(
            &world,
            "web-authorities.pem",
            API_HOST,
            API,
            &["-X", "POST", &url, "-H", &header],
        ))
    };
    assert_eq!([expire(), expire()], [200, 401]);
}

#[test]
fn openssl_verifies_the_lists() {
    let world = World::new();
    world
        .pia
        .lists()
        .edit("atlantis", |region| region.only_v7 = true);
    for version in ["v6", "v7"] {
        let list = body(&list(&world, version));
        assert!(list.len() > 100_000, "{} bytes", list.len());
        let (line, signature) = list.split_once('\n').unwrap();
        let directory = &world.files().directory;
        fs::write(directory.join("line"), line).unwrap();
        fs::write(directory.join("signature"), signature.trim()).unwrap();
        let script = format!(
            "cd {} && openssl base64 -d -in signature -out raw &&
             openssl dgst -sha256 -verify RegionsListPubKey.pem -signature raw line",
            directory.display()
        );
        let verdict = world.beside(&Privileges::docker(), &["sh", "-c", &script]);
        assert_eq!(
            String::from_utf8_lossy(&verdict.stdout).trim(),
            "Verified OK"
        );
        let list: Value = serde_json::from_str(line).unwrap();
        assert!(list["regions"].as_array().unwrap().len() > 180);
        assert_eq!(line.contains("atlantis"), version == "v7");
    }
    assert_eq!(world.pia.records().of(Api::List).len(), 2);
}

#[test]
fn a_second_key_ends_the_first() {
    let world = World::new();
    let server = world.pia.server("amsterdam448");
    let token = world.pia.issue_token();
    for key in KEYS {
        let answer: Value =
            serde_json::from_str(&body(&add_key(&world, &server, &token, key))).unwrap();
        assert_eq!(
            (&answer["status"], &answer["peer_pubkey"]),
            (&"OK".into(), &key.into())
        );
        assert_eq!(answer["server_port"], 51001);
        assert!(
            answer["peer_ip"]
                .as_str()
                .unwrap()
                .parse::<Ipv4Addr>()
                .is_ok()
        );
        assert_eq!(answer["dns_servers"], json!(["10.0.0.243", "10.0.0.242"]));
        assert_eq!(
            server
                .peers()
                .iter()
                .map(|(key, _)| key.as_str())
                .collect::<Vec<_>>(),
            [key]
        );
    }
    server.write_prefix_lengths();
    let same = body(&add_key(&world, &server, &token, KEYS[1]));
    let addresses: Vec<_> = world
        .pia
        .records()
        .registrations()
        .iter()
        .map(|made| made.address)
        .collect();
    assert!(
        same.contains(&format!("{}/32", addresses[1]))
            && addresses[1] == addresses[2]
            && addresses[0] != addresses[1]
    );
}

#[test]
fn stable_servers_have_a_meta_service_and_new_ones_do_not() {
    let world = World::builder()
        .servers("uk", Kind::Stable, 1)
        .servers("uk", Kind::New, 1)
        .build();
    for server in world.pia.servers() {
        let name = server.plan().meta_cn.clone();
        let stable = server.cn().starts_with("uk");
        for port in [443, 8080] {
            let url = format!("https://{name}:{port}/vpninfo/servers/v6");
            let answer = curl(&world, "rsa_4096.crt", &name, server.address(), &[&url]);
            assert_eq!(answer.status.success(), stable, "{answer:?}");
            let careless = curl(
                &world,
                "rsa_4096.crt",
                &name,
                server.address(),
                &["-k", &url],
            );
            assert_eq!(status(&careless), if stable { 200 } else { 404 });
        }
    }
    assert!(
        !curl(&world, "rsa_4096.crt", "x", LIST, &["https://x/"])
            .status
            .success()
    );
}
