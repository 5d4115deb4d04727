//! rTorrent, by XML-RPC over SCGI or over the HTTP of a web server before it.
//!
//! From 0.16.18 on `network.listen.port.set` has it listen anew, and what its next start goes by
//! has other names than before; the former ones are there only if it is started with `-D`, and then
//! change nothing at once (read in its source). Before, that its port can be changed while it runs
//! is nowhere said: `network.port_range.set` alone is for its next start, and
//! `network.port_open.set` changes nothing either. It listens anew when it is given an address to
//! bind to, even the one that it has (seen with 0.9.8).

use super::login::ReadLogin;
use super::options::ClientUrl;
use super::port_client::{Heard, PortClient};
use super::scgi;
use super::talk::{self, Talk, Trouble};
use super::xml_rpc::{self, RpcAnswer};
use crate::underlay::http::{Content, Method};

#[derive(Debug)]
pub(super) struct Rtorrent {
    pub url: ClientUrl,
}

/// What it binds to where nothing is set.
const ANY_ADDRESS: &str = "0.0.0.0";

impl PortClient for Rtorrent {
    fn hear(&mut self, _: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        let range = match self.call("network.port_range", &[], login, talk)? {
            RpcAnswer::Value(range) => range,
            RpcAnswer::Fault => self.value("network.listen.port.range", login, talk)?,
        };
        let in_use = self.value("network.listen.port", login, talk)?;
        Ok(heard(&range, &in_use))
    }

    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        let range = format!("{port}-{port}");
        let port = port.to_string();
        if self.call("network.listen.port.set", &["", &port], login, talk)? == RpcAnswer::Fault {
            return self.tell_as_before(&range, login, talk);
        }
        self.value_of("network.listen.port.range.set", &["", &range], login, talk)?;
        self.value_of("network.listen.port.random.set", &["", "0"], login, talk)
            .map(drop)
    }
}

fn heard(range: &str, in_use: &str) -> Heard {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (
        first.parse::<u16>(),
        last.parse::<u16>(),
        in_use.parse::<u16>(),
    ) {
        (Ok(first), Ok(last), _) if first != last => {
            Heard::Other(format!("may take any port from {first} to {last}"))
        }
        (Ok(first), _, Ok(0)) => Heard::Other(format!("is set to {first} and cannot listen there")),
        (Ok(first), _, Ok(in_use)) if first != in_use => {
            Heard::Other(format!("is set to {first} and listens on {in_use}"))
        }
        (Ok(first), _, Ok(_)) => Heard::Port(first),
        _ => Heard::Other("does not say its port".to_owned()),
    }
}

impl Rtorrent {
    /// By the commands up to 0.16.17.
    fn tell_as_before(
        &self,
        range: &str,
        login: &ReadLogin,
        talk: &Talk<'_>,
    ) -> Result<(), Trouble> {
        self.value_of("network.port_range.set", &["", range], login, talk)?;
        self.value_of("network.port_random.set", &["", "0"], login, talk)?;
        self.value_of("network.port_open.set", &["", "1"], login, talk)?;
        let address = self.value("network.bind_address", login, talk)?;
        let address = if address.is_empty() {
            ANY_ADDRESS
        } else {
            &address
        };
        // Fails where it cannot listen there, too; what it says when it is asked back shows that.
        self.call("network.bind_address.set", &["", address], login, talk)
            .map(drop)
    }

    fn value(&self, method: &str, login: &ReadLogin, talk: &Talk<'_>) -> Result<String, Trouble> {
        self.value_of(method, &[], login, talk)
    }

    fn value_of(
        &self,
        method: &str,
        parameters: &[&str],
        login: &ReadLogin,
        talk: &Talk<'_>,
    ) -> Result<String, Trouble> {
        match self.call(method, parameters, login, talk)? {
            RpcAnswer::Value(value) => Ok(value),
            RpcAnswer::Fault => Err(Trouble::Odd(format!("it refuses {method}"))),
        }
    }

    fn call(
        &self,
        method: &str,
        parameters: &[&str],
        login: &ReadLogin,
        talk: &Talk<'_>,
    ) -> Result<RpcAnswer, Trouble> {
        let question = xml_rpc::call(method, parameters);
        let answer = match &self.url {
            ClientUrl::Socket(path) => scgi::ask_socket(path, &question, talk)?,
            ClientUrl::Scgi { host, port } => scgi::ask(host, *port, &question, talk)?,
            ClientUrl::Http(url) => {
                let authorization = login.pair().as_ref().map(talk::basic);
                let shown = authorization.as_ref();
                let headers: Vec<_> = shown
                    .map(|value| ("authorization", value.expose()))
                    .into_iter()
                    .collect();
                let content = Content::Text {
                    method: Method::Post,
                    media_type: "text/xml",
                    text: &question,
                };
                let path = url.below("/RPC2");
                let answer = talk.send(url, &path, &headers, content)?;
                match answer.status {
                    200 => answer.body,
                    401 if shown.is_some() => {
                        return Err(Trouble::Refused("refused the password".to_owned()));
                    }
                    401 | 403 => return Err(Trouble::Closed("does not let us in".to_owned())),
                    _ => return Err(talk::odd(&answer)),
                }
            }
        };
        xml_rpc::answer(&answer)
            .ok_or_else(|| Trouble::Odd("it answers no XML-RPC; is the URL right?".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_port_that_is_in_use_counts() {
        assert_eq!(heard("4711-4711", "4711"), Heard::Port(4711));
        for (range, in_use) in [
            ("4711-4711", "0"),
            ("4711-4711", "6881"),
            ("6881-6999", "6881"),
            ("", "6881"),
        ] {
            assert!(
                matches!(heard(range, in_use), Heard::Other(_)),
                "{range} {in_use}"
            );
        }
    }
}
