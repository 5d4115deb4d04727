//! What is known of an environment variable besides its value.

use super::warning::Warning;

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensitivity {
    /// To anyone.
    Plain,
    /// Without user, password and query.
    Url,
    /// Never.
    Secret,
    /// Never, as it is the user's shell code, which may hold secrets of theirs.
    ShellCode,
}

/// An environment variable: its entry in the table of all of them.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// As users type it.
    pub name: &'static str,
    /// What holds when it is unset, read as a value of the user's would be.
    pub default: Option<&'static str>,
    /// What happens when it is unset, in words, where there is no such value.
    pub unset: Option<&'static str>,
    /// For users, in Markdown. The first sentence stands alone in `--help`.
    pub documentation: &'static str,
    /// Whether its value may be shown.
    pub sensitivity: Sensitivity,
}

impl Variable {
    /// A warning about this variable.
    pub fn warning(&self, problem: impl Into<String>, consequence: impl Into<String>) -> Warning {
        Warning {
            variable: self.name,
            problem: problem.into(),
            consequence: consequence.into(),
        }
    }

    /// A warning about a value, or a part of one, that is not what it has to be.
    pub fn unfit(&self, text: &str, expected: &str, consequence: impl Into<String>) -> Warning {
        let shown = self.shown(text);
        self.warning(format!("expected {expected}, not {shown}"), consequence)
    }

    /// A value of the variable, for the log.
    pub fn shown(&self, text: &str) -> String {
        match self.sensitivity {
            Sensitivity::Plain => text.escape_debug().to_string(),
            Sensitivity::Url => shown_url(text).escape_debug().to_string(),
            Sensitivity::Secret => "***".to_owned(),
            Sensitivity::ShellCode => format!("({} characters)", text.chars().count()),
        }
    }

    /// The documentation's first sentence, without Markdown's marks.
    pub fn summary(&self) -> String {
        let sentence = self.documentation.split(". ").next().unwrap_or_default();
        sentence.replace('`', "")
    }

    /// Its row in the README's table.
    pub fn table_row(&self) -> String {
        let default = match (self.default, self.unset) {
            (Some(value), _) => format!(" `{value}` "),
            (None, Some(words)) => format!(" {words} "),
            (None, None) => " ".to_owned(),
        };
        format!("| `{}` |{default}| {} |", self.name, self.documentation)
    }
}

fn shown_url(text: &str) -> String {
    let (rest, query) = match text.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (text, ""),
    };
    let (scheme, rest) = match rest.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), rest),
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    format!("{scheme}{user}{rest}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_masked() {
        for (text, shown) in [
            ("http://nas:8080/x", "http://nas:8080/x"),
            ("http://me:a@b/c@nas?key=1@2", "http://***@nas?***"),
            ("me:geheim@nas", "***@nas"),
        ] {
            assert_eq!(shown_url(text), shown);
        }
    }
}
