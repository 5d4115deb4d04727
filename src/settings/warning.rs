//! What is said of a variable that could not be taken as it was.

use std::fmt;

/// One thing that is wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What is done instead.
    pub consequence: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            problem,
            consequence,
        } = self;
        write!(f, "{variable}: {problem}; {consequence}")
    }
}
