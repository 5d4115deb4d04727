//! Changes examples at random. What comes out follows from the random numbers alone.

use super::property::{ENCODED_SECRETS, SECRET};

/// What often goes wrong: ends of lines and texts, numbers at a limit, syntax of what is written
/// from the input.
const TOKENS: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\t",
    " ",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "é",
    "0",
    "-1",
    "1e9",
    "65535",
    "65536",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "0x",
    "null",
    "true",
    "[]",
    "{}",
    "\"",
    "\\",
    "\\n",
    "\\u0000",
    "[",
    "{",
    ",",
    ":",
    "=",
    "#",
    "/",
    "..",
    "-j ACCEPT",
    "\n-A OUTPUT -j ACCEPT",
    "\nCOMMIT\n*nat\n",
    "\nPostUp = true",
    "\n[Peer]",
    "eth+",
    "!",
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "10.0.0.1/32",
    "::1",
    "OK",
    "Fatal error",
    "nameserver 127.0.0.11",
];
const MOST_CHANGES: usize = 6;
const LONGEST_REPEAT: usize = 200;

/// Makes inputs of examples.
#[derive(Debug)]
pub struct Mutator {
    examples: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(examples: Vec<Vec<u8>>) -> Self {
        Self { examples }
    }

    /// An example with some changes; rarely as it is.
    pub fn input(&self, rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = self.example(rng).to_vec();
        for _ in 0..rng.usize(0..=MOST_CHANGES) {
            self.change(&mut bytes, rng);
        }
        bytes
    }

    fn example(&self, rng: &mut fastrand::Rng) -> &[u8] {
        &self.examples[rng.usize(..self.examples.len())]
    }

    fn change(&self, bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
        let (start, end) = stretch(bytes.len(), rng);
        match rng.u8(..9) {
            0 if start < bytes.len() => bytes[start] ^= 1 << rng.u8(..8),
            1 if start < bytes.len() => bytes[start] = rng.u8(..),
            2 => drop(bytes.drain(start..end)),
            3 => bytes.truncate(start),
            4 => {
                let piece = bytes[start..end].to_vec();
                let times = rng.usize(1..=1 + LONGEST_REPEAT / piece.len().max(1));
                insert(bytes, start, &piece.repeat(times));
            }
            5 => {
                let other = self.example(rng);
                let (from, to) = stretch(other.len(), rng);
                insert(bytes, start, &other[from..to]);
            }
            6 => change_number(bytes, start, rng),
            7 => {
                let texts = [&[SECRET], ENCODED_SECRETS].concat();
                insert(bytes, start, texts[rng.usize(..texts.len())].as_bytes());
            }
            _ => {
                let token = TOKENS[rng.usize(..TOKENS.len())];
                if rng.bool() {
                    bytes.drain(start..end);
                }
                insert(bytes, start, token.as_bytes());
            }
        }
    }
}

/// Two places in so many bytes, more often near each other than not.
fn stretch(length: usize, rng: &mut fastrand::Rng) -> (usize, usize) {
    let start = rng.usize(..=length);
    let longest = if rng.u8(..4) == 0 { length } else { 16 };
    (start, (start + rng.usize(..=longest)).min(length))
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Puts another number in the place of the next one.
fn change_number(bytes: &mut Vec<u8>, from: usize, rng: &mut fastrand::Rng) {
    let Some(start) = (from..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else {
        return;
    };
    let length = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let end = start + length.count();
    let bits = rng.u32(..64);
    let number = rng.u64(..) >> bits;
    bytes.splice(start..end, number.to_string().bytes());
}
