//! The account token of one search for a server.

use super::account::Account;
use crate::failure::{Failure, Retry};
use crate::pia::credentials::Token;
use crate::system::cancellation::CancellationToken;

/// One stored since, and one of a login.
const MAX_RENEWALS: u32 = 2;

/// The token that a search makes its requests with; renewed at most once by a login.
pub(super) struct SearchToken<'a> {
    account: &'a Account,
    token: Token,
    /// Whether another login could not help, as this token has just been got by one.
    is_new: bool,
    /// Why there is no new token now. Nobody is asked for one again in this search.
    no_login: Option<Failure>,
    renewals: u32,
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
            renewals: 0,
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
        loop {
            let used = self.token.clone();
            match request(&used) {
                Err(failure) if failure.retry == Retry::LogIn && self.replace(&used, stop)? => {}
                outcome => {
                    if outcome.is_ok() {
                        self.prove(&used);
                    }
                    return outcome;
                }
            }
        }
    }

    /// What requests are made with now.
    pub(super) fn current(&self) -> &Token {
        &self.token
    }

    /// A request with this token has succeeded.
    pub(super) fn prove(&self, token: &Token) {
        self.account.prove(token);
    }

    /// Whether there is another token in place of this one, which was refused: one that has come
    /// meanwhile, or has been stored since, and where that is refused as well, one of a login.
    ///
    /// # Errors
    /// When a stop was asked for.
    pub(super) fn replace(
        &mut self,
        refused: &Token,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        if self.token != *refused {
            return Ok(true);
        }
        if self.is_new || self.no_login.is_some() || self.renewals == MAX_RENEWALS {
            return Ok(false);
        }
        log::info!("The token is refused; logging in again");
        self.renewals = self.renewals.saturating_add(1);
        match self.account.renew(Some(refused), stop) {
            Ok(token) => {
                self.token = token;
                self.is_new = self.account.is_unproven();
                Ok(true)
            }
            Err(login) if login.is_cancelled() => Err(login),
            // Another server may take the old one.
            Err(login) => {
                log::warn!("{login}");
                self.no_login = Some(login);
                Ok(false)
            }
        }
    }
}
