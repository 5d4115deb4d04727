//! Requests by SCGI, over TCP or a socket in the file system.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

use super::talk::{REQUEST_TIMEOUT, Talk, Trouble};
use crate::underlay::deadline::Deadline;
use crate::underlay::timed_stream::TimedStream;

/// Far above any answer to what is asked here.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Asks whoever listens on a port; returns the content of the answer.
pub(super) fn ask(host: &str, port: u16, text: &str, talk: &Talk<'_>) -> Result<Vec<u8>, Trouble> {
    exchange(talk.connect(host, port)?, text)
}

/// Asks whoever listens on a socket; returns the content of the answer.
pub(super) fn ask_socket(path: &Path, text: &str, talk: &Talk<'_>) -> Result<Vec<u8>, Trouble> {
    let socket = Arc::new(connect_to(path)?);
    let of_stop = Arc::clone(&socket);
    let _guard = talk.stop.on_cancel(move || {
        // If this fails, the timeout ends the wait.
        let _ = of_stop.shutdown(Shutdown::Both);
    });
    exchange(socket, text)
}

/// Without a wait: where the queue of the one that listens is full, nobody answers.
pub(super) fn connect_to(path: &Path) -> Result<Socket, Trouble> {
    let connected = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_nonblocking(false)?;
        Ok(socket)
    };
    connected().map_err(|error| Trouble::Away(format!("{}: {error}", path.display())))
}

fn exchange(socket: impl AsFd, text: &str) -> Result<Vec<u8>, Trouble> {
    let answer = answer_to(text, socket).map_err(|error| Trouble::Away(error.to_string()))?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let content = head.and_then(|head| answer.get(head.saturating_add(4)..));
    match content {
        Some(content) => Ok(content.to_vec()),
        None => Err(Trouble::Odd(
            "it answers no SCGI; is the URL right?".to_owned(),
        )),
    }
}

/// With its head; it ends with the connection.
fn answer_to(text: &str, socket: impl AsFd) -> io::Result<Vec<u8>> {
    let mut stream = TimedStream {
        socket,
        deadline: Deadline::after(REQUEST_TIMEOUT),
    };
    stream.write_all(&request(text))?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Headers as a netstring, and the text.
fn request(text: &str) -> Vec<u8> {
    let length = text.len().to_string();
    let headers = [
        ("CONTENT_LENGTH", length.as_str()),
        ("SCGI", "1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/RPC2"),
    ];
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}\0{value}\0"))
        .collect();
    format!("{}:{headers},{text}", headers.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_netstring_and_a_text() {
        let request = String::from_utf8(request("<x/>")).unwrap();
        let (length, rest) = request.split_once(':').unwrap();
        assert!(rest.starts_with("CONTENT_LENGTH\x004\0SCGI\x001\0"));
        let (headers, rest) = rest.split_at(length.parse().unwrap());
        assert!(headers.ends_with('\0') && rest == ",<x/>", "{rest}");
    }
}
