//! Deluge, by its web interface (`deluge-web`), which is told to connect to its first daemon if it
//! has not yet.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::login::ReadLogin;
use super::options::HttpUrl;
use super::port_client::{Heard, PortClient};
use super::talk::{self, Talk, Trouble};
use crate::system::secret::Secret;
use crate::underlay::http::Content;

/// The web interface's password as it comes.
const PASSWORD: &str = "deluge";

#[derive(Debug)]
pub(super) struct Deluge {
    pub url: HttpUrl,
    /// The session, once there is one.
    pub cookie: Option<Secret>,
}

#[derive(Deserialize)]
struct WebAnswer {
    result: Json,
    error: Json,
}

impl PortClient for Deluge {
    fn hear(&mut self, _: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        self.enter(login, talk)?;
        let is_random = self.call("core.get_config_value", json!(["random_port"]), talk)?;
        let ports = self.call("core.get_config_value", json!(["listen_ports"]), talk)?;
        let in_use = self.call("core.get_listen_port", json!([]), talk)?;
        Ok(heard(&is_random, &ports, &in_use))
    }

    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        self.enter(login, talk)?;
        let settings = json!([{ "listen_ports": [port, port], "random_port": false }]);
        self.call("core.set_config", settings, talk).map(drop)
    }
}

/// It is to have a range of one port, and to listen there: what it says that it listens on may be
/// of before.
fn heard(is_random: &Json, ports: &Json, in_use: &Json) -> Heard {
    if *is_random != Json::Bool(false) {
        return Heard::Other("takes a port of its own choice at each start".to_owned());
    }
    let port = |json: Option<&Json>| {
        let number = json.and_then(Json::as_u64);
        number.and_then(|number| u16::try_from(number).ok())
    };
    match (port(ports.get(0)), port(ports.get(1)), port(Some(in_use))) {
        (Some(first), Some(last), _) if first != last => {
            Heard::Other(format!("may take any port from {first} to {last}"))
        }
        (Some(first), _, Some(in_use)) if first != in_use => {
            Heard::Other(format!("is set to {first} and listens on {in_use}"))
        }
        (Some(first), _, Some(_)) => Heard::Port(first),
        _ => Heard::Other("does not say its port".to_owned()),
    }
}

impl Deluge {
    /// The login and the connection to a daemon, as far as they are missing.
    fn enter(&mut self, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        if self.call("auth.check_session", json!([]), talk)? != Json::Bool(true) {
            let password = login.password.as_ref().map_or(PASSWORD, Secret::expose);
            if self.call("auth.login", json!([password]), talk)? != Json::Bool(true) {
                return Err(Trouble::Refused("refused the password".to_owned()));
            }
        }
        if self.call("web.connected", json!([]), talk)? == Json::Bool(true) {
            return Ok(());
        }
        let hosts = self.call("web.get_hosts", json!([]), talk)?;
        let Some(host) = hosts.pointer("/0/0").and_then(Json::as_str) else {
            return Err(Trouble::Odd("it knows no daemon".to_owned()));
        };
        self.call("web.connect", json!([host]), talk).map(drop)
    }

    fn call(&mut self, method: &str, parameters: Json, talk: &Talk<'_>) -> Result<Json, Trouble> {
        let question = json!({ "method": method, "params": parameters, "id": 1 }).to_string();
        let cookie = self
            .cookie
            .as_ref()
            .map(|cookie| ("cookie", cookie.expose()));
        let headers: Vec<_> = cookie.into_iter().collect();
        let path = self.url.below("/json");
        let answer = talk.send(&self.url, &path, &headers, Content::Json(&question))?;
        if answer.status != 200 {
            return Err(talk::odd(&answer));
        }
        if let Some(cookie) = talk::cookie(&answer) {
            self.cookie = Some(cookie);
        }
        let answer: WebAnswer = talk::json(&answer)?;
        match answer.error {
            Json::Null => Ok(answer.result),
            // Its daemon is not there, or has gone.
            _ => Err(Trouble::Away(format!("{method} failed; does deluged run?"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_port_that_is_in_use_counts() {
        let no = Json::Bool(false);
        let of = |ports: Json, in_use: u16| heard(&no, &ports, &json!(in_use));
        assert_eq!(of(json!([4711, 4711]), 4711), Heard::Port(4711));
        assert_eq!(
            of(json!([4711, 4711]), 6881),
            Heard::Other("is set to 4711 and listens on 6881".to_owned())
        );
        assert!(matches!(of(json!([6881, 6891]), 6881), Heard::Other(_)));
        assert!(matches!(of(Json::Null, 6881), Heard::Other(_)));
        let random = heard(&Json::Bool(true), &json!([4711, 4711]), &json!(4711));
        assert!(matches!(random, Heard::Other(_)));
    }
}
