//! Certificates as PIA's servers present them, and as impostors might.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    PKCS_RSA_SHA512, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;

use super::keys::Keys;

/// What a server of this name shows at the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cert {
    /// Signed by PIA's authority, with the name as subject and as subjectAltName.
    San,
    /// Signed by PIA's authority, with the name as subject only.
    CnOnly,
    /// As `San`, for another server's name.
    WrongName,
    /// As `CnOnly`, for another server's name.
    WrongCn,
    /// The right subject, but a subjectAltName of another server: the SAN decides.
    SanWrongCnRight,
    /// Another subject, but the right subjectAltName: the SAN decides.
    SanRightCnWrong,
    /// The right names, signed by an authority that nobody trusts.
    WrongCa,
    /// As `CnOnly`, but of last year.
    Expired,
    /// As `CnOnly`, but the subject is a wildcard that would cover the name.
    WildcardCn,
    /// As `CnOnly`, with a second subject CN.
    TwoCns,
    /// As the new hosts' meta ports: a public-looking certificate for some other site.
    Foreign,
}

/// What a public web site shows at the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebCert {
    Right,
    /// Of somebody who stands in its place: no authority that is trusted signed it.
    Impostor,
    /// Right, but of years before.
    Ended,
    /// Right, but for years to come.
    Early,
}

/// An authority: its certificate, and what is needed to sign with it.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// The authorities of this world, made once per process.
struct Authorities {
    pia: Authority,
    stranger: Authority,
    web: Authority,
    /// PIA's leaves are RSA …
    leaf: KeyPair,
    /// … those of public web sites need not be.
    web_leaf: KeyPair,
}

fn authorities() -> &'static Authorities {
    static AUTHORITIES: OnceLock<Authorities> = OnceLock::new();
    AUTHORITIES.get_or_init(|| {
        let keys = Keys::shared();
        let rsa = |pem, algorithm| {
            KeyPair::from_pem_and_sign_algo(pem, algorithm).expect("openssl's keys are usable")
        };
        let elliptic = || KeyPair::generate().expect("an elliptic key can be made");
        let pia = "Private Internet Access";
        Authorities {
            pia: Authority::new(pia, rsa(&keys.authority, &PKCS_RSA_SHA512)),
            stranger: Authority::new(pia, rsa(&keys.stranger, &PKCS_RSA_SHA512)),
            web: Authority::new("Public Web Authority", elliptic()),
            leaf: rsa(&keys.leaf, &PKCS_RSA_SHA256),
            web_leaf: elliptic(),
        }
    })
}

/// What `rsa_4096.crt` holds.
pub fn pia_authority() -> String {
    authorities().pia.certificate.pem()
}

/// The bundle of the public web's authorities.
pub fn web_authority() -> String {
    authorities().web.certificate.pem()
}

/// The TLS side of a public web site of these names.
pub fn web_site(names: &[&str], kind: WebCert) -> Arc<ServerConfig> {
    let all = authorities();
    let sign = |by: &Authority, year| by.sign(names[0], names, &all.web_leaf, year);
    let certificate = match kind {
        WebCert::Right => sign(&all.web, 2026),
        WebCert::Impostor => sign(&all.stranger, 2026),
        WebCert::Ended => sign(&all.web, 2024),
        WebCert::Early => sign(&all.web, 2033),
    };
    tls(&certificate, &all.web_leaf)
}

/// The TLS side of one of PIA's own servers.
pub fn pia_server(cn: &str, kind: Cert) -> Arc<ServerConfig> {
    let all = authorities();
    let other = "berlin499";
    let sign = |subject: &str, names: &[&str]| all.pia.sign(subject, names, &all.leaf, 2026);
    let certificate = match kind {
        Cert::San => sign(cn, &[cn]),
        Cert::CnOnly => sign(cn, &[]),
        Cert::WrongName => sign(other, &[other]),
        Cert::WrongCn => sign(other, &[]),
        Cert::SanWrongCnRight => sign(cn, &[other]),
        Cert::SanRightCnWrong => sign(other, &[cn]),
        Cert::WrongCa => all.stranger.sign(cn, &[cn], &all.leaf, 2026),
        Cert::Expired => all.pia.sign(cn, &[], &all.leaf, 2024),
        Cert::WildcardCn => sign(&wildcard(cn), &[]),
        Cert::TwoCns => all.pia.sign_for(named(&[cn, other]), &[], &all.leaf, 2026),
        Cert::Foreign => {
            let name = "cdn.example.net";
            let foreign = all.web.sign(name, &[name], &all.web_leaf, 2026);
            return tls(&foreign, &all.web_leaf);
        }
    };
    tls(&certificate, &all.leaf)
}

/// `*` for a name without a dot: PIA's server names have none.
fn wildcard(cn: &str) -> String {
    cn.split_once('.')
        .map_or_else(|| "*".to_owned(), |(_, rest)| format!("*.{rest}"))
}

fn named(cns: &[&str]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "US");
    subject.push(DnType::OrganizationName, "Private Internet Access");
    for (position, cn) in cns.iter().enumerate() {
        // A second value of one type would replace the first, so it comes under the bare number.
        let attribute = match position {
            0 => DnType::CommonName,
            _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
        };
        subject.push(attribute, *cn);
    }
    subject
}

impl Authority {
    fn new(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&[name]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2014, 4, 17);
        params.not_after = date_time_ymd(2034, 4, 12);
        let certificate = params
            .self_signed(&key)
            .expect("an authority can sign itself");
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, subject: &str, names: &[&str], key: &KeyPair, year: i32) -> Certificate {
        self.sign_for(named(&[subject]), names, key, year)
    }

    fn sign_for(
        &self,
        subject: DistinguishedName,
        names: &[&str],
        key: &KeyPair,
        year: i32,
    ) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("server names are ASCII");
        params.distinguished_name = subject;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(year - 1, 1, 1);
        // Certificates of the current year stay valid for as long as the authorities do.
        let last = if year < 2026 { year } else { 2034 };
        params.not_after = date_time_ymd(last, 1, 1);
        params
            .signed_by(key, &self.issuer)
            .expect("an authority can sign a leaf")
    }
}

fn tls(certificate: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS #8");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("key and certificate belong together");
    Arc::new(config)
}
