//! The account: its token, stored from life to life, and the logins that a new one costs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::api_hosts::{ApiHosts, Service};
use super::credentials::{self, Missing};
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::account;
use crate::pia::credentials::{Credentials, Token};
use crate::pia::retry::RetryPolicy;
use crate::settings::CredentialSources;
use crate::system::cancellation::CancellationToken;
use crate::system::files;

/// A token that no server has taken yet, and that is refused so soon after PIA gave it, is not the
/// cause: another login would not help, and too many lock the account.
const LOGIN_INTERVAL: Duration = Duration::from_secs(900);
/// The same for the first such token: it may have lost its force while servers were silent.
const SECOND_LOGIN_INTERVAL: Duration = Duration::from_secs(10);

/// Credentials that were refused are not sent again by us before: it would lock the account. But
/// PIA has refused good ones for a while.
const REFUSED_LOGIN_INTERVAL: Duration = Duration::from_secs(3600);

/// For a login that can be done without.
const EARLY_LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The account token and how a new one is got. Clones are the same account; a login is made by one
/// thread at a time, and the others wait for what it brings.
#[derive(Clone)]
pub struct Account(Arc<AccountInner>);

struct AccountInner {
    hosts: Arc<ApiHosts>,
    retry: RetryPolicy,
    origin: TokenOrigin,
    state: Mutex<TokenSlot>,
    /// A login has ended.
    login_ended: Condvar,
}

/// Where tokens come from.
enum TokenOrigin {
    /// From the file, or by a login, whose token is stored there.
    Stored {
        file: PathBuf,
        sources: CredentialSources,
    },
    /// Given by hand: there is no other.
    Given,
}

#[derive(Default)]
struct TokenSlot {
    token: Option<Token>,
    /// What was last read from the file, or written to it.
    stored: Option<Token>,
    /// Why the stored one is of no use, as it was said.
    unusable: Option<String>,
    /// Until a server has taken the token.
    unproven: Option<Unproven>,
    is_logging_in: bool,
    refusal: Option<Refusal>,
}

/// A token that PIA gave and no server has taken yet.
#[derive(Clone, Copy)]
struct Unproven {
    since: Instant,
    /// The logins of late whose tokens were taken nowhere, with its own.
    logins: u32,
}

impl Unproven {
    /// After a login of now.
    fn after(before: Option<Self>, now: Instant) -> Self {
        let of_late = 2 * LOGIN_INTERVAL;
        let of_late = before.filter(|it| now.saturating_duration_since(it.since) < of_late);
        Self {
            since: now,
            logins: of_late.map_or(0, |it| it.logins).saturating_add(1),
        }
    }

    /// Whether another login would not help, should the token be refused now.
    fn is_new(self, now: Instant) -> bool {
        let interval = match self.logins {
            1 => SECOND_LOGIN_INTERVAL,
            _ => LOGIN_INTERVAL,
        };
        now.saturating_duration_since(self.since) < interval
    }
}

/// That PIA refused credentials.
struct Refusal {
    credentials: Credentials,
    at: Instant,
    failure: Failure,
}

impl Account {
    /// With the token in `file`, if there is one. Nothing is read before it is needed.
    pub fn new(
        hosts: Arc<ApiHosts>,
        retry: RetryPolicy,
        sources: CredentialSources,
        file: &Path,
    ) -> Self {
        let origin = TokenOrigin::Stored {
            file: file.to_owned(),
            sources,
        };
        Self::from_origin(hosts, retry, origin, None)
    }

    /// With this token and no other.
    pub fn with_token(hosts: Arc<ApiHosts>, retry: RetryPolicy, token: Token) -> Self {
        Self::from_origin(hosts, retry, TokenOrigin::Given, Some(token))
    }

    fn from_origin(
        hosts: Arc<ApiHosts>,
        retry: RetryPolicy,
        origin: TokenOrigin,
        token: Option<Token>,
    ) -> Self {
        let state = TokenSlot {
            token,
            ..TokenSlot::default()
        };
        Self(Arc::new(AccountInner {
            hosts,
            retry,
            origin,
            state: Mutex::new(state),
            login_ended: Condvar::new(),
        }))
    }

    /// The hosts that it is asked about.
    pub fn hosts(&self) -> &Arc<ApiHosts> {
        &self.0.hosts
    }

    /// The token in use or stored, if there is one.
    pub fn token(&self) -> Option<Token> {
        let mut state = self.lock();
        if state.token.is_none()
            && let TokenOrigin::Stored { file, .. } = &self.0.origin
        {
            match read_token(file) {
                Ok(token) => {
                    if token.is_some() {
                        log::info!("Using the stored token");
                    }
                    state.stored.clone_from(&token);
                    state.token = token;
                }
                Err(why) if state.unusable.as_ref() == Some(&why) => {}
                Err(why) => {
                    log::warn!("{why}");
                    state.unusable = Some(why);
                }
            }
        }
        state.token.clone()
    }

    /// Whether the token in use is so new, and as yet taken nowhere, that another login would not
    /// help.
    pub fn is_unproven(&self) -> bool {
        let unproven = self.lock().unproven;
        unproven.is_some_and(|it| it.is_new(Instant::now()))
    }

    /// Notes that this token was taken: should it be refused later, a new one will help.
    pub fn prove(&self, token: &Token) {
        let mut state = self.lock();
        if state.token.as_ref() == Some(token) {
            state.unproven = None;
        }
    }

    /// The user wants an attempt: credentials that were refused may be sent once more.
    pub fn forget_refusal(&self) {
        self.lock().refusal = None;
    }

    /// Why these credentials need not be sent.
    fn refusal_of(&self, credentials: &Credentials) -> Option<Failure> {
        let state = self.lock();
        let refusal = state.refusal.as_ref()?;
        let is_same = refusal.credentials == *credentials;
        let is_recent = refusal.at.elapsed() < REFUSED_LOGIN_INTERVAL;
        (is_same && is_recent).then(|| refusal.failure.clone())
    }

    /// A token in place of the `refused` one: that which another thread got meanwhile, else that
    /// which the user or another container has stored since, else by a login. The old one is kept
    /// until the new one is there.
    ///
    /// # Errors
    /// When the credentials are missing or refused, or PIA cannot be reached.
    pub fn renew(
        &self,
        refused: Option<&Token>,
        stop: &CancellationToken,
    ) -> Result<Token, Failure> {
        if let Some(token) = refused.and_then(|refused| self.stored_since(refused)) {
            return Ok(token);
        }
        let turn = self.take_turn(stop, |token| {
            refused.is_some_and(|refused| refused != token)
        })?;
        match turn {
            Some(token) => Ok(token),
            None => self.log_in_alone(|| self.log_in(&self.0.hosts, stop)),
        }
    }

    /// The stored token, from now on in use, where it was put there since that was last looked at:
    /// an older one stays there where a newer cannot be stored.
    fn stored_since(&self, refused: &Token) -> Option<Token> {
        let TokenOrigin::Stored { file, .. } = &self.0.origin else {
            return None;
        };
        let mut state = self.lock();
        if state.token.as_ref() != Some(refused) || state.is_logging_in {
            return None;
        }
        let stored = read_token(file).ok().flatten()?;
        if state.stored.as_ref() == Some(&stored) || stored == *refused {
            return None;
        }
        state.stored = Some(stored.clone());
        log::info!("Using the token that has been stored since");
        state.token = Some(stored.clone());
        state.unproven = None;
        Some(stored)
    }

    /// A new token while the old one is still good, by way of these hosts: one try. Credentials
    /// that were refused, however long ago, are not sent for that.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub fn renew_early(&self, hosts: &ApiHosts, stop: &CancellationToken) -> Result<(), Failure> {
        let before = self.token();
        let turn = self.take_turn(stop, |token| before.as_ref() != Some(token))?;
        if turn.is_some() {
            return Ok(());
        }
        self.log_in_alone(|| self.log_in_early(hosts, stop))
            .map(drop)
    }

    /// Waits for another thread's login. `None` if it is this one's turn; the token, if one came
    /// that `will_do`.
    fn take_turn(
        &self,
        stop: &CancellationToken,
        will_do: impl Fn(&Token) -> bool,
    ) -> Result<Option<Token>, Failure> {
        let _wake_up = {
            let shared = Arc::clone(&self.0);
            stop.on_cancel(move || {
                // Whoever is about to wait holds the lock until it does, so that none is missed.
                drop(shared.state.lock());
                shared.login_ended.notify_all();
            })
        };
        let mut state = self.lock();
        loop {
            stop.check()?;
            match &state.token {
                Some(token) if will_do(token) => return Ok(Some(token.clone())),
                _ if !state.is_logging_in => break,
                _ => {}
            }
            let woken = self.0.login_ended.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_logging_in = true;
        Ok(None)
    }

    /// Notes what comes of a login, and lets the next thread have its turn.
    fn log_in_alone(
        &self,
        log_in: impl FnOnce() -> Result<Token, Failure>,
    ) -> Result<Token, Failure> {
        let outcome = log_in();
        let mut state = self.lock();
        state.is_logging_in = false;
        if let Ok(token) = &outcome {
            state.token = Some(token.clone());
            state.unproven = Some(Unproven::after(state.unproven, Instant::now()));
        }
        drop(state);
        self.0.login_ended.notify_all();
        outcome
    }

    fn log_in(&self, hosts: &ApiHosts, stop: &CancellationToken) -> Result<Token, Failure> {
        let (file, credentials) = self.credentials()?;
        if let Some(failure) = self.refusal_of(&credentials) {
            return Err(failure);
        }
        log::info!("Logging in to PIA");
        let token = self.ask_for_token(hosts, credentials, &self.0.retry, stop)?;
        log::info!("Got a new token");
        self.store(&token, file);
        Ok(token)
    }

    fn log_in_early(&self, hosts: &ApiHosts, stop: &CancellationToken) -> Result<Token, Failure> {
        let (file, credentials) = self.credentials()?;
        if let Some(refusal) = &self.lock().refusal
            && refusal.credentials == credentials
        {
            return Err(refusal.failure.clone());
        }
        let retry = self.0.retry.briefly(EARLY_LOGIN_TIMEOUT);
        let token = self.ask_for_token(hosts, credentials, &retry, stop)?;
        self.store(&token, file);
        Ok(token)
    }

    fn store(&self, token: &Token, file: &Path) {
        if store_token(token, file) {
            self.lock().stored = Some(token.clone());
        }
    }

    fn credentials(&self) -> Result<(&Path, Credentials), Failure> {
        let TokenOrigin::Stored { file, sources } = &self.0.origin else {
            return Err(Failure::new(
                FailureKind::Login,
                Retry::Never,
                "the account token is refused: get a new one with `wireguard-pia auth`",
            ));
        };
        Ok((file, credentials_for_login(sources, file)?))
    }

    fn ask_for_token(
        &self,
        hosts: &ApiHosts,
        credentials: Credentials,
        retry: &RetryPolicy,
        stop: &CancellationToken,
    ) -> Result<Token, Failure> {
        let _opening = hosts.gate().open();
        let host = hosts.service_patiently(Service::Account, retry, stop)?;
        let host = hosts.at_each_try(Service::Account, host, stop);
        account::log_in(host, &credentials, retry, stop).map_err(|error| {
            hosts.doubt_after(&error, Service::Account);
            let is_refusal = error.are_credentials_refused();
            let failure = Failure::from(error);
            self.lock().refusal = is_refusal.then(|| Refusal {
                credentials,
                at: Instant::now(),
                failure: failure.clone(),
            });
            failure
        })
    }

    fn lock(&self) -> MutexGuard<'_, TokenSlot> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stored token, if there is one, or why it is of no use.
fn read_token(file: &Path) -> Result<Option<Token>, String> {
    let text = files::read_stored(file);
    let text = text.map_err(|error| format!("{error}; a new token is fetched"))?;
    let Some(text) = text else { return Ok(None) };
    match Token::parse(&text) {
        Ok(token) => {
            // Users' scripts read the file, too, and curl's `name@file` would send the newline.
            if token.expose() != text
                && let Err(error) = files::replace(file, token.expose().as_bytes(), 0o600)
            {
                log::warn!("{error}; the stored token keeps its newline");
            }
            Ok(Some(token))
        }
        Err(error) => Err(format!("{}: {error}; a new one is fetched", file.display())),
    }
}

/// Whether it is stored.
fn store_token(token: &Token, file: &Path) -> bool {
    let written = file
        .parent()
        .map_or(Ok(()), files::make_directory)
        .and_then(|()| files::replace(file, token.expose().as_bytes(), 0o600));
    if let Err(error) = &written {
        log::warn!(
            "{error}; the token is kept in memory only, and the next start needs the credentials \
             again"
        );
    }
    written.is_ok()
}

fn credentials_for_login(sources: &CredentialSources, file: &Path) -> Result<Credentials, Failure> {
    credentials::read(sources).map_err(|missing| {
        let mut variables = Vec::new();
        for what in missing {
            variables.push(match what {
                Missing::User => "USER (or USER_FILE)",
                Missing::Password => "PASS (or PASS_FILE)",
            });
        }
        let text = format!(
            "a new token is needed, as none is stored in {} or it is refused, and the credentials \
             for one are missing: set {}",
            file.display(),
            variables.join(" and ")
        );
        Failure::new(FailureKind::Login, Retry::Never, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::gate::Gate;
    use crate::system::secret::Secret;
    use crate::underlay::name_servers::NameServers;
    use crate::underlay::resolver::Resolver;
    use crate::underlay::socket::Via;

    fn hosts() -> Arc<ApiHosts> {
        let resolver = Resolver::new(NameServers::default(), Via::Routing);
        let ca_file = PathBuf::from("/nonexistent");
        Arc::new(ApiHosts::new(
            None,
            resolver,
            Via::Routing,
            ca_file,
            Gate::Open,
        ))
    }

    fn account(file: &Path, sources: CredentialSources) -> Account {
        Account::new(hosts(), RetryPolicy::once(Duration::ZERO), sources, file)
    }

    #[test]
    fn a_token_is_stored_without_newline_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".token");
        std::fs::write(&file, "old\n").unwrap();
        let account = account(&file, CredentialSources::default());
        assert_eq!(account.token().unwrap().expose(), "old");
        store_token(&Token::parse("new").unwrap(), &file);
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_token_that_has_been_stored_since_needs_no_login() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".token");
        std::fs::write(&file, "old").unwrap();
        let account = account(&file, CredentialSources::default());
        let old = account.token().unwrap();
        let stop = CancellationToken::new();
        let renewed = || {
            account
                .renew(Some(&old), &stop)
                .map(|token| token.expose().to_owned())
        };
        assert!(renewed().is_err());
        std::fs::write(&file, "byhand").unwrap();
        assert_eq!(renewed().as_deref(), Ok("byhand"));
        assert_eq!(account.token().unwrap().expose(), "byhand");
        // A login whose token could not be stored.
        let newer = Token::parse("newer").unwrap();
        account.lock().token = Some(newer.clone());
        assert!(account.renew(Some(&newer), &stop).is_err());
    }

    #[test]
    fn missing_credentials_are_named() {
        let sources = CredentialSources {
            user: Some(Secret::new("p1")),
            ..CredentialSources::default()
        };
        let account = account(Path::new("/nonexistent/.token"), sources);
        let failure = account.renew(None, &CancellationToken::new()).unwrap_err();
        assert_eq!(failure.retry, Retry::Never);
        assert!(
            failure.text.ends_with("set PASS (or PASS_FILE)"),
            "{failure}"
        );
    }

    #[test]
    fn refused_credentials_are_not_sent_again_unless_they_change_or_the_user_wants_it() {
        let sources = |password: &str| CredentialSources {
            user: Some(Secret::new("p1")),
            password: Some(Secret::new(password)),
            ..CredentialSources::default()
        };
        let refused = || {
            let account = account(Path::new("/nonexistent/.token"), sources("wrong"));
            account.lock().refusal = Some(Refusal {
                credentials: credentials::read(&sources("wrong")).unwrap(),
                at: Instant::now(),
                failure: Failure::new(FailureKind::Login, Retry::Never, "refused"),
            });
            account
        };
        // There is no network here, so an attempt fails by another reason.
        let why = |account: &Account| account.renew(None, &CancellationToken::new()).unwrap_err();
        let now = refused();
        assert_eq!(why(&now).text, "refused");
        assert_eq!(why(&now).text, "refused");
        now.forget_refusal();
        assert_eq!(why(&now).kind, FailureKind::Network);
        // What can be done without is not done with them at all.
        let early = |account: &Account| {
            let stop = CancellationToken::new();
            account.renew_early(&hosts(), &stop).unwrap_err()
        };
        let long_ago = refused();
        let hours = REFUSED_LOGIN_INTERVAL * 2;
        long_ago.lock().refusal.as_mut().unwrap().at = Instant::now().checked_sub(hours).unwrap();
        assert_eq!(early(&long_ago).text, "refused");
        assert_eq!(why(&long_ago).kind, FailureKind::Network);
        let wrong = credentials::read(&sources("wrong")).unwrap();
        let other = credentials::read(&sources("other")).unwrap();
        let now = refused();
        assert!(now.refusal_of(&wrong).is_some() && now.refusal_of(&other).is_none());
    }

    #[test]
    fn a_token_that_no_server_takes_costs_a_second_login_soon_and_further_ones_rarely() {
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let first = Unproven::after(None, start);
        assert!(first.is_new(seconds(9)) && !first.is_new(seconds(10)));
        let second = Unproven::after(Some(first), seconds(20));
        assert!(second.is_new(seconds(919)) && !second.is_new(seconds(920)));
        let third = Unproven::after(Some(second), seconds(920));
        assert!(third.is_new(seconds(940)));
        // Tokens that nobody was shown, as renewals beside a tunnel bring them, say nothing.
        let renewed = Unproven::after(Some(third), seconds(20_000));
        assert!(!renewed.is_new(seconds(20_010)));
    }

    #[test]
    fn what_another_thread_got_meanwhile_needs_no_login() {
        let token = |text: &str| Token::parse(text).unwrap();
        let account = Account::with_token(hosts(), RetryPolicy::once(Duration::ZERO), token("new"));
        let stop = CancellationToken::new();
        assert_eq!(
            account.renew(Some(&token("old")), &stop).unwrap(),
            token("new")
        );
        let failure = account.renew(Some(&token("new")), &stop).unwrap_err();
        assert!(failure.text.contains("wireguard-pia auth"), "{failure}");
    }

    #[test]
    fn the_wait_for_another_threads_login_ends_with_a_stop() {
        let account = account(
            Path::new("/nonexistent/.token"),
            CredentialSources::default(),
        );
        account.lock().is_logging_in = true;
        let (stop, waiting) = (CancellationToken::new(), account.clone());
        let waiting_stop = stop.clone();
        let thread = std::thread::spawn(move || waiting.renew(None, &waiting_stop));
        stop.cancel();
        assert!(thread.join().unwrap().unwrap_err().is_cancelled());
    }
}
