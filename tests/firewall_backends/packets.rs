//! Whether packets obey: two network namespaces with a cable between them, and real sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};
use wireguard_pia::firewall_internals::{
    Backend, CancellationToken, Destination, Firewall, ForwardedPort, Policy, TunnelPolicy,
};

use crate::namespace::MARK;

pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// For what is to arrive: only a failure takes that long.
pub const ARRIVES: Duration = Duration::from_secs(20);
/// For what is not to arrive.
pub const BLOCKED: Duration = Duration::from_millis(300);

type Job = Box<dyn FnOnce() + Send>;

/// The namespace at the other end of the cable, whose tasks run on a thread in it.
pub struct Far {
    tasks: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Far {
    /// Puts this thread into a namespace with `interface`, and another thread into one at its other
    /// end.
    pub fn connect(interface: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces and needs root: run it by sudo"
        );
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let (tasks, inbox) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            inbox.into_iter().for_each(|task| task());
        });
        let tid = is_ready.recv().unwrap();
        ip(&format!(
            "link add {interface} type veth peer name far netns {tid}"
        ));
        ip(&format!("address add {HERE}/24 dev {interface}"));
        ip(&format!("link set {interface} up"));
        ip("link set lo up");
        let far = Self {
            tasks: Some(tasks),
            thread: Some(thread),
        };
        far.run(|| {
            ip(&format!("address add {THERE}/24 dev far"));
            ip("link set far up");
        });
        far
    }

    pub fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, is_done) = mpsc::channel();
        self.tasks
            .as_ref()
            .unwrap()
            .send(Box::new(move || done.send(task()).unwrap()))
            .unwrap();
        is_done.recv().unwrap()
    }

    /// A service there that keeps its connections.
    fn listen(&self, port: u16) -> TcpListener {
        self.run(move || TcpListener::bind((THERE, port)).unwrap())
    }

    fn reaches(&self, port: u16, wait: Duration) -> bool {
        self.run(move || {
            TcpStream::connect_timeout(&SocketAddr::new(HERE.into(), port), wait).is_ok()
        })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[track_caller]
pub fn ip(arguments: &str) {
    assert!(
        Command::new("ip")
            .args(arguments.split(' '))
            .status()
            .unwrap()
            .success(),
        "ip {arguments}"
    );
}

pub fn open(backend: Backend, first: &Policy) -> Firewall {
    let directory = tempfile::tempdir().unwrap();
    Firewall::open(
        Some(backend),
        directory.path(),
        Some(first),
        false,
        true,
        &CancellationToken::never(),
    )
    .unwrap()
}

fn reaches(port: u16, mark: u32, wait: Duration) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_mark(mark).unwrap();
    socket
        .connect_timeout(&SocketAddrV4::new(THERE, port).into(), wait)
        .is_ok()
}

/// Whether anything comes before the socket's timeout. The end of a child process of another test
/// interrupts such a wait.
pub fn hears(mut receive: impl FnMut() -> io::Result<usize>) -> bool {
    loop {
        match receive() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.is_ok(),
        }
    }
}

pub fn both(test: fn(Backend)) {
    test(Backend::NfTables);
    test(Backend::Legacy);
}

#[test]
fn only_the_mark_together_with_address_and_port_gets_out() {
    both(|backend| {
        let far = Far::connect("eth0");
        let _services = (far.listen(443), far.listen(444));
        assert!(
            reaches(443, 0, ARRIVES) && reaches(444, MARK, ARRIVES),
            "the cable works"
        );
        let mut firewall = open(backend, &Policy::closed(MARK));
        assert!(!reaches(443, MARK, BLOCKED));
        firewall
            .apply(&Policy::bootstrap(MARK, [Destination::tcp(THERE, 443)]))
            .unwrap();
        assert!(reaches(443, MARK, ARRIVES));
        assert!(!reaches(443, 0, BLOCKED) && !reaches(444, MARK, BLOCKED));
        firewall.apply(&Policy::closed(MARK)).unwrap();
        assert!(!reaches(443, MARK, BLOCKED));
        assert!(!far.reaches(443, BLOCKED));
    });
}

#[test]
fn a_flow_opened_before_dies() {
    both(|backend| {
        let far = Far::connect("eth0");
        let service = far.listen(443);
        let mut flow = TcpStream::connect((THERE, 443)).unwrap();
        let (mut accepted, _) = service.accept().unwrap();
        accepted.set_read_timeout(Some(ARRIVES)).unwrap();
        flow.write_all(b"before").unwrap();
        assert!(hears(|| accepted.read(&mut [0; 16])));
        let _firewall = open(backend, &Policy::closed(MARK));
        accepted.set_read_timeout(Some(BLOCKED)).unwrap();
        flow.write_all(b"after").unwrap();
        assert!(!hears(|| accepted.read(&mut [0; 16])));
    });
}

#[test]
fn the_forwarded_port_is_open_and_what_it_is_redirected_to_is_not() {
    both(|backend| {
        let far = Far::connect("wg0");
        let _service = far.listen(80);
        let _application = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 6881)).unwrap();
        let connected = |redirect| {
            let forwarded = Some(ForwardedPort {
                port: 40000,
                redirect,
            });
            let tunnel = TunnelPolicy {
                interface: "wg0".into(),
                forwarded,
                ..TunnelPolicy::default()
            };
            Policy::connected(
                MARK,
                SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 1337),
                tunnel,
            )
        };
        let mut firewall = open(backend, &connected(None));
        assert!(reaches(80, 0, ARRIVES), "the tunnel carries");
        assert!(!far.reaches(6881, BLOCKED));
        let plain = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 40000)).unwrap();
        assert!(far.reaches(40000, ARRIVES));
        drop(plain);
        firewall.apply(&connected(Some(6881))).unwrap();
        assert!(far.reaches(40000, ARRIVES));
        assert!(!far.reaches(6881, BLOCKED));
        firewall.apply(&Policy::closed(MARK)).unwrap();
        assert!(!far.reaches(40000, BLOCKED) && !reaches(80, 0, BLOCKED));
    });
}

/// Whether datagrams without the mark get to this address at the other end within `wait`. A single
/// one may be lost while the cable comes up.
pub fn gets_out(far: &Far, to: impl ToString, port: u16, wait: Duration) -> bool {
    let peer = SocketAddr::new(to.to_string().parse().unwrap(), port);
    let receiver = far.run(move || {
        // A child that another test is just forking holds the last one a moment longer.
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&peer.into()).unwrap();
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(wait.min(BLOCKED))).unwrap();
        socket
    });
    let here = if peer.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(here).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < wait {
        let _ = socket.send_to(b"question", peer);
        if hears(|| receiver.recv(&mut [0; 16])) {
            return true;
        }
    }
    false
}
