//! From a policy to text for iptables-restore: pure, and the whole of it each time.
//!
//! Our rules live in chains of ours, which a restore empties first because it declares them. Only
//! the jumps to them are appended to the built-in chains: by the first load of a life, never again.

use std::fmt;

use askama::Template;

use super::FirewallError;
use super::kernel_modules::KernelModule;
use super::policy::{Arrival, Policy, Protocol, TunnelPolicy};

/// An address family with its own rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// A table of ours, in the order of loading: what closes the network comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TableName {
    Filter,
    Nat,
    Mangle,
}

/// As iptables-restore heads it.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter => "*filter",
            Self::Nat => "*nat",
            Self::Mangle => "*mangle",
        })
    }
}

/// One table's rules, as reloaded and as loaded for the first time, when the jumps are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub name: TableName,
    pub text: String,
    pub first_text: String,
}

impl Table {
    /// Whether it does anything: it closes the network, or has a rule in a chain of ours.
    pub fn matters(&self) -> bool {
        self.text
            .lines()
            .any(|line| line.starts_with("-A ") || line.contains(" DROP "))
    }

    /// Without what the kernel has no module for.
    pub fn without(&self, missing: &[KernelModule]) -> Self {
        let strip = |text: &str| KernelModule::strip(missing, text);
        Self {
            name: self.name,
            text: strip(&self.text),
            first_text: strip(&self.first_text),
        }
    }
}

/// The tables of a family under this policy; those that would be empty as well, for they may have
/// to be emptied.
///
/// # Errors
/// When an interface has a name that cannot stand in a rule.
pub(super) fn render(
    policy: &Policy,
    family: Family,
    strict_rp_filter: bool,
) -> Result<Vec<Table>, FirewallError> {
    if let Some(name) = policy
        .tunnel
        .iter()
        .flat_map(TunnelPolicy::interfaces)
        .find(|name| !is_interface(name))
    {
        return Err(FirewallError::Interface {
            name: name.to_owned(),
        });
    }
    let mark = format!("{:#x}", policy.mark);
    let wanted = strict_rp_filter && policy.tunnel.is_some();
    match family {
        Family::V4 => Ok(vec![
            table(TableName::Filter, |first| Filter {
                policy,
                mark: &mark,
                first,
            })?,
            table(TableName::Nat, |first| Nat { policy, first })?,
            table(TableName::Mangle, |first| Mangle {
                mark: &mark,
                wanted,
                first,
            })?,
        ]),
        Family::V6 if policy.sealed => {
            Ok(vec![table(TableName::Filter, |first| Filter6 { first })?])
        }
        Family::V6 => Ok(Vec::new()),
    }
}

#[derive(Template)]
#[template(path = "filter.rules", escape = "none")]
struct Filter<'a> {
    policy: &'a Policy,
    mark: &'a str,
    first: bool,
}

#[derive(Template)]
#[template(path = "filter6.rules", escape = "none")]
struct Filter6 {
    first: bool,
}

#[derive(Template)]
#[template(path = "nat.rules", escape = "none")]
struct Nat<'a> {
    policy: &'a Policy,
    first: bool,
}

#[derive(Template)]
#[template(path = "mangle.rules", escape = "none")]
struct Mangle<'a> {
    mark: &'a str,
    wanted: bool,
    first: bool,
}

fn table<T: Template>(
    name: TableName,
    template: impl Fn(bool) -> T,
) -> Result<Table, FirewallError> {
    let text = |first| template(first).render().map(|text| tidy(&text));
    Ok(Table {
        name,
        text: text(false)?,
        first_text: text(true)?,
    })
}

/// The templates are laid out for readers; what is loaded and compared has no blank lines.
fn tidy(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A name that the kernel takes and that cannot be read as anything else in a rule; `eth+` means
/// all that begin so.
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !name.starts_with(['-', '!'])
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\'' | '\\' | '#'))
}
