//! A certificate authority and server certificates, made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::PeerError;

/// A private authority that no system trusts.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A server's certificate and key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
    /// The authority's certificate: who trusts it trusts the server.
    pub ca_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Authority, PeerError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "codex-e2e test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(|error| failed(&error))?;
        Ok(Authority { issuer })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for names and addresses such as `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn identity(&self, names: &[&str]) -> Result<Identity, PeerError> {
        self.issue(CertificateParams::new(to_owned(names)).map_err(|error| failed(&error))?)
    }

    /// As [`Authority::identity`], but it ran out at the end of 2020.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn expired_identity(&self, names: &[&str]) -> Result<Identity, PeerError> {
        let mut params = CertificateParams::new(to_owned(names)).map_err(|error| failed(&error))?;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 12, 31);
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Identity, PeerError> {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| failed(&error))?;
        Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), ca_pem: self.ca_pem() })
    }
}

impl Identity {
    /// A server certificate that signs for itself: who trusts it, `ca_pem`, trusts the server.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn self_signed(names: &[&str]) -> Result<Identity, PeerError> {
        let mut params = CertificateParams::new(to_owned(names)).map_err(|error| failed(&error))?;
        params.distinguished_name.push(DnType::CommonName, "codex-e2e self-signed server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let certificate = params.self_signed(&key).map_err(|error| failed(&error))?.pem();
        Ok(Identity { certificate_pem: certificate.clone(), key_pem: key.serialize_pem(), ca_pem: certificate })
    }
}

fn to_owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn failed(error: &rcgen::Error) -> PeerError {
    PeerError::Material { what: "certificate", problem: error.to_string() }
}
