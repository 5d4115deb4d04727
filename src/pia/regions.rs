//! The signed server list: its signature is verified, then locations and servers are read one by
//! one, so that an odd entry spoils nothing else. Which of them to take is not decided here.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{ServerName, SubjectPublicKeyInfoDer};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use x509_cert::der::Decode;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::messages::{
    ByProtocolAnswer, GroupAnswer, RegionAnswer, ServerAnswer, ServerListAnswer, from_base64,
};
use crate::system::invisible::is_invisible;

/// Where servers take registrations, unless the list says otherwise; a dedicated IP's always here.
pub const REGISTRATION_PORT: u16 = 1337;
/// Ids, names and common names that are longer are refused.
const MAX_NAME_LENGTH: usize = 64;

/// The key of the server list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListKeyError {
    #[error(
        "key of the server list, {}: {source}; PIA_SERVERLIST_KEY_FILE names another file, which \
         is a copy of RegionsListPubKey.pem",
        path.display()
    )]
    NotRead {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("key of the server list, {}: it is no RSA public key in PEM form; \
             PIA_SERVERLIST_KEY_FILE names another file", path.display())]
    NoKey { path: PathBuf },
}

/// A server list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("it has no signature")]
    NoSignature,
    #[error(
        "its signature is wrong: it was changed on the way, or the key is not the one it was \
         signed with"
    )]
    WrongSignature,
    #[error("it cannot be read ({0})")]
    Unreadable(String),
    #[error("it has no locations")]
    Empty,
}

/// The public key with which PIA signs the list.
#[derive(Debug, Clone)]
pub struct ListKey(Vec<u8>);

impl ListKey {
    /// The RSA key in a PEM file.
    pub fn read(path: &Path) -> Result<Self, ListKeyError> {
        let pem = std::fs::read(path).map_err(|source| ListKeyError::NotRead {
            path: path.to_owned(),
            source,
        })?;
        Self::from_pem(&pem).ok_or_else(|| ListKeyError::NoKey {
            path: path.to_owned(),
        })
    }

    /// ring takes the RSA key alone, without the SubjectPublicKeyInfo around it.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let envelope = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        let key = SubjectPublicKeyInfoRef::from_der(&envelope).ok()?;
        (key.algorithm.oid == x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION)
            .then(|| Self(key.subject_public_key.raw_bytes().to_vec()))
    }
}

/// A server: its name in its certificate, and its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub cn: String,
    pub ip: Ipv4Addr,
}

/// A location; only its WireGuard servers count. Each list names a few of them at random.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub id: String,
    pub name: String,
    pub country: String,
    pub port_forward: bool,
    /// Virtual: the servers stand elsewhere.
    pub geo: bool,
    /// Takes no connections now.
    pub offline: bool,
    pub servers: Vec<Server>,
}

/// A verified list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerList {
    /// Where its WireGuard servers take registrations.
    pub registration_port: u16,
    /// By id.
    pub locations: Vec<Location>,
}

impl ServerList {
    /// Verifies the signature over the first line, then reads that line.
    ///
    /// # Errors
    /// When the signature is missing or wrong, or the list as a whole cannot be read. A location or
    /// server that cannot is left out.
    pub fn verify(text: &[u8], key: &ListKey) -> Result<Self, ListError> {
        let end = text.iter().position(|byte| *byte == b'\n');
        let (line, rest) = text.split_at(end.unwrap_or(text.len()));
        let signature = rest.trim_ascii();
        if signature.is_empty() {
            // What is no list, an empty answer for one, lacks more than that.
            Self::parse(line)?;
            return Err(ListError::NoSignature);
        }
        let signature = from_base64(signature).map_err(|_| ListError::WrongSignature)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.0)
            .verify(line, &signature)
            .map_err(|_| ListError::WrongSignature)?;
        Self::parse(line)
    }

    pub(super) fn parse(line: &[u8]) -> Result<Self, ListError> {
        let answer: ServerListAnswer<'_> = serde_json::from_slice(line)
            .map_err(|error| ListError::Unreadable(error.to_string()))?;
        let registration_port = answer.groups.and_then(registration_port);
        let registration_port = registration_port.unwrap_or(REGISTRATION_PORT);
        let mut locations: Vec<Location> =
            answer.regions.into_iter().filter_map(location).collect();
        locations.sort_by(|one, other| one.id.cmp(&other.id));
        if locations.is_empty() {
            Err(ListError::Empty)
        } else {
            Ok(Self {
                registration_port,
                locations,
            })
        }
    }
}

/// The first port of the group of WireGuard servers.
fn registration_port(groups: &RawValue) -> Option<u16> {
    each(of_wireguard(groups)?)
        .flat_map(|group: GroupAnswer| group.ports)
        .map(|port| port.0)
        .find(|port| *port != 0)
}

fn location(region: &RawValue) -> Option<Location> {
    let region: RegionAnswer<'_> = serde_json::from_str(region.get()).ok()?;
    if !is_name(&region.id) {
        log::debug!("server list: a location's id is invalid, left out");
        return None;
    }
    let servers = region.servers.and_then(of_wireguard);
    let servers = servers.into_iter().flat_map(each);
    let servers = servers.filter_map(server).collect();
    Some(Location {
        name: printable(&region.name),
        country: printable(&region.country),
        port_forward: region.port_forward,
        geo: region.geo,
        offline: region.offline,
        servers,
        id: region.id,
    })
}

fn server(answer: ServerAnswer) -> Option<Server> {
    let server = Server::new(&answer.cn, &answer.ip);
    if server.is_none() {
        log::debug!("server list: a server's name or address is invalid, left out");
    }
    server
}

impl Server {
    /// `None` unless `cn` can be a server's name and `ip` its address.
    pub fn new(cn: &str, ip: &str) -> Option<Self> {
        let ip: Ipv4Addr = ip.trim().parse().ok()?;
        let is_host = !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast());
        let is_server_name =
            is_name(cn) && matches!(ServerName::try_from(cn), Ok(ServerName::DnsName(_)));
        (is_host && is_server_name).then(|| Self {
            cn: cn.to_owned(),
            ip,
        })
    }
}

/// What is WireGuard's.
fn of_wireguard(all: &RawValue) -> Option<&RawValue> {
    let all: ByProtocolAnswer<'_> = serde_json::from_str(all.get()).ok()?;
    all.wg
}

/// The elements that have the expected form.
fn each<T: DeserializeOwned>(list: &RawValue) -> impl Iterator<Item = T> {
    let elements: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
    elements
        .into_iter()
        .filter_map(|element| serde_json::from_str(element.get()).ok())
}

fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME_LENGTH && text.bytes().all(is_fit)
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|letter| !is_invisible(*letter))
        .take(MAX_NAME_LENGTH)
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::system::cancellation::CancellationToken;
    use crate::system::command::Command;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    const LINE: &str = r#"{"groups":{"wg":[{"name":"wireguard","ports":[1337]}],
        "meta":[{"name":"meta","ports":[443,8080]}],"ovpn":7},
        "regions":[
        {"id":"swiss","name":"Switzerland","country":"CH","auto_region":true,
         "port_forward":true,"geo":false,"offline":false,
         "servers":{"meta":[{"ip":"192.0.2.1","cn":"zurich404"}],
         "wg":[{"ip":"192.0.2.2","cn":"zurich406","new":1},{"ip":"nonsense","cn":"zurich407"},
         {"ip":"192.0.2.3","cn":"zurich 408"},{"ip":"192.0.2.4"},
         {"ip":"192.0.2.5","cn":"Server-12144-3a"}]}},
        {"id":"nowg","name":"No WireGuard","servers":{"ovpntcp":[]}},
        {"id":"odd","servers":"none","port_forward":false},
        {"id":"bad id","servers":{}}, {"name":"no id"}, 7]}"#;

    /// A freshly made key, in the PEM form of PIA's, and a list signed with it.
    pub(in crate::pia) fn signed(line: &str) -> (ListKey, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let openssl = |arguments: &[&str]| {
            Command::new("openssl", arguments)
                .run(&CancellationToken::new())
                .unwrap()
        };
        openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            &path("key"),
        ]);
        openssl(&[
            "pkey",
            "-in",
            &path("key"),
            "-pubout",
            "-out",
            &path("key.pem"),
        ]);
        std::fs::write(path("line"), line).unwrap();
        openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            &path("key"),
            "-out",
            &path("signature"),
            &path("line"),
        ]);
        let signature = BASE64_STANDARD.encode(std::fs::read(path("signature")).unwrap());
        let (first, second) = signature.split_at(64);
        let key = ListKey::read(Path::new(&path("key.pem"))).unwrap();
        (key, format!("{line}\n\n{first}\n{second}\n").into_bytes())
    }

    #[test]
    fn the_signature_is_over_the_first_line_without_its_newline() {
        let line = LINE.replace('\n', "");
        let (key, text) = signed(&line);
        assert_eq!(ServerList::verify(&text, &key).unwrap().locations.len(), 3);
        let changed = String::from_utf8(text.clone())
            .unwrap()
            .replace("192.0.2.2", "192.0.2.9");
        assert_eq!(
            ServerList::verify(changed.as_bytes(), &key),
            Err(ListError::WrongSignature)
        );
        assert_eq!(
            ServerList::verify(line.as_bytes(), &key),
            Err(ListError::NoSignature)
        );
        assert_eq!(
            ServerList::verify(&text[..=line.len()], &key),
            Err(ListError::NoSignature)
        );
        for no_list in ["", "\n", "{}\n", r#"{"error":"maintenance"}"#, "<html>"] {
            let verified = ServerList::verify(no_list.as_bytes(), &key);
            assert!(
                matches!(verified, Err(ListError::Unreadable(_) | ListError::Empty)),
                "{no_list}: {verified:?}"
            );
        }
        assert_eq!(
            ServerList::verify(&text[..text.len() - 20], &key),
            Err(ListError::WrongSignature)
        );
        let unpadded = String::from_utf8(text.clone()).unwrap();
        let (list, signature) = unpadded.split_once("\n\n").unwrap();
        assert!(signature.contains('='));
        let unpadded = format!("{list}\n\n{}", signature.replace('=', ""));
        assert!(ServerList::verify(unpadded.as_bytes(), &key).is_ok());
        let (other_key, _) = signed(&line);
        assert_eq!(
            ServerList::verify(&text, &other_key),
            Err(ListError::WrongSignature)
        );
    }

    #[test]
    fn odd_entries_are_left_out_and_spoil_nothing() {
        let list = ServerList::parse(LINE.as_bytes()).unwrap();
        assert_eq!(list.registration_port, 1337);
        let ids: Vec<&str> = list
            .locations
            .iter()
            .map(|location| location.id.as_str())
            .collect();
        assert_eq!(ids, ["nowg", "odd", "swiss"]);
        let swiss = &list.locations[2];
        let names: Vec<&str> = swiss
            .servers
            .iter()
            .map(|server| server.cn.as_str())
            .collect();
        assert_eq!(names, ["zurich406", "Server-12144-3a"]);
        assert!(swiss.port_forward && !swiss.geo);
    }

    #[test]
    fn texts_in_place_of_numbers_and_nulls_cost_no_location() {
        let of = |fields: &str| {
            let list = format!(
                r#"{{"groups":{{"wg":[{{"ports":[70000]}},{{"ports":["0",null,"1338"]}}]}},
                "regions":[{{"id":"swiss",{fields}}},{{"id":"a"}}]}}"#
            );
            let mut list = ServerList::parse(list.as_bytes()).unwrap();
            assert_eq!(list.registration_port, 1338);
            (list.locations.len() == 2).then(|| list.locations.remove(1))
        };
        let swiss = of(
            r#""name":null,"country":null,"port_forward":null,"geo":null,
            "offline":null,"servers":null"#,
        )
        .unwrap();
        assert_eq!((swiss.name.as_str(), swiss.country.as_str()), ("", ""));
        assert!(!swiss.port_forward && !swiss.geo && !swiss.offline);
        let swiss = of(r#""port_forward":"true","geo":"true","offline":"false""#).unwrap();
        assert!(swiss.port_forward && swiss.geo && !swiss.offline);
        assert_eq!(of(r#""port_forward":"perhaps""#), None);
        assert_eq!(of(r#""country":{}"#), None);
    }

    #[test]
    fn a_list_without_sense_is_an_error() {
        assert_eq!(
            ServerList::parse(br#"{"regions":[]}"#),
            Err(ListError::Empty)
        );
        assert!(matches!(
            ServerList::parse(b"{}"),
            Err(ListError::Unreadable(_))
        ));
        assert!(matches!(
            ServerList::parse(b"<html>"),
            Err(ListError::Unreadable(_))
        ));
    }

    #[test]
    fn a_missing_or_bad_key_is_explained() {
        let error = ListKey::read(Path::new("/nonexistent/key.pem"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("/nonexistent/key.pem") && error.contains("PIA_SERVERLIST_KEY_FILE"),
            "{error}"
        );
        assert!(ListKey::from_pem(b"garbage").is_none());
    }

    #[test]
    fn addresses_that_are_no_hosts_are_no_servers() {
        for ip in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "1.2.3"] {
            assert_eq!(Server::new("zurich406", ip), None, "{ip}");
        }
        for cn in ["", "a b", "a/b", "192.0.2.1", &"a".repeat(65)] {
            assert_eq!(Server::new(cn, "192.0.2.1"), None, "{cn}");
        }
    }

    /// What a region may be made of, in any order.
    const REGION: &str = "(\\{|\\}|\"id\":|\"servers\":|\"wg\":|\\[|\\]|,|\"a\"|7){0,12}";

    proptest! {
        #[test]
        fn any_list_is_survived(regions in proptest::collection::vec(REGION, 0..4)) {
            let list = format!(r#"{{"regions":[{}]}}"#, regions.join(","));
            let _ = ServerList::parse(list.as_bytes());
        }
    }
}
