//! Keepers against small servers on loopback: passwords that are refused, hangs, and what is no
//! client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::keeper::Keeper;
use super::login::{Login, SecretSource};
use super::options::{ClientOptions, ClientTarget, ClientUrl, HttpHook, HttpUrl};
use super::{ClientWord, Method};
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;

const INTERVAL: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

/// A keeper that runs, and what it reports.
struct Running {
    inbox: Option<Sender<Option<u16>>>,
    words: Receiver<Option<ClientWord>>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(target: ClientTarget, password: Option<&str>) -> Self {
        let password = SecretSource {
            file: None,
            value: password.map(Secret::new),
        };
        let options = ClientOptions {
            target,
            login: Login {
                user: SecretSource::default(),
                password,
            },
        };
        let keeper = Keeper::new(options, INTERVAL, None);
        let (inbox, ports) = mpsc::channel();
        let (reports, words) = mpsc::channel();
        let stop = CancellationToken::new();
        let its_stop = stop.clone();
        let thread = std::thread::spawn(move || {
            keeper.run(&ports, |_, word| reports.send(word).unwrap(), &its_stop);
        });
        inbox.send(Some(4711)).unwrap();
        Self {
            inbox: Some(inbox),
            words,
            stop,
            thread,
        }
    }

    fn word(&self) -> Option<ClientWord> {
        self.words.recv_timeout(LONG).unwrap()
    }

    fn says(&self) -> String {
        self.word().unwrap().words
    }

    /// As a stop does it.
    fn end(mut self) -> Duration {
        let begun = Instant::now();
        self.stop.cancel();
        self.inbox = None;
        self.thread.join().unwrap();
        begun.elapsed()
    }
}

fn http(listener: &TcpListener) -> HttpUrl {
    let port = listener.local_addr().unwrap().port();
    HttpUrl::parse(&format!("127.0.0.1:{port}")).unwrap()
}

/// Reads a request and answers it; the answer is a function of its first line and its content.
fn answer(stream: &TcpStream, answer: &impl Fn(&str, &str) -> String) -> String {
    let (first, content) = read(stream);
    write(stream, &answer(&first, &content));
    format!("{first} {content}")
}

/// The first line and the content of a request.
fn read(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut headers) = (String::new(), String::new());
    reader.read_line(&mut first).unwrap_or_default();
    while reader.read_line(&mut headers).unwrap_or_default() > 2 {}
    let headers = headers.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut content = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut content).unwrap();
    let content = String::from_utf8(content).unwrap();
    (first.trim().to_owned(), content)
}

/// Whoever only looked is gone already.
fn write(mut stream: &TcpStream, answer: &str) {
    let _ = stream.write_all(answer.as_bytes());
}

/// Serves for ever, and tells of each request before it is answered: whoever has the answer finds
/// the request told.
fn serve(
    listener: TcpListener,
    answer_of: impl Fn(&str, &str) -> String + Send + 'static,
) -> Receiver<String> {
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (first, content) = read(&stream);
            if sender.send(format!("{first} {content}")).is_err() {
                return;
            }
            write(&stream, &answer_of(&first, &content));
        }
    });
    requests
}

fn with_length(status: &str, text: &str) -> String {
    let length = text.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// qBittorrent bans an address after five wrong passwords; a look each interval must not be one.
#[test]
fn a_refused_password_is_sent_once_until_the_client_was_away() {
    let listener = listener();
    let url = http(&listener);
    let port = url.port;
    let forbidding = |first: &str, _: &str| match first.contains("auth/login") {
        true => with_length("200 OK", "Fails."),
        false => with_length("403 Forbidden", ""),
    };
    // Until a look has been made that asks nothing: a connection without a request.
    let server = std::thread::spawn(move || {
        let mut logins = 0;
        let mut bare = 0;
        while bare < 3 && logins < 2 {
            let (stream, _) = listener.accept().unwrap();
            let request = answer(&stream, &forbidding);
            logins += usize::from(request.contains("auth/login"));
            bare += usize::from(request.trim().is_empty());
        }
        logins
    });
    let running = Running::start(ClientTarget::Qbittorrent(url), Some("wrong"));
    assert_eq!(running.says(), "refused the password");
    assert_eq!(server.join().unwrap(), 1);
    assert!(running.says().starts_with("does not answer"));
    let again = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let requests = serve(again, forbidding);
    assert_eq!(running.says(), "refused the password");
    assert!(
        requests
            .try_iter()
            .any(|request| request.contains("auth/login"))
    );
    assert!(running.end() < LONG);
}

/// Whatever it hangs in: the connect is answered, and then nothing comes.
#[test]
fn a_client_that_hangs_does_not_hold_up_a_stop() {
    let tcp = listener();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let hanging = [
        Running::start(ClientTarget::Transmission(http(&tcp)), None),
        Running::start(ClientTarget::Rtorrent(ClientUrl::Socket(path)), None),
    ];
    let _accepted = (tcp.accept().unwrap(), unix.accept().unwrap());
    for running in hanging {
        assert!(running.end() < Duration::from_secs(5));
    }
}

#[test]
fn what_is_no_client_is_said_to_be_none() {
    let listener = listener();
    let url = http(&listener);
    let _requests = serve(listener, |_, _| {
        let page = with_length("200 OK", "<html>password: geheim</html>");
        page.replace(
            "Content-Length",
            "Content-Type: text/html\r\nContent-Length",
        )
    });
    let expected = "is not understood: it answers 200, with a web page; is the URL right?";
    for target in [
        ClientTarget::Qbittorrent(url.clone()),
        ClientTarget::Transmission(url.clone()),
        ClientTarget::Deluge(url.clone()),
        ClientTarget::Slskd(url.clone()),
    ] {
        let running = Running::start(target, None);
        assert_eq!(running.says(), expected);
        running.end();
    }
    let running = Running::start(ClientTarget::Rtorrent(ClientUrl::Http(url)), None);
    assert_eq!(
        running.says(),
        "is not understood: it answers no XML-RPC; is the URL right?"
    );
    running.end();
}

/// Without a URL to ask back at.
#[test]
fn a_program_that_cannot_be_asked_is_told_once_and_again_where_it_was_away() {
    let told = |port: u16| {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let url = http(&listener);
        (url, listener)
    };
    let (url, first) = told(0);
    let hook = HttpHook {
        method: Method::Post,
        url: Secret::new(format!("http://127.0.0.1:{}/?p={{{{PORT}}}}", url.port)),
        body: Secret::new("it is {{PORT}}"),
        media_type: "text/plain".to_owned(),
        check_url: None,
    };
    let expected = "POST /?p=4711 HTTP/1.1 it is 4711";
    let taking = |_: &str, _: &str| with_length("204 X", "");
    let server = std::thread::spawn(move || {
        let mut requests = Vec::new();
        // A look before, one after, and two later ones.
        for _ in 0..5 {
            let (stream, _) = first.accept().unwrap();
            requests.push(answer(&stream, &taking));
        }
        requests
    });
    let running = Running::start(ClientTarget::Http(hook), None);
    assert_eq!(running.says(), "listens on 4711");
    let requests = server.join().unwrap();
    let sent = requests.iter().filter(|request| !request.trim().is_empty());
    assert_eq!(sent.collect::<Vec<_>>(), [expected]);
    assert!(running.says().starts_with("does not answer"));
    let (_, again) = told(url.port);
    let requests = serve(again, taking);
    assert_eq!(running.says(), "listens on 4711");
    assert!(requests.iter().any(|request| request == expected));
    running.inbox.as_ref().unwrap().send(None).unwrap();
    assert_eq!(running.word(), None);
    running.end();
}

/// Whoever refused the first of two such headers, or the request, would be told of as another.
#[test]
fn a_request_has_one_authorization_and_none_that_is_no_header() {
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let hook = HttpHook {
        method: Method::Post,
        url: Secret::new(format!("http://me:geheim@127.0.0.1:{port}/")),
        body: Secret::new("{{PORT}}"),
        media_type: "text/plain".to_owned(),
        check_url: None,
    };
    let target = ClientTarget::Http(hook);
    let running = Running::start(target.clone(), Some("Authorization: Bearer x"));
    let (stream, head) = loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = vec![0; 4096];
        // A look alone is a connection without a request.
        let length = stream.read(&mut head).unwrap();
        if length > 0 {
            head.truncate(length);
            break (stream, String::from_utf8(head).unwrap().to_lowercase());
        }
    };
    assert_eq!(head.matches("authorization:").count(), 1, "{head}");
    assert!(head.contains("authorization: bearer x\r\n"), "{head}");
    drop(stream);
    running.end();
    let running = Running::start(target, Some("Bearer x"));
    assert_eq!(
        running.says(),
        "is not asked, as PORT_HTTP_HEADER is not of the form `Name: value`"
    );
    running.end();
}

/// "`status` has each one's word" (README.md), also where a login that was refused is not sent
/// again yet.
#[test]
fn a_client_that_refused_is_told_of_again_with_the_next_port() {
    let listener = listener();
    let url = http(&listener);
    let requests = serve(listener, |first, _| match first.contains("auth/login") {
        true => with_length("200 OK", "Fails."),
        false => with_length("403 Forbidden", ""),
    });
    let running = Running::start(ClientTarget::Qbittorrent(url), Some("wrong"));
    assert_eq!(running.says(), "refused the password");
    let inbox = running.inbox.as_ref().unwrap();
    inbox.send(None).unwrap();
    assert_eq!(running.word(), None);
    inbox.send(Some(4712)).unwrap();
    assert_eq!(running.says(), "refused the password");
    let logins = requests
        .try_iter()
        .filter(|request| request.contains("auth/login"));
    assert_eq!(logins.count(), 1);
    running.end();
}

/// rTorrents that know different commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RtorrentStandIn {
    /// Up to 0.16.17.
    Former,
    /// From 0.16.18 on.
    Present,
    /// The same with `-D`, by which it knows most former names, too.
    PresentWithFormerNames,
}

/// The port that it listens on, and the range for its next start.
#[derive(Debug)]
struct Ports {
    in_use: String,
    range: String,
}

fn answer_of_rtorrent(kind: RtorrentStandIn, ports: &mut Ports, call: &str) -> String {
    let between = |text: &str, start, end| {
        let (_, rest) = text.rsplit_once(start)?;
        Some(rest.split_once(end)?.0.to_owned())
    };
    let method = between(call, "<methodName>", "</methodName>").unwrap();
    let value = between(call, "<string>", "</string>").unwrap_or_default();
    let is_former = kind != RtorrentStandIn::Present;
    let is_present = kind != RtorrentStandIn::Former;
    let answer = match method.as_str() {
        "network.listen.port" => Some(ports.in_use.clone()),
        "network.listen.port.set" if is_present => {
            ports.in_use = value;
            Some("0".to_owned())
        }
        "network.listen.port.range" if is_present => Some(ports.range.clone()),
        "network.port_range" if is_former => Some(ports.range.clone()),
        "network.listen.port.range.set" if is_present => {
            ports.range = value;
            Some("0".to_owned())
        }
        "network.port_range.set" if is_former => {
            ports.range = value;
            Some("0".to_owned())
        }
        "network.listen.port.random.set" if is_present => Some("0".to_owned()),
        "network.port_random.set" if is_former => Some("0".to_owned()),
        "network.port_open.set" if !is_present => Some("0".to_owned()),
        "network.bind_address" => Some(String::new()),
        "network.bind_address.set" => {
            if !is_present {
                ports.in_use = ports.range.split('-').next().unwrap().to_owned();
            }
            Some("0".to_owned())
        }
        _ => None,
    };
    let answer = match answer {
        Some(value) => format!("<params><param><value>{value}</value></param></params>"),
        None => "<fault><value><i4>-506</i4></value></fault>".to_owned(),
    };
    with_length(
        "200 OK",
        &format!("<methodResponse>{answer}</methodResponse>"),
    )
}

#[test]
fn rtorrent_is_told_by_the_commands_that_it_has() {
    for kind in [
        RtorrentStandIn::Former,
        RtorrentStandIn::Present,
        RtorrentStandIn::PresentWithFormerNames,
    ] {
        let ports = Arc::new(Mutex::new(Ports {
            in_use: "6890".to_owned(),
            range: "6881-6999".to_owned(),
        }));
        let its_ports = Arc::clone(&ports);
        let listener = listener();
        let url = ClientUrl::Http(http(&listener));
        let _requests = serve(listener, move |_, call| {
            answer_of_rtorrent(kind, &mut its_ports.lock().unwrap(), call)
        });
        let running = Running::start(ClientTarget::Rtorrent(url), None);
        assert_eq!(running.says(), "listens on 4711", "{kind:?}");
        running.end();
        assert_eq!(ports.lock().unwrap().range, "4711-4711", "{kind:?}");
    }
}
