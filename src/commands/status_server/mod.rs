//! The status server: a process of its own, of an ordinary user without any capability, that tells
//! over HTTP what the status file says. It cannot change anything, and it holds no secret but its
//! own key.

mod freshness;
mod gluetun;
pub mod head;
mod metrics;
mod pages;
mod privileges;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use self::head::{Head, HeadError};
use self::pages::{Pages, Reply};
use crate::settings::values::ListenAddress;
use crate::status;
use crate::system::secret::Secret;
use crate::system::{paths, route, signals};
use crate::underlay::deadline::Deadline;
use crate::underlay::timed_stream::TimedStream;

/// So many clients at once; more are turned away.
const MAX_CONNECTIONS: usize = 64;
/// From the first byte to the last, both ways.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Of what a client that has its answer still sends, so much is read, or the answer could be lost.
const MAX_REST: u64 = 64 * 1024;
/// No request needs more.
const STACK_SIZE: usize = 256 * 1024;
/// Waiting to be accepted.
const BACKLOG: i32 = 128;
/// After an error that the next call would only repeat, such as too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
const MAX_KEY_LENGTH: u64 = 4096;

/// Answer requests for the state over HTTP; started by the container with STATUS_LISTEN.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS", value_parser = ListenAddress::from_argument)]
    listen: ListenAddress,
    /// The figures tell the address that the world sees, too.
    #[arg(long)]
    tell_exit: bool,
}

/// Serves until it is ended. The key, if one is wanted, comes from standard input.
pub fn run(arguments: &Arguments) -> ExitCode {
    let Err(error) = serve(arguments);
    // Whoever started it logs what it says.
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn serve(arguments: &Arguments) -> io::Result<std::convert::Infallible> {
    let is_ordinary_user = privileges::drop_all()?;
    signals::ignore_hangup()?;
    let mut key = String::new();
    io::stdin().take(MAX_KEY_LENGTH).read_to_string(&mut key)?;
    let pages = Pages {
        key: (!key.is_empty()).then(|| Secret::new(key)),
        tells_exit: arguments.tell_exit,
    };
    let listener = listen(arguments.listen)
        .map_err(|error| io::Error::other(format!("{}: {error}", arguments.listen)))?;
    println!("listening on {}", listener.local_addr()?);
    if !is_ordinary_user {
        println!("{}", status::STAYS_ROOT);
    }
    accept(&listener, &Arc::new(pages))
}

/// Without an address, on all: those of IPv6 too, where there is IPv6.
fn listen(wanted: ListenAddress) -> io::Result<TcpListener> {
    let on = |address: IpAddr| {
        let domain = Domain::for_address(SocketAddr::new(address, wanted.port));
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(wanted.address.is_some())?;
        }
        socket.bind(&SocketAddr::new(address, wanted.port).into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    match wanted.address {
        Some(address) => on(address),
        None => on(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| on(Ipv4Addr::UNSPECIFIED.into())),
    }
}

fn accept(listener: &TcpListener, pages: &Arc<Pages>) -> io::Result<std::convert::Infallible> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, peer)) = listener.accept() else {
            thread::sleep(PAUSE_AFTER_ERROR);
            continue;
        };
        let connection = Connection::new(&open);
        // Whoever is turned away has no answer: to write one would take time.
        if connection.is_too_many() || is_through_tunnel(peer.ip()) {
            continue;
        }
        let pages = Arc::clone(pages);
        let answer = move || {
            let _connection = connection;
            // The client is gone, or too slow.
            let _ = converse(&stream, &pages);
        };
        // Where a thread is refused the client is turned away.
        let _ = Builder::new().stack_size(STACK_SIZE).spawn(answer);
    }
}

/// One of those that are open, as long as it lives.
struct Connection {
    open: Arc<AtomicUsize>,
    count: usize,
}

impl Connection {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        Self {
            count: open.fetch_add(1, Ordering::Relaxed),
            open: Arc::clone(open),
        }
    }

    fn is_too_many(&self) -> bool {
        self.count >= MAX_CONNECTIONS
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whoever would be answered through the tunnel came through it, be it by a forwarded port of the
/// same number or without the firewall.
fn is_through_tunnel(peer: IpAddr) -> bool {
    let IpAddr::V4(peer) = peer.to_canonical() else {
        // No IPv6 goes through it.
        return false;
    };
    route::to(peer).is_ok_and(|route| route.interface.as_deref() == Some(paths::INTERFACE))
}

fn converse(stream: &TcpStream, pages: &Pages) -> io::Result<()> {
    let mut timed = TimedStream {
        socket: stream,
        deadline: Deadline::after(CONNECTION_TIMEOUT),
    };
    let answer = match head::read(|buffer| timed.read(buffer)) {
        Ok(head) => reply_to(&head, pages),
        Err(HeadError::Connection(error)) => return Err(error),
        Err(HeadError::TooLong) => Reply::plain(431, "the head of the request is too long\n"),
        Err(HeadError::Malformed) => Reply::plain(400, "this is no HTTP request\n"),
    };
    timed.write_all(&answer.to_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut timed.take(MAX_REST), &mut io::sink())?;
    Ok(())
}

fn reply_to(head: &Head, pages: &Pages) -> Reply {
    if head.method != "GET" {
        return Reply::plain(405, "this server only tells: GET\n").with_header("Allow: GET");
    }
    pages.answer(head)
}
