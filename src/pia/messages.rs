//! The API's answers as they are on the wire, and nothing of what they mean: unknown fields are
//! ignored, missing ones are empty, and what each must hold is checked where it is used.

use std::str::FromStr;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Padded or not.
static BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `POST /api/client/v2/token`: the token, or a refusal.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct TokenAnswer {
    pub token: Option<String>,
    pub status: Option<String>,
    pub code: Option<String>,
    pub message: Option<String>,
}

/// One element of the answer to `POST /api/client/v2/dedicated_ip`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct DedicatedIpAnswer {
    pub status: Option<String>,
    pub ip: Option<String>,
    pub cn: Option<String>,
    pub id: Option<String>,
}

/// `GET /addKey`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct AddKeyAnswer {
    pub status: Option<String>,
    pub message: Option<String>,
    pub server_key: Option<String>,
    /// 0 where there is none.
    #[serde(deserialize_with = "tolerant")]
    pub server_port: u16,
    /// A text, or there is none to be used.
    pub server_ip: Value,
    pub server_vip: Option<String>,
    pub peer_ip: Option<String>,
    pub peer_pubkey: Option<String>,
    /// A list of texts, or there is none to be used.
    pub dns_servers: Value,
}

/// `GET /getSignature`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct SignatureAnswer {
    pub status: Option<String>,
    pub message: Option<String>,
    pub payload: Option<String>,
    pub signature: Option<String>,
}

/// `GET /api/client/status`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct ClientStatusAnswer {
    pub connected: Option<bool>,
    pub ip: Option<String>,
}

/// The decoded payload of a signature.
#[derive(Deserialize)]
pub struct SignaturePayload {
    #[serde(deserialize_with = "tolerant")]
    pub port: u16,
    pub expires_at: String,
}

/// `GET /bindPort`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct BindPortAnswer {
    pub status: Option<String>,
    pub message: Option<String>,
}

/// Line 1 of the server list. Groups and regions are read one by one, so that a bad one spoils
/// nothing else.
#[derive(Deserialize)]
pub struct ServerListAnswer<'a> {
    #[serde(borrow)]
    pub groups: Option<&'a RawValue>,
    // Kept as text: as parsed values they would take 1.5 MB.
    #[serde(borrow)]
    pub regions: Vec<&'a RawValue>,
}

/// What there is of each protocol, in the groups and in a region's servers: ours alone counts.
#[derive(Deserialize)]
pub struct ByProtocolAnswer<'a> {
    #[serde(borrow)]
    pub wg: Option<&'a RawValue>,
}

/// A group's element: the ports on which its servers listen.
#[derive(Deserialize)]
pub struct GroupAnswer {
    #[serde(default)]
    pub ports: Vec<PortAnswer>,
}

/// One port of a group.
#[derive(Deserialize)]
pub struct PortAnswer(#[serde(deserialize_with = "tolerant")] pub u16);

/// One region.
#[derive(Deserialize)]
pub struct RegionAnswer<'a> {
    pub id: String,
    #[serde(default, deserialize_with = "tolerant")]
    pub name: String,
    #[serde(default, deserialize_with = "tolerant")]
    pub country: String,
    #[serde(default, deserialize_with = "tolerant")]
    pub port_forward: bool,
    #[serde(default, deserialize_with = "tolerant")]
    pub geo: bool,
    #[serde(default, deserialize_with = "tolerant")]
    pub offline: bool,
    #[serde(borrow)]
    pub servers: Option<&'a RawValue>,
}

/// One server of a region.
#[derive(Deserialize)]
pub struct ServerAnswer {
    pub ip: String,
    pub cn: String,
}

/// What PIA's scripts read with `jq -r`, to which a number or truth value and the text of it are
/// the same. Null is none: 0, false, empty.
fn tolerant<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + FromStr + Default,
{
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(T::default()),
        Value::String(text) => text
            .parse()
            .map_err(|_| D::Error::custom("a text of another kind than expected")),
        value => serde_json::from_value(value).map_err(D::Error::custom),
    }
}

/// Base64 as `base64 -d` takes it, in lines of any length, and without its padding, too.
pub fn from_base64(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let is_text = |byte: &u8| !byte.is_ascii_whitespace();
    let text: Vec<u8> = text.iter().copied().filter(is_text).collect();
    BASE64.decode(text)
}
