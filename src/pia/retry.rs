//! Trying a call again, as `CURL_RETRY`, `CURL_RETRY_DELAY` and `CURL_MAX_TIME` say. What is called
//! is not known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::{Duration, Instant};

use super::error::{ApiError, ApiErrorKind};
use crate::system::cancellation::CancellationToken;

/// How long a single try may last when there is time for more.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);

/// How persistent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub retries: u32,
    /// Between two tries.
    pub delay: Duration,
    /// For all tries and pauses together; zero means no limit, as curl has it.
    pub max_time: Duration,
}

impl RetryPolicy {
    /// One try of at most `max_time`.
    pub const fn once(max_time: Duration) -> Self {
        Self {
            retries: 0,
            delay: Duration::ZERO,
            max_time,
        }
    }

    /// One try of at most `most`, and no longer than all tries together may take: for what can be
    /// done without.
    pub fn briefly(&self, most: Duration) -> Self {
        Self::once(if self.max_time.is_zero() {
            most
        } else {
            most.min(self.max_time)
        })
    }

    /// How long all tries take where each fails at once: so long what a request needs, such as its
    /// host's address, is waited for.
    pub fn patience(&self) -> Duration {
        let pauses = self.delay.saturating_mul(self.retries);
        if self.max_time.is_zero() {
            pauses
        } else {
            pauses.min(self.max_time)
        }
    }

    /// Calls `attempt` with the time that it may take and the failure before it, again as long as
    /// it fails for a passing reason.
    pub(super) fn run<T>(
        &self,
        stop: &CancellationToken,
        mut attempt: impl FnMut(Duration, Option<&ApiError>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let started = Instant::now();
        let mut tries = 0_u32;
        let mut before = None;
        loop {
            let timeout = self.time_for_one(started.elapsed());
            let mut error = match attempt(timeout, before.as_ref()) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            tries = tries.saturating_add(1);
            error.tries = tries;
            let Some(pause) = self.pause(tries, started.elapsed(), &error) else {
                return Err(error);
            };
            log::warn!("{error}. Trying again in {} s", pause.as_secs());
            if stop.pause(pause).is_err() {
                error.kind = ApiErrorKind::Stopped;
                return Err(error);
            }
            before = Some(error);
        }
    }

    /// The pause before the next try; `None` if there is none.
    fn pause(&self, tries: u32, elapsed: Duration, error: &ApiError) -> Option<Duration> {
        if tries > self.retries || !error.is_transient() {
            return None;
        }
        let pause = match error.kind {
            ApiErrorKind::RateLimited {
                retry_after: Some(after),
            } => after.max(self.delay),
            _ => self.delay,
        };
        let end = elapsed.saturating_add(pause);
        (self.max_time.is_zero() || end < self.max_time).then_some(pause)
    }

    fn time_for_one(&self, elapsed: Duration) -> Duration {
        match (self.retries, self.max_time) {
            (_, Duration::ZERO) => TRY_TIMEOUT,
            (0, max_time) => max_time,
            (_, max_time) => max_time
                .saturating_sub(elapsed)
                .min(TRY_TIMEOUT.max(max_time.checked_div(4).unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::error::Call;

    const RETRY: RetryPolicy = RetryPolicy {
        retries: 2,
        delay: Duration::from_secs(5),
        max_time: Duration::from_secs(120),
    };

    fn error(failure: ApiErrorKind) -> ApiError {
        ApiError {
            call: Call::Token,
            host: "host".into(),
            kind: failure,
            tries: 0,
        }
    }

    fn pause(tries: u32, elapsed: u64, failure: ApiErrorKind) -> Option<u64> {
        RETRY
            .pause(tries, Duration::from_secs(elapsed), &error(failure))
            .map(|pause| pause.as_secs())
    }

    #[test]
    fn only_what_passes_is_tried_again_and_only_so_often() {
        assert_eq!(
            pause(1, 0, ApiErrorKind::ServerTrouble { status: 503 }),
            Some(5)
        );
        assert_eq!(
            pause(2, 0, ApiErrorKind::ServerTrouble { status: 503 }),
            Some(5)
        );
        assert_eq!(
            pause(3, 0, ApiErrorKind::ServerTrouble { status: 503 }),
            None
        );
        assert_eq!(
            pause(1, 116, ApiErrorKind::ServerTrouble { status: 503 }),
            None
        );
        assert_eq!(
            pause(1, 0, ApiErrorKind::CredentialsRefused { status: 401 }),
            None
        );
        assert_eq!(
            pause(
                1,
                0,
                ApiErrorKind::LockedOut {
                    message: String::new()
                }
            ),
            None
        );
    }

    #[test]
    fn the_server_may_ask_for_a_longer_pause_within_the_limit() {
        let limited = |seconds| ApiErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(pause(1, 0, limited(30)), Some(30));
        assert_eq!(pause(1, 0, limited(1)), Some(5));
        assert_eq!(pause(1, 0, limited(600)), None);
        assert_eq!(pause(1, 1, limited(u64::MAX)), None);
        assert_eq!(
            pause(1, 0, ApiErrorKind::RateLimited { retry_after: None }),
            Some(5)
        );
    }

    #[test]
    fn a_pause_beyond_all_numbers_is_no_reason_to_fall_over() {
        let endless = RetryPolicy {
            delay: Duration::MAX,
            max_time: Duration::ZERO,
            ..RETRY
        };
        let trouble = error(ApiErrorKind::ServerTrouble { status: 503 });
        let second = Duration::from_secs(1);
        assert_eq!(endless.pause(1, second, &trouble), Some(Duration::MAX));
        let limited = RetryPolicy {
            max_time: Duration::MAX,
            ..endless
        };
        assert_eq!(limited.pause(1, second, &trouble), None);
    }

    #[test]
    fn one_try_does_not_use_up_all_the_time() {
        assert_eq!(RETRY.time_for_one(Duration::ZERO), TRY_TIMEOUT);
        assert_eq!(
            RETRY.time_for_one(Duration::from_secs(110)),
            Duration::from_secs(10)
        );
        assert_eq!(
            RetryPolicy::once(Duration::from_secs(7)).time_for_one(Duration::ZERO),
            Duration::from_secs(7)
        );
        let seconds = |limit, most| {
            let all = RetryPolicy {
                max_time: Duration::from_secs(limit),
                ..RETRY
            };
            all.briefly(Duration::from_secs(most))
                .time_for_one(Duration::ZERO)
                .as_secs()
        };
        assert_eq!(
            [seconds(120, 15), seconds(2, 15), seconds(0, 15)],
            [15, 2, 15]
        );
    }

    #[test]
    fn what_a_request_needs_is_waited_for_as_long_as_it_would_be_tried() {
        assert_eq!(RETRY.patience().as_secs(), 10);
        let short = RetryPolicy {
            max_time: Duration::from_secs(7),
            ..RETRY
        };
        assert_eq!(short.patience().as_secs(), 7);
        let endless = RetryPolicy {
            delay: Duration::MAX,
            max_time: Duration::ZERO,
            ..RETRY
        };
        assert_eq!(endless.patience(), Duration::MAX);
        assert_eq!(RETRY.briefly(Duration::MAX).patience(), Duration::ZERO);
    }

    #[test]
    fn tries_are_counted_and_a_stop_ends_the_pause() {
        let quick = RetryPolicy {
            delay: Duration::ZERO,
            ..RETRY
        };
        let failing = |_, _: Option<&ApiError>| -> Result<(), ApiError> {
            Err(error(ApiErrorKind::ServerTrouble { status: 500 }))
        };
        assert_eq!(
            quick
                .run(&CancellationToken::new(), failing)
                .unwrap_err()
                .tries,
            3
        );
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(matches!(
            RETRY.run(&stop, failing).unwrap_err().kind,
            ApiErrorKind::Stopped
        ));
    }
}
