//! Sockets whose packets leave by a chosen way, and which a stop shuts down whatever they are
//! doing. Whether a firewall rule lets the packets out is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockRef, Socket, Type};

use super::deadline::Deadline;
use crate::system::cancellation::{CancellationToken, Guard};

/// Until another attempt to connect is made beside those that hang. The kernel repeats the SYN of
/// each a second after the first: so after the first three quarters of a second one leaves every
/// half second at least.
const REDIAL_INTERVAL: Duration = Duration::from_millis(750);

/// The way a socket's packets leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Via {
    /// As the routing tables say, which lead into the tunnel once it is up.
    #[default]
    Routing,
    /// Marked: past the tunnel, and through the kill switch where a rule names the destination.
    Mark(u32),
    /// By this interface, whatever the routing tables say.
    Interface(String),
}

/// A socket could not be made or connected.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("socket with mark {mark:#x}: {source}; add `cap_add: [NET_ADMIN]`")]
    Mark { mark: u32, source: io::Error },
    #[error("socket bound to the interface {interface}: {source}")]
    Interface {
        interface: String,
        source: io::Error,
    },
    #[error("socket: {0}")]
    NotMade(io::Error),
    /// Refused, unreachable, no answer in time.
    #[error("connecting to {address}: {source}")]
    NotConnected {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("interrupted by a request to stop")]
    Interrupted,
}

/// A connected TCP socket that a stop shuts down: whatever is blocked on it then returns at once.
pub struct TcpConnection {
    pub stream: Arc<TcpStream>,
    _guard: Guard,
}

impl AsFd for TcpConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A UDP socket connected to one peer, which a stop shuts down likewise.
pub struct UdpConnection {
    pub socket: Arc<UdpSocket>,
    _guard: Guard,
}

/// Connects to `address` within `timeout`. An attempt that hangs is overtaken by another every
/// [`REDIAL_INTERVAL`], and the first that is answered wins: the kernel repeats a lost SYN at
/// growing intervals, so that one attempt alone may notice the end of an outage long after it.
///
/// # Errors
/// Also when a stop is asked for meanwhile.
pub fn connect(
    via: &Via,
    address: impl Into<SocketAddr>,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<TcpConnection, SocketError> {
    let address = address.into();
    let failed = |source| SocketError::NotConnected { address, source };
    let deadline = Deadline::after(timeout);
    let mut dialled = Vec::new();
    let connection = loop {
        dialled.push(dial(via, address, stop)?);
        let wait = deadline.left().min(REDIAL_INTERVAL);
        let answered = wait_until_answered(&dialled, wait).map_err(failed)?;
        if stop.is_cancelled() {
            return Err(SocketError::Interrupted);
        }
        match answered {
            Some(answered) => break dialled.swap_remove(answered),
            None if deadline.left().is_zero() => {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            None => (),
        }
    };
    let stream = &connection.stream;
    if let Some(error) = stream.take_error().map_err(failed)? {
        return Err(failed(error));
    }
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_nodelay(true))
        .map_err(failed)?;
    Ok(connection)
}

/// Begins to connect.
fn dial(
    via: &Via,
    address: SocketAddr,
    stop: &CancellationToken,
) -> Result<TcpConnection, SocketError> {
    let stream: Arc<TcpStream> = Arc::new(make(via, address, Type::STREAM)?.into());
    let guard = {
        let stream = Arc::clone(&stream);
        stop.on_cancel(move || {
            // This fails before the connection is under way; that case is checked for below.
            let _ = stream.shutdown(Shutdown::Both);
        })
    };
    stream.set_nonblocking(true).map_err(SocketError::NotMade)?;
    match SockRef::from(&*stream).connect(&address.into()) {
        Err(source) if source.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
            return Err(SocketError::NotConnected { address, source });
        }
        // A stop before this point found nothing to shut down, a later one wakes the wait.
        _ if stop.is_cancelled() => return Err(SocketError::Interrupted),
        _ => (),
    }
    Ok(TcpConnection {
        stream,
        _guard: guard,
    })
}

/// A UDP socket that talks to `peer` alone.
pub fn udp(
    via: &Via,
    peer: impl Into<SocketAddr>,
    stop: &CancellationToken,
) -> Result<UdpConnection, SocketError> {
    let peer = peer.into();
    let socket: UdpSocket = make(via, peer, Type::DGRAM)?.into();
    socket
        .connect(peer)
        .map_err(|source| SocketError::NotConnected {
            address: peer,
            source,
        })?;
    let socket = Arc::new(socket);
    let registration = {
        let socket = Arc::clone(&socket);
        stop.on_cancel(move || {
            // If this fails, the read timeout ends the wait.
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        })
    };
    Ok(UdpConnection {
        socket,
        _guard: registration,
    })
}

fn make(via: &Via, peer: SocketAddr, kind: Type) -> Result<Socket, SocketError> {
    let socket =
        Socket::new(Domain::for_address(peer), kind, None).map_err(SocketError::NotMade)?;
    match via {
        Via::Routing => (),
        Via::Mark(mark) => socket.set_mark(*mark).map_err(|source| SocketError::Mark {
            mark: *mark,
            source,
        })?,
        Via::Interface(interface) => {
            socket
                .bind_device(Some(interface.as_bytes()))
                .map_err(|source| SocketError::Interface {
                    interface: interface.clone(),
                    source,
                })?;
        }
    }
    Ok(socket)
}

/// Which of them is connected, refused or shut down; none within `timeout` is `None`.
fn wait_until_answered(dialled: &[TcpConnection], timeout: Duration) -> io::Result<Option<usize>> {
    let deadline = Deadline::after(timeout);
    let mut waiting = Vec::new();
    for one in dialled {
        waiting.push(PollFd::new(one.stream.as_fd(), PollFlags::POLLOUT));
    }
    loop {
        // Rounded up, so that the time is really over at the end.
        let milliseconds = deadline.left().as_micros().div_ceil(1000);
        let milliseconds = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        match poll(&mut waiting, milliseconds) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(waiting.iter().position(|one| one.any().unwrap_or(true))),
            Err(nix::errno::Errno::EINTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
    use std::time::Instant;

    /// A listener on loopback whose queue is full: further connects get no answer.
    pub(crate) fn silent_listener() -> (TcpListener, Vec<TcpStream>, SocketAddrV4) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())
            .unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket_ipv4().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) =
            TcpStream::connect_timeout(&address.into(), Duration::from_millis(200))
        {
            queued.push(stream);
        }
        (socket.into(), queued, address)
    }

    /// Blocks until a connection to this address is in the making.
    pub(crate) fn wait_until_connecting(address: SocketAddrV4) {
        // As in /proc/net/tcp: the remote address, and SYN_SENT.
        let ip = u32::from_ne_bytes(address.ip().octets());
        let line = format!("{ip:08X}:{:04X} 02 ", address.port());
        let table = || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        while !table().contains(&line) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// An address where nobody listens, for as long as the socket is kept that has its port.
    pub(crate) fn closed_address() -> (Socket, SocketAddrV4) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())
            .unwrap();
        let address = socket.local_addr().unwrap().as_socket_ipv4().unwrap();
        (socket, address)
    }

    #[test]
    fn a_connect_without_an_answer_ends_at_the_timeout() {
        let (_listener, _queued, address) = silent_listener();
        let failure = connect(
            &Via::Routing,
            address,
            Duration::from_millis(50),
            &CancellationToken::new(),
        )
        .err()
        .unwrap();
        let SocketError::NotConnected { source, .. } = failure else {
            panic!("{failure}")
        };
        assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    }

    /// However long the kernel's own pauses have become.
    #[test]
    fn a_server_that_answers_again_is_noticed_soon() {
        let (listener, mut queued, address) = silent_listener();
        let thread = std::thread::spawn(move || {
            let stop = CancellationToken::new();
            let outcome = connect(&Via::Routing, address, Duration::from_secs(20), &stop);
            outcome.map(|_| Instant::now())
        });
        wait_until_connecting(address);
        // Just after the kernel's own second attempt, two seconds before its third.
        std::thread::sleep(Duration::from_millis(1100));
        let open_again = Instant::now();
        queued.push(listener.accept().unwrap().0);
        let connected = thread.join().unwrap().unwrap();
        let took = connected.saturating_duration_since(open_again);
        assert!(took < Duration::from_millis(700), "{took:?}");
    }

    /// Which would last for a minute without it.
    #[test]
    fn a_stop_ends_a_connect() {
        let (_listener, _queued, address) = silent_listener();
        let stop = CancellationToken::new();
        let requested = stop.clone();
        let thread = std::thread::spawn(move || {
            connect(&Via::Routing, address, Duration::from_secs(60), &stop).err()
        });
        wait_until_connecting(address);
        let asked = Instant::now();
        requested.cancel();
        let failure = thread.join().unwrap();
        assert!(matches!(failure, Some(SocketError::Interrupted)));
        assert!(asked.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn an_earlier_stop_ends_it_too() {
        let (_listener, _queued, address) = silent_listener();
        let stop = CancellationToken::new();
        stop.cancel();
        let started = Instant::now();
        assert!(matches!(
            connect(&Via::Routing, address, Duration::from_secs(60), &stop),
            Err(SocketError::Interrupted)
        ));
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_refusal_names_the_address() {
        let (_kept, address) = closed_address();
        let failure = connect(
            &Via::Routing,
            address,
            Duration::from_secs(20),
            &CancellationToken::new(),
        )
        .err()
        .unwrap();
        assert!(
            failure
                .to_string()
                .starts_with(&format!("connecting to {address}: Connection refused")),
            "{failure}"
        );
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let via = Via::Interface("nosuch0".into());
        let failure = udp(
            &via,
            SocketAddrV4::new(Ipv4Addr::LOCALHOST, 53),
            &CancellationToken::new(),
        )
        .err()
        .unwrap();
        assert!(failure.to_string().contains("nosuch0"), "{failure}");
    }
}
