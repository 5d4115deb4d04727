//! Requests to a client: by the routes that everybody here has, within a limit, ended by a stop.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use super::course::LookOutcome;
use super::options::HttpUrl;
use crate::system::cancellation::CancellationToken;
use crate::system::files;
use crate::system::paths;
use crate::system::secret::Secret;
use crate::underlay::http::{self, Content, Remote, Request, Response};
use crate::underlay::name_servers;
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::{self, TcpConnection, Via};

/// For one request and its answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a client could not be asked or told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It was shown a secret, and refused it.
    Refused(String),
    /// It does not let us in, or not so far, whatever we know.
    Closed(String),
    /// Nobody answers.
    Away(String),
    /// What answers is not understood.
    Odd(String),
}

impl From<Trouble> for LookOutcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(why) => Self::Refused(why),
            Trouble::Closed(why) => Self::Closed(why),
            Trouble::Away(why) => Self::Away(why),
            Trouble::Odd(why) => Self::Odd(why),
        }
    }
}

/// How clients are reached.
pub(super) struct Talk<'a> {
    pub stop: &'a CancellationToken,
    /// For `https`; `None` where no client needs it.
    pub tls: Option<Arc<ClientConfig>>,
    resolver: Resolver,
}

impl<'a> Talk<'a> {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>, stop: &'a CancellationToken) -> Self {
        Self {
            stop,
            tls,
            resolver: resolver(),
        }
    }

    fn addresses(&self, host: &str) -> Result<Vec<Ipv4Addr>, Trouble> {
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST]);
        }
        let found = self.resolver.addresses(host, self.stop);
        found.map_err(|error| Trouble::Away(error.to_string()))
    }

    /// Name servers may be others by now.
    pub(super) fn resolve_anew(&mut self) {
        self.resolver = resolver();
    }

    /// A connection to a port of a host.
    pub(super) fn connect(&self, host: &str, port: u16) -> Result<TcpConnection, Trouble> {
        let mut trouble = Trouble::Away(format!("{host} has no address"));
        for address in self.addresses(host)? {
            let address = SocketAddrV4::new(address, port);
            match socket::connect(&Via::Routing, address, CONNECT_TIMEOUT, self.stop) {
                Ok(connection) => return Ok(connection),
                Err(error) => trouble = Trouble::Away(error.to_string()),
            }
        }
        Err(trouble)
    }

    /// Sends a request and returns its answer, whatever its status.
    pub(super) fn send(
        &self,
        url: &HttpUrl,
        path: &str,
        headers: &[(&str, &str)],
        content: Content<'_>,
    ) -> Result<Response, Trouble> {
        if url.is_tls && self.tls.is_none() {
            let why = "no authority of the public web could be read, which https needs";
            return Err(Trouble::Odd(why.to_owned()));
        }
        let remote = Remote {
            name: url.host.clone(),
            port: url.port,
            addresses: self.addresses(&url.host)?,
            via: Via::Routing,
            tls: self.tls.clone().filter(|_| url.is_tls),
        };
        let of_url = url.user_info.as_ref().map(basic);
        let is_shown = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let of_url = of_url.as_ref().filter(|_| !is_shown);
        let mut headers = headers.to_vec();
        headers.extend(of_url.map(|value| ("authorization", value.expose())));
        let request = Request {
            path,
            query: &[],
            headers: &headers,
            content,
            timeout: REQUEST_TIMEOUT,
        };
        // The address is in the failure, where it matters.
        http::send(&remote, &request, self.stop)
            .map_err(|error| Trouble::Away(error.failure.to_string()))
    }
}

fn resolver() -> Resolver {
    let text = files::read_shared(Path::new(paths::RESOLV_CONF));
    let text = text.ok().flatten().unwrap_or_default();
    Resolver::new(name_servers::as_named(&text), Via::Routing)
}

/// The value of a header that shows user name and password.
pub(super) fn basic(pair: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair.expose())))
}

/// The cookie that an answer sets, if it sets one.
pub(super) fn cookie(response: &Response) -> Option<Secret> {
    let cookie = response.header("set-cookie").next()?;
    let pair = cookie.split(';').next()?;
    Some(Secret::new(pair.trim()))
}

/// An answer with this status that is not what was expected. Its text may be anything: it is not
/// shown.
pub(super) fn odd(response: &Response) -> Trouble {
    let is_page = response
        .header("content-type")
        .any(|kind| kind.starts_with("text/html"));
    let what = if is_page {
        "with a web page"
    } else {
        "with something else"
    };
    let status = response.status;
    Trouble::Odd(format!("it answers {status}, {what}; is the URL right?"))
}

/// The JSON of an answer.
pub(super) fn json<T: DeserializeOwned>(response: &Response) -> Result<T, Trouble> {
    serde_json::from_slice(&response.body).map_err(|_| odd(response))
}
