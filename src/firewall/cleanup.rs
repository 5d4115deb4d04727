//! What an earlier life in the same network namespace left behind, and how to take it away.
//!
//! Done after the network is closed: our own load needs no look at what is there. What it cannot do
//! is to keep its jumps from standing there twice, and to see the other backend, where old rules
//! would judge all traffic once more.

use std::path::Path;

use super::backend::Backend;
use super::earlier_rules::{EarlierRules, OUR_CHAINS, possible};
use super::programs::Programs;
use super::routing_block;
use super::table::Table;
use super::tables::Family;
use super::wg_quick_rule;
use crate::system::command::CommandError;
use crate::system::parallel;

/// Takes away jumps that stand twice, in these families: after a load that failed half way.
pub(super) fn remove_surplus(programs: &Programs, in_use: &[(Family, InUse)]) {
    for (family, in_use) in in_use {
        // wg-quick's rules are those of the running tunnel.
        warn_if_left(remove(programs, *family, in_use, None));
    }
}

/// What an earlier life may have left.
#[derive(Clone, Copy)]
enum Leftovers<'a> {
    Rules(&'a (Family, InUse)),
    /// Those that wg-quick makes itself, with nft, for this interface.
    NftTables(&'a str),
}

/// Takes away what an earlier life left, in these families, where our own rules hold now, and what
/// wg-quick made for that interface. What was there before our first load is known, if nothing has
/// gone wrong since then.
pub(super) fn remove_leftovers(
    programs: &Programs,
    private_bin: &Path,
    in_use: &[(Family, InUse)],
    interface: Option<&str>,
    earlier: Option<&EarlierRules>,
) {
    for (family, _) in in_use {
        warn_if_left(routing_block::unblock(*family));
    }
    let may_be_in = |backend, family| match earlier {
        Some(earlier) => earlier.may_be_in(backend, family),
        None => possible(backend, family),
    };
    let other = programs.backend.other();
    let mut work = Vec::new();
    for one in in_use {
        if may_be_in(programs.backend, one.0) || may_be_in(other, one.0) {
            work.push(Leftovers::Rules(one));
        }
    }
    let nft_tables =
        interface.filter(|interface| earlier.is_none_or(|it| it.has_nft_table(interface)));
    work.extend(nft_tables.map(Leftovers::NftTables));
    parallel::map(&work, |what| match what {
        Leftovers::Rules((family, in_use)) => {
            warn_if_left(remove(programs, *family, in_use, interface));
            if may_be_in(other, *family) {
                remove_from_other(other, private_bin, *family, interface);
            }
        }
        Leftovers::NftTables(interface) => {
            warn_if_left(wg_quick_rule::remove_nft_tables(interface));
        }
    });
}

fn remove_from_other(other: Backend, private_bin: &Path, family: Family, wg_quick: Option<&str>) {
    let Some(programs) = Programs::find(other, private_bin) else {
        return;
    };
    let none = InUse::default();
    if let Err(error) = remove(&programs, family, &none, wg_quick) {
        // As a rule the kernel does not have that backend at all.
        log::debug!("rules of an earlier life: {other}: {error}");
    }
}

/// Removes from one backend what is not in use; with `wg_quick` also the rules that wg-quick made
/// for that interface.
fn remove(
    programs: &Programs,
    family: Family,
    in_use: &InUse,
    wg_quick: Option<&str>,
) -> Result<(), CommandError> {
    let removal = removal(&programs.save(family)?, in_use, wg_quick);
    if removal.is_empty() {
        return Ok(());
    }
    log::debug!(
        "removing {} rules of an earlier life for {family:?}",
        programs.backend
    );
    programs.load(family, &removal)
}

fn warn_if_left(result: Result<(), CommandError>) {
    if let Err(error) = result {
        log::warn!("firewall: rules of an earlier life could not be removed: {error}");
    }
}

/// The tables that are in use.
#[derive(Debug, Default)]
pub(super) struct InUse(Vec<Table>);

impl InUse {
    /// These are in force.
    pub fn new(loaded: Vec<Table>) -> Self {
        Self(loaded)
    }

    fn has(&self, table: &str, chain: &str) -> bool {
        self.0
            .iter()
            .any(|loaded| loaded.name.to_string() == table && loaded.has_chain(chain))
    }
}

/// One table of an iptables-save.
#[derive(Default)]
struct Saved<'a> {
    /// Our chains.
    ours: Vec<&'a str>,
    /// The rules of built-in chains that jump to ours, by chain and number; chains come one after
    /// the other.
    jumps: Vec<(&'a str, usize)>,
    /// Rules of wg-quick, without the `-A`.
    wg_quick: Vec<&'a str>,
}

/// What iptables-restore must be told so that only what is `in_use` remains of ours; empty if that
/// is so already.
pub(super) fn removal(saved: &str, in_use: &InUse, wg_quick: Option<&str>) -> String {
    let mut text = String::new();
    let mut table = "";
    let mut content = Saved::default();
    let mut last = ("", 0);
    for line in saved.lines() {
        if line.starts_with('*') {
            (table, content, last) = (line, Saved::default(), ("", 0));
        } else if let Some(rest) = line.strip_prefix(':') {
            content.ours.extend(
                rest.split(' ')
                    .next()
                    .filter(|chain| OUR_CHAINS.contains(chain)),
            );
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rest) = rule.split_once(' ').unwrap_or((rule, ""));
            last = (chain, if chain == last.0 { last.1 + 1 } else { 1 });
            if rest.strip_prefix("-j PIA_") == Some(chain) {
                content.jumps.push(last);
            } else if wg_quick.is_some_and(|interface| wg_quick_rule::is_for(rule, interface)) {
                content.wg_quick.push(rule);
            }
        } else if line == "COMMIT" && !table.is_empty() {
            text += &removal_of(table, &content, in_use);
            (table, content) = ("", Saved::default());
        }
    }
    text
}

fn removal_of(table: &str, content: &Saved<'_>, in_use: &InUse) -> String {
    let mut lines = Vec::new();
    let was_sealed = content.jumps.iter().any(|(chain, _)| *chain == "INPUT")
        && content.ours.contains(&"PIA_INPUT");
    if table == "*filter" && was_sealed && !in_use.has(table, "PIA_INPUT") {
        lines.extend(["INPUT", "FORWARD", "OUTPUT"].map(|chain| format!(":{chain} ACCEPT [0:0]")));
    }
    // The first of a chain stays, so that rules of the user which came after it still do.
    let is_first = |jump: &(&str, usize)| {
        content.jumps.iter().find(|(chain, _)| *chain == jump.0) == Some(jump)
    };
    let stays =
        |jump: &(&str, usize)| is_first(jump) && in_use.has(table, &format!("PIA_{}", jump.0));
    // From the last to the first, as a rule that goes renumbers those after it.
    let surplus = content.jumps.iter().rev().filter(|jump| !stays(jump));
    lines.extend(surplus.map(|(chain, number)| format!("-D {chain} {number}")));
    lines.extend(content.wg_quick.iter().map(|rule| format!("-D {rule}")));
    let unused = || {
        content
            .ours
            .iter()
            .filter(|chain| !in_use.has(table, chain))
    };
    lines.extend(unused().map(|chain| format!("-F {chain}")));
    lines.extend(unused().map(|chain| format!("-X {chain}")));
    if lines.is_empty() {
        String::new()
    } else {
        format!("{table}\n{}\nCOMMIT\n", lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tables::TableName;

    const SAVED: &str = "\
*filter
:INPUT DROP [1:2]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:PIA_FORWARD - [0:0]
:PIA_INPUT - [0:0]
:MINE - [0:0]
-A INPUT -j PIA_INPUT
-A INPUT -p tcp -j MINE
-A INPUT -j PIA_INPUT
-A INPUT -j PIA_INPUT
-A FORWARD -j PIA_FORWARD
-A PIA_INPUT -i lo -j ACCEPT
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 10.1.2.3/32 ! -i wg0 -m addrtype ! --src-type LOCAL -m comment --comment \
\"wg-quick(8) rule for wg0\" -j DROP
-A PREROUTING -d 10.1.2.4/32 ! -i wg1 -m addrtype ! --src-type LOCAL -m comment --comment \
\"wg-quick(8) rule for wg1\" -j DROP
COMMIT
";

    #[test]
    fn one_jump_remains() {
        let text = ":INPUT DROP [0:0]\n:PIA_INPUT - [0:0]\n:PIA_FORWARD - [0:0]\n";
        let table = Table::parse(TableName::Filter, text).unwrap();
        let in_use = InUse::new(vec![table]);
        assert_eq!(
            removal(SAVED, &in_use, None),
            "*filter\n-D INPUT 4\n-D INPUT 3\nCOMMIT\n"
        );
    }

    #[test]
    fn all_of_ours_goes_and_the_policies_open() {
        assert_eq!(
            removal(SAVED, &InUse::default(), Some("wg0")),
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
             -D FORWARD 1\n-D INPUT 4\n-D INPUT 3\n-D INPUT 1\n\
             -F PIA_FORWARD\n-F PIA_INPUT\n-X PIA_FORWARD\n-X PIA_INPUT\nCOMMIT\n\
             *raw\n-D PREROUTING -d 10.1.2.3/32 ! -i wg0 -m addrtype ! --src-type LOCAL \
             -m comment --comment \"wg-quick(8) rule for wg0\" -j DROP\nCOMMIT\n"
        );
    }

    #[test]
    fn nothing_is_removed_from_a_table_without_a_name() {
        let (_, headless) = SAVED.split_once('\n').unwrap();
        let (headless, _) = headless.split_once("*raw").unwrap();
        assert_eq!(removal(headless, &InUse::default(), Some("wg0")), "");
    }

    #[test]
    fn what_is_not_ours_is_no_reason_to_do_anything() {
        let saved = "*filter\n:INPUT DROP [0:0]\n:MINE - [0:0]\n-A INPUT -j MINE\nCOMMIT\n";
        assert_eq!(removal(saved, &InUse::default(), Some("wg0")), "");
    }
}
