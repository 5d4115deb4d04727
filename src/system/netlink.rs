//! Questions to the kernel by netlink(7), where a program that asks would be a process more.

use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlaBuffer, NlasIterator,
};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
};

/// What the kernel puts into one datagram at most.
const MAX_DATAGRAM: usize = 32 * 1024;

/// Asks about interfaces and routes, by rtnetlink(7), with the body of a message, and hands on each
/// message of the answer without its header.
///
/// # Errors
/// When the kernel does not answer, refuses, or says what `each` does not understand.
pub(super) fn ask(
    kind: u16,
    flags: u16,
    question: &[u8],
    each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    ask_by(SockProtocol::NetlinkRoute, kind, flags, question, each)
}

/// The same of another part of the kernel.
pub(super) fn ask_by(
    protocol: SockProtocol,
    kind: u16,
    flags: u16,
    question: &[u8],
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let bytes = question.to_owned();
    let body = NetlinkPayload::InnerMessage(Body { kind, bytes });
    let mut message = NetlinkMessage::new(header, body);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read(buffer.get(..length).unwrap_or_default(), &mut each)? {
            return Ok(());
        }
    }
}

/// Hands on what is in a datagram; whether it is the last.
///
/// # Errors
/// As [`ask`].
pub fn read(datagram: &[u8], each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<Body>::deserialize(rest).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(body) => each(&body.bytes)?,
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
            }
            // An error without a number is the receipt that was asked for.
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(true),
            _ => {}
        }
        rest = after(rest, &message.header);
    }
    Ok(false)
}

/// Hands on what the kernel tells without being asked: of each message the port of the socket that
/// caused it, its kind, and what follows its header.
///
/// # Errors
/// When it is cut off.
pub fn read_told(datagram: &[u8], each: &mut impl FnMut(u32, u16, &[u8])) -> io::Result<()> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<Body>::deserialize(rest).map_err(io::Error::other)?;
        if let NetlinkPayload::InnerMessage(body) = message.payload {
            each(message.header.port_number, body.kind, &body.bytes);
        }
        rest = after(rest, &message.header);
    }
    Ok(())
}

/// Messages begin at multiples of four bytes.
fn after<'a>(messages: &'a [u8], header: &NetlinkHeader) -> &'a [u8] {
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    messages
        .get(length.saturating_add(3) & !3..)
        .unwrap_or_default()
}

/// An attribute whose value is a text, as C has it.
pub fn text_attribute(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), b"\0"].concat())
}

/// An attribute, with what fills it up to a multiple of four bytes.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_owned());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// The attributes of a message, or those in one.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = io::Result<NlaBuffer<&[u8]>>> {
    NlasIterator::new(bytes).map(|attribute| attribute.map_err(io::Error::other))
}

/// What a message says, not yet understood.
struct Body {
    kind: u16,
    bytes: Vec<u8>,
}

impl NetlinkSerializable for Body {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Body {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self {
            kind: header.message_type,
            bytes: payload.to_owned(),
        })
    }
}
