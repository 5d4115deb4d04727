//! Which page is asked for, and what it says.

use serde_json::json;
use subtle::ConstantTimeEq;

use super::head::Head;
use super::{freshness, gluetun, metrics};
use crate::commands::healthcheck::{self, Facts, Interface};
use crate::status::{self, Status};
use crate::system::secret::Secret;
use crate::system::uptime;
use crate::wireguard::show::{self, LinkState};

/// What is told, and to whom.
#[derive(Debug)]
pub struct Pages {
    /// Whoever asks has to know it.
    pub key: Option<Secret>,
    /// The figures tell the address that the world sees, too.
    pub tells_exit: bool,
}

/// What goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    media_type: &'static str,
    header: Option<&'static str>,
    body: String,
}

impl Reply {
    /// A text.
    pub fn plain(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            media_type: "text/plain; charset=utf-8",
            header: None,
            body: body.into(),
        }
    }

    fn json(status: u16, body: impl ToString) -> Self {
        Self {
            media_type: "application/json",
            ..Self::plain(status, body.to_string() + "\n")
        }
    }

    /// The same with one more field in its head.
    pub fn with_header(self, header: &'static str) -> Self {
        Self {
            header: Some(header),
            ..self
        }
    }

    /// As HTTP/1.1 has it. Each connection has one answer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let header = self
            .header
            .map_or(String::new(), |text| format!("{text}\r\n"));
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n{header}\r\n{}",
            self.status,
            self.media_type,
            self.body.len(),
            self.body
        )
        .into_bytes()
    }
}

impl Pages {
    /// The answer to a GET.
    pub fn answer(&self, head: &Head) -> Reply {
        if !self.admits(head.key.as_deref()) {
            return Reply::plain(401, "the header X-API-Key has to hold the key\n");
        }
        let path = head.path.as_str();
        let status = match path {
            "/metrics" | "/status.json" => freshness::fresh_status(),
            _ => healthcheck::read_status(),
        };
        match path {
            "/healthz" => health(status),
            "/status.json" => status_page(&status),
            "/metrics" => self.metrics(status),
            path => match gluetun::answer(path, status.as_ref().ok()) {
                Some(value) => Reply::json(200, value),
                None => Reply::plain(
                    404,
                    "there are /healthz, /status.json, /metrics, /v1/portforward, \
                     /v1/publicip/ip and /v1/vpn/status\n",
                ),
            },
        }
    }

    fn admits(&self, key: Option<&[u8]>) -> bool {
        let Some(expected) = &self.key else {
            return true;
        };
        let expected = expected.expose().as_bytes();
        expected.ct_eq(key.unwrap_or_default()).into()
    }

    fn metrics(&self, status: Result<Status, String>) -> Reply {
        let is_healthy = verdict(status.clone()).is_ok();
        let counters = show::counters().ok();
        let mut status = status.ok();
        if let Some(status) = &mut status
            && !self.tells_exit
        {
            status.exit = None;
        }
        match metrics::text(status.as_ref(), is_healthy, counters, uptime::seconds()) {
            Ok(text) => Reply {
                media_type: "text/plain; version=0.0.4; charset=utf-8",
                ..Reply::plain(200, text)
            },
            Err(error) => Reply::plain(503, format!("{error}\n")),
        }
    }
}

fn verdict(status: Result<Status, String>) -> Result<String, String> {
    healthcheck::judge(&Facts {
        // It would have taken this process along.
        running: true,
        status,
        // To see its peers takes a capability.
        interface: match show::link() {
            LinkState::Gone => Interface::Missing,
            LinkState::Down => Interface::Down,
            LinkState::Up => Interface::Complete,
        },
    })
}

fn health(status: Result<Status, String>) -> Reply {
    match verdict(status) {
        Ok(well) => Reply::plain(200, format!("healthy: {well}\n")),
        Err(why) => Reply::plain(503, format!("unhealthy: {why}\n")),
    }
}

fn status_page(status: &Result<Status, String>) -> Reply {
    match status {
        Ok(status) => match serde_json::to_string_pretty(status) {
            Ok(text) => Reply::json(200, text),
            Err(error) => Reply::plain(503, format!("{error}\n")),
        },
        Err(why) => {
            let version = status::VERSION;
            let stopped = json!({ "version": version, "state": "stopped", "reason": why });
            Reply::json(503, stopped)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_admits() {
        let pages = Pages {
            key: Some(Secret::new("long")),
            tells_exit: false,
        };
        let admits = |key: &[u8]| pages.admits(Some(key));
        assert_eq!(
            [
                admits(b"long"),
                admits(b"lon"),
                admits(b"lonG"),
                pages.admits(None)
            ],
            [true, false, false, false]
        );
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_that_it_is_the_last() {
        let answer = Reply::plain(405, "no\n")
            .with_header("Allow: GET")
            .to_bytes();
        let text = String::from_utf8(answer).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
            "{text}"
        );
        for line in ["Content-Length: 3", "Connection: close", "Allow: GET"] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{text}");
        }
        assert!(text.ends_with("\r\n\r\nno\n"), "{text}");
    }
}
