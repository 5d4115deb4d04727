//! The environment as a value: read once, changed only by the `PRE_UP` hook, handed to children.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::quotes;
use super::read::Value;
use super::variables::{ALL, Texts, Variables, entry};
use super::warning::Warning;

/// Names and values; values need not be UTF-8.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(pairs: I) -> Self {
        let mut environment = Self::default();
        pairs
            .into_iter()
            .for_each(|(name, value)| environment.set(name, value));
        environment
    }
}

impl Environment {
    /// That of this process.
    pub fn from_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value as text, without quotes around it; `None` where unset, empty or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        let typed = self.typed(name)?;
        let meant = quotes::enclosed(typed).unwrap_or(typed);
        (!meant.trim().is_empty()).then_some(meant)
    }

    /// As [`Self::text`], with any quotes.
    pub(super) fn typed(&self, name: &str) -> Option<&str> {
        let value = self.0.get(OsStr::new(name))?.to_str()?;
        // Blank values count as unset: compose passes `VAR=` as an empty one.
        (!value.trim().is_empty()).then_some(value)
    }

    /// Whether `PORT_FORWARDING` is there, and 0.
    pub fn refuses_port(&self) -> bool {
        let text = self.text(entry::port_forwarding.name);
        text.and_then(bool::parse) == Some(false)
    }

    /// Adds or replaces one variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes one variable away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(OsStr::new(name));
    }

    /// Sets all of these, and takes those without a value away.
    pub fn follow(&mut self, changes: BTreeMap<OsString, Option<OsString>>) {
        for (name, value) in changes {
            match value {
                Some(value) => self.set(name, value),
                None => drop(self.0.remove(&name)),
            }
        }
    }

    /// All pairs, for a child.
    pub fn pairs(&self) -> impl Iterator<Item = (OsString, OsString)> + '_ {
        self.0
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
    }

    /// Our variables, and a warning for each that could not be taken as it was.
    pub(super) fn variables(&self) -> (Variables, Vec<Warning>) {
        let mut warnings = Vec::new();
        let mut pairs = Vec::new();
        for variable in ALL {
            if let Some(text) = self.typed(variable.name) {
                pairs.push((variable.name.to_owned(), text.to_owned()));
            } else if let Some(value) = self.0.get(OsStr::new(variable.name))
                && value.to_str().is_none()
            {
                warnings.push(variable.warning("not valid UTF-8 text", "it is ignored"));
            }
        }
        // Every field is optional text, so this cannot fail; should it ever, the defaults hold,
        // and that is said.
        let texts = envy::from_iter(pairs).unwrap_or_else(|error| {
            warnings.push(Warning {
                variable: "environment",
                problem: error.to_string(),
                consequence: "all defaults are used".to_owned(),
            });
            Texts::default()
        });
        (Variables::read(&texts, &mut warnings), warnings)
    }
}
