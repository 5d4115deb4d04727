//! Transmission, by its RPC.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::login::ReadLogin;
use super::options::HttpUrl;
use super::port_client::{Heard, PortClient};
use super::talk::{self, Talk, Trouble};
use crate::underlay::http::{Content, Response};

const SESSION_HEADER: &str = "x-transmission-session-id";

#[derive(Debug)]
pub(super) struct Transmission {
    pub url: HttpUrl,
    /// The number of our session, which Transmission wants back.
    pub session: String,
}

#[derive(Deserialize)]
struct RpcReply {
    result: String,
    #[serde(default)]
    arguments: Json,
}

impl PortClient for Transmission {
    fn hear(&mut self, _: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble> {
        let fields = ["peer-port", "peer-port-random-on-start"];
        let question = json!({ "method": "session-get", "arguments": { "fields": fields } });
        let answer = self.call(&question, login, talk)?;
        let port = answer.get("peer-port").and_then(Json::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        let is_random = answer.get("peer-port-random-on-start") == Some(&Json::Bool(true));
        match port {
            Some(_) if is_random => Ok(Heard::Other(
                "takes a port of its own choice at each start".to_owned(),
            )),
            Some(port) => Ok(Heard::Port(port)),
            None => Err(Trouble::Odd("it does not say its port".to_owned())),
        }
    }

    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble> {
        let arguments = json!({ "peer-port": port, "peer-port-random-on-start": false });
        let command = json!({ "method": "session-set", "arguments": arguments });
        self.call(&command, login, talk).map(drop)
    }
}

impl Transmission {
    fn call(
        &mut self,
        question: &Json,
        login: &ReadLogin,
        talk: &Talk<'_>,
    ) -> Result<Json, Trouble> {
        let question = question.to_string();
        let mut answer = self.ask(&question, login, talk)?;
        // It tells the session's number by refusing the first call.
        if answer.status == 409 {
            let session = answer.header(SESSION_HEADER).next();
            self.session = session.unwrap_or_default().to_owned();
            answer = self.ask(&question, login, talk)?;
        }
        match answer.status {
            401 if login.pair().is_none() => Err(Trouble::Closed("wants a password".to_owned())),
            401 => Err(Trouble::Refused("refused the password".to_owned())),
            403 => Err(Trouble::Closed("does not let this address in".to_owned())),
            200 => {
                let reply: RpcReply = talk::json(&answer)?;
                if reply.result == "success" {
                    Ok(reply.arguments)
                } else {
                    Err(Trouble::Odd("it says that the call failed".to_owned()))
                }
            }
            _ => Err(talk::odd(&answer)),
        }
    }

    fn ask(&self, question: &str, login: &ReadLogin, talk: &Talk<'_>) -> Result<Response, Trouble> {
        let authorization = login.pair().as_ref().map(talk::basic);
        let mut headers = vec![(SESSION_HEADER, self.session.as_str())];
        if let Some(authorization) = &authorization {
            headers.push(("authorization", authorization.expose()));
        }
        // As its own tools do, the URL is that of the whole or of the RPC.
        let base = self
            .url
            .path
            .strip_suffix("/transmission")
            .unwrap_or(&self.url.path);
        let base = base.strip_suffix("/transmission/rpc").unwrap_or(base);
        let path = if base.ends_with("/rpc") {
            base.to_owned()
        } else {
            format!("{base}/transmission/rpc")
        };
        talk.send(&self.url, &path, &headers, Content::Json(question))
    }
}
