//! Who forwards ports here, when nobody said so: the first hop through the tunnel, and the name in
//! its certificate.
//!
//! A guess of the address from our own (`x.y.128.1`) would be wrong at many servers; the first hop
//! says it itself.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};

use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::host::FORWARDING_PORT;
use crate::pia::trust;
use crate::system::cancellation::CancellationToken;
use crate::underlay::http::{self, Content, Remote, Request};
use crate::underlay::socket::{self, Via};

/// Any address that is reached through the tunnel; no packet comes that far. The port is
/// traceroute's.
const DISTANT_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(1, 1, 1, 1), 33434);
const MAX_TRIES: u32 = 3;
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
const CERTIFICATE_TIMEOUT: Duration = Duration::from_secs(15);
/// ICMP, RFC 792.
const TIME_EXCEEDED: u8 = 11;

/// The first hop on the way out, if that is through a tunnel of PIA's.
///
/// # Errors
/// When no hop answers, or it is none of PIA's gateways.
pub fn first_hop(via: &Via, stop: &CancellationToken) -> Result<Ipv4Addr, Failure> {
    let how = "give the gateway's address with --gateway (-i), and --interface (-f) if the tunnel \
               is not the default route";
    let found = probe(via, stop).map_err(|error| failed(format!("first hop: {error}; {how}")))?;
    match found {
        // All of PIA's tunnels are in this range, and no home router that is there would have PIA's
        // certificate.
        Some(hop) if hop.octets()[0] == 10 => {
            log::info!("The first hop, {hop}, is asked for a port");
            Ok(hop)
        }
        Some(hop) => Err(failed(format!(
            "the first hop is {hop}, no gateway of PIA's: is the tunnel up? Else {how}"
        ))),
        None => Err(failed(format!(
            "no first hop answers: is the tunnel up? Else {how}"
        ))),
    }
}

fn failed(text: String) -> Failure {
    Failure::new(FailureKind::Local, Retry::Never, text)
}

/// Sends packets that die at the first router, which then says so.
fn probe(via: &Via, stop: &CancellationToken) -> io::Result<Option<Ipv4Addr>> {
    let connection = socket::udp(via, DISTANT_ADDRESS, stop).map_err(io::Error::other)?;
    let socket = &connection.socket;
    socket.set_ttl(1)?;
    socket.set_nonblocking(true)?;
    setsockopt(&**socket, sockopt::Ipv4RecvErr, &true)?;
    for _ in 0..MAX_TRIES {
        // The last packet's error is reported here too; it is read below.
        if let Err(error) = socket.send(&[0; 32]) {
            log::debug!("first hop: {error}");
        }
        if let Some(hop) = wait_for_report(socket, Instant::now() + TRY_TIMEOUT)? {
            return Ok(Some(hop));
        }
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(None)
}

fn wait_for_report(socket: &UdpSocket, deadline: Instant) -> io::Result<Option<Ipv4Addr>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        // Errors are always waited for.
        match poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::empty())],
            timeout,
        ) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(hop) = read_report(socket)? {
            return Ok(Some(hop));
        }
    }
}

/// One entry of the socket's error queue: who sent "time exceeded".
fn read_report(socket: &UdpSocket) -> io::Result<Option<Ipv4Addr>> {
    let mut buffer = [0; 64];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let mut space = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        match recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN) => {
                // Woken by the error itself, which a queue that was read already leaves behind.
                socket.take_error()?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
    for part in message.cmsgs()? {
        if let ControlMessageOwned::Ipv4RecvErr(error, Some(from)) = part
            && error.ee_origin == nix::libc::SO_EE_ORIGIN_ICMP
            && error.ee_type == TIME_EXCEEDED
        {
            return Ok(Some(Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr))));
        }
    }
    Ok(None)
}

/// The name that the server at `address` claims by a certificate of PIA's, said aloud: that it is
/// this very server is not proven.
///
/// # Errors
/// When it shows no certificate of PIA's.
pub fn claimed_name(
    address: Ipv4Addr,
    ca: &Path,
    via: &Via,
    stop: &CancellationToken,
) -> Result<String, Failure> {
    let (tls, claimed) = trust::pia_any_server(ca)?;
    // Never resolved; the server is told no name, as we know none.
    let name = address.to_string();
    let remote = Remote {
        name,
        port: FORWARDING_PORT,
        addresses: vec![address],
        via: via.clone(),
        tls: Some(Arc::clone(&tls)),
    };
    let request = Request {
        path: "/",
        query: &[],
        headers: &[],
        content: Content::None,
        timeout: CERTIFICATE_TIMEOUT,
    };
    let outcome = http::send(&remote, &request, stop);
    match (claimed.name(), outcome) {
        (Some(name), _) => {
            log::warn!(
                "The server at {address} calls itself {name}. Its certificate is PIA's, so it is \
                 one of PIA's servers, but \
                 that it is the one of this tunnel is not verified: --name (-n) does that"
            );
            Ok(name)
        }
        (None, Err(error)) => Err(failed(format!(
            "{error}: no server of PIA's that forwards ports is there; if it is, give its name \
             with --name (-n)"
        ))),
        (None, Ok(_)) => Err(failed(format!(
            "{address}: its certificate has no name; give one with --name (-n)"
        ))),
    }
}
