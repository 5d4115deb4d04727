//! Finding a secret in a text in which somebody may have encoded it: as part of a URL, a form,
//! JSON, HTML or base64. Pure.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

const MASK: &str = "***";
/// A shorter secret would blot out half of any text, and says little by appearing in it.
const MIN_SECRET_BYTES: usize = 4;
/// This much of the beginning of a secret counts as the secret.
const MASKED_PREFIX_CHARS: usize = 8;
/// The longest text of an HTML entity, of those that are understood.
const MAX_ENTITY_CHARS: usize = 10;

/// The ways in which a character of the secret may be written.
#[derive(Clone, Copy)]
enum Encoding {
    Plain,
    /// In a URL or form: `%2B`, and `+` for a space.
    Percent,
    /// The same, encoded once more: `%252B`.
    PercentTwice,
    Json,
    Html,
}

const ENCODINGS: [Encoding; 5] = [
    Encoding::Plain,
    Encoding::Percent,
    Encoding::PercentTwice,
    Encoding::Json,
    Encoding::Html,
];

/// `text` with every occurrence of `secret` masked, or of its beginning, whatever the encoding.
pub(super) fn mask(secret: &str, text: &str) -> String {
    if secret.len() < MIN_SECRET_BYTES {
        return text.to_owned();
    }
    let needles: Vec<Vec<char>> = std::iter::once(secret.to_owned())
        .chain(base64_forms(secret.as_bytes()))
        .map(|needle| needle.chars().collect())
        .collect();
    let mut masked = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = needles
            .iter()
            .flat_map(|needle| ENCODINGS.map(|encoding| found_at_start(rest, needle, encoding)))
            .max()
            .unwrap_or_default();
        if found == 0 {
            masked.push(next);
        } else {
            masked.push_str(MASK);
        }
        let (_, after) = rest
            .split_at_checked(found.max(next.len_utf8()))
            .unwrap_or_default();
        rest = after;
    }
    masked
}

/// How many bytes at the start of `text` are the needle or enough of its beginning; 0 if they are
/// not.
fn found_at_start(text: &str, needle: &[char], encoding: Encoding) -> usize {
    let mut rest = text;
    let mut matched = 0_usize;
    for expected in needle {
        let Some((decoded, after)) = encoding.decode(rest) else {
            break;
        };
        let is_space = *expected == ' ' && decoded == '+' && encoding.is_of_urls();
        if decoded != *expected && !is_space {
            break;
        }
        rest = after;
        matched = matched.saturating_add(1);
    }
    if matched < needle.len().min(MASKED_PREFIX_CHARS) {
        return 0;
    }
    text.len().saturating_sub(rest.len())
}

/// What of the secret can be seen in base64 that holds it, in both alphabets. It depends on how
/// many bytes come before it, modulo three; characters that it shares with its neighbours do not
/// count.
fn base64_forms(secret: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for (padding, shared) in [(0, 0), (1, 2), (2, 3)] {
        let mut bytes = vec![0; padding];
        bytes.extend_from_slice(secret);
        let shares_last = bytes.len() % 3 != 0;
        for mut form in [
            BASE64_STANDARD_NO_PAD.encode(&bytes),
            BASE64_URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            if shares_last {
                form.pop();
            }
            forms.push(form.split_off(shared));
        }
    }
    forms
}

impl Encoding {
    fn is_of_urls(self) -> bool {
        matches!(self, Self::Percent | Self::PercentTwice)
    }

    /// The first character of `text` as it is meant, and the rest. What is no valid escape stands
    /// for itself.
    fn decode(self, text: &str) -> Option<(char, &str)> {
        let escaped = match self {
            Self::Plain => None,
            Self::Percent => percent(text, "%"),
            Self::PercentTwice => percent(text, "%25"),
            Self::Json => json(text),
            Self::Html => html(text),
        };
        escaped.or_else(|| {
            let mut letters = text.chars();
            Some((letters.next()?, letters.as_str()))
        })
    }
}

/// One character in UTF-8, each byte of it as `sign` and two hexadecimal digits.
fn percent<'a>(text: &'a str, sign: &str) -> Option<(char, &'a str)> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while bytes.len() < 4 {
        let (digits, after) = rest.strip_prefix(sign)?.split_at_checked(2)?;
        bytes.push(u8::try_from(hexadecimal(digits)?).ok()?);
        rest = after;
        if let Ok(decoded) = std::str::from_utf8(&bytes) {
            return Some((decoded.chars().next()?, rest));
        }
    }
    None
}

/// `\n`, `\"`, `\u00fc`, or a pair of surrogates.
fn json(text: &str) -> Option<(char, &str)> {
    let rest = text.strip_prefix('\\')?;
    let mut letters = rest.chars();
    let decoded = match letters.next()? {
        'u' => return json_by_number(rest.strip_prefix('u')?),
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        sign @ ('"' | '\\' | '/') => sign,
        _ => return None,
    };
    Some((decoded, letters.as_str()))
}

fn json_by_number(text: &str) -> Option<(char, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let unit = u16::try_from(hexadecimal(digits)?).ok()?;
    if let Some(decoded) = char::from_u32(unit.into()) {
        return Some((decoded, rest));
    }
    let (digits, rest) = rest.strip_prefix("\\u")?.split_at_checked(4)?;
    let second = u16::try_from(hexadecimal(digits)?).ok()?;
    let decoded = char::decode_utf16([unit, second]).next()?.ok()?;
    Some((decoded, rest))
}

/// `&amp;`, `&#38;` or `&#x26;`.
fn html(text: &str) -> Option<(char, &str)> {
    let (name, rest) = text.strip_prefix('&')?.split_once(';')?;
    if name.len() > MAX_ENTITY_CHARS {
        return None;
    }
    let decoded = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => hexadecimal(digits)?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)?
        }
    };
    Some((decoded, rest))
}

fn hexadecimal(digits: &str) -> Option<u32> {
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())?
}
