//! wg-quick's rule against spoofed packets to the tunnel's address. wg-quick makes it once; when a
//! live reconnect changes the address, the rule must follow.

use std::net::Ipv4Addr;

use super::error::FirewallError;
use super::programs::Programs;
use super::tables::Family;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};

/// Whether wg-quick made this rule for `interface`, going by its comment.
pub(super) fn is_for(rule: &str, interface: &str) -> bool {
    rule.contains(&format!("--comment \"wg-quick(8) rule for {interface}\""))
}

/// The rule in this network, which is moved without holding up whoever loads rules.
#[derive(Debug, Clone)]
pub struct WgQuickRule {
    pub(super) programs: Programs,
}

impl WgQuickRule {
    /// Moves it from the `old` address to the `new` one in one step, whichever way wg-quick made
    /// it: with nft where that is installed, else with iptables. Where there is none, because the
    /// kernel lacks a module for it, nothing is done.
    ///
    /// # Errors
    /// When it is there and cannot be replaced.
    pub fn follow(
        &self,
        interface: &str,
        old: Ipv4Addr,
        new: Ipv4Addr,
    ) -> Result<(), FirewallError> {
        move_rule(&self.programs, interface, old, new).map_err(|source| FirewallError::NotMoved {
            address: new,
            source,
        })
    }
}

fn move_rule(
    programs: &Programs,
    interface: &str,
    old: Ipv4Addr,
    new: Ipv4Addr,
) -> Result<(), CommandError> {
    if old == new || move_by_nft(interface, old, new)? {
        return Ok(());
    }
    // As wg-quick writes it. To list all rules for it first takes another process.
    if programs
        .load(Family::V4, &as_made(interface, old, new))
        .is_ok()
    {
        return Ok(());
    }
    match moved(&programs.save(Family::V4)?, interface, old, new) {
        Some(text) => programs.load(Family::V4, &text),
        None => Ok(()),
    }
}

/// Whether wg-quick made the rule with nft.
fn move_by_nft(interface: &str, old: Ipv4Addr, new: Ipv4Addr) -> Result<bool, CommandError> {
    let table = nft_table(interface);
    let Ok(listed) = nft(&["-a", "list", "chain", "ip", &table, "preraw"], "")
        .inspect_err(|error| log::debug!("{error}"))
    else {
        return Ok(false);
    };
    let Some(text) = moved_in_nft(&listed, interface, old, new) else {
        return Ok(false);
    };
    nft(&["-f", "-"], &text).map(|_| true)
}

fn as_made(interface: &str, old: Ipv4Addr, new: Ipv4Addr) -> String {
    let rule = |address: Ipv4Addr| {
        format!(
            "PREROUTING -d {address}/32 ! -i {interface} -m addrtype ! --src-type LOCAL -m comment \
             --comment \"wg-quick(8) rule for {interface}\" -j DROP"
        )
    };
    format!("*raw\n-I {}\n-D {}\nCOMMIT\n", rule(new), rule(old))
}

/// The table that it makes with nft, in each family.
pub(super) fn nft_table(interface: &str) -> String {
    format!("wg-quick-{interface}")
}

/// Removes the nft tables that wg-quick left for `interface`.
pub(super) fn remove_nft_tables(interface: &str) -> Result<(), CommandError> {
    let ours = ["ip", "ip6"].map(|family| format!("{family} {}", nft_table(interface)));
    let found = nft_tables().into_iter().filter(|name| ours.contains(name));
    let text: String = found.map(|name| format!("delete table {name}\n")).collect();
    if text.is_empty() {
        Ok(())
    } else {
        nft(&["-f", "-"], &text).map(drop)
    }
}

/// All nft tables as `family name`. Where nft is missing or does not work, wg-quick has made none
/// either.
fn nft_tables() -> Vec<String> {
    let listed = nft(&["list", "tables"], "")
        .inspect_err(|error| log::debug!("{error}"))
        .unwrap_or_default();
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("table "))
        .map(str::to_owned)
        .collect()
}

fn nft(arguments: &[&str], input: &str) -> Result<String, CommandError> {
    Command::new("nft", arguments)
        .input(input)
        .run(&CancellationToken::never())
}

pub(super) fn moved(saved: &str, interface: &str, old: Ipv4Addr, new: Ipv4Addr) -> Option<String> {
    let (_, raw) = saved.split_once("*raw\n")?;
    let rules = raw
        .lines()
        .take_while(|line| *line != "COMMIT")
        .filter_map(|line| line.strip_prefix("-A "));
    let (from, to) = (format!(" -d {old}/32 "), format!(" -d {new}/32 "));
    let ours: Vec<&str> = rules.filter(|rule| is_for(rule, interface)).collect();
    let stale: Vec<&&str> = ours.iter().filter(|rule| rule.contains(&from)).collect();
    let rule = stale.first()?;
    let mut text = String::from("*raw\n");
    if !ours.iter().any(|rule| rule.contains(&to)) {
        text += &format!("-I {}\n", rule.replace(&from, &to));
    }
    text.extend(stale.iter().map(|rule| format!("-D {rule}\n")));
    Some(text + "COMMIT\n")
}

pub(super) fn moved_in_nft(
    listed: &str,
    interface: &str,
    old: Ipv4Addr,
    new: Ipv4Addr,
) -> Option<String> {
    let rule = format!("add rule ip wg-quick-{interface} preraw");
    let to = |address: Ipv4Addr| format!("ip daddr {address} ");
    let stale: Vec<(&str, &str)> = listed
        .lines()
        .filter(|line| line.contains(&to(old)))
        .filter_map(|line| line.split_once(" # handle "))
        .collect();
    let (text, _) = stale.first()?;
    let mut batch = String::new();
    if !listed.contains(&to(new)) {
        batch += &format!("{rule} {}\n", text.trim().replace(&to(old), &to(new)));
    }
    for (_, handle) in &stale {
        batch += &format!(
            "delete rule ip wg-quick-{interface} preraw handle {}\n",
            handle.trim()
        );
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
    const NEW: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);

    fn rule(address: Ipv4Addr, interface: &str) -> String {
        format!(
            "PREROUTING -d {address}/32 ! -i {interface} -m addrtype ! --src-type LOCAL \
             -m comment --comment \"wg-quick(8) rule for {interface}\" -j DROP\n"
        )
    }

    #[test]
    fn the_rule_follows_the_address() {
        let saved = format!(
            "*raw\n:PREROUTING ACCEPT [0:0]\n-A {}-A {}COMMIT\n*filter\nCOMMIT\n",
            rule(OLD, "wg1"),
            rule(OLD, "wg0")
        );
        let expected = format!(
            "*raw\n-I {}-D {}COMMIT\n",
            rule(NEW, "wg0"),
            rule(OLD, "wg0")
        );
        assert_eq!(moved(&saved, "wg0", OLD, NEW), Some(expected));
    }

    #[test]
    fn a_rule_that_is_there_is_not_added_and_one_that_is_not_is_not_missed() {
        let saved = format!(
            "*raw\n-A {}-A {}COMMIT\n",
            rule(NEW, "wg0"),
            rule(OLD, "wg0")
        );
        assert_eq!(
            moved(&saved, "wg0", OLD, NEW),
            Some(format!("*raw\n-D {}COMMIT\n", rule(OLD, "wg0")))
        );
        assert_eq!(moved("*raw\nCOMMIT\n", "wg0", OLD, NEW), None);
        assert_eq!(moved("*filter\nCOMMIT\n", "wg0", OLD, NEW), None);
    }

    #[test]
    fn the_nft_rule_follows_the_address() {
        let listed = "table ip wg-quick-wg0 {\n\tchain preraw { # handle 1\n\
            \t\ttype filter hook prerouting priority raw; policy accept;\n\
            \t\tiifname != \"wg0\" ip daddr 10.1.2.3 fib saddr type != local drop # handle \
            4\n\t}\n}\n";
        assert_eq!(
            moved_in_nft(listed, "wg0", OLD, NEW).unwrap(),
            "add rule ip wg-quick-wg0 preraw iifname != \"wg0\" ip daddr 10.9.8.7 fib saddr type \
             != local drop\n\
             delete rule ip wg-quick-wg0 preraw handle 4\n"
        );
    }
}
