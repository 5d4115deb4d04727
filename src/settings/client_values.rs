//! The kinds of values that variables of port clients have.

use super::read::Value;
use super::variable::Sensitivity;
use crate::port_clients::{self, ClientUrl, HttpUrl, Method, is_url_with_port};
use crate::system::secret::Secret;

/// A URL with a place for the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookUrl(pub Secret);

/// Text with a place for the port; quotes at its ends belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookBody(pub Secret);

/// A header that is sent along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookHeader(pub Secret);

/// What kind of text is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaType(pub String);

impl Value for HttpUrl {
    const EXPECTED: &'static str = "a URL such as http://192.168.1.2:8080, of IPv4";
    const SENSITIVITY: Sensitivity = Sensitivity::Url;
    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for ClientUrl {
    const EXPECTED: &'static str = "scgi://ADDRESS:PORT, the path of a socket, or a URL of HTTP";
    const SENSITIVITY: Sensitivity = Sensitivity::Url;
    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for HookUrl {
    const EXPECTED: &'static str = "a URL such as http://192.168.1.2:8080/port?is={{PORT}}";
    const SENSITIVITY: Sensitivity = Sensitivity::Url;
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        is_url_with_port(text).then(|| Self(Secret::new(text)))
    }
}

impl Value for HookBody {
    const EXPECTED: &'static str = "text";
    const SENSITIVITY: Sensitivity = Sensitivity::Secret;
    const KEEPS_QUOTES: bool = true;
    fn parse(text: &str) -> Option<Self> {
        Some(Self(Secret::new(text)))
    }
}

impl Value for HookHeader {
    const EXPECTED: &'static str = "a header, `Name: value`";
    const SENSITIVITY: Sensitivity = Sensitivity::Secret;
    fn parse(text: &str) -> Option<Self> {
        port_clients::header(text).map(|_| Self(Secret::new(text)))
    }
}

impl Value for MediaType {
    const EXPECTED: &'static str = "a media type such as application/json";
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        port_clients::is_header_value(text).then(|| Self(text.to_owned()))
    }
}

impl Value for Method {
    const EXPECTED: &'static str = "POST, PUT or PATCH";
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let all = [Self::Post, Self::Put, Self::Patch];
        all.into_iter()
            .find(|method| method.name().eq_ignore_ascii_case(text))
    }
}
