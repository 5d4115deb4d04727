//! Anything else: told by a request with the port in it, and asked back by another one, where the
//! user names one.

use super::login::ReadLogin;
use super::options::{self, HttpHook, HttpUrl};
use super::port_client::{Heard, PortClient};
use super::talk::{self, Talk, Trouble};
use crate::underlay::http::{Content, Response};

#[derive(Debug)]
pub(super) struct ToldByHttp {
    pub hook: HttpHook,
    /// The port that it took, as far as is known.
    pub told: Option<u16>,
}

impl PortClient for ToldByHttp {
    fn hear(&mut self, wanted: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        let Some(check) = &self.hook.check_url else {
            return self.is_still_there(wanted, talk);
        };
        let url = url_of(&HttpHook::filled(check.expose(), wanted))?;
        let answer = ask(&url, Content::None, login, talk)?;
        let text = String::from_utf8_lossy(&answer.body);
        let has_port = numbers_in(&text).any(|number| number == wanted.to_string());
        Ok(if has_port {
            Heard::Port(wanted)
        } else {
            Heard::Other(format!("does not name {wanted} when it is asked back"))
        })
    }

    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        let url = url_of(&HttpHook::filled(self.hook.url.expose(), port))?;
        let text = HttpHook::filled(self.hook.body.expose(), port);
        let content = Content::Text {
            method: self.hook.method,
            media_type: &self.hook.media_type,
            text: &text,
        };
        ask(&url, content, login, talk)?;
        self.told = Some(port);
        Ok(())
    }
}

impl ToldByHttp {
    /// It cannot be asked: what it took it has, until it is seen to be away.
    fn is_still_there(&mut self, wanted: u16, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        let url = url_of(&HttpHook::filled(self.hook.url.expose(), wanted))?;
        if let Err(trouble) = talk.connect(&url.host, url.port) {
            self.told = None;
            return Err(trouble);
        }
        Ok(match self.told {
            Some(port) => Heard::Port(port),
            None => Heard::Other("has not been told yet".to_owned()),
        })
    }
}

fn url_of(text: &str) -> Result<HttpUrl, Trouble> {
    HttpUrl::parse(text).ok_or_else(|| Trouble::Odd("that is no URL".to_owned()))
}

fn ask(
    url: &HttpUrl,
    content: Content<'_>,
    login: &ReadLogin,
    talk: &Talk<'_>,
) -> Result<Response, Trouble> {
    let mut headers = Vec::new();
    if let Some(text) = &login.password {
        // One in a file is read only now.
        let Some(header) = options::header(text.expose()) else {
            let why = "is not asked, as PORT_HTTP_HEADER is not of the form `Name: value`";
            return Err(Trouble::Closed(why.to_owned()));
        };
        headers.push(header);
    }
    let query = url
        .query
        .as_ref()
        .map(|query| format!("?{}", query.expose()));
    let path = if url.path.is_empty() { "/" } else { &url.path };
    let path = format!("{path}{}", query.unwrap_or_default());
    let answer = talk.send(url, &path, &headers, content)?;
    match answer.status {
        200..=299 => Ok(answer),
        401 | 403 if login.password.is_some() => {
            Err(Trouble::Refused("refused PORT_HTTP_HEADER".to_owned()))
        }
        401 | 403 => Err(Trouble::Closed("does not let us in".to_owned())),
        _ => Err(talk::odd(&answer)),
    }
}

fn numbers_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_within_a_longer_number_is_none() {
        let has = |text| numbers_in(text).any(|number| number == "4711");
        assert!(has(r#"{"port":4711}"#) && has("4711\n"));
        assert!(!has("47110") && !has("14711"));
    }
}
