//! The socket that clients connect to.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::call::{self, ControlCall};
use super::line;
use super::message::parse_request;
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::system::files::{self, FileError};
use crate::system::readiness;

/// For the whole request. Clients come one after the other, so nobody holds up the next for longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Waiting to be accepted.
const BACKLOG: i32 = 16;
/// After an error that the next call would only repeat, such as too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// A socket that takes requests; dropping it takes its file away.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlListener {
    /// Listens at `path`, in place of whatever an earlier life left there. The file is never there
    /// with other rights than root's alone.
    ///
    /// # Errors
    /// When the socket or its file cannot be made.
    pub fn bind(path: &Path) -> Result<Self, FileError> {
        if let Some(directory) = path.parent() {
            files::make_directory(directory)?;
        }
        let new = path.with_extension("new");
        files::remove_if_present(&new)?;
        let listener = listening(&new)
            .and_then(|listener| std::fs::rename(&new, path).map(|()| listener))
            .map_err(|source| FileError::new("listening at", path, source))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Hands on one request after the other until a stop. Who may not ask, and what is no request,
    /// is refused; who is too slow, or says too much, is cut.
    pub fn serve(&self, mut hand_on: impl FnMut(ControlCall), stop: &CancellationToken) {
        while let Ok(stream) = self.next_client(stop) {
            let refusal = match received(&stream, stop) {
                Ok(line) => match parse_request(&line) {
                    Ok(request) => {
                        hand_on(ControlCall::new(request, stream));
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error.to_string(),
                Err(error) => {
                    log::debug!("control: a client is cut: {error}");
                    continue;
                }
            };
            log::debug!("control: {refusal}");
            // Whoever sends such things need not read.
            let _ = call::answer(&stream, Err(refusal));
        }
    }

    fn next_client(&self, stop: &CancellationToken) -> Result<UnixStream, Cancelled> {
        loop {
            readiness::wait(&[self.listener.as_fd()], Duration::MAX, stop)?;
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::debug!("control: {error}");
                    stop.pause(PAUSE_AFTER_ERROR)?;
                }
            }
        }
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if let Err(error) = files::remove_if_present(&self.path) {
            log::debug!("{error}");
        }
    }
}

fn listening(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before it has a name: Linux gives the file these rights from the start.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

fn received(stream: &UnixStream, stop: &CancellationToken) -> io::Result<Vec<u8>> {
    stream.set_nonblocking(false)?;
    let client = getsockopt(stream, PeerCredentials)?;
    // The file's rights say so already; a copy of it on a shared volume may have others.
    if client.uid() != 0 && client.uid() != geteuid().as_raw() {
        let why = format!("user {} may not ask: root may", client.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let stopped = stream.try_clone()?;
    let _guard = stop.on_cancel(move || drop(stopped.shutdown(Shutdown::Both)));
    line::read(stream, REQUEST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::{ControlReply, ControlRequest, PortWish};
    use std::io::{Read, Write};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::thread;

    fn said(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        // One that is cut may be cut with what it sent unread.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn requests_are_handed_on_and_garbage_is_refused_and_the_file_comes_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        // As a life that was killed leaves it.
        drop(UnixListener::bind(&path).unwrap());
        let listener = ControlListener::bind(&path).unwrap();
        let file = std::fs::symlink_metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let stop = CancellationToken::new();
        let serving = stop.clone();
        let thread = thread::spawn(move || {
            let mut requests = Vec::new();
            let hand_on = |call: ControlCall| {
                requests.push(call.request.clone());
                call.answer(Ok("yes".into()));
            };
            listener.serve(hand_on, &serving);
            requests
        });
        assert!(said(&path, b"{\"port\":\"new\"}\n").contains("\"done\":true"));
        let refused: ControlReply = serde_json::from_str(&said(&path, b"nonsense\n")).unwrap();
        assert!(!refused.done);
        assert_eq!(said(&path, &[b'x'; 100_000]), "");
        // A stop ends the wait for one that says nothing.
        let silent = UnixStream::connect(&path).unwrap();
        stop.cancel();
        assert_eq!(
            thread.join().unwrap(),
            [ControlRequest::Port(PortWish::New)]
        );
        drop(silent);
        assert!(!path.exists());
    }
}
