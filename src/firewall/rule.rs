//! One rule as a value: what it needs from the kernel, and what is left of it where the kernel
//! lacks that.
//!
//! A rule is written in a template as iptables-restore reads it, and taken apart here no further
//! than our own questions go.

use std::fmt;

use super::kernel_modules::KernelModule;

/// A line `-A CHAIN CONDITIONS -j TARGET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    chain: String,
    matches: Vec<Part>,
    target: Part,
}

/// A match (`-d 192.0.2.1/32`, `-m mark --mark 0x1`) or a target (`REDIRECT --to-ports 6881`), with
/// the kernel module that it needs, if it needs one that a kernel may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    words: Vec<String>,
    module: Option<KernelModule>,
}

impl Part {
    fn new(words: &[&str], module: Option<KernelModule>) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            module,
        }
    }
}

impl Rule {
    /// Reads one line; `None` if it is no rule.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("-A ")?.split_whitespace();
        let chain = words.next()?.to_owned();
        let mut matches = Vec::new();
        loop {
            match words.next()? {
                "-j" => break,
                first => matches.push(parse_match(first, &mut words)?),
            }
        }
        let target: Vec<&str> = words.collect();
        let module = KernelModule::of_target(target.first()?);
        Some(Self {
            chain,
            matches,
            target: Part::new(&target, module),
        })
    }

    /// The chain that it stands in.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// What it needs from the kernel.
    pub fn modules(&self) -> impl Iterator<Item = KernelModule> {
        let target = self.target.module;
        self.matches
            .iter()
            .filter_map(|part| part.module)
            .chain(target)
    }

    /// The rule on a kernel without these modules; `None` where nothing is left of it that opens no
    /// more than it must.
    pub fn without(&self, missing: &[KernelModule]) -> Option<Self> {
        if !self.modules().any(|module| missing.contains(&module)) {
            return Some(self.clone());
        }
        if self
            .target
            .module
            .is_some_and(|module| missing.contains(&module))
        {
            return None;
        }
        let mut matches = self.matches.clone();
        matches.retain(|part| part.module.is_none_or(|module| !missing.contains(&module)));
        let left = Self {
            matches,
            ..self.clone()
        };
        let lost_mark_alone = self
            .modules()
            .all(|module| module == KernelModule::Mark || !missing.contains(&module));
        // A mark says who may, and can be left out because address and port still say where to.
        let says_where = left.modules().any(|module| module == KernelModule::Ports);
        (lost_mark_alone && says_where).then_some(left)
    }
}

/// `[!] OPTION VALUE`, or `-m NAME [!] OPTION VALUE`: no match of ours has more options.
fn parse_match<'a>(first: &'a str, words: &mut impl Iterator<Item = &'a str>) -> Option<Part> {
    let mut part = vec![first];
    let mut module = None;
    if first == "-m" {
        let name = words.next()?;
        module = KernelModule::of_match(name);
        part.extend([name, words.next()?]);
    }
    if part.last() == Some(&"!") {
        part.push(words.next()?);
    }
    if part.last() == Some(&"--dport") {
        module = Some(KernelModule::Ports);
    }
    part.push(words.next()?);
    Some(Part::new(&part, module))
}

/// As it was read.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A {}", self.chain)?;
        for word in self.matches.iter().flat_map(|part| &part.words) {
            write!(f, " {word}")?;
        }
        write!(f, " -j {}", self.target.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn modules(line: &str) -> Vec<KernelModule> {
        let rule = Rule::parse(line).unwrap();
        assert_eq!(rule.to_string(), line);
        rule.modules().collect()
    }

    #[test]
    fn a_rule_knows_what_it_needs() {
        assert_eq!(modules("-A INPUT -j PIA_INPUT"), []);
        assert_eq!(modules("-A A ! -i wg0 -s 10.0.0.0/8 -j ACCEPT"), []);
        assert_eq!(
            modules("-A A -d 192.0.2.1/32 -p tcp -m mark ! --mark 0x1 --dport 443 -j ACCEPT"),
            [KernelModule::Mark, KernelModule::Ports]
        );
        assert_eq!(
            modules("-A A -m conntrack --ctstate RELATED,ESTABLISHED -j CONNMARK --restore-mark"),
            [KernelModule::Conntrack, KernelModule::Connmark]
        );
    }

    #[test]
    fn what_is_no_rule_is_none() {
        for line in [
            "",
            "*filter",
            ":INPUT DROP [0:0]",
            "COMMIT",
            "-A INPUT",
            "-N A -j B",
        ] {
            assert_eq!(Rule::parse(line), None, "{line:?}");
        }
    }
}
