//! An HTTPS site whose certificate, answers and faults can change while it runs.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Shared;
use super::far::FarStream;
use super::faults::{Api, Fault};
use super::http::{Reply, Request};
use super::hub::{Hub, drain};

type Handler = dyn Fn(Api, &Request) -> Reply + Send + Sync;

/// What a captive portal says to everybody who is not logged in to it.
const PORTAL: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// One host name on one port.
pub struct Site {
    host: String,
    apis: &'static [Api],
    tls: Mutex<Arc<ServerConfig>>,
    handler: Box<Handler>,
    shared: Arc<Shared>,
}

impl Site {
    pub fn new(
        shared: &Arc<Shared>,
        host: &str,
        apis: &'static [Api],
        tls: Arc<ServerConfig>,
        handler: impl Fn(Api, &Request) -> Reply + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            host: host.to_owned(),
            apis,
            tls: Mutex::new(tls),
            handler: Box::new(handler),
            shared: Arc::clone(shared),
        })
    }

    /// Its name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Shows another certificate from now on.
    pub fn present(&self, tls: Arc<ServerConfig>) {
        *self.tls.lock().expect("no holder of this lock panics") = tls;
    }

    /// Serves this site on a listening socket.
    pub fn serve(self: &Arc<Self>, hub: &Hub, listener: TcpListener) {
        let site = Arc::clone(self);
        hub.tcp(listener, move |stream| {
            // What goes wrong with one connection is the client's to notice.
            let _ = site.converse(stream);
        });
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        match self.shared.faults.before_handshake(self.apis) {
            Some(Fault::Close) => return Ok(()),
            Some(fault) => {
                if fault == Fault::Portal {
                    stream.write_all(PORTAL)?;
                }
                drain(&mut stream);
                return Ok(());
            }
            None => {}
        }
        let addresses = [stream.peer_addr()?, stream.local_addr()?];
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let config = Arc::clone(&self.tls.lock().expect("no holder of this lock panics"));
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let far = FarStream::new(stream, &self.shared.round_trip);
        let mut tls = StreamOwned::new(connection, far);
        let Some(request) = Request::read(&mut tls, addresses)? else {
            return Ok(());
        };
        let api = Api::of(&request).filter(|api| self.apis.contains(api));
        let mut cut = false;
        let reply = match api {
            None => Some(Reply::html(404, "404 Not Found")),
            Some(api) => {
                // What becomes of it is settled before anybody can see that it came.
                let fault = self.shared.faults.take(api);
                self.shared.records.request(api, &self.host, &request);
                cut = fault == Some(Fault::CutBody);
                match fault {
                    None | Some(Fault::CutBody) => Some((self.handler)(api, &request)),
                    Some(fault) => misbehave(fault),
                }
            }
        };
        let Some(reply) = reply else {
            tls.sock.stream.set_read_timeout(None)?;
            drain(&mut tls);
            return Ok(());
        };
        reply.write(&mut tls, cut)?;
        tls.conn.send_close_notify();
        tls.flush()
    }
}

/// What is said instead of the answer; `None` where nothing is said at all.
fn misbehave(fault: Fault) -> Option<Reply> {
    Some(match fault {
        Fault::Malformed => {
            Reply::text(200, "{\"status\":\"OK\",\"token\":\"abc").with("X-Cache", "MISS")
        }
        Fault::Html => Reply::html(200, "Checking your browser"),
        Fault::Status(status, _) => Reply::html(status, &format!("{status} Error")),
        Fault::RateLimit(seconds) => {
            Reply::text(429, "Too many requests").with("Retry-After", seconds.to_string())
        }
        Fault::Hang | Fault::HangInHandshake | Fault::Close | Fault::Portal | Fault::CutBody => {
            return None;
        }
    })
}
