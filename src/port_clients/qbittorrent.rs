//! qBittorrent, by its web API (versions 2.0 and later).

use serde::Deserialize;

use super::login::ReadLogin;
use super::options::HttpUrl;
use super::port_client::{Heard, PortClient};
use super::talk::{self, Talk, Trouble};
use crate::system::secret::Secret;
use crate::underlay::http::{Content, Response};

/// Its usual user name.
const USER: &str = "admin";

#[derive(Debug)]
pub(super) struct Qbittorrent {
    pub url: HttpUrl,
    /// The session, once there is one.
    pub cookie: Option<Secret>,
}

#[derive(Deserialize)]
struct Preferences {
    listen_port: u16,
    /// Not there in all versions.
    #[serde(default)]
    random_port: bool,
}

impl PortClient for Qbittorrent {
    fn hear(&mut self, _: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        let answer = self.call("app/preferences", Content::None, login, talk)?;
        let preferences: Preferences = talk::json(&answer)?;
        Ok(if preferences.random_port {
            Heard::Other("takes a port of its own choice at each start".to_owned())
        } else {
            Heard::Port(preferences.listen_port)
        })
    }

    /// A port of its own choice at each start, or one asked of a router, would not be ours.
    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        let json = serde_json::json!({
            "listen_port": port, "random_port": false, "upnp": false,
        });
        let json = json.to_string();
        let fields = [("json", json.as_str())];
        self.call("app/setPreferences", Content::Form(&fields), login, talk)?;
        Ok(())
    }
}

impl Qbittorrent {
    /// After a login, where one is needed.
    fn call(
        &mut self,
        method: &str,
        content: Content<'_>,
        login: &ReadLogin,
        talk: &Talk<'_>,
    ) -> Result<Response, Trouble> {
        let mut answer = self.ask(method, content, talk)?;
        if matches!(answer.status, 401 | 403) {
            self.log_in(login, talk)?;
            answer = self.ask(method, content, talk)?;
        }
        match answer.status {
            200..=299 => Ok(answer),
            401 | 403 => Err(Trouble::Closed("does not let us in".to_owned())),
            _ => Err(talk::odd(&answer)),
        }
    }

    fn ask(
        &self,
        method: &str,
        content: Content<'_>,
        talk: &Talk<'_>,
    ) -> Result<Response, Trouble> {
        let cookie = self
            .cookie
            .as_ref()
            .map(|cookie| ("cookie", cookie.expose()));
        let headers: Vec<_> = cookie.into_iter().collect();
        let path = self.url.below(&format!("/api/v2/{method}"));
        talk.send(&self.url, &path, &headers, content)
    }

    fn log_in(&mut self, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        // An empty password would only count as an attempt.
        let Some(password) = &login.password else {
            return Err(Trouble::Closed("wants a password".to_owned()));
        };
        let user = login.user.as_ref().map_or(USER, Secret::expose);
        let fields = [("username", user), ("password", password.expose())];
        let answer = self.ask("auth/login", Content::Form(&fields), talk)?;
        match answer.status {
            200..=299 if answer.body != b"Fails." => {
                self.cookie = talk::cookie(&answer).or(self.cookie.take());
                Ok(())
            }
            200..=299 | 401 => Err(Trouble::Refused("refused the password".to_owned())),
            403 => Err(Trouble::Refused(
                "has locked this address out for now, after too many wrong passwords".to_owned(),
            )),
            _ => Err(talk::odd(&answer)),
        }
    }
}
