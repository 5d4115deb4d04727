//! The account token of one search for a server.

use super::account::Account;
use crate::failure::{Failure, Retry};
use crate::pia::credentials::Token;
use crate::system::cancellation::CancellationToken;

/// The token that a search makes its requests with; renewed at most once.
pub(super) struct SearchToken<'a> {
    account: &'a Account,
    token: Token,
    /// Whether another login could not help, as this token has just been got by one.
    is_new: bool,
}

impl<'a> SearchToken<'a> {
    /// The token in use or stored, else a new one.
    pub(super) fn of(account: &'a Account, stop: &CancellationToken) -> Result<Self, Failure> {
        let (token, is_new) = match account.token() {
            Some(token) => (token, account.is_unproven()),
            None => (account.renew(None, stop)?, true),
        };
        Ok(Self {
            account,
            token,
            is_new,
        })
    }

    /// Makes a request, and once more with a new token where the old one is refused.
    ///
    /// # Errors
    /// The request's failure, or why there is no new token. [`Retry::LogIn`] means that the token
    /// is new and refused all the same.
    pub(super) fn request<T>(
        &mut self,
        stop: &CancellationToken,
        mut request: impl FnMut(&Token) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut outcome = request(&self.token);
        if let Err(failure) = &outcome
            && failure.retry == Retry::LogIn
            && !self.is_new
        {
            log::info!("The token is refused; logging in again");
            self.token = self.account.renew(Some(&self.token), stop)?;
            self.is_new = true;
            outcome = request(&self.token);
        }
        if outcome.is_ok() {
            self.account.prove(&self.token);
        }
        outcome
    }
}
