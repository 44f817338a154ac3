//! restic's sealing: nonce, AES-256-CTR, and Poly1305-AES over what that gives.

use aws_lc_rs::cipher::{AES_128, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

const NONCE_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// What sealing adds.
pub(crate) const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// It was sealed under another key, or is not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not what was sealed under this key")]
pub(crate) struct Broken;

/// The three parts of a key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyParts {
    pub(crate) encrypt: [u8; 32],
    pub(crate) mac_k: [u8; 16],
    pub(crate) mac_r: [u8; 16],
}

pub(crate) struct Cipher {
    content: DecryptingKey,
    nonce: EncryptingKey,
    parts: KeyParts,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    pub(crate) fn new(parts: KeyParts) -> Result<Self, Broken> {
        let key = |algorithm, bytes: &[u8]| UnboundCipherKey::new(algorithm, bytes).map_err(|_| Broken);
        let content = DecryptingKey::ctr(key(&AES_256, &parts.encrypt)?).map_err(|_| Broken)?;
        let nonce = EncryptingKey::ecb(key(&AES_128, &parts.mac_k)?).map_err(|_| Broken)?;
        Ok(Self { content, nonce, parts })
    }

    /// Opens in place; the plain bytes are a part of the sealed ones.
    pub(crate) fn open<'s>(&self, sealed: &'s mut [u8]) -> Result<&'s mut [u8], Broken> {
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_BYTES>().ok_or(Broken)?;
        let (body, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(Broken)?;
        verify_slices_are_equal(&self.tag(nonce, body)?, tag).map_err(|_| Broken)?;
        // Nothing sealed: the cipher takes no empty slice.
        if body.is_empty() {
            return Ok(body);
        }
        self.content.decrypt(body, DecryptionContext::Iv128(FixedLength::from(*nonce))).map_err(|_| Broken)
    }

    /// Under a nonce that is always the same: for forgeries of tests.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let nonce = [7; NONCE_BYTES];
        let mut body = plain.to_vec();
        let sealed = self.content.decrypt(&mut body, DecryptionContext::Iv128(FixedLength::from(nonce))).map(|_| ());
        let tag = sealed.map_err(|_| Broken).and_then(|()| self.tag(&nonce, &body)).unwrap_or_default();
        [&nonce[..], &body, &tag].concat()
    }

    fn tag(&self, nonce: &[u8; NONCE_BYTES], body: &[u8]) -> Result<[u8; TAG_BYTES], Broken> {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.parts.mac_r);
        key[16..].copy_from_slice(nonce);
        self.nonce.less_safe_encrypt(&mut key[16..], EncryptionContext::None).map_err(|_| Broken)?;
        let tag = Poly1305::new(&key.into()).compute_unpadded(body);
        key.zeroize();
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_slice());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From D. J. Bernstein's paper on Poly1305-AES, as restic's own tests have it.
    #[test]
    fn poly1305_aes_is_the_papers() {
        let hex = |text: &str| -> Vec<u8> { (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect() };
        for (message, k, r, nonce, tag) in [
            ("f3f6", "ec074c835580741701425b623235add6", "851fc40c3467ac0be05cc20404f3f700", "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de"),
            ("", "75deaa25c09f208e1dc4ce6b5cad3fbf", "a0f3080000f46400d0c7e9076c834403", "61ee09218d29b0aaed7e154a2c5509cc", "dd3fab2251f11ac759f0887129cc2ee7"),
        ] {
            let parts = KeyParts { encrypt: [0; 32], mac_k: hex(k).try_into().unwrap(), mac_r: hex(r).try_into().unwrap() };
            let cipher = Cipher::new(parts).unwrap();
            assert_eq!(cipher.tag(&hex(nonce).try_into().unwrap(), &hex(message)).unwrap().to_vec(), hex(tag));
        }
    }

    #[test]
    fn what_is_too_short_or_changed_is_refused() {
        let cipher = Cipher::new(KeyParts { encrypt: [1; 32], mac_k: [2; 16], mac_r: [3; 16] }).unwrap();
        for length in [0, 15, 31, 32, 100] {
            assert_eq!(cipher.open(&mut vec![0; length]).unwrap_err(), Broken);
        }
    }
}
