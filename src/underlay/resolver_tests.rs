//! The resolver against small name servers on loopback: silent, lying, cut short, endless.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use simple_dns::RCODE;

use super::*;
use crate::underlay::dns_message::question;
use crate::underlay::dns_message::tests::{ADDRESS, HOST, a, reply};

/// A name server on 127.0.0.`last` that answers each question by `answer`.
fn serve(address: &str, port: u16, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind((address, port)).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for packet in answer(&buffer[..length]) {
                socket.send_to(&packet, from).unwrap();
            }
        }
    });
    port
}

fn resolver(addresses: &[&str], port: u16) -> Resolver {
    let servers = addresses
        .iter()
        .map(|address| NameServer::Loopback(address.parse().unwrap()))
        .collect();
    Resolver {
        by_hand: "".into(),
        servers: NameServers {
            servers,
            skipped: Vec::new(),
        },
        via: Via::Routing,
        port,
    }
}

#[test]
fn answers_with_another_id_or_question_and_garbage_are_ignored() {
    let port = serve("127.0.0.1", 0, |asked| {
        let other_id = [&[asked[0] ^ 1], &asked[1..]].concat();
        let other_question = question(
            u16::from_be_bytes([asked[0], asked[1]]),
            "other.example.com",
        )
        .unwrap();
        let evil = vec![a(HOST, Ipv4Addr::new(6, 6, 6, 6))];
        vec![
            b"garbage".to_vec(),
            reply(&other_id, RCODE::NoError, evil.clone(), false),
            reply(&other_question, RCODE::NoError, evil, false),
            reply(asked, RCODE::NoError, vec![a(HOST, ADDRESS)], false),
        ]
    });
    assert_eq!(
        resolver(&["127.0.0.1"], port)
            .addresses(HOST, &CancellationToken::new())
            .unwrap(),
        [ADDRESS]
    );
}

#[test]
fn docker_s_resolver_is_asked_with_the_mark_and_others_on_loopback_without() {
    let ask = |server, via| {
        let resolver = Resolver::new(NameServers::default(), via);
        resolver.via_to(server).clone()
    };
    let mark = Via::Mark(7);
    for server in [NameServer::Embedded, NameServer::EmbeddedUnmarked] {
        assert_eq!(ask(server, mark.clone()), mark);
        // What is bound to an interface does not get to loopback.
        assert_eq!(ask(server, Via::Interface("wg0".into())), Via::Routing);
    }
    let loopback = NameServer::Loopback(Ipv4Addr::LOCALHOST);
    assert_eq!(ask(loopback, mark.clone()), Via::Routing);
    assert_eq!(ask(NameServer::Direct(ADDRESS), mark.clone()), mark);
}

/// Every half second: so soon after the end of an outage a name is known again.
#[test]
fn a_question_that_may_be_lost_is_sent_again_and_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let port = serve("127.0.0.1", 0, move |question| {
        match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0..6 => Vec::new(),
            _ => vec![reply(
                question,
                RCODE::NoError,
                vec![a(HOST, ADDRESS)],
                false,
            )],
        }
    });
    let answer = resolver(&["127.0.0.1"], port).addresses(HOST, &CancellationToken::new());
    assert_eq!(answer.unwrap(), [ADDRESS]);
}

#[test]
fn the_next_server_is_asked_when_one_fails_or_is_silent() {
    let port = serve("127.0.0.21", 0, |_| vec![]);
    serve("127.0.0.22", port, |question| {
        vec![reply(question, RCODE::ServerFailure, vec![], false)]
    });
    serve("127.0.0.23", port, |question| {
        vec![reply(
            question,
            RCODE::NoError,
            vec![a(HOST, ADDRESS)],
            false,
        )]
    });
    let servers = ["127.0.0.21", "127.0.0.22", "127.0.0.23"];
    assert_eq!(
        resolver(&servers, port)
            .addresses(HOST, &CancellationToken::new())
            .unwrap(),
        [ADDRESS]
    );
}

#[test]
fn the_error_says_what_each_server_said() {
    let port = serve("127.0.0.31", 0, |question| {
        vec![reply(question, RCODE::NameError, vec![], false)]
    });
    serve("127.0.0.32", port, |question| {
        vec![reply(question, RCODE::Refused, vec![], false)]
    });
    let mut resolver = resolver(&["127.0.0.31", "127.0.0.32", "127.0.0.33"], port);
    resolver.servers.skipped.push("fd00::1".into());
    let error = resolver
        .addresses(HOST, &CancellationToken::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "resolving www.example.com: 127.0.0.31 answered that there is no such name, 127.0.0.32 \
         answered REFUSED, \
         127.0.0.33 could not be asked (Connection refused (os error 111)) (not asked: \
         fd00::1); check the container's DNS"
    );
}

#[test]
fn a_server_that_lies_is_passed_over_for_public_hosts() {
    let port = serve("127.0.0.61", 0, |question| {
        let lies = vec![a(HOST, Ipv4Addr::UNSPECIFIED), a(HOST, Ipv4Addr::LOCALHOST)];
        vec![reply(question, RCODE::NoError, lies, false)]
    });
    serve("127.0.0.62", port, |question| {
        let mixed = vec![a(HOST, ADDRESS), a(HOST, Ipv4Addr::LOCALHOST)];
        vec![reply(question, RCODE::NoError, mixed, false)]
    });
    let stop = CancellationToken::new();
    let both = resolver(&["127.0.0.61", "127.0.0.62"], port);
    // Not `public_addresses`: the network of the machine that runs this is any.
    let is_public = |address| public_address::is_possible(address, &[]);
    assert_eq!(both.look_up(HOST, &is_public, &stop).unwrap(), [ADDRESS]);
    let first = resolver(&["127.0.0.61"], port);
    assert_eq!(
        first
            .look_up(HOST, &is_public, &stop)
            .unwrap_err()
            .to_string(),
        "resolving www.example.com: 127.0.0.61 answered 0.0.0.0, 127.0.0.1, which no public \
         host has (a DNS filter?); check the container's DNS"
    );
    // Whoever names a host by hand may mean one of the LAN.
    assert_eq!(first.addresses(HOST, &stop).unwrap().len(), 2);
}

#[test]
fn a_cut_answer_is_fetched_by_tcp() {
    let port = serve("127.0.0.41", 0, |question| {
        vec![reply(question, RCODE::NoError, vec![], true)]
    });
    let listener = TcpListener::bind(("127.0.0.41", port)).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut question).unwrap();
        let answer = reply(&question, RCODE::NoError, vec![a(HOST, ADDRESS)], false);
        stream
            .write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())
            .unwrap();
        stream.write_all(&answer).unwrap();
    });
    assert_eq!(
        resolver(&["127.0.0.41"], port)
            .addresses(HOST, &CancellationToken::new())
            .unwrap(),
        [ADDRESS]
    );
}

/// A name server on `address` that says by UDP to ask by TCP, and answers there by `by_tcp`.
fn serve_cut(address: &'static str, by_tcp: impl Fn(&mut TcpStream) + Send + 'static) -> u16 {
    let port = serve(address, 0, |question| {
        vec![reply(question, RCODE::NoError, vec![], true)]
    });
    let listener = TcpListener::bind((address, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            by_tcp(&mut stream.unwrap());
        }
    });
    port
}

#[test]
fn an_answer_that_drips_in_ends_with_the_look_up() {
    let port = serve_cut("127.0.0.42", |stream| {
        let _ = stream.write_all(&[0x0f, 0xff]);
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let started = Instant::now();
    resolver(&["127.0.0.42"], port)
        .addresses(HOST, &CancellationToken::new())
        .unwrap_err();
    let took = started.elapsed();
    assert!(took < LOOKUP_TIMEOUT + Duration::from_secs(1), "{took:?}");
}

#[test]
fn an_answer_larger_than_any_is_not_waited_for() {
    let port = serve_cut("127.0.0.43", |stream| {
        let _ = stream.write_all(&[0xff, 0xff]);
        let _ = stream.read(&mut [0; 512]);
        std::thread::sleep(Duration::from_secs(20));
    });
    let started = Instant::now();
    resolver(&["127.0.0.43"], port)
        .addresses(HOST, &CancellationToken::new())
        .unwrap_err();
    let took = started.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_stop_ends_it() {
    let (asked, questions) = std::sync::mpsc::channel();
    let port = serve("127.0.0.51", 0, move |_| {
        asked.send(()).unwrap();
        vec![]
    });
    let stop = CancellationToken::new();
    let requested = stop.clone();
    let thread = std::thread::spawn(move || {
        resolver(&["127.0.0.51"], port)
            .addresses(HOST, &stop)
            .unwrap_err()
    });
    questions.recv().unwrap();
    requested.cancel();
    let error = thread.join().unwrap();
    assert!(matches!(error, ResolveError::Interrupted { .. }), "{error}");
}

#[test]
fn waits_fit_into_the_whole() {
    assert_eq!(wait_for_one(0, LOOKUP_TIMEOUT, 1), FIRST_ROUND_TIMEOUT);
    assert_eq!(
        wait_for_one(1, Duration::from_secs(4), 1),
        Duration::from_secs(4)
    );
    assert!(wait_for_one(0, LOOKUP_TIMEOUT, 3) * 3 <= LOOKUP_TIMEOUT / 2);
    assert_eq!(wait_for_one(1, Duration::ZERO, 0), Duration::ZERO);
}

#[test]
fn addresses_and_bad_names_are_not_asked_for() {
    let resolver = resolver(&[], 1);
    assert_eq!(
        resolver
            .addresses("192.0.2.7", &CancellationToken::new())
            .unwrap(),
        [ADDRESS]
    );
    assert!(matches!(
        resolver.addresses("a b", &CancellationToken::new()),
        Err(ResolveError::BadName { .. })
    ));
    assert!(matches!(
        resolver.addresses(HOST, &CancellationToken::new()),
        Err(ResolveError::NoServers { .. })
    ));
}
