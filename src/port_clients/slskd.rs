//! slskd (Soulseek), by its API. The port is laid over its configuration until its next start; it
//! tells Soulseek's server itself. It allows that only with `remote_configuration`.

use serde::Deserialize;
use serde_json::json;

use super::login::ReadLogin;
use super::options::HttpUrl;
use super::port_client::{Heard, PortClient};
use super::talk::{self, Talk, Trouble};
use crate::underlay::http::{Content, Method, Response};

/// The lowest port that it takes.
const LOWEST_PORT: u16 = 1024;

#[derive(Debug)]
pub(super) struct Slskd {
    pub url: HttpUrl,
}

#[derive(Deserialize)]
struct SlskdOptions {
    soulseek: SoulseekOptions,
}

#[derive(Deserialize)]
struct SoulseekOptions {
    #[serde(rename = "listenPort")]
    listen_port: u16,
}

impl PortClient for Slskd {
    fn hear(&mut self, _: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        let answer = self.ask(Content::None, login, talk)?;
        match answer.status {
            200 => {
                let options: SlskdOptions = talk::json(&answer)?;
                Ok(Heard::Port(options.soulseek.listen_port))
            }
            401 | 403 => Err(refused_key(login)),
            _ => Err(talk::odd(&answer)),
        }
    }

    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        if port < LOWEST_PORT {
            return Err(Trouble::Odd(format!(
                "it takes no port below {LOWEST_PORT}"
            )));
        }
        let text = json!({ "soulseek": { "listenPort": port } }).to_string();
        let content = Content::Text {
            method: Method::Patch,
            media_type: "application/json",
            text: &text,
        };
        let answer = self.ask(content, login, talk)?;
        match answer.status {
            200..=299 => Ok(()),
            401 => Err(refused_key(login)),
            403 => Err(Trouble::Closed(
                "refused to change its port: it needs remote_configuration: true, and a key with \
                 the role administrator"
                    .to_owned(),
            )),
            _ => Err(talk::odd(&answer)),
        }
    }
}

fn refused_key(login: &ReadLogin) -> Trouble {
    match login.password {
        Some(_) => Trouble::Refused("refused the key".to_owned()),
        None => Trouble::Closed("wants a key".to_owned()),
    }
}

impl Slskd {
    fn ask(
        &self,
        content: Content<'_>,
        login: &ReadLogin,
        talk: &Talk<'_>,
    ) -> Result<Response, Trouble> {
        let key = login
            .password
            .as_ref()
            .map(|key| ("x-api-key", key.expose()));
        let headers: Vec<_> = key.into_iter().collect();
        let path = self.url.below("/api/v0/options");
        talk.send(&self.url, &path, &headers, content)
    }
}
