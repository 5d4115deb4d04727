//! The rules by which a server of PIA's proves its name.
//!
//! PIA's servers show two kinds of certificates, both signed by PIA's authority: with a dNSName in
//! the subjectAltName, or with only a common name and no subjectAltName. Libraries refuse the
//! second kind. Here it is accepted, but only if PIA's authority itself signed it: name constraints
//! of authorities, the root's own included, say nothing about common names, so they would not bind.
//! Whoever holds one PIA certificate must not be able to stand in for another server.
//!
//! Dates, purpose and key usage are checked for both kinds; revocation is not.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, SubjectAltName};

/// X.520 commonName.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Verifies chains to the given authorities, and names by the rules above.
#[derive(Debug)]
pub(super) struct PiaVerifier {
    roots: RootCertStore,
    /// Those of the roots that have no name constraints.
    unconstrained: RootCertStore,
    provider: Arc<CryptoProvider>,
    /// Where any server's name is noted; `None` where one certain name is expected.
    claim: Option<Claim>,
}

/// The name that a server claimed by its certificate.
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<OnceLock<String>>);

impl Claim {
    /// `None` before a certificate of PIA's with one name was seen.
    pub fn name(&self) -> Option<String> {
        self.0.get().cloned()
    }

    fn note(&self, names: Names) -> Result<(), rustls::Error> {
        let bad = || rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        let name = match names {
            Names::Alternative(names) => names.into_iter().next().ok_or_else(bad)?,
            Names::Common(names) => match <[Vec<u8>; 1]>::try_from(names) {
                Ok([name]) => String::from_utf8(name).map_err(|_| bad())?,
                Err(_) => return Err(bad()),
            },
        };
        // It is to be shown and used as a name.
        if !matches!(
            ServerName::try_from(name.as_str()),
            Ok(ServerName::DnsName(_))
        ) {
            return Err(bad());
        }
        self.0.get_or_init(|| name);
        Ok(())
    }
}

impl PiaVerifier {
    pub fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Self {
        let mut unconstrained = roots.clone();
        unconstrained
            .roots
            .retain(|root| root.name_constraints.is_none());
        Self {
            roots,
            unconstrained,
            provider,
            claim: None,
        }
    }

    /// Takes any server of PIA's, and notes its name in `claim`.
    pub fn for_any_server(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        claim: &Claim,
    ) -> Self {
        Self {
            claim: Some(claim.clone()),
            ..Self::new(roots, provider)
        }
    }

    fn verify_chain(
        &self,
        certificate: &ParsedCertificate<'_>,
        roots: &RootCertStore,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )
    }
}

impl ServerCertVerifier for PiaVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        self.verify_chain(&certificate, &self.roots, intermediates, now)?;
        verify_key_usage(end_entity)?;
        let names = names_of(end_entity)?;
        if matches!(names, Names::Common(_)) {
            self.verify_chain(&certificate, &self.unconstrained, &[], now)?;
        }
        match (&self.claim, &names) {
            (Some(claim), _) => claim.note(names)?,
            (None, Names::Alternative(_)) => verify_server_name(&certificate, server_name)?,
            (None, Names::Common(names)) => verify_common_name(names, server_name)?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The names in a certificate that count.
enum Names {
    /// The dNSNames of its subjectAltName, which then alone decide.
    Alternative(Vec<String>),
    /// Without dNSNames: the subject's common names, as bytes.
    Common(Vec<Vec<u8>>),
}

/// What of a certificate is read here besides what the library reads.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    verify_key_usage(certificate)?;
    names_of(certificate).map(drop)
}

fn unreadable(_: x509_cert::der::Error) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::BadEncoding)
}

/// Where a certificate says what its key is for, there must be something among it that a server of
/// TLS does with one. Not only signing, which is all that today's TLS does: OpenSSL, and so curl,
/// takes any of the three.
fn verify_key_usage(certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    let certificate = Certificate::from_der(certificate).map_err(unreadable)?;
    let usage = certificate
        .tbs_certificate()
        .get_extension::<KeyUsage>()
        .map_err(unreadable)?;
    let is_for_tls = usage.is_none_or(|(_, usage)| {
        usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
    });
    if is_for_tls {
        Ok(())
    } else {
        Err(rustls::Error::InvalidCertificate(
            CertificateError::InvalidPurpose,
        ))
    }
}

fn names_of(certificate: &CertificateDer<'_>) -> Result<Names, rustls::Error> {
    let certificate = Certificate::from_der(certificate).map_err(unreadable)?;
    let certificate = certificate.tbs_certificate();
    let alternative = certificate
        .get_extension::<SubjectAltName>()
        .map_err(unreadable)?;
    let dns_name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    };
    let alternative: Vec<String> = alternative
        .iter()
        .flat_map(|(_, names)| names.0.iter().filter_map(dns_name))
        .collect();
    if !alternative.is_empty() {
        return Ok(Names::Alternative(alternative));
    }
    let common = certificate
        .subject()
        .iter()
        .filter(|attribute| attribute.oid == COMMON_NAME);
    Ok(Names::Common(common.map(text_of).collect()))
}

/// The bytes of a string type in which ASCII is unchanged; none for the others (UTF-16 and UTF-32).
fn text_of(attribute: &AttributeTypeAndValue) -> Vec<u8> {
    match attribute.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
            attribute.value.value().to_vec()
        }
        _ => Vec::new(),
    }
}

/// There must be exactly one common name, equal but for the case of its letters: wildcards and
/// embedded NULs do not match.
fn verify_common_name(names: &[Vec<u8>], expected: &ServerName<'_>) -> Result<(), rustls::Error> {
    if let ([name], ServerName::DnsName(expected_name)) = (names, expected)
        && name.eq_ignore_ascii_case(expected_name.as_ref().as_bytes())
    {
        return Ok(());
    }
    let printable = |name: &Vec<u8>| name.escape_ascii().to_string();
    Err(rustls::Error::InvalidCertificate(
        CertificateError::NotValidForNameContext {
            expected: expected.to_owned(),
            presented: names.iter().map(printable).collect(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::trust::{provider, roots_in};
    use crate::system::cancellation::CancellationToken;
    use crate::system::command::Command;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
        ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        NameConstraints, SanType, date_time_ymd,
    };

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    fn authority(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn leaf(common_name: Option<&str>, alternative: &[&str]) -> CertificateParams {
        let mut params = CertificateParams::new(
            alternative
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params
    }

    fn verify(
        authority: &Authority,
        params: &CertificateParams,
        expected: &str,
    ) -> Result<(), rustls::Error> {
        let certificate = params
            .signed_by(&KeyPair::generate().unwrap(), &authority.issuer)
            .unwrap();
        verify_der(&authority.pem, certificate.der(), expected)
    }

    fn verify_der(
        pem: &str,
        certificate: &CertificateDer<'_>,
        expected: &str,
    ) -> Result<(), rustls::Error> {
        let verifier = PiaVerifier::new(roots_in(pem.as_bytes()).unwrap(), provider());
        let expected = ServerName::try_from(expected).unwrap();
        verifier
            .verify_server_cert(certificate, &[], &expected, &[], UnixTime::now())
            .map(drop)
    }

    fn assert_wrong_name(verdict: Result<(), rustls::Error>) {
        use CertificateError as Bad;
        assert!(
            matches!(
                verdict,
                Err(rustls::Error::InvalidCertificate(
                    Bad::NotValidForName | Bad::NotValidForNameContext { .. }
                ))
            ),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_common_name_counts_where_there_is_no_alternative_name() {
        let pia = authority("Private Internet Access");
        assert_eq!(
            verify(&pia, &leaf(Some("Server-12144-3a"), &[]), "Server-12144-3a"),
            Ok(())
        );
        assert_eq!(
            verify(&pia, &leaf(Some("server-12144-3A"), &[]), "Server-12144-3a"),
            Ok(())
        );
        assert_wrong_name(verify(
            &pia,
            &leaf(Some("Server-12144-3a"), &[]),
            "Server-12144-4a",
        ));
        assert_wrong_name(verify(&pia, &leaf(None, &[]), "Server-12144-3a"));
    }

    #[test]
    fn an_alternative_name_decides_alone() {
        let pia = authority("Private Internet Access");
        assert_eq!(
            verify(&pia, &leaf(None, &["amsterdam447"]), "amsterdam447"),
            Ok(())
        );
        assert_eq!(
            verify(
                &pia,
                &leaf(Some("other"), &["x", "amsterdam447"]),
                "amsterdam447"
            ),
            Ok(())
        );
        assert_wrong_name(verify(
            &pia,
            &leaf(Some("amsterdam439"), &["amsterdam447"]),
            "amsterdam439",
        ));
    }

    #[test]
    fn an_ip_address_is_no_dns_name() {
        let pia = authority("Private Internet Access");
        let mut params = leaf(Some("zurich406"), &[]);
        params.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().unwrap())];
        assert_eq!(verify(&pia, &params, "zurich406"), Ok(()));
        assert_wrong_name(verify(&pia, &params, "zurich407"));
    }

    #[test]
    fn whoever_is_there_must_be_of_pia() {
        let (pia, other) = (authority("Private Internet Access"), authority("Somebody"));
        let claimed = |signer: &Authority, params: &CertificateParams| {
            let claim = Claim::default();
            let verifier = PiaVerifier::for_any_server(
                roots_in(pia.pem.as_bytes()).unwrap(),
                provider(),
                &claim,
            );
            let certificate = params
                .signed_by(&KeyPair::generate().unwrap(), &signer.issuer)
                .unwrap();
            let nobody = ServerName::try_from("10.0.0.1").unwrap();
            let verdict =
                verifier.verify_server_cert(certificate.der(), &[], &nobody, &[], UnixTime::now());
            assert_eq!(verdict.is_ok(), claim.name().is_some());
            claim.name()
        };
        assert_eq!(
            claimed(&pia, &leaf(Some("Server-12144-3a"), &[])).as_deref(),
            Some("Server-12144-3a")
        );
        assert_eq!(
            claimed(&pia, &leaf(Some("x"), &["zurich406"])).as_deref(),
            Some("zurich406")
        );
        assert_eq!(claimed(&other, &leaf(Some("zurich406"), &[])), None);
        assert_eq!(claimed(&pia, &leaf(Some("two words"), &[])), None);
        assert_eq!(claimed(&pia, &leaf(None, &[])), None);
    }

    #[test]
    fn wildcards_in_a_common_name_do_not_count() {
        let pia = authority("Private Internet Access");
        for name in ["*", "*.example.com", "Server-*"] {
            assert_wrong_name(verify(&pia, &leaf(Some(name), &[]), "a.example.com"));
        }
    }

    #[test]
    fn an_embedded_nul_is_refused() {
        let pia = authority("Private Internet Access");
        assert_wrong_name(verify(
            &pia,
            &leaf(Some("zurich406\0.evil"), &[]),
            "zurich406",
        ));
        assert_wrong_name(verify(&pia, &leaf(Some("zurich406\0"), &[]), "zurich406"));
    }

    #[test]
    fn two_common_names_are_refused() {
        let names = [b"zurich406".to_vec(), b"zurich407".to_vec()];
        let expected = ServerName::try_from("zurich406").unwrap();
        assert_wrong_name(verify_common_name(&names, &expected));
        assert_wrong_name(verify_common_name(
            &[b"zurich406".to_vec(), b"zurich406".to_vec()],
            &expected,
        ));
        assert!(verify_common_name(&names[..1], &expected).is_ok());
    }

    #[test]
    fn another_authority_is_foreign() {
        let verdict = {
            let certificate = leaf(Some("zurich406"), &[])
                .signed_by(
                    &KeyPair::generate().unwrap(),
                    &authority("Private Internet Access").issuer,
                )
                .unwrap();
            verify_der(
                &authority("Private Internet Access").pem,
                certificate.der(),
                "zurich406",
            )
        };
        assert!(verdict.is_err());
        let certificate = leaf(Some("zurich406"), &[])
            .signed_by(&KeyPair::generate().unwrap(), &authority("Somebody").issuer)
            .unwrap();
        let verdict = verify_der(
            &authority("Private Internet Access").pem,
            certificate.der(),
            "zurich406",
        );
        assert_eq!(
            verdict,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
            ))
        );
    }

    #[test]
    fn dates_count() {
        let pia = authority("Private Internet Access");
        let mut expired = leaf(Some("zurich406"), &[]);
        expired.not_before = date_time_ymd(2020, 1, 1);
        expired.not_after = date_time_ymd(2021, 1, 1);
        let verdict = verify(&pia, &expired, "zurich406");
        assert!(
            matches!(
                verdict,
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::ExpiredContext { .. }
                ))
            ),
            "{verdict:?}"
        );
    }

    #[test]
    fn an_authority_is_no_server() {
        let pia = authority("Private Internet Access");
        let mut params = leaf(Some("zurich406"), &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert!(verify(&pia, &params, "zurich406").is_err());
    }

    #[test]
    fn the_purpose_counts_where_it_is_given() {
        let pia = authority("Private Internet Access");
        let mut params = leaf(Some("zurich406"), &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert!(verify(&pia, &params, "zurich406").is_err());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(verify(&pia, &params, "zurich406"), Ok(()));
    }

    /// A leaf below an intermediate authority that `of_intermediate` may limit.
    fn below(
        root: &Authority,
        leaf: &CertificateParams,
        expected: &str,
        of_intermediate: impl FnOnce(&mut CertificateParams),
    ) -> Result<(), rustls::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "Intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_intermediate(&mut params);
        let key = KeyPair::generate().unwrap();
        let intermediate = params.signed_by(&key, &root.issuer).unwrap();
        let leaf = leaf
            .signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key))
            .unwrap();
        let verifier = PiaVerifier::new(roots_in(root.pem.as_bytes()).unwrap(), provider());
        let expected = ServerName::try_from(expected).unwrap();
        let chain = [intermediate.der().clone()];
        verifier
            .verify_server_cert(leaf.der(), &chain, &expected, &[], UnixTime::now())
            .map(drop)
    }

    fn only(name: &str) -> NameConstraints {
        NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(name.to_owned())],
            excluded_subtrees: Vec::new(),
        }
    }

    fn all_but(name: &str) -> NameConstraints {
        NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: vec![GeneralSubtree::DnsName(name.to_owned())],
        }
    }

    #[test]
    fn a_common_name_counts_only_where_pias_authority_itself_signed_it() {
        let pia = authority("Private Internet Access");
        let named = leaf(Some("zurich406"), &[]);
        let alternative = leaf(None, &["zurich406"]);
        assert!(below(&pia, &named, "zurich406", |_| ()).is_err());
        assert_eq!(below(&pia, &alternative, "zurich406", |_| ()), Ok(()));
    }

    #[test]
    fn name_constraints_bind_every_kind_of_name() {
        let pia = authority("Private Internet Access");
        for constraints in [only("customers.example"), all_but("zurich406")] {
            for leaf in [leaf(Some("zurich406"), &[]), leaf(None, &["zurich406"])] {
                let verdict = below(&pia, &leaf, "zurich406", |params| {
                    params.name_constraints = Some(constraints.clone());
                });
                assert!(verdict.is_err(), "{constraints:?}");
            }
        }
    }

    #[test]
    fn an_authority_with_name_constraints_vouches_for_no_common_name() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = Some(only("customers.example"));
        let pem = params.self_signed(&key).unwrap().pem();
        let limited = Authority {
            issuer: Issuer::new(params, key),
            pem,
        };
        assert!(verify(&limited, &leaf(Some("zurich406"), &[]), "zurich406").is_err());
        let inside = leaf(None, &["a.customers.example"]);
        assert_eq!(verify(&limited, &inside, "a.customers.example"), Ok(()));
    }

    #[test]
    fn the_key_usage_counts_where_it_is_given() {
        let pia = authority("Private Internet Access");
        for (usages, is_good) in [
            (vec![KeyUsagePurpose::KeyCertSign], false),
            (vec![KeyUsagePurpose::DataEncipherment], false),
            (vec![KeyUsagePurpose::KeyEncipherment], true),
            (vec![KeyUsagePurpose::KeyAgreement], true),
            (vec![KeyUsagePurpose::DigitalSignature], true),
            (
                vec![
                    KeyUsagePurpose::DigitalSignature,
                    KeyUsagePurpose::KeyEncipherment,
                ],
                true,
            ),
        ] {
            for mut leaf in [leaf(Some("zurich406"), &[]), leaf(None, &["zurich406"])] {
                leaf.key_usages = usages.clone();
                let verdict = verify(&pia, &leaf, "zurich406");
                assert_eq!(verdict.is_ok(), is_good, "{usages:?}: {verdict:?}");
            }
        }
    }

    #[test]
    fn an_unreadable_alternative_name_is_no_reason_to_trust_the_common_one() {
        let pia = authority("Private Internet Access");
        let mut params = leaf(Some("zurich406"), &[]);
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &[2, 5, 29, 17],
            vec![0x30, 0x03, 0x82, 0x05, 0x61],
        )];
        assert!(verify(&pia, &params, "zurich406").is_err());
    }

    #[test]
    fn several_authorities_may_be_in_the_file() {
        let (old, new) = (authority("Old"), authority("New"));
        let certificate = leaf(Some("zurich406"), &[])
            .signed_by(&KeyPair::generate().unwrap(), &new.issuer)
            .unwrap();
        assert_eq!(
            verify_der(
                &format!("{}{}", old.pem, new.pem),
                certificate.der(),
                "zurich406"
            ),
            Ok(())
        );
    }

    /// As PIA's real ones: RSA, SHA-512, an authority without keyUsage.
    #[test]
    fn rsa_certificates_without_key_usage_are_good() {
        let directory = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let command = Command::new("openssl", arguments.split(' ')).directory(directory.path());
            command.run(&CancellationToken::new()).unwrap()
        };
        let extensions = "basicConstraints=CA:TRUE\n";
        std::fs::write(
            directory.path().join("ca.conf"),
            format!("[req]\ndistinguished_name=dn\n[dn]\n[ca]\n{extensions}"),
        )
        .unwrap();
        openssl(
            "req -x509 -newkey rsa:2048 -nodes -sha512 -subj /CN=Private -config ca.conf \
             -extensions ca -keyout ca.key -out ca.crt",
        );
        openssl(
            "req -newkey rsa:2048 -nodes -config ca.conf -subj /C=US/CN=Server-12144-3a -keyout \
             leaf.key -out leaf.csr",
        );
        std::fs::write(
            directory.path().join("leaf.conf"),
            "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
        )
        .unwrap();
        openssl(
            "x509 -req -sha512 -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile \
             leaf.conf -outform DER -out leaf.crt",
        );
        let pem = std::fs::read_to_string(directory.path().join("ca.crt")).unwrap();
        let leaf = CertificateDer::from(std::fs::read(directory.path().join("leaf.crt")).unwrap());
        assert_eq!(verify_der(&pem, &leaf, "Server-12144-3a"), Ok(()));
        assert_wrong_name(verify_der(&pem, &leaf, "Server-12144-3b"));
    }
}
