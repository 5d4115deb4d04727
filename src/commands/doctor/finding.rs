//! What a check found.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Could not be looked at, for a reason that is no fault.
    Skipped,
    Warning,
    Failure,
}

/// One line of the diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub what: String,
    /// What the user can do about it; every warning and failure has one.
    pub cure: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            what: what.into(),
            cure: None,
        }
    }

    /// Not looked at.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Skipped,
            what: why.into(),
            cure: None,
        }
    }

    /// It works, but not as it should.
    pub fn warning(check: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Warning,
            what: what.into(),
            cure: Some(cure.into()),
        }
    }

    /// A start fails, or the tunnel does not protect.
    pub fn failure(check: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Failure,
            what: what.into(),
            cure: Some(cure.into()),
        }
    }
}
