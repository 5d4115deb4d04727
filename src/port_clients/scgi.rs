//! Requests by SCGI, over TCP or a socket in the file system.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::talk::{REQUEST_TIMEOUT, Talk, Trouble};
use crate::underlay::deadline::Deadline;

/// Far above any answer to what is asked here.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Asks whoever listens on a port; returns the content of the answer.
pub(super) fn ask(host: &str, port: u16, text: &str, talk: &Talk<'_>) -> Result<Vec<u8>, Trouble> {
    let connection = talk.connect(host, port)?;
    let stream = &*connection.stream;
    exchange(stream, text, &|timeout| {
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)
    })
}

/// Asks whoever listens on a socket; returns the content of the answer.
pub(super) fn ask_socket(path: &Path, text: &str, talk: &Talk<'_>) -> Result<Vec<u8>, Trouble> {
    let socket = Arc::new(connect_to(path)?);
    let of_stop = Arc::clone(&socket);
    let _guard = talk.stop.on_cancel(move || {
        // If this fails, the timeout ends the wait.
        let _ = of_stop.shutdown(Shutdown::Both);
    });
    exchange(&*socket, text, &|timeout| {
        socket.set_read_timeout(timeout)?;
        socket.set_write_timeout(timeout)
    })
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

fn exchange(
    mut stream: impl Read + Write,
    text: &str,
    set_timeout: &dyn Fn(Option<Duration>) -> io::Result<()>,
) -> Result<Vec<u8>, Trouble> {
    let deadline = Deadline::after(REQUEST_TIMEOUT);
    let mut whole = || -> io::Result<Vec<u8>> {
        set_timeout(deadline.socket_timeout()?)?;
        stream.write_all(&request(text))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while answer.len() < MAX_ANSWER_BYTES {
            set_timeout(deadline.socket_timeout()?)?;
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                // By the end of a child process.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    };
    let answer = whole().map_err(|error| Trouble::Away(error.to_string()))?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let content = head.and_then(|head| answer.get(head.saturating_add(4)..));
    match content {
        Some(content) => Ok(content.to_vec()),
        None => Err(Trouble::Odd(
            "it answers no SCGI; is the URL right?".to_owned(),
        )),
    }
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

    /// A client whose answer comes in parts, each after an interruption.
    struct Interrupted {
        parts: Vec<&'static [u8]>,
        is_due: bool,
    }

    impl Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.is_due = !self.is_due;
            match self.is_due {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => self.parts.pop().unwrap_or_default().read(buffer),
            }
        }
    }

    impl Write for Interrupted {
        fn write(&mut self, request: &[u8]) -> io::Result<usize> {
            Ok(request.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_end_of_a_child_process_interrupts_no_answer() {
        let client = Interrupted {
            parts: vec![b"lo", b"Status: 200 OK\r\n\r\nhel"],
            is_due: false,
        };
        assert_eq!(exchange(client, "<x/>", &|_| Ok(())).unwrap(), b"hello");
    }
}
