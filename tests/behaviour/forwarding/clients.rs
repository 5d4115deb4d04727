//! The ready-made `PORT_SCRIPT`s, with the real clients: started late, restarted without what they
//! knew, and told of another port.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use harness::netns::Namespace;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::journal::Journal;
use harness::world::process::Process;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::forwarding;

/// Clients take their time to start, above all on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Of the kind that breaks careless quoting.
const PASSWORD: &str = r#"p" \&+%:'$x"#;

/// A client of one kind, installed from the distribution.
pub(super) struct Client {
    /// As the script's log lines begin.
    pub name: &'static str,
    script: &'static str,
    program: &'static str,
    pub environment: &'static [(&'static str, &'static str)],
    pub password: &'static str,
    /// The variable that names the file with the password.
    pub password_file: &'static str,
    /// Makes a new profile and starts the client's processes on it.
    start: fn(&Path) -> Vec<Command>,
}

pub(super) const QBITTORRENT: Client = Client {
    name: "qBittorrent",
    script: "port-qbittorrent",
    program: "qbittorrent-nox",
    environment: &[],
    // What Debian's release has before it is given another.
    password: "adminadmin",
    password_file: "QBITTORRENT_PASS_FILE",
    start: |profile| {
        let folder = profile.join("qBittorrent/config");
        fs::create_dir_all(&folder).expect("writable");
        fs::write(
            folder.join("qBittorrent.conf"),
            "[LegalNotice]\nAccepted=true\n",
        )
        .expect("writable");
        let mut command = Command::new("qbittorrent-nox");
        command.arg(format!("--profile={}", profile.display()));
        vec![command]
    },
};

pub(super) const TRANSMISSION: Client = Client {
    name: "Transmission",
    script: "port-transmission",
    program: "transmission-daemon",
    environment: &[("TRANSMISSION_USER", "me")],
    password: PASSWORD,
    password_file: "TRANSMISSION_PASS_FILE",
    start: |profile| {
        let settings = serde_json::json!({
            "rpc-whitelist-enabled": false,
            "rpc-authentication-required": true, "rpc-username": "me", "rpc-password": PASSWORD,
            "peer-port-random-on-start": true,
            "dht-enabled": false,
            "port-forwarding-enabled": false,
        });
        fs::create_dir_all(profile).expect("writable");
        fs::write(profile.join("settings.json"), settings.to_string()).expect("writable");
        let mut command = Command::new("transmission-daemon");
        command.args(["--foreground", "--config-dir"]).arg(profile);
        vec![command]
    },
};

pub(super) const DELUGE: Client = Client {
    name: "Deluge",
    script: "port-deluge",
    program: "deluge-web",
    environment: &[],
    password: PASSWORD,
    password_file: "DELUGE_PASS_FILE",
    start: |profile| {
        let salt = "0123456789abcdef";
        let digest = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            format!("{salt}{PASSWORD}").as_bytes(),
        );
        let digest: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let settings =
            serde_json::json!({"pwd_salt": salt, "pwd_sha1": digest, "first_login": false});
        fs::create_dir_all(profile).expect("writable");
        fs::write(
            profile.join("web.conf"),
            format!(r#"{{"file":2,"format":1}}{settings}"#),
        )
        .expect("writable");
        // Each makes it where it is missing; two that do so at once do not agree, or one dies.
        fs::write(profile.join("auth"), "localclient:of-this-test:10\n").expect("writable");
        ["deluged", "deluge-web"]
            .map(|program| {
                let mut command = Command::new(program);
                command
                    .arg("--do-not-daemonize")
                    .arg("--config")
                    .arg(profile);
                command
            })
            .into()
    },
};

/// It has no script; nobody needs a password who reaches its port for SCGI.
pub(super) const RTORRENT: Client = Client {
    name: "rTorrent",
    script: "",
    program: "rtorrent",
    environment: &[],
    password: "",
    password_file: "RTORRENT_PASS_FILE",
    start: |profile| {
        fs::create_dir_all(profile).expect("writable");
        let settings = format!(
            "session.path.set = {}\nnetwork.scgi.open_port = 0.0.0.0:5000\n\
             network.port_range.set = 6890-6999\nnetwork.port_random.set = yes\n\
             system.daemon.set = true\n",
            profile.display()
        );
        fs::write(profile.join("rc"), settings).expect("writable");
        let mut command = Command::new("rtorrent");
        let import = format!("import={}", profile.join("rc").display());
        command.args(["-n", "-o", &import]);
        vec![command]
    },
};

/// A client that runs in the container's network, or beside it.
pub(super) struct Running {
    processes: Vec<Process>,
}

impl Client {
    fn start_in(&self, world: &World, profile: &str) -> Running {
        self.start_at(world.client(), world, profile)
    }

    /// In a network of the world, with a profile of this name.
    pub(super) fn start_at(
        &self,
        network: &Arc<Namespace>,
        world: &World,
        profile: &str,
    ) -> Running {
        let profile = world.files().directory.join(profile);
        let processes = (self.start)(&profile).into_iter().map(|mut command| {
            // Python's, with which Debian's programs come.
            command
                .env_clear()
                .env("HOME", &profile)
                .env("PATH", "/usr/bin:/bin");
            let network = Arc::clone(network);
            Process::start(move || network.enter(), command, &Journal::default()).unwrap_or_else(
                |error| panic!("{}: {error}: scripts/setup installs it", self.program),
            )
        });
        Running {
            processes: processes.collect(),
        }
    }

    fn container(&self, world: &World, password: &str) -> Container {
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let mut recipe = forwarding(world)
            .env("PORT_SCRIPT", format!("/scripts/{}", self.script))
            .env("PORT_CLIENT_INTERVAL", "1")
            .env(self.password_file, "/pia/client-password")
            .file("/pia/client-password", password)
            // Shows what curl's arguments are.
            .script(
                "/usr/local/bin/curl",
                "#!/bin/bash\necho \"$*\" >>/pia/arguments\nexec /usr/bin/curl \"$@\"\n",
            );
        for script in [self.script, "port-client.bash"] {
            let text = fs::read(scripts.join(script)).expect("the script is there");
            recipe = recipe.script(Path::new("/scripts").join(script), text);
        }
        self.environment
            .iter()
            .fold(recipe, |recipe, (name, value)| recipe.env(name, value))
            .start()
    }
}

impl Running {
    pub(super) fn stop(self) {
        self.processes
            .iter()
            .for_each(|process| process.signal(nix::sys::signal::Signal::SIGTERM));
        for process in &self.processes {
            process.wait(PATIENCE);
        }
    }
}

/// The ports that programs of the container's network listen on, over tcp.
fn listens(world: &World, port: u16) -> bool {
    world
        .look("ss -Hltn")
        .lines()
        .any(|line| line.contains(&format!(":{port} ")))
}

/// The port that the server forwards; the hooks of these tests do not tell.
pub(super) fn forwarded_port(container: &Container) -> u16 {
    let announced = container.wait_for_log("Forwarding on port ", SOON).text;
    announced
        .rsplit(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number")
}

fn is_told(client: &Client) {
    let world = World::new();
    let container = client.container(&world, client.password);
    let port = forwarded_port(&container);
    container.wait_for_log("no answer at", SOON);

    let running = client.start_in(&world, "profile");
    wait_until("the client listens on the port", PATIENCE, || {
        listens(&world, port)
    });
    container.wait_for_log(
        &format!("{}: listens on port {port}", client.name),
        PATIENCE,
    );
    let server = world.server_in_use().address();
    assert!(world.internet().reaches((server, port)));

    running.stop();
    wait_until("it is gone", PATIENCE, || !listens(&world, port));
    let running = client.start_in(&world, "a-profile-that-knows-nothing");
    wait_until("the client is told again", PATIENCE, || {
        listens(&world, port)
    });

    world.pia.port_forwarding().forget_signatures();
    let changed = || {
        world
            .pia
            .bound_ports()
            .last()
            .map(|bound| bound.port)
            .filter(|bound| *bound != port)
    };
    wait_until("there is another port", SOON, || changed().is_some());
    let next = changed().expect("it does not change again");
    wait_until("the client follows", PATIENCE, || {
        listens(&world, next) && !listens(&world, port)
    });
    let scripts = || {
        container.shell(&format!(
            "pgrep -fc '^bash.*{}|^/bin/bash.*{}'",
            client.script, client.script
        ))
    };
    wait_until("one script is left", SOON, || scripts().trim() == "1");

    let arguments = container.read("/pia/arguments").expect("curl was called");
    assert!(
        !arguments.contains(client.password),
        "the password is in curl's arguments: {arguments}"
    );
    assert!(container.stop().status.success());
    drop(running);
}

fn refuses_a_wrong_password(client: &Client) {
    let world = World::new();
    let _running = client.start_in(&world, "profile");
    let container = client.container(&world, "a wrong password");
    let refused = container.wait_for_log("refuses us: set ", PATIENCE);
    assert!(
        refused.text.contains(client.password_file),
        "{}",
        refused.text
    );
    assert!(!container.logs().contains("a wrong password"));
}

#[test]
fn clients_that_refuse_us_are_said_to() {
    [&QBITTORRENT, &TRANSMISSION, &DELUGE]
        .into_iter()
        .for_each(refuses_a_wrong_password);
}

/// "tells the torrent client its port, waits for a client that starts later, and tells it again
/// after a restart" (README.md)
#[test]
fn qbittorrent_is_told() {
    is_told(&QBITTORRENT);
}

#[test]
fn transmission_is_told() {
    is_told(&TRANSMISSION);
}

#[test]
fn deluge_is_told() {
    is_told(&DELUGE);
}
