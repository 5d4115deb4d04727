//! Name servers' answers, the files that name them, a header, and answers of port clients.

use std::time::{Duration, SystemTime};

use wireguard_pia::parser_internals::{name_servers, port_clients, underlay};

use super::engine;
use super::property::assert_is_visible;

const HOST: &str = "www.example.com";
/// Of the question to which the examples are answers.
const ID: u16 = 0x1234;

#[test]
fn dns_answer() {
    engine::run("dns_answer", |bytes, _| {
        if let Some(Err(message)) = underlay::dns_answer(bytes, ID, HOST) {
            assert_is_visible(&message);
        }
    });
}

#[test]
fn resolv_conf() {
    engine::run("resolv_conf", |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        for found in [name_servers::parse(&text), name_servers::in_force(&text)] {
            found
                .skipped
                .iter()
                .for_each(|text| assert_is_visible(text));
            // Each is asked once, and none is the address that means any.
            assert!(
                found
                    .servers
                    .iter()
                    .all(|server| !server.address().is_unspecified())
            );
        }
    });
}

#[test]
fn hosts_file() {
    engine::run("hosts_file", |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let found = underlay::hosts_file(&text, HOST);
        assert!(found.len() <= text.lines().count());
    });
}

#[test]
fn retry_after() {
    engine::run("retry_after", |bytes, rng| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(rng.u32(..).into());
        let pause = underlay::retry_after(&String::from_utf8_lossy(bytes), now);
        assert!(pause.is_none_or(|pause| pause <= Duration::from_secs(3600)));
    });
}

#[test]
fn default_routes() {
    engine::run("default_routes", |bytes, _| {
        let routes = underlay::default_routes(&String::from_utf8_lossy(bytes));
        assert!(routes.is_sorted_by_key(|route| route.metric));
        assert!(
            routes
                .iter()
                .all(|route| route.interface != "lo" && route.interface != "wg0")
        );
    });
}

#[test]
fn rpc_answer() {
    engine::run("rpc_answer", |bytes, _| {
        // Entities stand for one letter each, so that nothing grows.
        let value = port_clients::rpc_answer(bytes).unwrap_or_default();
        assert!(value.len() <= 3 * bytes.len());
    });
}
