//! The client against small TLS servers on loopback: what it says of each failure, and how fast it
//! stops.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::http::{Content, Method, Remote, Request, Response, send};
use super::http_error::{HttpError, HttpFailure};
use super::socket::Via;
use super::socket::tests::{closed_address, silent_listener, wait_until_connecting};
use crate::system::cancellation::CancellationToken;

type ServerStream = StreamOwned<ServerConnection, TcpStream>;

/// How long requests wait that nothing else ends.
const WHOLE: Duration = Duration::from_secs(60);
/// What has ended by then was ended.
const LONG_BEFORE: Duration = Duration::from_secs(20);
const CERTIFIED: &str = "localhost";

struct World {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn world() -> World {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = KeyPair::generate().unwrap();
    let certificate: CertificateDer<'static> = CertificateParams::new([CERTIFIED.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .der()
        .clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let server =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    World {
        client: Arc::new(
            client
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        ),
        server: Arc::new(
            server
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap(),
        ),
    }
}

impl World {
    fn peer(&self, port: u16) -> Remote {
        Remote {
            name: CERTIFIED.into(),
            port,
            addresses: vec![Ipv4Addr::LOCALHOST],
            via: Via::Routing,
            tls: Some(Arc::clone(&self.client)),
        }
    }

    /// A server that reads a request's head and leaves the rest to `answer`; it ends with the first
    /// connection.
    fn serve(&self, answer: impl FnOnce(String, &mut ServerStream) + Send + 'static) -> Remote {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = self.peer(listener.local_addr().unwrap().port());
        let config = Arc::clone(&self.server);
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            let mut head = Vec::new();
            let mut buffer = [0; 4096];
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(length) if length > 0 => head.extend_from_slice(&buffer[..length]),
                    _ => return,
                }
            }
            answer(String::from_utf8(head).unwrap(), &mut stream);
        });
        peer
    }

    fn answering(&self, text: &'static str) -> Remote {
        self.serve(move |_, stream| {
            stream.write_all(text.as_bytes()).unwrap();
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }
}

fn get(peer: &Remote, stop: &CancellationToken) -> Result<Response, HttpError> {
    request(peer, Content::None, WHOLE, stop)
}

fn request(
    peer: &Remote,
    content: Content<'_>,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<Response, HttpError> {
    let query = [("pt", "a+b/c=&%")];
    let headers = [("Authorization", "Token x")];
    send(
        peer,
        &Request {
            path: "/path",
            query: &query,
            headers: &headers,
            content,
            timeout,
        },
        stop,
    )
}

#[test]
fn a_request_is_encoded_and_its_answer_read_whatever_its_status() {
    let (sender, heads) = mpsc::channel();
    let peer = world().serve(move |head, stream| {
        sender.send(head).unwrap();
        stream
            .write_all(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")
            .unwrap();
    });
    let response = get(&peer, &CancellationToken::new()).unwrap();
    assert_eq!(
        response,
        Response {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
            headers: vec![
                ("retry-after".to_owned(), "7".to_owned()),
                ("content-length".to_owned(), "2".to_owned()),
            ],
            body: b"no".to_vec()
        }
    );
    let head = heads.recv().unwrap().to_lowercase();
    assert!(
        head.starts_with("get /path?pt=a%2bb%2fc%3d%26%25 http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nhost: localhost:{}\r\n", peer.port)),
        "{head}"
    );
    assert!(head.contains("\r\nauthorization: token x\r\n"), "{head}");
    assert!(head.contains("\r\naccept-encoding: gzip\r\n"), "{head}");
}

#[test]
fn forms_are_percent_encoded() {
    let (sender, requests) = mpsc::channel();
    let peer = world().serve(move |head, stream| {
        let mut body = head.split_once("\r\n\r\n").unwrap().1.as_bytes().to_vec();
        let mut buffer = [0; 100];
        while !body.ends_with(b"end") {
            let length = stream.read(&mut buffer).unwrap();
            body.extend_from_slice(&buffer[..length]);
        }
        sender
            .send((head, String::from_utf8(body).unwrap()))
            .unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let fields = [
        ("username", "p1"),
        ("password", "a&b+c%d\"e ünd"),
        ("last", "end"),
    ];
    request(
        &peer,
        Content::Form(&fields),
        Duration::from_secs(20),
        &CancellationToken::new(),
    )
    .unwrap();
    let (head, body) = requests.recv().unwrap();
    assert!(
        head.to_lowercase()
            .contains("content-type: application/x-www-form-urlencoded"),
        "{head}"
    );
    let encoded = body.replace("%20", "+");
    assert_eq!(
        encoded,
        "username=p1&password=a%26b%2Bc%25d%22e+%C3%BCnd&last=end"
    );
}

#[test]
fn a_compressed_answer_is_expanded() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&[b'x'; 100_000]).unwrap();
    let body = encoder.finish().unwrap();
    let peer = world().serve(move |_, stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
    });
    assert_eq!(
        get(&peer, &CancellationToken::new()).unwrap().body.len(),
        100_000
    );
}

#[test]
fn a_pause_that_the_server_asks_for_is_an_hour_at_most() {
    let asked = |pause: &str| {
        let answer =
            format!("HTTP/1.1 429 Wait\r\nRetry-After: {pause}\r\nContent-Length: 0\r\n\r\n");
        let peer = world().answering(answer.leak());
        get(&peer, &CancellationToken::new()).unwrap().retry_after
    };
    assert_eq!(asked("7"), Some(Duration::from_secs(7)));
    for endless in [
        "18446744073709551615",
        "9223372036854775807",
        "99999999999999999999999",
    ] {
        assert_eq!(asked(endless), Some(Duration::from_secs(3600)), "{endless}");
    }
    assert_eq!(
        asked("Fri, 31 Dec 9999 23:59:59 GMT"),
        Some(Duration::from_secs(3600))
    );
}

#[test]
fn redirects_are_not_followed() {
    let peer = world().answering(
        "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(get(&peer, &CancellationToken::new()).unwrap().status, 302);
}

#[test]
fn the_second_address_is_tried_when_the_first_refuses() {
    let mut peer = world().answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    peer.addresses.insert(0, Ipv4Addr::new(127, 0, 0, 77));
    assert_eq!(get(&peer, &CancellationToken::new()).unwrap().status, 200);
}

#[test]
fn failures_are_told_apart() {
    let world = world();
    let failure = |peer: &Remote| get(peer, &CancellationToken::new()).unwrap_err().failure;

    let cut = failure(&world.answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"));
    assert!(matches!(cut, HttpFailure::Cut(_)), "{cut}");
    let cut = failure(&world.answering(""));
    assert!(matches!(cut, HttpFailure::Cut(_)), "{cut}");
    let odd = failure(&world.answering("SSH-2.0-x\r\n\r\n"));
    assert!(matches!(odd, HttpFailure::NotHttp(_)), "{odd}");

    let mut misnamed = world.answering("");
    misnamed.name = "zurich406".into();
    let named = failure(&misnamed);
    assert!(matches!(named, HttpFailure::WrongName(_)), "{named}");

    let foreign = Remote {
        tls: Some(self::world().client),
        ..world.answering("")
    };
    let foreign = failure(&foreign);
    assert!(
        matches!(
            foreign,
            HttpFailure::ForeignCertificate | HttpFailure::Tls(_)
        ),
        "{foreign}"
    );

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = world.peer(plain.local_addr().unwrap().port());
    std::thread::spawn(move || {
        plain
            .accept()
            .unwrap()
            .0
            .write_all(b"220 smtp ready\r\n")
            .unwrap();
    });
    let plain = failure(&peer);
    assert!(matches!(plain, HttpFailure::Tls(_)), "{plain}");

    let none = failure(&Remote {
        addresses: vec![],
        ..world.peer(1)
    });
    assert!(matches!(none, HttpFailure::NoAddress), "{none}");
    let (_kept, closed) = closed_address();
    let refused = failure(&world.peer(closed.port()));
    assert_eq!(
        refused.io_kind(),
        Some(std::io::ErrorKind::ConnectionRefused)
    );
    assert!(refused.is_transient());
}

#[test]
fn an_answer_without_end_is_too_large() {
    let peer = world().serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
        while stream.write_all(&[b'x'; 100_000]).is_ok() {}
    });
    let failure = get(&peer, &CancellationToken::new()).unwrap_err().failure;
    assert!(matches!(failure, HttpFailure::TooLarge), "{failure}");
}

#[test]
fn the_whole_request_is_limited() {
    let peer = world().serve(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
            .unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let started = Instant::now();
    let failure = request(
        &peer,
        Content::None,
        Duration::from_millis(300),
        &CancellationToken::new(),
    )
    .unwrap_err()
    .failure;
    assert!(matches!(failure, HttpFailure::TimedOut(_)), "{failure}");
    assert!(started.elapsed() < LONG_BEFORE);
}

/// Stops a request once it waits for what never comes.
#[track_caller]
fn assert_stops(peer: Remote, wait_until_it_hangs: impl FnOnce()) {
    let stop = CancellationToken::new();
    let requested = stop.clone();
    let thread = std::thread::spawn(move || get(&peer, &stop).unwrap_err().failure);
    wait_until_it_hangs();
    let asked = Instant::now();
    requested.cancel();
    let failure = thread.join().unwrap();
    assert!(matches!(failure, HttpFailure::Interrupted), "{failure}");
    assert!(asked.elapsed() < LONG_BEFORE);
}

/// Stops a request to a server that says so much and no more.
#[track_caller]
fn assert_stops_after(said: &'static [u8]) {
    let (tell, told) = mpsc::channel();
    let peer = world().serve(move |_, stream| {
        stream.write_all(said).unwrap();
        tell.send(()).unwrap();
        std::thread::sleep(WHOLE);
    });
    assert_stops(peer, || told.recv().unwrap());
}

#[test]
fn a_stop_ends_a_connect() {
    let (_listener, _queued, address) = silent_listener();
    assert_stops(world().peer(address.port()), || {
        wait_until_connecting(address);
    });
}

#[test]
fn a_stop_ends_a_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = world().peer(listener.local_addr().unwrap().port());
    let mut accepted = None;
    assert_stops(peer, || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        accepted = Some(stream);
    });
    drop(accepted);
}

#[test]
fn a_stop_ends_the_wait_for_an_answer() {
    assert_stops_after(b"");
}

#[test]
fn a_stop_ends_a_body() {
    assert_stops_after(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nabc");
}

#[test]
fn without_tls_it_is_plain_http_with_the_content_as_it_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = world().peer(listener.local_addr().unwrap().port());
    peer.tls = None;
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"<x/>") {
            let length = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..length]);
        }
        let answer = b"HTTP/1.1 204 X\r\nSet-Cookie: SID=1; path=/\r\nSet-Cookie: b=2\r\n\r\n";
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap().to_lowercase()
    });
    let content = Content::Text {
        method: Method::Put,
        media_type: "text/xml",
        text: "<x/>",
    };
    let response = request(&peer, content, WHOLE, &CancellationToken::new()).unwrap();
    let cookies: Vec<&str> = response.header("set-cookie").collect();
    assert_eq!(
        (response.status, cookies),
        (204, vec!["SID=1; path=/", "b=2"])
    );
    let request = server.join().unwrap();
    assert!(request.starts_with("put /path?"), "{request}");
    assert!(
        request.contains("\r\ncontent-type: text/xml\r\n"),
        "{request}"
    );
}
