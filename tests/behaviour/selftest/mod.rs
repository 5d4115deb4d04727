//! The simulator answers as PIA does, and the world carries it: seen by curl, openssl, wg and ip,
//! which know nothing of us.

mod answers;
mod faults;
mod tunnels;
mod world;

use std::net::Ipv4Addr;
use std::process::Output;

use harness::simulator::account::{PASSWORD, USER};
use harness::simulator::server::Server;
use harness::simulator::{API_HOST, LIST_HOST};
use harness::world::World;
use harness::world::network::{API, LIST};
use harness::world::privileges::Privileges;

/// curl's exit codes.
const REFUSED: i32 = 7;
const CUT: i32 = 18;
const TIMED_OUT: i32 = 28;
const RESET: i32 = 35;

/// Seconds for an answer that is to come.
const PATIENT: &str = "20";
/// Seconds for one that is not to come.
const BRIEF: &str = "1";

/// Runs curl in the client's network; `authority` is a file of the world.
fn curl(world: &World, authority: &str, host: &str, address: Ipv4Addr, words: &[&str]) -> Output {
    let authority = world.files().directory.join(authority);
    let authority = authority.to_str().unwrap();
    let connect = format!("{host}::{address}:");
    let fixed = [
        "curl",
        "-sS",
        "-i",
        "-m",
        PATIENT,
        "--cacert",
        authority,
        "--connect-to",
        &connect,
    ];
    world.beside(&Privileges::docker(), &[&fixed, words].concat())
}

fn body(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default()
}

fn status(output: &Output) -> u16 {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default()
}

fn log_in(world: &World) -> Output {
    log_in_within(world, PATIENT)
}

fn login_hangs(world: &World) -> bool {
    log_in_within(world, BRIEF).status.code() == Some(TIMED_OUT)
}

fn log_in_within(world: &World, seconds: &str) -> Output {
    let (name, password) = (format!("username={USER}"), format!("password={PASSWORD}"));
    let url = format!("https://{API_HOST}/api/client/v2/token");
    let words = [
        "-m",
        seconds,
        &url,
        "--data-urlencode",
        &name,
        "--data-urlencode",
        &password,
    ];
    curl(world, "web-authorities.pem", API_HOST, API, &words)
}

fn list(world: &World, version: &str) -> Output {
    list_within(world, version, PATIENT)
}

fn list_hangs(world: &World) -> bool {
    list_within(world, "v6", BRIEF).status.code() == Some(TIMED_OUT)
}

fn list_within(world: &World, version: &str, seconds: &str) -> Output {
    let url = format!("https://{LIST_HOST}/vpninfo/servers/{version}");
    curl(
        world,
        "web-authorities.pem",
        LIST_HOST,
        LIST,
        &["-m", seconds, "--compressed", &url],
    )
}

fn add_key(world: &World, server: &Server, token: &str, key: &str) -> Output {
    add_key_within(world, server, [token, key], PATIENT)
}

fn registration_hangs(world: &World, server: &Server) -> bool {
    let output = add_key_within(world, server, ["", ""], BRIEF);
    output.status.code() == Some(TIMED_OUT)
}

fn add_key_within(
    world: &World,
    server: &Server,
    [token, key]: [&str; 2],
    seconds: &str,
) -> Output {
    let url = format!("https://{}:1337/addKey", server.cn());
    let (pt, key) = (format!("pt={token}"), format!("pubkey={key}"));
    let words = [
        "-m",
        seconds,
        "--get",
        &url,
        "--data-urlencode",
        &pt,
        "--data-urlencode",
        &key,
    ];
    curl(world, "rsa_4096.crt", server.cn(), server.address(), &words)
}
