//! The certificate authority that agents trust, and its rotation.
//!
//! A new authority is published beside the old one first, signs only when every agent has had time to read the bundle
//! again, and the old one stays published until nothing it signed can still be in use.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::TlsError;

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// An authority lives two years; its successor is made when a third of that is left.
const LIFE_DAYS: i32 = 730;
const SUCCESSOR_DAYS: i32 = 487;
/// A successor is published this long before it signs: agents read the bundle at each dial, the kubelet refreshes a
/// ConfigMap volume within minutes.
const PUBLISH_DAYS: i32 = 1;
/// Leaf certificates live this long, and are made anew at every start and every third of it.
pub const LEAF_DAYS: i32 = 30;

/// One authority.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: Zeroizing<String>,
    /// When it was made.
    pub created: Timestamp,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("created", &self.created).finish_non_exhaustive()
    }
}

/// All authorities that are known, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Authorities(pub Vec<Authority>);

/// The UTC date `days` from `at`, as rcgen takes it: certificates need no finer border.
fn date(at: Timestamp, days: i32) -> (i32, u8, u8) {
    let shifted = at.checked_add(DAY * days).unwrap_or(at);
    let date = shifted.to_zoned(TimeZone::UTC).date();
    (i32::from(date.year()), u8::try_from(date.month()).unwrap_or(1), u8::try_from(date.day()).unwrap_or(1))
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i32) {
    let ((year, month, day), (end_year, end_month, end_day)) = (date(now, -2), date(now, days));
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(end_year, end_month, end_day);
}

impl Authority {
    /// A new one.
    pub fn create(now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let params = Self::params(now)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: Zeroizing::new(key.serialize_pem()), created: now })
    }

    /// Everything but the key follows from when it was made: signing needs no parser for the certificate.
    fn params(created: Timestamp) -> Result<CertificateParams, TlsError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("holdfast {}", created.as_second()));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, created, LIFE_DAYS);
        Ok(params)
    }

    /// A server certificate for `names`, and its key.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<(Certificate, KeyPair), TlsError> {
        let issuer = Issuer::new(Self::params(self.created)?, KeyPair::from_pem(&self.key_pem)?);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "holdfast-controller");
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_DAYS);
        Ok((params.signed_by(&key, &issuer)?, key))
    }

    fn age_days(&self, now: Timestamp) -> i64 {
        now.duration_since(self.created).as_hours() / 24
    }
}

impl Authorities {
    /// Drops those whose certificates are over, and adds a successor when it is time. Says whether anything changed.
    pub fn rotate(&mut self, now: Timestamp) -> Result<bool, TlsError> {
        let before = self.0.len();
        self.0.retain(|authority| authority.age_days(now) < i64::from(LIFE_DAYS));
        let mut changed = self.0.len() != before;
        if self.0.last().is_none_or(|newest| newest.age_days(now) >= i64::from(SUCCESSOR_DAYS)) {
            self.0.push(Authority::create(now)?);
            changed = true;
        }
        Ok(changed)
    }

    /// The one that signs: the newest that has been published for long enough, or the only one.
    pub fn signer(&self, now: Timestamp) -> Option<&Authority> {
        let published = self.0.iter().rev().find(|authority| authority.age_days(now) >= i64::from(PUBLISH_DAYS));
        published.or_else(|| self.0.first())
    }

    /// What agents trust: all of them.
    pub fn bundle_pem(&self) -> String {
        self.0.iter().map(|authority| authority.certificate_pem.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(now: Timestamp, days: i32) -> Timestamp {
        now.checked_add(DAY * days).unwrap()
    }

    #[test]
    fn rotation_publishes_before_it_signs_and_keeps_the_old_one() {
        let start: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let mut authorities = Authorities::default();
        assert!(authorities.rotate(start).unwrap());
        assert!(!authorities.rotate(later(start, 100)).unwrap());
        let first = authorities.signer(start).unwrap().created;

        let renewal = later(start, SUCCESSOR_DAYS);
        assert!(authorities.rotate(renewal).unwrap());
        assert_eq!(authorities.0.len(), 2);
        assert_eq!(authorities.signer(renewal).unwrap().created, first, "the new one signs before agents know it");
        assert_eq!(authorities.bundle_pem().matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(authorities.signer(later(renewal, PUBLISH_DAYS)).unwrap().created, renewal);

        assert!(authorities.rotate(later(start, LIFE_DAYS)).unwrap());
        assert_eq!(authorities.0.len(), 1);
    }

    #[test]
    fn debug_prints_no_key() {
        let authority = Authority::create(Timestamp::UNIX_EPOCH).unwrap();
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
