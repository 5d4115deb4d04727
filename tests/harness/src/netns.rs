//! Network namespaces: made, entered and removed without a privilege outliving the call.
//!
//! A namespace is a named file under `/run/netns`, as `ip netns` makes it, so that
//! `ip -n NAME …` and `ip netns exec NAME …` work on it from any shell.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::waiting::SOON;

const DIRECTORY: &str = "/run/netns";
/// A first packet that is lost is sent again after a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes an empty namespace of this name, with its loopback interface up.
    pub fn create(name: impl Into<String>) -> Self {
        let namespace = Self { name: name.into() };
        let path = namespace.path();
        let made = thread::scope(|scope| {
            scope
                .spawn(|| -> io::Result<()> {
                    fs::create_dir_all(DIRECTORY)?;
                    File::create(&path)?;
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    let own = Some("/proc/thread-self/ns/net");
                    mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
                    Ok(())
                })
                .join()
                .expect("the thread that makes a namespace does not panic")
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&path);
            panic!(
                "cannot make the network namespace {}: {error}: these tests need root \
                 (CAP_SYS_ADMIN)",
                namespace.name
            );
        }
        namespace.ip("link set lo up");
        namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// Moves the calling thread into this namespace, for good.
    pub fn enter(&self) -> io::Result<()> {
        let file = File::open(self.path())?;
        setns(file, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Runs `task` inside. Sockets made there, and children started there, stay there.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()
                    .unwrap_or_else(|error| panic!("cannot enter {}: {error}", self.name));
                task()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// In a process group of its own: a Ctrl-C at the terminal is for us to answer, not for what we
    /// started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.process_group(0);
        self.run(|| command.spawn())
    }

    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.run(|| command.output())
    }

    // Connections.

    /// A socket that takes connections to this place, by all its addresses, and its port.
    pub fn listen(&self) -> (TcpListener, u16) {
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        let listener = self.run(|| TcpListener::bind(any)).expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has one");
        (listener, address.port())
    }

    /// Whether a connection can be made from here to there. A refusal, or no answer, is taken for
    /// one only when there was time enough.
    pub fn reaches<A: Into<IpAddr>>(&self, (address, port): (A, u16)) -> bool {
        let to = SocketAddr::new(address.into(), port);
        let begun = Instant::now();
        while !self.connects(to) {
            if begun.elapsed() > SOON {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }

    /// Whether a connection from here to there is in vain, which is known after a while.
    pub fn is_kept_from<A: Into<IpAddr>>(&self, (address, port): (A, u16)) -> bool {
        !self.connects(SocketAddr::new(address.into(), port))
    }

    fn connects(&self, to: SocketAddr) -> bool {
        let stream = self.run(|| TcpStream::connect_timeout(&to, ATTEMPT_TIMEOUT));
        stream.is_ok()
    }

    // Its settings.

    /// Runs lines of `ip` commands in one go.
    #[track_caller]
    pub fn ip(&self, lines: impl Display) {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name, "-batch", "-"]);
        feed(&mut ip, &lines.to_string());
    }

    /// Replaces the named tables of this namespace's IPv4 firewall by these rules, at once.
    #[track_caller]
    pub fn firewall(&self, rules: impl Display) {
        let rules = rules.to_string();
        self.run(|| feed(Command::new("iptables-restore").arg("--wait"), &rules));
    }

    /// Sets a kernel variable (`net/ipv4/ip_forward`) of this namespace.
    #[track_caller]
    pub fn sysctl(&self, variable: &str, value: &str) {
        let path = format!("/proc/sys/{}", variable.replace('.', "/"));
        if let Err(error) = self.run(|| fs::write(&path, value)) {
            panic!("cannot set {path} in {}: {error}", self.name);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes a namespace by name: sockets and processes in it keep it alive until they end.
pub fn remove(name: &str) {
    let path = PathBuf::from(DIRECTORY).join(name);
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&path);
}

/// The names of all namespaces that begin so.
pub fn names(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Runs a command with this text as its input; a failure ends the test with what it said.
#[track_caller]
pub fn feed(command: &mut Command, input: &str) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}: is it installed?"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .expect("a started child can be awaited");
    assert!(
        output.status.success() && written.is_ok(),
        "{program} failed ({}): {}\ninput:\n{input}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
