//! What proves the account: a user name with its password, or a token. Where they come from is not
//! known here.

use crate::system::secret::Secret;

/// A user name and its password, sent as they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: Secret,
    pub password: Secret,
}

/// A token holds white space, control characters or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is empty or has characters that no token has")]
pub struct BadToken;

/// An account token: proves the account for a day, often longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(Secret);

impl Token {
    /// A trailing newline, which older files have, is cut.
    ///
    /// # Errors
    /// When this can be no token, nor the value of a header.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || !text.chars().all(|letter| letter.is_ascii_graphic()) {
            return Err(BadToken);
        }
        Ok(Self(Secret::new(text)))
    }

    /// For the file and the requests.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The token as a secret, to mask it in texts.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_newline_is_cut() {
        assert_eq!(Token::parse("abc\r\n").unwrap().expose(), "abc");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for bad in ["", "\n", "a b", "a\nb", "a\0b", "é"] {
            assert_eq!(Token::parse(bad), Err(BadToken), "{bad:?}");
        }
    }

    #[test]
    fn it_is_masked() {
        assert_eq!(format!("{:?}", Token::parse("abc")), "Ok(Token(***))");
    }
}
