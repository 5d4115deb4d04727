//! `PORT_CLIENTS`: the real clients where Debian has them, beside each other; slskd, which it has
//! not, as a stand-in that follows its API; and any program that takes a request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use harness::netns::Namespace;
use harness::waiting::{SOON, bind_when_free, wait_for, wait_until};
use harness::world::World;
use harness::world::container::Container;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::clients::{
    Client, DELUGE, PATIENCE, QBITTORRENT, RTORRENT, Running, TRANSMISSION, forwarded_port,
};
use super::forwarding;

const KEY: &str = "a key of 16 letters or more";

/// A client in a network of its own, as two cannot have the same port in one.
struct Place {
    client: &'static Client,
    network: Arc<Namespace>,
}

impl Place {
    /// Attached to the container's network, as sibling containers are.
    fn attached(world: &World, client: &'static Client, number: u8) -> Self {
        let name = format!("{}-{number}", world.client().name());
        let network = Arc::new(Namespace::create(name));
        world.client().ip(format_args!(
            "link add eth{number} type veth peer name eth0 netns {}\n\
             addr add 172.3{number}.0.1/24 dev eth{number}\nlink set eth{number} up",
            network.name()
        ));
        network.ip(format_args!(
            "addr add 172.3{number}.0.2/24 dev eth0\nlink set eth0 up"
        ));
        Self { client, network }
    }

    fn start(&self, world: &World, profile: &str) -> Running {
        let profile = format!("{}-{profile}", self.client.name);
        self.client.start_at(&self.network, world, &profile)
    }

    fn listens(&self, port: u16) -> bool {
        let sockets = self.network.output(Command::new("ss").arg("-Hltn"));
        let sockets = sockets.expect("ss is installed").stdout;
        String::from_utf8_lossy(&sockets).contains(&format!(":{port} "))
    }
}

/// A server of HTTP that answers by a function of method, path, headers in lower case, and content.
fn serve(
    network: &Namespace,
    port: u16,
    answer: impl Fn(&str, &str, &str, &str) -> (u16, String) + Send + 'static,
) {
    let listener = network.run(|| bind_when_free(|| TcpListener::bind(("127.0.0.1", port))));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(one_request(&stream, &answer));
        }
    });
}

fn one_request(
    mut stream: &TcpStream,
    answer: &impl Fn(&str, &str, &str, &str) -> (u16, String),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut headers) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut headers)? > 2 {}
    let headers = headers.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut content = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut content)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap_or_default());
    let (status, text) = answer(method, path, &headers, &String::from_utf8_lossy(&content));
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

/// slskd's options as its source has them: a key in `X-API-Key`; a PATCH lays a port over the
/// configuration, if `remote_configuration` is on, until the next start.
#[derive(Default)]
struct Slskd {
    port: Arc<Mutex<Option<u64>>>,
    allows: Arc<Mutex<bool>>,
}

impl Slskd {
    fn start(&self, network: &Namespace) {
        let (told, allowed) = (Arc::clone(&self.port), Arc::clone(&self.allows));
        serve(network, 5030, move |method, path, headers, content| {
            let mut told = told.lock().unwrap();
            if path != "/api/v0/options" {
                return (404, String::new());
            }
            if !headers.contains(&format!("x-api-key: {KEY}\r\n")) {
                return (401, String::new());
            }
            match method {
                "GET" => {
                    let port = told.unwrap_or(50300);
                    let options = json!({ "soulseek": { "listenPort": port } });
                    (200, options.to_string())
                }
                "PATCH" if !*allowed.lock().unwrap() => (403, String::new()),
                "PATCH" if headers.contains("content-type: application/json") => {
                    let overlay: Value = serde_json::from_str(content).unwrap();
                    *told = overlay["soulseek"]["listenPort"].as_u64();
                    (200, content.to_owned())
                }
                _ => (405, String::new()),
            }
        });
    }

    fn has(&self, port: u16) -> bool {
        *self.port.lock().unwrap() == Some(u64::from(port))
    }
}

/// Any other program; it counts what it is told.
fn start_other(network: &Namespace) -> Arc<Mutex<Vec<String>>> {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = Arc::clone(&told);
    serve(network, 7070, move |method, path, headers, content| {
        assert!(headers.contains("authorization: bearer x\r\n"), "{headers}");
        let mut told = all.lock().unwrap();
        if method == "GET" {
            return (200, told.last().cloned().unwrap_or_default());
        }
        told.push(format!("{method} {path} {content}"));
        (204, String::new())
    });
    told
}

fn status(container: &Container) -> Value {
    let status = container.read("/run/wireguard-pia/status.json");
    serde_json::from_str(&status.unwrap_or_default()).unwrap_or_default()
}

/// What the status says of each client.
fn clients(container: &Container) -> BTreeMap<String, (bool, String)> {
    let status = status(container);
    let clients = status["port_clients"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let client = |(name, client): (String, Value)| {
        let says = client["says"].as_str().unwrap().to_owned();
        (name, (client["has_port"] == true, says))
    };
    clients.into_iter().map(client).collect()
}

/// All clients, and the container that tells them.
struct Scene {
    places: [Place; 4],
    container: Container,
    slskd: Slskd,
    world: World,
}

impl Scene {
    /// The clients are not there yet.
    fn begin() -> Self {
        let world = World::new();
        let places = [
            Place {
                client: &QBITTORRENT,
                network: Arc::clone(world.client()),
            },
            Place::attached(&world, &TRANSMISSION, 1),
            Place::attached(&world, &DELUGE, 2),
            Place::attached(&world, &RTORRENT, 3),
        ];
        let mut recipe = forwarding(&world)
            .env(
                "PORT_CLIENTS",
                "qbittorrent,transmission Deluge rtorrent slskd http kbittorrent",
            )
            .env("PORT_CLIENT_INTERVAL", "1")
            .env("TRANSMISSION_URL", "http://172.31.0.2:9091")
            .env("DELUGE_URL", "http://172.32.0.2:8112")
            .env("RTORRENT_URL", "scgi://172.33.0.2:5000")
            .env("SLSKD_API_KEY", KEY)
            .env("PORT_HTTP_URL", "http://127.0.0.1:7070/set?port={{PORT}}")
            .env("PORT_HTTP_METHOD", "put")
            .env("PORT_HTTP_CHECK_URL", "http://127.0.0.1:7070/port")
            .env("PORT_HTTP_HEADER", "Authorization: Bearer x");
        for Place { client, .. } in &places {
            let file = format!("/pia/{}", client.password_file);
            recipe = recipe
                .env(client.password_file, &file)
                .file(&file, client.password);
            for (name, value) in client.environment {
                recipe = recipe.env(name, value);
            }
        }
        Self {
            places,
            container: recipe.start(),
            slskd: Slskd::default(),
            world,
        }
    }

    fn start_clients(&self, profile: &str) -> Vec<Running> {
        let start = |place: &Place| place.start(&self.world, profile);
        self.places.iter().map(start).collect()
    }

    #[track_caller]
    fn wait_until_told(&self, port: u16, what: &str) {
        let all = [
            "qbittorrent",
            "transmission",
            "deluge",
            "rtorrent",
            "slskd",
            "http",
        ];
        let says = (true, format!("listens on {port}"));
        let expected = all.map(|name| (name.to_owned(), says.clone())).into();
        wait_until(what, PATIENCE, || {
            clients(&self.container) == expected
                && self.slskd.has(port)
                && self.places.iter().all(|place| place.listens(port))
        });
    }

    /// Another server, which forwards another port.
    fn reconnect(&self, port: u16) -> u16 {
        self.world.pia.port_forwarding().forget_signatures();
        self.container.signal(Signal::SIGHUP);
        self.container.wait_for_log("Reconnected to", SOON);
        wait_for("another port", SOON, || {
            let now = status(&self.container)["port"]["number"].as_u64()?;
            u16::try_from(now).ok().filter(|now| *now != port)
        })
    }
}

/// "at once, again after their restart, and asks each whether it took it" (README.md)
#[test]
fn all_clients_follow_the_port() {
    let scene = Scene::begin();
    let container = &scene.container;
    container.wait_for_log("did you mean qbittorrent?", SOON);
    let port = forwarded_port(container);
    container.wait_for_log("rtorrent: does not answer", SOON);
    let are_away = clients(container).values().all(|(has_port, _)| !has_port);
    assert!(are_away, "{:?}", clients(container));

    scene.slskd.start(scene.world.client());
    let other = start_other(scene.world.client());
    let running = scene.start_clients("profile");
    container.wait_for_log("slskd at http://127.0.0.1:5030 refused to change", SOON);
    *scene.slskd.allows.lock().unwrap() = true;
    scene.wait_until_told(port, "clients that start late are told");

    let next = scene.reconnect(port);
    scene.wait_until_told(next, "clients follow the port");
    assert!(!scene.places.iter().any(|place| place.listens(port)));

    running.into_iter().for_each(Running::stop);
    *scene.slskd.port.lock().unwrap() = None;
    let _running = scene.start_clients("a-profile-that-knows-nothing");
    scene.wait_until_told(next, "clients are told again after their restart");
    let expected = [port, next].map(|port| format!("PUT /set?port={port} {{\"port\":{port}}}"));
    assert_eq!(*other.lock().unwrap(), expected);

    let shown = container.shell("wireguard-pia status");
    assert!(
        shown.contains(&format!("rtorrent listens on {next}")),
        "{shown}"
    );
    let passwords = scene.places.iter().map(|place| place.client.password);
    for secret in passwords.chain([KEY]).filter(|secret| !secret.is_empty()) {
        assert!(!container.logs().contains(secret));
    }
    assert!(container.stop().status.success());
}
