//! The account token of one search for a server.

use super::account::Account;
use crate::failure::{Failure, Retry};
use crate::pia::credentials::Token;
use crate::system::cancellation::CancellationToken;

/// One stored since, and one of a login.
const MAX_RENEWALS: usize = 2;

/// The token that a search makes its requests with; renewed at most once by a login.
pub(super) struct SearchToken<'a> {
    account: &'a Account,
    token: Token,
    /// Whether another login could not help, as this token has just been got by one.
    is_new: bool,
    /// Why there is no new token now. Nobody is asked for one again in this search.
    no_login: Option<Failure>,
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
            no_login: None,
        })
    }

    /// Why there is no new token, where the old one was refused.
    pub(super) fn no_login(&self) -> Option<&Failure> {
        self.no_login.as_ref()
    }

    /// Why a refusal was not met by a login, for a request that nobody else can be asked: the
    /// login's failure, or that the new token will be good later.
    pub(super) fn for_want_of_token(&self, failure: Failure) -> Failure {
        if failure.retry != Retry::LogIn {
            return failure;
        }
        match &self.no_login {
            Some(login) => login.clone().with_answer(true),
            None => failure.with_retry(Retry::Later(None)),
        }
    }

    /// Makes a request, and once more with a new token where the old one is refused: one that has
    /// been stored since, and where that is refused as well, one of a login.
    ///
    /// # Errors
    /// The request's failure. [`Retry::LogIn`] means that the token is new and refused all the
    /// same, or old, and [`Self::no_login`] says why it still is.
    pub(super) fn request<T>(
        &mut self,
        stop: &CancellationToken,
        mut request: impl FnMut(&Token) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut outcome = request(&self.token);
        for _ in 0..MAX_RENEWALS {
            let is_refused = matches!(&outcome, Err(failure) if failure.retry == Retry::LogIn);
            if !is_refused || self.is_new || self.no_login.is_some() {
                break;
            }
            log::info!("The token is refused; logging in again");
            match self.account.renew(Some(&self.token), stop) {
                Ok(token) => {
                    self.token = token;
                    self.is_new = self.account.is_unproven();
                    outcome = request(&self.token);
                }
                Err(login) if login.is_cancelled() => return Err(login),
                // Another server may take the old one.
                Err(login) => {
                    log::warn!("{login}");
                    self.no_login = Some(login);
                }
            }
        }
        if outcome.is_ok() {
            self.account.prove(&self.token);
        }
        outcome
    }
}
