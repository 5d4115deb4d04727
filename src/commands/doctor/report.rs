//! How findings look: for people in 80 columns, for programs as JSON. Secrets are masked whatever
//! they came in with.

use std::io::{self, IsTerminal, Write};

use serde_json::json;

use super::finding::{Finding, Level};
use crate::settings::Environment;
use crate::system::secret::Secret;

const MAX_WIDTH: usize = 80;
/// Where the text starts: behind the level and the name of the check.
const INDENT: usize = 24;

/// Takes findings as they come.
pub struct FindingsReport {
    is_json: bool,
    colours: bool,
    secrets: Vec<Secret>,
    findings: Vec<Finding>,
}

impl FindingsReport {
    /// Colours only on a terminal, and not where `NO_COLOR` is set.
    pub fn new(is_json: bool, environment: &Environment, secrets: Vec<Secret>) -> Self {
        let dumb =
            environment.text("TERM") == Some("dumb") || environment.text("NO_COLOR").is_some();
        Self {
            is_json,
            colours: !is_json && !dumb && io::stdout().is_terminal(),
            secrets,
            findings: Vec::new(),
        }
    }

    /// Notes a finding, and shows it at once to people.
    pub fn add(&mut self, finding: Finding) {
        let finding = masked(finding, &self.secrets);
        if !self.is_json {
            // Whoever stopped reading does not miss it.
            let _ = io::stdout().write_all(as_text(&finding, self.colours).as_bytes());
        }
        self.findings.push(finding);
    }

    /// The last line, or all of it as JSON. Whether there is no failure.
    pub fn finish(self) -> bool {
        let count = |level| {
            self.findings
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        let (failures, warnings) = (count(Level::Failure), count(Level::Warning));
        let text = if self.is_json {
            format!(
                "{:#}\n",
                json!({"ok": failures == 0, "checks": self.findings})
            )
        } else {
            format!("\n{}\n", summary(failures, warnings))
        };
        let _ = io::stdout().write_all(text.as_bytes());
        failures == 0
    }
}

fn summary(failures: usize, warnings: usize) -> String {
    let counted = |count: usize, word: &str| match count {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    format!(
        "{}, {}",
        counted(failures, "failure"),
        counted(warnings, "warning")
    )
}

fn masked(finding: Finding, secrets: &[Secret]) -> Finding {
    let mask = |text: String| {
        secrets
            .iter()
            .fold(text, |text, secret| secret.masked_in(&text))
    };
    Finding {
        what: mask(finding.what),
        cure: finding.cure.map(mask),
        ..finding
    }
}

/// `failure  wireguard      …`, with the cure on lines of its own.
fn as_text(finding: &Finding, colours: bool) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Skipped => "skipped",
        Level::Warning => "warning",
        Level::Failure => "FAILURE",
    };
    let colour = match finding.level {
        Level::Ok => "\x1b[32m",
        Level::Skipped => "\x1b[2m",
        Level::Warning => "\x1b[33m",
        Level::Failure => "\x1b[31m",
    };
    let padded = format!("{level:7}");
    let level = if colours {
        format!("{colour}{padded}\x1b[0m")
    } else {
        padded
    };
    let mut text = format!(
        "{level}  {:13}  {}\n",
        finding.check,
        wrapped(&finding.what)
    );
    if let Some(cure) = &finding.cure {
        text += &format!(
            "{:width$}{}\n",
            "",
            wrapped(&format!("cure: {cure}")),
            width = INDENT
        );
    }
    text
}

/// Lines that fit beside the level and the name; words longer than that stay whole, so that they
/// can be copied.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= MAX_WIDTH - INDENT {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{:width$}", "", width = INDENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal_and_the_cure_stands_apart() {
        let finding = Finding::failure(
            "name servers",
            "some of a very long text ".repeat(8),
            "set another one with `dns:`",
        );
        let text = as_text(&finding, false);
        assert!(
            text.lines().all(|line| line.chars().count() <= MAX_WIDTH),
            "{text}"
        );
        assert!(
            text.starts_with("FAILURE  name servers   some of"),
            "{text}"
        );
        assert!(
            text.ends_with("\n                        cure: set another one with `dns:`\n"),
            "{text}"
        );
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let finding = Finding::ok("clock", "right");
        assert_eq!(as_text(&finding, false), "ok       clock          right\n");
        assert_eq!(
            as_text(&finding, true),
            "\x1b[32mok     \x1b[0m  clock          right\n"
        );
    }

    #[test]
    fn secrets_are_masked_in_every_part() {
        let secret = Secret::new("hunter22");
        let finding = Finding::warning("login", "said hunter22", "not hunter22");
        let masked = masked(finding, &[secret]);
        assert_eq!(masked, Finding::warning("login", "said ***", "not ***"));
    }

    #[test]
    fn counts_are_words() {
        assert_eq!(summary(0, 0), "no failures, no warnings");
        assert_eq!(summary(1, 2), "1 failure, 2 warnings");
    }
}
