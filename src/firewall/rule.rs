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
        let is_left = |part: &&Part| part.module.is_none_or(|module| !missing.contains(&module));
        let left = Self {
            matches: self.matches.iter().filter(is_left).cloned().collect(),
            ..self.clone()
        };
        let mut lost = self.modules().filter(|module| missing.contains(module));
        lost.all(|module| left.holds_without(module))
            .then_some(left)
    }

    /// Whether this rule is still worth having after it lost a match of this module.
    fn holds_without(&self, module: KernelModule) -> bool {
        // One that drops drops more without it. Ours are about single hosts.
        if self.target.words == ["DROP"] {
            return module == KernelModule::Mark && self.names_host();
        }
        if self.target.words != ["ACCEPT"] || self.chain != "PIA_OUTPUT" {
            return false;
        }
        match module {
            // They say who may; host or port still say where to.
            KernelModule::Mark | KernelModule::Owner => self.names_host() || self.names_port(),
            // Without the endpoint's rule there is no tunnel. One for the LAN, which names an
            // interface, would open a host of which one port was meant.
            KernelModule::Ports => self.names_host() && !self.names_interface(),
            _ => false,
        }
    }

    fn names_host(&self) -> bool {
        let is_host = |part: &Part| match part.words.as_slice() {
            [option, address] => {
                option == "-d" && (address.ends_with("/32") || address.ends_with("/128"))
            }
            _ => false,
        };
        self.matches.iter().any(is_host)
    }

    fn names_interface(&self) -> bool {
        let is_interface = |part: &Part| part.words.first().is_some_and(|option| option == "-o");
        self.matches.iter().any(is_interface)
    }

    fn names_port(&self) -> bool {
        self.modules().any(|module| module == KernelModule::Ports)
    }
}

/// `[!] OPTION VALUE`, or `-m NAME [!] OPTION VALUE`: no match of ours has more options. That of
/// TCP's flags has two values.
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
    if matches!(part.last(), Some(&("--dport" | "--sport" | "--tcp-flags"))) {
        module = Some(KernelModule::Ports);
    }
    if part.last() == Some(&"--tcp-flags") {
        part.push(words.next()?);
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
            modules("-A A -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"),
            [KernelModule::Ports, KernelModule::TcpMss]
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
