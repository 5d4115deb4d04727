//! Fresh key pairs.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use x25519_dalek::{PublicKey, StaticSecret};

use super::WireGuardError;
use crate::system::secret::Secret;

/// Bytes of a key, of either kind.
const KEY_LENGTH: usize = 32;

/// A WireGuard key pair.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Base64, as wg(8) writes it.
    pub private: Secret,
    /// Base64, as wg(8) writes it.
    pub public: String,
}

impl KeyPair {
    /// A new one, made here and not by wg(8): a registration costs two processes less.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn generate() -> Result<Self, WireGuardError> {
        let mut bytes = [0; KEY_LENGTH];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|Unspecified| WireGuardError::Random)?;
        Ok(Self::of(bytes))
    }

    /// The pair of these random bytes, with the bits set that every key of the curve has (RFC 7748,
    /// section 5), as `wg genkey` does.
    fn of(mut bytes: [u8; KEY_LENGTH]) -> Self {
        let [first, .., last] = &mut bytes;
        *first &= 0b1111_1000;
        *last = *last & 0b0111_1111 | 0b0100_0000;
        let public = PublicKey::from(&StaticSecret::from(bytes));
        Self {
            private: Secret::new(BASE64_STANDARD.encode(bytes)),
            public: BASE64_STANDARD.encode(public.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cancellation::CancellationToken;
    use crate::system::command::Command;

    #[test]
    fn keys_are_fresh_and_of_the_right_length() {
        let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        assert_eq!((one.public.len(), one.private.expose().len()), (44, 44));
        assert_ne!(one.public, two.public);
        assert!(!format!("{one:?}").contains(one.private.expose()));
    }

    /// Whatever wg-quick hands to WireGuard is what the server knows.
    #[test]
    fn wg_makes_the_same_public_key() {
        for pair in [
            KeyPair::of([0; KEY_LENGTH]),
            KeyPair::of([0xff; KEY_LENGTH]),
            KeyPair::generate().unwrap(),
        ] {
            let public = Command::new("wg", ["pubkey"])
                .input(pair.private.expose())
                .run(&CancellationToken::never())
                .unwrap();
            assert_eq!(public.trim(), pair.public);
        }
    }
}
