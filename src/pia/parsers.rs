//! What reads PIA's answers, as functions of the answer alone: for the fuzzer (`tests/fuzz`), which
//! reaches no network.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::account::{self, DedicatedIp};
use super::credentials::Token;
use super::error::{ApiErrorKind, Call};
use super::exit_address::{self, SeenAddress};
use super::forwarding;
use super::host::Host;
use super::lease::Lease;
use super::regions::{ListError, ListKey, ServerList};
use super::registration::{self, Registration};
use super::request::Ask;
use super::trust;
use super::verifier::{self, PiaVerifier};
use crate::system::secret::Secret;
use crate::underlay::http::Response;
use crate::underlay::socket::Via;

/// Reads answers to requests that held this secret. What fails is told as the log would tell it.
#[derive(Debug)]
pub struct Answers {
    host: Host,
    secret: Secret,
}

impl Answers {
    /// Nothing is sent, so any configuration of TLS will do.
    pub fn new(tls: &Arc<ClientConfig>, secret: &str) -> Self {
        Self {
            host: Host::account(Vec::new(), tls, Via::Routing),
            secret: Secret::new(secret),
        }
    }

    fn read<T>(
        &self,
        call: Call,
        response: &Response,
        read: impl FnOnce(&Ask<'_>, &Response) -> Result<T, ApiErrorKind>,
    ) -> Result<T, String> {
        let ask = Ask {
            secrets: &[&self.secret],
            ..Ask::new(call, &self.host, "/")
        };
        read(&ask, response).map_err(|failure| failure.to_string())
    }

    /// The answer to a login.
    pub fn token(&self, response: &Response) -> Result<Token, String> {
        self.read(Call::Token, response, account::read_token)
    }

    /// The answer about a dedicated IP.
    pub fn dedicated_ip(&self, response: &Response) -> Result<DedicatedIp, String> {
        self.read(Call::DedicatedIp, response, account::read_dedicated_ip)
    }

    /// The answer to addKey with this key.
    pub fn registration(&self, response: &Response, key: &str) -> Result<Registration, String> {
        self.read(Call::AddKey, response, |ask, response| {
            registration::read_registration(ask, response, key)
        })
    }

    /// The answer about the address that a request came from.
    pub fn exit_address(&self, response: &Response) -> Result<SeenAddress, String> {
        self.read(Call::ExitAddress, response, exit_address::read_seen)
    }

    /// The answer to getSignature.
    pub fn lease(&self, response: &Response) -> Result<Lease, String> {
        self.read(Call::Signature, response, forwarding::read_lease)
    }

    /// The answer to bindPort: the server's message.
    pub fn bound(&self, response: &Response) -> Result<String, String> {
        self.read(Call::BindPort, response, forwarding::read_bound)
    }
}

/// Reads a server list without its signature.
///
/// # Errors
/// As [`ServerList::verify`].
pub fn server_list(line: &[u8]) -> Result<ServerList, ListError> {
    ServerList::parse(line)
}

/// The key of the server list, in PEM form.
pub fn list_key(pem: &[u8]) -> Option<ListKey> {
    ListKey::from_pem(pem)
}

/// Reads a server list with its signature.
///
/// # Errors
/// As [`ServerList::verify`].
pub fn verified_list(text: &[u8], key: &ListKey) -> Result<ServerList, ListError> {
    ServerList::verify(text, key)
}

/// Reads a server's certificate, without a look at who signed it.
///
/// # Errors
/// When it is none, or one that is not for a server.
pub fn certificate(der: &[u8]) -> Result<(), String> {
    verifier::read(&CertificateDer::from(der)).map_err(|error| error.to_string())
}

/// Verifies a server's certificate against the authorities in `pem`, as of this second of Unix
/// time.
///
/// # Errors
/// When it is not good for the server of this name.
pub fn verified_certificate(der: &[u8], pem: &[u8], name: &str, at: u64) -> Result<(), String> {
    let roots = trust::roots_in(pem)?;
    let verifier = PiaVerifier::new(roots, trust::provider());
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
    verifier
        .verify_server_cert(&CertificateDer::from(der), &[], &name, &[], now)
        .map_err(|error| error.to_string())?;
    Ok(())
}
