//! PIA's answers.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use wireguard_pia::parser_internals::pia::{self, Answers};
use wireguard_pia::parser_internals::{Response, Server};

use super::engine;
use super::property::{SECRET, assert_is_a_message, assert_is_visible};

/// Base64 of 32 bytes, as keys are.
pub const KEY: &str = "rb4nt07wo+COZMWzewFQLI46UDs+P7Y7FVdsLDmXOik=";
const STATUSES: [u16; 10] = [200, 204, 301, 400, 401, 402, 403, 409, 429, 500];

/// Never used, as nothing is sent.
pub fn answers() -> Answers {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Answers::new(&Arc::new(tls), SECRET)
}

fn response(bytes: &[u8], rng: &mut fastrand::Rng) -> Response {
    // Half of them succeed.
    let status = STATUSES[if rng.bool() {
        0
    } else {
        rng.usize(..STATUSES.len())
    }];
    Response {
        status,
        retry_after: None,
        headers: Vec::new(),
        body: bytes.to_vec(),
    }
}

/// What was read, if it was; a failure is a message.
fn told<T>(outcome: Result<T, String>) -> Option<T> {
    outcome
        .map_err(|message| assert_is_a_message(&message))
        .ok()
}

#[test]
fn token() {
    let answers = answers();
    engine::run("token", |bytes, rng| {
        if let Some(token) = told(answers.token(&response(bytes, rng))) {
            // It goes into a header and a file of one line.
            assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    });
}

#[test]
fn dedicated_ip() {
    let answers = answers();
    engine::run("dedicated_ip", |bytes, rng| {
        if let Some(found) = told(answers.dedicated_ip(&response(bytes, rng))) {
            assert_is_a_message(&found.id);
            assert_is_a_server(&found.server);
        }
    });
}

/// It goes into rules, into wg0.conf and into a handshake.
fn assert_is_a_server(server: &Server) {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!(server.cn.bytes().all(is_fit), "{server:?}");
    assert!(!server.ip.is_unspecified(), "{server:?}");
}

#[test]
fn registration() {
    let answers = answers();
    engine::run("registration", |bytes, rng| {
        if let Some(read) = told(answers.registration(&response(bytes, rng), KEY)) {
            assert_eq!(read.server_public_key.len(), KEY.len());
            assert_is_visible(&read.server_public_key);
            assert_ne!(read.server_port, 0);
            assert!(!read.dns_servers.is_empty());
        }
    });
}

#[test]
fn exit_address() {
    let answers = answers();
    engine::run("exit_address", |bytes, rng| {
        if let Some(seen) = told(answers.exit_address(&response(bytes, rng))) {
            // It goes into the environment of hooks, and into a label.
            assert!(!seen.ip.is_private() && !seen.ip.is_loopback());
        }
    });
}

#[test]
fn lease() {
    let answers = answers();
    engine::run("lease", |bytes, rng| {
        if let Some(lease) = told(answers.lease(&response(bytes, rng))) {
            assert_ne!(lease.port, 0);
            assert!(!format!("{lease:?}").contains(SECRET));
            // Any time is one that can be compared and told.
            let _ = lease.is_due_for_renewal(std::time::SystemTime::now());
        }
    });
}

#[test]
fn bound() {
    let answers = answers();
    engine::run("bound", |bytes, rng| {
        if let Some(message) = told(answers.bound(&response(bytes, rng))) {
            assert_is_a_message(&message);
        }
    });
}

#[test]
fn server_list() {
    engine::run("server_list", |bytes, _| match pia::server_list(bytes) {
        Ok(list) => {
            assert_ne!(list.registration_port, 0);
            for location in &list.locations {
                for text in [&location.id, &location.name, &location.country] {
                    assert_is_visible(text);
                }
                location.servers.iter().for_each(assert_is_a_server);
            }
        }
        Err(error) => assert_is_visible(&error.to_string()),
    });
}

/// Only the very line that was signed is taken, however its signature is written.
#[test]
fn list_signature() {
    let key = pia::list_key(include_bytes!("list_key.pem")).unwrap();
    let signed = include_bytes!("corpus/list_signature/signed");
    let line = |text: &[u8]| text.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec);
    engine::run("list_signature", |bytes, _| {
        match pia::verified_list(bytes, &key) {
            Ok(_) => assert_eq!(line(bytes), line(signed)),
            Err(error) => assert_is_visible(&error.to_string()),
        }
    });
}

/// What was changed is no longer signed by the authority.
#[test]
fn certificate() {
    let authority = include_bytes!("authority.pem");
    let good = [
        include_bytes!("corpus/certificate/common_name").as_slice(),
        include_bytes!("corpus/certificate/alternative_name"),
    ];
    // Both are good for 20 years from November 2026 on.
    let in_2030 = 1_900_000_000;
    let verify = |der: &[u8]| pia::verified_certificate(der, authority, "swiss401", in_2030);
    assert!(good.iter().all(|der| verify(der) == Ok(())));
    engine::run("certificate", |bytes, _| {
        told(pia::certificate(bytes));
        assert_eq!(told(verify(bytes)).is_some(), good.contains(&bytes));
    });
}
