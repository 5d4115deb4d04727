//! How long there has been no port: with `PORT_FATAL=1` a loss becomes fatal.

use std::time::Duration;

/// How long a port may be lost before that is fatal.
const FATAL_AFTER: Duration = Duration::from_secs(600);

/// A time without a port, counted while the machine was awake: a night's sleep is nobody's failure.
#[derive(Debug)]
pub(super) struct Loss {
    since: Duration,
    is_fatal_told: bool,
    /// The latest failure to get one.
    why: Option<String>,
}

impl Loss {
    /// It begins now.
    pub(super) fn new(awake: Duration) -> Self {
        Self {
            since: awake,
            is_fatal_told: false,
            why: None,
        }
    }

    /// Another failure to get a port.
    pub(super) fn note(&mut self, why: &str) {
        self.why = Some(why.to_owned());
    }

    /// Until it is fatal; `None` once that was told.
    pub(super) fn left(&self, awake: Duration) -> Option<Duration> {
        let end = self.since.saturating_add(FATAL_AFTER);
        (!self.is_fatal_told).then(|| end.saturating_sub(awake))
    }

    /// What is fatal about it.
    pub(super) fn told(&self) -> String {
        let minutes = FATAL_AFTER.as_secs() / 60;
        let what = format!("no port could be had for {minutes} minutes");
        match &self.why {
            Some(why) => format!("{what}: {why}"),
            None => what,
        }
    }

    /// Whether it may be told as fatal, which is done once.
    pub(super) fn tell_fatal(&mut self) -> bool {
        !std::mem::replace(&mut self.is_fatal_told, true)
    }
}
