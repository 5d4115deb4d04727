//! Names of locations and countries, which stand for ids where they are clear. Pure: the lists are
//! arguments.

use crate::pia::regions::{Location, ServerList};

/// Countries that are neither id nor name of a location in PIA's list; it has their codes only.
const COUNTRIES: [(&str, &str); 11] = [
    ("australia", "AU"),
    ("canada", "CA"),
    ("czechia", "CZ"),
    ("england", "GB"),
    ("finland", "FI"),
    ("germany", "DE"),
    ("greatbritain", "GB"),
    ("unitedarabemirates", "AE"),
    ("unitedkingdom", "GB"),
    ("unitedstates", "US"),
    ("usa", "US"),
];

/// The ids that a text of one or more words stands for. Words that stand for none, or not for one
/// alone, come back as they are.
pub fn ids_of(text: &str, lists: &[&ServerList]) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = words.as_slice();
    let mut ids = Vec::new();
    while !rest.is_empty() {
        let (length, id) = longest_name(rest, lists);
        ids.push(id);
        rest = rest.get(length..).unwrap_or_default();
    }
    ids
}

/// The longest name that the words begin with, in words, and the id that it stands for.
fn longest_name(words: &[&str], lists: &[&ServerList]) -> (usize, String) {
    for length in (1..=words.len()).rev() {
        let Some(name) = words.get(..length) else {
            continue;
        };
        // A list of ids, as users have always typed it, is never a name.
        if length > 1 && name.iter().all(|word| is_id(word, lists)) {
            continue;
        }
        let name = name.join(" ");
        match meant(&name, lists).as_slice() {
            [] => {}
            [id] => return (length, (*id).to_owned()),
            _ => return (length, name),
        }
    }
    (1, words.first().copied().unwrap_or_default().to_owned())
}

fn is_id(text: &str, lists: &[&ServerList]) -> bool {
    all(lists).any(|location| location.id.eq_ignore_ascii_case(text))
}

/// The ids of the locations that may be meant: by id, else by name, else by country.
fn meant<'a>(text: &str, lists: &[&'a ServerList]) -> Vec<&'a str> {
    let by_id = ids_where(lists, |location| location.id.eq_ignore_ascii_case(text));
    let simple = simplified(text);
    if !by_id.is_empty() || simple.is_empty() {
        return by_id;
    }
    let by_name = ids_where(lists, |location| {
        simplified(&location.name) == simple || simplified(&location.id) == simple
    });
    if !by_name.is_empty() {
        return by_name;
    }
    ids_where(lists, |location| is_country_of(&simple, location))
}

fn ids_where<'a>(lists: &[&'a ServerList], fits: impl Fn(&Location) -> bool) -> Vec<&'a str> {
    let mut ids = Vec::new();
    for location in all(lists).filter(|location| fits(location)) {
        let id = location.id.as_str();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn all<'a>(lists: &[&'a ServerList]) -> impl Iterator<Item = &'a Location> {
    lists.iter().flat_map(|list| &list.locations)
}

/// Whether the name or code, in simplified form, is that of the location's country.
pub fn is_country_of(simple: &str, location: &Location) -> bool {
    let code = COUNTRIES
        .iter()
        .find_map(|(name, code)| (*name == simple).then_some(*code))
        .unwrap_or(simple);
    !code.is_empty() && location.country.eq_ignore_ascii_case(code)
}

/// Lower case, letters and digits only: `DE Frankfurt`, `de-frankfurt` and `de_frankfurt` are one.
pub fn simplified(text: &str) -> String {
    text.chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}
