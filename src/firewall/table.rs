//! One table's part of a rule set as a value, read from iptables-restore's text and written as it.

use std::fmt;

use super::error::FirewallError;
use super::kernel_modules::KernelModule;
use super::rule::Rule;
use super::tables::TableName;

/// What is ours in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub name: TableName,
    /// What happens to packets of a built-in chain that no rule judged: `:INPUT DROP [0:0]`.
    policies: Vec<String>,
    /// Our chains. To declare a chain empties it, so each load replaces all of their rules.
    chains: Vec<String>,
    /// The jumps from built-in chains to ours.
    jumps: Vec<Rule>,
    /// The rules in our chains.
    rules: Vec<Rule>,
}

impl Table {
    /// Reads the text of one table.
    ///
    /// # Errors
    /// When a line is none that ours have: nothing is ever left out unseen.
    pub fn parse(name: TableName, text: &str) -> Result<Self, FirewallError> {
        let mut table = Self {
            name,
            policies: Vec::new(),
            chains: Vec::new(),
            jumps: Vec::new(),
            rules: Vec::new(),
        };
        for line in text.lines() {
            if line.trim().is_empty() || line == name.to_string() || line == "COMMIT" {
                continue;
            }
            if let Some(declaration) = line.strip_prefix(':') {
                match declaration.strip_suffix(" - [0:0]") {
                    Some(chain) => table.chains.push(chain.to_owned()),
                    None => table.policies.push(line.to_owned()),
                }
                continue;
            }
            let rule = Rule::parse(line).ok_or_else(|| FirewallError::NotARule {
                line: line.to_owned(),
            })?;
            if table.has_chain(rule.chain()) {
                table.rules.push(rule);
            } else {
                table.jumps.push(rule);
            }
        }
        Ok(table)
    }

    /// Whether it does anything: it closes the network, or has a rule in a chain of ours.
    pub fn matters(&self) -> bool {
        !self.policies.is_empty() || !self.rules.is_empty()
    }

    /// Whether a chain of ours of this name is in it.
    pub fn has_chain(&self, name: &str) -> bool {
        self.chains.iter().any(|chain| chain == name)
    }

    /// What its rules need from the kernel.
    pub fn modules(&self) -> impl Iterator<Item = KernelModule> {
        self.rules.iter().flat_map(Rule::modules)
    }

    /// Without what the kernel has no module for.
    pub fn without(&self, missing: &[KernelModule]) -> Self {
        let rules = self.rules.iter();
        Self {
            rules: rules.filter_map(|rule| rule.without(missing)).collect(),
            ..self.clone()
        }
    }

    /// Whether it sets the policies of built-in chains.
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// For a load after the first one of a life: the jumps are there already.
    pub fn without_jumps(&self) -> Self {
        Self {
            jumps: Vec::new(),
            ..self.clone()
        }
    }

    /// For a load that leaves the policies as they are: a user may have changed one meanwhile.
    pub fn without_policies(&self) -> Self {
        Self {
            policies: Vec::new(),
            ..self.clone()
        }
    }
}

/// As iptables-restore reads it.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        for policy in &self.policies {
            writeln!(f, "{policy}")?;
        }
        for chain in &self.chains {
            writeln!(f, ":{chain} - [0:0]")?;
        }
        for rule in self.jumps.iter().chain(&self.rules) {
            writeln!(f, "{rule}")?;
        }
        writeln!(f, "COMMIT")
    }
}
