//! Listening sockets with a thread each, all ended when the hub is dropped.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use socket2::{SockRef, Socket};

/// A second handle on every socket, by which it can be ended from outside its thread.
#[derive(Debug, Default)]
struct Open {
    sockets: Mutex<HashMap<u64, Socket>>,
    next: AtomicU64,
    closing: AtomicBool,
}

/// Starts services; dropping it ends them.
#[derive(Debug, Default)]
pub struct Hub {
    open: Arc<Open>,
}

impl Hub {
    /// Calls `answer` for each connection, on a thread of its own.
    pub fn tcp(&self, listener: TcpListener, answer: impl Fn(TcpStream) + Send + Sync + 'static) {
        self.open.remember(&SockRef::from(&listener));
        let open = Arc::clone(&self.open);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if open.closing() {
                    break;
                }
                let answer = Arc::clone(&answer);
                let open = Arc::clone(&open);
                thread::spawn(move || {
                    let key = open.remember(&SockRef::from(&stream));
                    answer(stream);
                    open.end(key);
                });
            }
        });
    }

    /// Answers each datagram with what `answer` makes of it.
    pub fn udp(
        &self,
        socket: UdpSocket,
        answer: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>> + Send + 'static,
    ) {
        self.far_udp(socket, || Duration::ZERO, answer);
    }

    /// The same of somebody who is so far away.
    pub fn far_udp(
        &self,
        socket: UdpSocket,
        round_trip: impl Fn() -> Duration + Send + 'static,
        answer: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>> + Send + 'static,
    ) {
        self.open.remember(&SockRef::from(&socket));
        let open = Arc::clone(&self.open);
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            loop {
                // What wakes it at the end has no sender, which recv_from expects.
                let _ = socket.peek(&mut [0]);
                if open.closing() {
                    break;
                }
                // Errors are those of earlier answers that a client no longer waited for.
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let Some(reply) = answer(&buffer[..length], peer) else {
                    continue;
                };
                let round_trip = round_trip();
                match socket.try_clone() {
                    Ok(socket) if !round_trip.is_zero() => drop(thread::spawn(move || {
                        thread::sleep(round_trip);
                        let _ = socket.send_to(&reply, peer);
                    })),
                    _ => drop(socket.send_to(&reply, peer)),
                }
            }
        });
    }

    /// Ends every connection and service of this moment, as a crash does; listeners go too.
    pub fn close(&self) {
        self.open.closing.store(true, Ordering::SeqCst);
        for socket in self.open.lock().drain().map(|(_, socket)| socket) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    fn remember(&self, socket: &SockRef<'_>) -> u64 {
        let key = self.next.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = socket.try_clone() {
            self.lock().insert(key, copy);
        }
        if self.closing() {
            self.end(key);
        }
        key
    }

    /// Ends a connection: closing its thread's handle does not, as long as there is ours.
    fn end(&self, key: u64) {
        if let Some(socket) = self.lock().remove(&key) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Socket>> {
        self.sockets.lock().expect("no holder of this lock panics")
    }
}

/// Reads and forgets until the other side ends the connection.
pub fn drain(stream: &mut impl Read) {
    let _ = io::copy(stream, &mut io::sink());
}
