//! HTTP requests, with TLS or without, to given addresses, by a chosen way, which a stop ends at
//! once. Knows neither PIA's API nor name servers.
//!
//! ureq's transport traits are not covered by its version number; only this module uses them.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Body, Timeout, http};

use super::deadline::Deadline;
use super::http_error::{HttpError, HttpFailure};
use super::retry_after;
use super::socket::{self, SocketError, TcpConnection, Via};
use super::timed_stream::TimedStream;
use crate::system::cancellation::CancellationToken;
use crate::system::parallel;

/// For all addresses of a host together, with the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Far above any answer of the API.
const MAX_BODY_BYTES: u64 = 10 << 20;
/// What ureq reads and writes by: far less than its defaults, which a heap does not give back. The
/// head of an answer has to fit in.
const INPUT_BUFFER_BYTES: usize = 32 << 10;
const OUTPUT_BUFFER_BYTES: usize = 16 << 10;
const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// A host and how to reach it.
#[derive(Debug, Clone)]
pub struct Remote {
    /// For TLS and the `Host` header; never resolved.
    pub name: String,
    pub port: u16,
    /// Tried in this order.
    pub addresses: Vec<Ipv4Addr>,
    pub via: Via,
    /// Which certificates are good; `None` for HTTP without TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// What is asked of a remote.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'a str, &'a str)],
    pub content: Content<'a>,
    /// For the whole of it, from the connect to the last byte.
    pub timeout: Duration,
}

/// What a request brings along.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Nothing: a GET.
    None,
    /// A POST with no content.
    Empty,
    /// A POST of form fields.
    Form(&'a [(&'a str, &'a str)]),
    /// A POST of JSON text.
    Json(&'a str),
    /// Text of another media type, or sent by another method.
    Text {
        method: Method,
        media_type: &'a str,
        text: &'a str,
    },
}

/// How a [`Content::Text`] is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

impl Method {
    /// As in the request's first line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// Without the content, which may hold a password.
impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method())
    }
}

impl Content<'_> {
    fn method(self) -> &'static str {
        match self {
            Self::None => "GET",
            Self::Empty | Self::Form(_) | Self::Json(_) => Method::Post.name(),
            Self::Text { method, .. } => method.name(),
        }
    }
}

/// Any answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// From `Retry-After`, an hour at most.
    pub retry_after: Option<Duration>,
    /// Names in lower case; what is no text is left out.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The values of the headers of this name, which is in lower case.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// How far requests have come that are sent beside each other, for who waits for one of them.
#[derive(Debug, Default)]
pub struct RequestProgress {
    is_connected: AtomicBool,
    is_answered: AtomicBool,
}

impl RequestProgress {
    /// Whether somebody has taken the connection, and nothing of an answer has come.
    pub fn hangs(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed) && !self.is_answered.load(Ordering::Relaxed)
    }
}

/// Sends `request` to `remote` and reads the whole answer. Redirects are not followed, proxies not
/// used, nothing retried.
pub fn send(
    remote: &Remote,
    request: &Request<'_>,
    stop: &CancellationToken,
) -> Result<Response, HttpError> {
    send_noting(remote, request, &Arc::default(), stop)
}

/// The same, and notes how far it has come.
pub fn send_noting(
    remote: &Remote,
    request: &Request<'_>,
    progress: &Arc<RequestProgress>,
    stop: &CancellationToken,
) -> Result<Response, HttpError> {
    let what = format!(
        "{} {}{}",
        request.content.method(),
        remote.name,
        request.path
    );
    let started = Instant::now();
    // TLS takes a deep stack, and most of our threads go on for as long as the container.
    let answer = parallel::aside(|| exchange(remote, request, progress, stop));
    let milliseconds = started.elapsed().as_millis();
    match answer {
        Ok(response) => {
            log::debug!(
                "{what}: {} ({} bytes, {milliseconds} ms)",
                response.status,
                response.body.len()
            );
            Ok(response)
        }
        Err(error) => {
            let failure = if stop.is_cancelled() {
                HttpFailure::Interrupted
            } else {
                HttpFailure::from(error)
            };
            log::debug!("{what}: {failure} ({milliseconds} ms)");
            Err(HttpError {
                host: remote.name.clone(),
                failure,
            })
        }
    }
}

fn exchange(
    remote: &Remote,
    request: &Request<'_>,
    progress: &Arc<RequestProgress>,
    stop: &CancellationToken,
) -> Result<Response, ureq::Error> {
    let connector = RemoteConnector {
        remote: remote.clone(),
        progress: Arc::clone(progress),
        stop: stop.clone(),
    };
    let agent = agent(connector, request.timeout);
    let (scheme, usual_port) = match remote.tls {
        Some(_) => ("https", HTTPS_PORT),
        None => ("http", HTTP_PORT),
    };
    let port = if remote.port == usual_port {
        String::new()
    } else {
        format!(":{}", remote.port)
    };
    let url = format!("{scheme}://{}{port}{}", remote.name, request.path);
    let query = request.query.iter().copied();
    let mut response = match request.content {
        Content::None => with_headers(agent.get(url), request)
            .query_pairs(query)
            .call(),
        Content::Empty => with_headers(agent.post(url), request)
            .query_pairs(query)
            .send_empty(),
        Content::Form(fields) => with_headers(agent.post(url), request)
            .query_pairs(query)
            .send_form(fields.iter().copied()),
        Content::Json(text) => with_headers(agent.post(url), request)
            .query_pairs(query)
            .content_type("application/json")
            .send(text),
        Content::Text {
            method,
            media_type,
            text,
        } => {
            let builder = match method {
                Method::Post => agent.post(url),
                Method::Put => agent.put(url),
                Method::Patch => agent.patch(url),
            };
            with_headers(builder, request)
                .query_pairs(query)
                .content_type(media_type)
                .send(text)
        }
    }?;
    progress.is_answered.store(true, Ordering::Relaxed);
    Ok(Response {
        status: response.status().as_u16(),
        retry_after: retry_after(&response),
        headers: headers(&response),
        body: response
            .body_mut()
            .with_config()
            .limit(MAX_BODY_BYTES)
            .read_to_vec()?,
    })
}

fn with_headers<B>(
    mut builder: ureq::RequestBuilder<B>,
    request: &Request<'_>,
) -> ureq::RequestBuilder<B> {
    for (name, value) in request.headers {
        builder = builder.header(*name, *value);
    }
    builder
}

fn headers(response: &http::Response<Body>) -> Vec<(String, String)> {
    let headers = response.headers().iter();
    let texts = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    texts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn retry_after(response: &http::Response<Body>) -> Option<Duration> {
    let value = response.headers().get(http::header::RETRY_AFTER)?;
    retry_after::parse(value.to_str().ok()?, SystemTime::now())
}

/// An agent for one request; its connector knows the addresses and the stop.
fn agent(connector: RemoteConnector, timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .https_only(connector.remote.tls.is_some())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .input_buffer_size(INPUT_BUFFER_BYTES)
        .output_buffer_size(OUTPUT_BUFFER_BYTES)
        .max_response_header_size(INPUT_BUFFER_BYTES)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(timeout))
        .user_agent(concat!("wireguard-pia/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, connector, NoResolver)
}

/// Nothing is resolved: the connector has the addresses.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut none = self.empty();
        // ureq refuses an empty list; the connector ignores it.
        none.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(none)
    }
}

#[derive(Debug)]
struct RemoteConnector {
    remote: Remote,
    progress: Arc<RequestProgress>,
    stop: CancellationToken,
}

impl Connector for RemoteConnector {
    type Out = StreamTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<StreamTransport>, ureq::Error> {
        let deadline = Deadline::after((*details.timeout.after).min(CONNECT_TIMEOUT));
        let connection = self.connect_to_any(deadline)?;
        self.progress.is_connected.store(true, Ordering::Relaxed);
        let timed = TimedStream {
            socket: connection,
            deadline,
        };
        let stream = match &self.remote.tls {
            Some(tls) => HttpStream::Tls(Box::new(self.shake_hands(timed, tls)?)),
            None => HttpStream::Plain(timed),
        };
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(StreamTransport { stream, buffers }))
    }
}

impl RemoteConnector {
    fn shake_hands(
        &self,
        mut timed: TimedStream<TcpConnection>,
        tls: &Arc<ClientConfig>,
    ) -> Result<StreamOwned<ClientConnection, TimedStream<TcpConnection>>, ureq::Error> {
        let name = ServerName::try_from(self.remote.name.clone())
            .map_err(|_| HttpFailure::BadName(self.remote.name.clone()).into_error())?;
        let mut tls = ClientConnection::new(Arc::clone(tls), name)
            .map_err(|error| HttpFailure::from_tls(&error).into_error())?;
        tls.complete_io(&mut timed)
            .map_err(|error| HttpFailure::from_handshake(error).into_error())?;
        Ok(StreamOwned::new(tls, timed))
    }

    /// Each address gets an equal share of the time left, so that one that does not answer cannot
    /// use it up.
    fn connect_to_any(&self, deadline: Deadline) -> Result<TcpConnection, ureq::Error> {
        let addresses = &self.remote.addresses;
        let mut failure = HttpFailure::NoAddress;
        for (index, address) in addresses.iter().enumerate() {
            let untried = addresses.len().saturating_sub(index).max(1);
            let untried = u32::try_from(untried).unwrap_or(u32::MAX);
            let share = deadline.left().checked_div(untried).unwrap_or_default();
            match socket::connect(
                &self.remote.via,
                SocketAddrV4::new(*address, self.remote.port),
                share,
                &self.stop,
            ) {
                Ok(connection) => return Ok(connection),
                Err(SocketError::Interrupted) => return Err(HttpFailure::Interrupted.into_error()),
                Err(error) => failure = HttpFailure::from_socket(error),
            }
        }
        Err(failure.into_error())
    }
}

enum HttpStream {
    Plain(TimedStream<TcpConnection>),
    Tls(Box<StreamOwned<ClientConnection, TimedStream<TcpConnection>>>),
}

impl HttpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
        }
    }
}

struct StreamTransport {
    stream: HttpStream,
    buffers: LazyBuffers,
}

impl fmt::Debug for StreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTransport").finish_non_exhaustive()
    }
}

impl StreamTransport {
    fn set_deadline(&mut self, timeout: NextTimeout) {
        let timed = match &mut self.stream {
            HttpStream::Plain(stream) => stream,
            HttpStream::Tls(stream) => &mut stream.sock,
        };
        timed.deadline = Deadline::after(*timeout.after);
    }
}

fn failed(error: io::Error, reason: Timeout) -> ureq::Error {
    if error.kind() == io::ErrorKind::TimedOut {
        ureq::Error::Timeout(reason)
    } else {
        error.into()
    }
}

impl Transport for StreamTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.set_deadline(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream
            .write_all(output)
            .map_err(|error| failed(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.set_deadline(timeout);
        let amount = self
            .stream
            .read(self.buffers.input_append_buf())
            .map_err(|error| failed(error, timeout.reason))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Only asked of connections in a pool, which stays empty.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, HttpStream::Tls(_))
    }
}
