//! Fresh key pairs.

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::secret::Secret;

/// A WireGuard key pair.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Base64, as wg(8) writes it.
    pub private: Secret,
    /// Base64, as wg(8) writes it.
    pub public: String,
}

impl KeyPair {
    /// A new one, made by `wg genkey` and `wg pubkey`; the private key travels by standard input.
    ///
    /// # Errors
    /// When `wg` is missing or fails.
    pub fn generate(stop: &CancellationToken) -> Result<Self, CommandError> {
        let private = Command::new("wg", ["genkey"]).run(stop)?.trim().to_owned();
        let public = Command::new("wg", ["pubkey"])
            .input(private.clone())
            .run(stop)?
            .trim()
            .to_owned();
        Ok(Self {
            private: Secret::new(private),
            public,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fresh_and_of_the_right_length() {
        let (one, two) = (
            KeyPair::generate(&CancellationToken::new()).unwrap(),
            KeyPair::generate(&CancellationToken::new()).unwrap(),
        );
        assert_eq!((one.public.len(), one.private.expose().len()), (44, 44));
        assert_ne!(one.public, two.public);
        assert!(!format!("{one:?}").contains(one.private.expose()));
    }
}
