//! The signed server lists.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::http::{Reply, Request};
use super::keys::Keys;

/// Servers of locations that are not live have addresses that swallow everything.
pub const BLACKHOLE: [u8; 2] = [198, 19];

/// How many of a location's servers a download names, unless a test says otherwise.
const PER_DOWNLOAD: usize = 2;

/// A server as the list names it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub ip: Ipv4Addr,
    pub cn: String,
    pub meta_cn: String,
}

/// A location of the list.
#[derive(Clone, Debug)]
pub struct Region {
    pub id: String,
    pub name: String,
    pub country: String,
    pub port_forward: bool,
    pub geo: bool,
    pub offline: bool,
    pub only_v7: bool,
    /// In no list at the moment.
    pub missing: bool,
    pub wireguard: Wireguard,
    /// The servers that exist; none for the many locations that are only names.
    pub servers: Vec<Listed>,
    /// What the lists of both versions say of a location that is only a name.
    rendered: [Option<String>; 2],
}

/// What a location says about WireGuard servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wireguard {
    Present,
    /// `"wg": []`
    Empty,
    /// No `wg` at all.
    Missing,
}

/// What of a location is in every second download only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flicker {
    Location,
    Wireguard,
}

#[derive(Debug)]
struct State {
    regions: Vec<Region>,
    per_download: usize,
    bad_signature: bool,
    missing_once: HashSet<String>,
    flickering: HashMap<String, Flicker>,
    /// How many downloads more of the newer list fail.
    newer_failures: u32,
    /// Of either version.
    downloads: [usize; 2],
}

/// The lists of the moment.
#[derive(Debug)]
pub struct Lists(Mutex<State>);

impl Default for Lists {
    fn default() -> Self {
        let mut regions: Vec<Region> = include_str!("regions.txt")
            .lines()
            .filter_map(named_only)
            .collect();
        // Who asks for a list does not wait for it to be made.
        for (number, region) in regions.iter_mut().enumerate() {
            region.render(number, false, PER_DOWNLOAD);
        }
        Self(Mutex::new(State {
            regions,
            per_download: PER_DOWNLOAD,
            bad_signature: false,
            missing_once: HashSet::new(),
            flickering: HashMap::new(),
            newer_failures: 0,
            downloads: [0; 2],
        }))
    }
}

/// A location that is only a name, from its line `id|name|country|flags`.
fn named_only(line: &str) -> Option<Region> {
    let mut fields = line.split('|').map(str::to_owned);
    let (id, name) = (
        fields.next().filter(|id| !id.starts_with('#'))?,
        fields.next()?,
    );
    let (country, flags) = (fields.next()?, fields.next()?);
    let wireguard = match flags.as_str() {
        flags if flags.contains('e') => Wireguard::Empty,
        flags if flags.contains('m') => Wireguard::Missing,
        _ => Wireguard::Present,
    };
    Some(Region {
        id,
        name,
        country,
        port_forward: flags.contains('p'),
        geo: flags.contains('g'),
        offline: flags.contains('o'),
        only_v7: false,
        missing: false,
        wireguard,
        servers: Vec::new(),
        rendered: [None, None],
    })
}

impl Lists {
    /// Changes a location, which is made if there is none of this id.
    pub fn edit(&self, id: &str, change: impl FnOnce(&mut Region)) {
        let mut state = self.lock();
        let position = state.regions.iter().position(|region| region.id == id);
        let position = position.unwrap_or_else(|| {
            let made = named_only(&format!("{id}|{id}|XX|p")).expect("the line has all fields");
            state.regions.push(made);
            state.regions.len() - 1
        });
        let region = &mut state.regions[position];
        region.rendered = [None, None];
        change(region);
    }

    pub fn remove(&self, id: &str) {
        self.lock().regions.retain(|region| region.id != id);
    }

    /// Leaves a location out of the next download, not of later ones.
    pub fn omit_once(&self, id: &str) {
        self.lock().missing_once.insert(id.to_owned());
    }

    /// Lets something of a location be in every second download of either version only, and not in
    /// the next.
    pub fn flicker(&self, id: &str, what: Flicker) {
        let mut state = self.lock();
        state.flickering.insert(id.to_owned(), what);
        state.downloads = [0; 2];
    }

    pub fn bad_signature(&self, bad: bool) {
        self.lock().bad_signature = bad;
    }

    /// How many of a location's servers each download names, at random.
    pub fn servers_per_download(&self, count: usize) {
        self.lock().per_download = count;
    }

    /// Lets this many downloads more of the newer list fail.
    pub fn fail_newer(&self, times: u32) {
        self.lock().newer_failures = times;
    }

    pub(super) fn answer(&self, request: &Request) -> Reply {
        let is_newer = request.path.ends_with("v7");
        let failures = if is_newer {
            self.lock().newer_failures
        } else {
            0
        };
        if failures > 0 {
            self.lock().newer_failures = failures - 1;
            return Reply::text(503, "");
        }
        let text = self.download(is_newer);
        let reply = Reply::text(200, "").with("X-Cache", "HIT");
        let gzip = request
            .header("accept-encoding")
            .is_some_and(|all| all.contains("gzip"));
        if !gzip {
            return Reply {
                body: text.into_bytes(),
                ..reply
            };
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder
            .write_all(text.as_bytes())
            .expect("memory can be written");
        let body = encoder.finish().expect("memory can be written");
        Reply {
            body,
            ..reply.with("Content-Encoding", "gzip")
        }
    }

    /// A list as downloaded: JSON, an empty line, the signature.
    pub fn download(&self, v7: bool) -> String {
        let mut state = self.lock();
        let omitted = std::mem::take(&mut state.missing_once);
        let per_download = state.per_download;
        let lacks = state.lacking(v7);
        let missing = |id: &str| omitted.contains(id) || lacks.get(id) == Some(&Flicker::Location);
        let listed = state.regions.iter_mut().enumerate();
        let listed = listed.filter(|(_, r)| (v7 || !r.only_v7) && !r.missing && !missing(&r.id));
        let regions: Vec<String> = listed
            .map(|(number, region)| match lacks.get(&region.id) {
                Some(_) => region.describe_without_wireguard(number, v7, per_download),
                None => region.render(number, v7, per_download),
            })
            .collect();
        let regions = regions.join(",");
        let list = format!(
            r#"{{"groups":{},"regions":[{regions}],"motd":null}}"#,
            groups()
        );
        let signed = if state.bad_signature {
            list.replacen("true", "false", 1)
        } else {
            list.clone()
        };
        let signature = BASE64_STANDARD.encode(sign(signed.as_bytes()));
        let lines: Vec<&str> = signature
            .as_bytes()
            .chunks(76)
            .map(|line| str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!("{list}\n\n{}\n", lines.join("\n"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// What this download of a version lacks of what flickers.
    fn lacking(&mut self, v7: bool) -> HashMap<String, Flicker> {
        let count = &mut self.downloads[usize::from(v7)];
        *count += 1;
        if count.is_multiple_of(2) {
            return HashMap::new();
        }
        self.flickering.clone()
    }
}

impl Region {
    fn describe_without_wireguard(&self, number: usize, v7: bool, per_download: usize) -> String {
        let mut described = self.describe(number, v7, per_download);
        let servers = described["servers"].as_object_mut();
        servers.expect("these are an object").remove("wg");
        described.to_string()
    }

    fn render(&mut self, number: usize, v7: bool, per_download: usize) -> String {
        if let Some(text) = &self.rendered[usize::from(v7)] {
            return text.clone();
        }
        let text = self.describe(number, v7, per_download).to_string();
        if self.servers.is_empty() {
            self.rendered[usize::from(v7)] = Some(text.clone());
        }
        text
    }

    fn describe(&self, number: usize, v7: bool, per_download: usize) -> Value {
        let of = |service: &str, cn: fn(&Listed) -> &str| -> Value {
            if self.servers.is_empty() {
                return (0..2)
                    .map(|server| self.nobody(number, server, service, v7))
                    .collect();
            }
            let chosen = fastrand::choose_multiple(&self.servers, per_download);
            chosen
                .into_iter()
                .map(|s| json!({"ip": s.ip, "cn": cn(s)}))
                .collect()
        };
        let mut servers = json!({
            "ikev2": of("ikev2", |s| &s.cn),
            "meta": of("meta", |s| &s.meta_cn),
            "ovpntcp": of("ovpntcp", |s| &s.cn),
            "ovpnudp": of("ovpnudp", |s| &s.cn),
        });
        match self.wireguard {
            Wireguard::Present => servers["wg"] = of("wg", |s| &s.cn),
            Wireguard::Empty => servers["wg"] = json!([]),
            Wireguard::Missing => {}
        }
        let word = self.id.replace('_', "-");
        json!({
            "id": self.id, "name": self.name, "country": self.country, "auto_region": !self.geo,
            "dns": format!("{word}.privacy.network"), "port_forward": self.port_forward,
            "geo": self.geo, "offline": self.offline, "servers": servers,
            "latitude": null, "load": number % 100,
        })
    }

    /// A server that does not exist.
    fn nobody(&self, number: usize, server: usize, service: &str, v7: bool) -> Value {
        let [a, b] = BLACKHOLE;
        let last = 1 + server + 10 * service.len() + if v7 { 120 } else { 0 };
        let cn = if v7 || !number.is_multiple_of(10) {
            format!("Server-{}-{server}a", 10_000 + number * 7 + last)
        } else {
            let city: String = self.name.to_lowercase().split_whitespace().collect();
            format!("{city}{}", 400 + last)
        };
        let ip = format!("{a}.{b}.{}.{last}", number % 256);
        let mut listed = json!({"ip": ip, "cn": cn});
        if service.starts_with("ovpn") {
            listed["van"] = json!(false);
        }
        listed
    }
}

fn groups() -> Value {
    json!({
        "ikev2": [{"name": "ikev2", "ports": [500, 4500]}],
        "meta": [{"name": "meta", "ports": [443, 8080]}],
        "ovpntcp": [{"name": "openvpn_tcp", "ports": [80, 443, 853, 8443]}],
        "ovpnudp": [{"name": "openvpn_udp", "ports": [8080, 853, 123, 53]}],
        "wg": [{"name": "wireguard", "ports": [1337]}],
    })
}

fn sign(message: &[u8]) -> Vec<u8> {
    let pem = Keys::shared().list.as_bytes();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).expect("openssl writes PKCS #8");
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("openssl's keys are usable");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message,
        &mut signature,
    )
    .expect("an RSA-2048 key can sign");
    signature
}
