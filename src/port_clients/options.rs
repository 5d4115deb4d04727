//! Which clients there are, where each is and how it lets us in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Uri};

use super::login::Login;
use crate::system::secret::Secret;
use crate::underlay::http::Method;

/// What `PORT_CLIENTS` and the variables of each client say.
#[derive(Debug, Clone)]
pub struct PortClientOptions {
    /// Those that are named, each once.
    pub clients: Vec<ClientOptions>,
    /// Between two looks at a client that has the port.
    pub interval: Duration,
}

/// One client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    pub target: ClientTarget,
    pub login: Login,
}

/// What kind of client it is, and where.
#[derive(Debug, Clone)]
pub enum ClientTarget {
    Qbittorrent(HttpUrl),
    Transmission(HttpUrl),
    /// Its web interface.
    Deluge(HttpUrl),
    Rtorrent(ClientUrl),
    Slskd(HttpUrl),
    /// Anything that takes a request with the port in it.
    Http(HttpHook),
}

impl ClientTarget {
    /// As in `PORT_CLIENTS`, the log and the status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Qbittorrent(_) => "qbittorrent",
            Self::Transmission(_) => "transmission",
            Self::Deluge(_) => "deluge",
            Self::Rtorrent(_) => "rtorrent",
            Self::Slskd(_) => "slskd",
            Self::Http(_) => "http",
        }
    }

    /// What to set where it does not let us in.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Qbittorrent(_) => {
                "set QBITTORRENT_USER and QBITTORRENT_PASS, or let clients on localhost in without"
            }
            Self::Transmission(_) => {
                "set TRANSMISSION_USER and TRANSMISSION_PASS, and let this address in \
                 (rpc-whitelist)"
            }
            Self::Deluge(_) => "set DELUGE_PASS to the password of its web interface",
            Self::Rtorrent(_) => "set RTORRENT_USER and RTORRENT_PASS",
            Self::Slskd(_) => "set SLSKD_API_KEY to a key of its configuration",
            Self::Http(_) => "set PORT_HTTP_HEADER to what it wants",
        }
    }

    /// Where it is, with this port in the URL, if the URL has it.
    pub(super) fn url(&self, port: u16) -> Option<ClientUrl> {
        match self {
            Self::Qbittorrent(url)
            | Self::Transmission(url)
            | Self::Deluge(url)
            | Self::Slskd(url) => Some(ClientUrl::Http(url.clone())),
            Self::Rtorrent(url) => Some(url.clone()),
            Self::Http(hook) => hook.url(port).map(ClientUrl::Http),
        }
    }

    /// Whether it may need the authorities of the public web.
    pub fn is_tls(&self) -> bool {
        matches!(self.url(1), Some(ClientUrl::Http(url)) if url.is_tls)
    }
}

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientUrl {
    Http(HttpUrl),
    /// `scgi://host:port`
    Scgi {
        host: String,
        port: u16,
    },
    /// SCGI by a socket in the file system.
    Socket(PathBuf),
}

impl Default for ClientUrl {
    fn default() -> Self {
        Self::Http(HttpUrl::default())
    }
}

impl ClientUrl {
    /// A text with no scheme is HTTP; one that begins with `/` is a socket.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let path = text.strip_prefix("unix:").unwrap_or(text);
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.starts_with('/') {
            return Some(Self::Socket(PathBuf::from(path)));
        }
        if let Some(rest) = text.strip_prefix("scgi://") {
            let (host, port) = rest.trim_end_matches('/').rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            return is_host(host).then(|| Self::Scgi {
                host: host.to_owned(),
                port,
            });
        }
        HttpUrl::parse(text).map(Self::Http)
    }
}

/// A name, or an address of IPv4: this program connects by no other.
fn is_host(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.chars().all(is_part)
}

/// For people, without what may be secret.
impl fmt::Display for ClientUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => url.fmt(f),
            Self::Scgi { host, port } => write!(f, "scgi://{host}:{port}"),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// An address of HTTP or HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpUrl {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    /// Begins with `/`; with no `/` at its end.
    pub path: String,
    /// What follows a `?`.
    pub query: Option<Secret>,
    /// `user:password`, where the URL has them.
    pub user_info: Option<Secret>,
}

impl HttpUrl {
    /// `None` where it is none that this program can use.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let user_info = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let host = authority.host();
        // This program connects by IPv4 only.
        if host.is_empty() || host.starts_with('[') {
            return None;
        }
        let usual = if is_tls { 443 } else { 80 };
        let has_bad_port = authority.as_str().ends_with(':') || authority.port_u16() == Some(0);
        (!has_bad_port).then(|| Self {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(usual),
            path: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().map(Secret::new),
            user_info: user_info.map(|user| Secret::new(percent_decoded(user))),
        })
    }

    /// What is asked for below this URL, where the URL may name it already.
    pub(super) fn below(&self, rest: &str) -> String {
        let path = self.path.strip_suffix(rest).unwrap_or(&self.path);
        format!("{path}{rest}")
    }
}

/// `%40` is `@`. What is no such code stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

/// What stands for the port in the texts of an [`HttpHook`].
pub const PLACEHOLDER: &str = "{{PORT}}";

/// The request by which [`ClientTarget::Http`] is told, and the one by which it is asked back.
#[derive(Debug, Clone)]
pub struct HttpHook {
    pub method: Method,
    /// With placeholders; may hold secrets.
    pub url: Secret,
    /// With placeholders; may hold secrets, too.
    pub body: Secret,
    /// Of the body.
    pub media_type: String,
    /// The answer to a GET has the port in it as a number of its own.
    pub check_url: Option<Secret>,
}

impl HttpHook {
    /// Whether a request tells the port.
    pub fn names_port(&self) -> bool {
        [&self.url, &self.body]
            .iter()
            .any(|text| text.expose().contains(PLACEHOLDER))
    }

    /// A text with the port in its places.
    pub(super) fn filled(text: &str, port: u16) -> String {
        text.replace(PLACEHOLDER, &port.to_string())
    }

    /// Where it is told this port.
    pub(super) fn url(&self, port: u16) -> Option<HttpUrl> {
        HttpUrl::parse(&Self::filled(self.url.expose(), port))
    }
}

/// The name and the value of a header, `Name: value`; `None` where no request can have it.
pub fn header(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let is_good = HeaderName::from_bytes(name.as_bytes()).is_ok() && is_header_value(value);
    is_good.then_some((name, value))
}

/// Whether a header can have this value.
pub fn is_header_value(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

/// Whether the text is a URL once the port is in it.
pub fn is_url_with_port(text: &str) -> bool {
    HttpUrl::parse(&HttpHook::filled(text, 1)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        ClientUrl::parse(text).map(|url| url.to_string())
    }

    #[test]
    fn urls_are_read_and_shown_without_secrets() {
        for (text, expected) in [
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://localhost:8080"),
            ("http://me:geheim@nas/qb/?key=1", "http://nas:80/qb"),
            ("https://nas", "https://nas:443"),
            ("scgi://127.0.0.1:5000", "scgi://127.0.0.1:5000"),
            ("/run/rtorrent.sock", "/run/rtorrent.sock"),
            ("unix:///run/rtorrent.sock", "/run/rtorrent.sock"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "ftp://nas",
            "http://",
            "http://[::1]:8080",
            "scgi://nas",
            "scgi://[fd00::1]:5000",
            "scgi://me@nas:5000",
            "a b",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn user_and_password_of_a_url_are_decoded() {
        let url = HttpUrl::parse("http://me:a%40b%zz%@nas").unwrap();
        assert_eq!(url.user_info.unwrap().expose(), "me:a@b%zz%");
    }

    #[test]
    fn what_the_url_names_already_is_not_named_twice() {
        let below = |url, rest| HttpUrl::parse(url).unwrap().below(rest);
        assert_eq!(below("nas:1/json", "/json"), "/json");
        assert_eq!(below("nas:1/deluge/", "/json"), "/deluge/json");
        assert_eq!(below("nas:1", "/json"), "/json");
    }
}
