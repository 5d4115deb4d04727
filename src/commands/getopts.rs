//! The spelling of options that the original's scripts took, by the shell's getopts.
//!
//! It differs from ours in details that real passwords and file names meet: the word after an
//! option is its value whatever it looks like, `-p=x` has the value `=x`, and the first word that
//! is no option ends them. So such words are rewritten to our long options, which are read without
//! any guessing. An empty value, as scripts give it for a variable that is not set, is none: the
//! scripts asked whether there was text in it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A script's options: the letter, and our long name. A value follows unless the name is a switch.
#[derive(Debug, Clone, Copy)]
pub struct ScriptOptions {
    pub with_value: &'static [(u8, &'static str)],
    pub switches: &'static [(u8, &'static str)],
}

/// `words` in our spelling, and those that follow the options, which the scripts never looked at.
/// `None` where they are not what the scripts took: then they are ours already, or wrong.
pub fn rewritten<'a>(
    words: &'a [OsString],
    options: &ScriptOptions,
) -> Option<(Vec<OsString>, &'a [OsString])> {
    let mut rewritten = Vec::new();
    let mut words = words.iter();
    loop {
        let rest = words.as_slice();
        let letters = match words.next().map(|word| word.as_bytes()) {
            Some([b'-', b'-']) => return Some((rewritten, words.as_slice())),
            Some([b'-', b'-', ..]) => return None,
            Some([b'-', letters @ ..]) if !letters.is_empty() => letters,
            _ => return Some((rewritten, rest)),
        };
        for (index, letter) in letters.iter().enumerate() {
            let named = |table: &[(u8, &'static str)]| {
                table
                    .iter()
                    .find(|(known, _)| known == letter)
                    .map(|(_, name)| *name)
            };
            if let Some(name) = named(options.switches) {
                rewritten.push(OsString::from(format!("--{name}")));
                continue;
            }
            let name = named(options.with_value)?;
            let rest = letters.get(index + 1..).unwrap_or_default();
            let value = if rest.is_empty() {
                words.next()?.clone()
            } else {
                OsStr::from_bytes(rest).to_owned()
            };
            let option = format!("--{name}=");
            if value.is_empty() {
                // Nor is there one any more that was given before.
                rewritten.retain(|word: &OsString| !word.as_bytes().starts_with(option.as_bytes()));
            } else {
                rewritten.push(OsString::from_vec(
                    [option.as_bytes(), value.as_bytes()].concat(),
                ));
            }
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPTIONS: ScriptOptions = ScriptOptions {
        with_value: &[(b't', "token-file"), (b'l', "location"), (b'p', "password")],
        switches: &[(b'a', "list")],
    };

    fn rewrite(words: &[&str]) -> Option<Vec<String>> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let (options, _) = rewritten(&words, &OPTIONS)?;
        Some(
            options
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect(),
        )
    }

    #[test]
    fn values_are_apart_or_attached() {
        assert_eq!(
            rewrite(&["-t", "file", "-lswiss", "-a"]).unwrap(),
            ["--token-file=file", "--location=swiss", "--list"]
        );
        assert_eq!(
            rewrite(&["-at", "file"]).unwrap(),
            ["--list", "--token-file=file"]
        );
        assert_eq!(
            rewrite(&["-atfile"]).unwrap(),
            ["--list", "--token-file=file"]
        );
    }

    #[test]
    fn a_value_may_look_like_anything() {
        assert_eq!(
            rewrite(&["-p", "-a", "-t", "--x"]).unwrap(),
            ["--password=-a", "--token-file=--x"]
        );
        assert_eq!(
            rewrite(&["-p=x", "-t", " "]).unwrap(),
            ["--password==x", "--token-file= "]
        );
    }

    #[test]
    fn an_empty_value_is_none_and_takes_back_an_earlier_one() {
        assert_eq!(
            rewrite(&["-t", "", "-l", "swiss", "-a"]).unwrap(),
            ["--location=swiss", "--list"]
        );
        assert_eq!(
            rewrite(&["-t", "file", "-l", "swiss", "-t", ""]).unwrap(),
            ["--location=swiss"]
        );
        assert_eq!(
            rewrite(&["-t", "", "-t", "file"]).unwrap(),
            ["--token-file=file"]
        );
    }

    #[test]
    fn the_first_word_that_is_no_option_ends_them() {
        assert_eq!(rewrite(&["-a", "file", "-z"]).unwrap(), ["--list"]);
        assert_eq!(rewrite(&["-a", "--", "-z"]).unwrap(), ["--list"]);
        assert_eq!(rewrite(&["-", "-z"]).unwrap(), [""; 0]);
    }

    #[test]
    fn what_follows_is_kept_apart() {
        let words = ["-a", "x", "-t"].map(OsString::from);
        assert_eq!(rewritten(&words, &OPTIONS).unwrap().1, ["x", "-t"]);
    }

    #[test]
    fn what_the_scripts_did_not_know_is_left_alone() {
        for words in [
            &["-z"][..],
            &["-az"],
            &["-t"],
            &["--help"],
            &["-a", "--location", "swiss"],
        ] {
            assert_eq!(rewrite(words), None, "{words:?}");
        }
    }

    proptest! {
        /// bash itself is the judge, of what is set in the end.
        #[test]
        fn bash_reads_the_same(
            words in proptest::collection::vec("(-[atlp=x-]{0,4}|[ax]{0,2})", 0..5),
        ) {
            let script = r#"t= l= p= a=; while getopts ":t:l:p:a" o; do case $o in
                t) t=$OPTARG;; l) l=$OPTARG;; p) p=$OPTARG;; a) a=a;;
                *) echo "?"; exit;; esac; done
                [ -n "$t" ] && echo "--token-file=$t"
                [ -n "$l" ] && echo "--location=$l"
                [ -n "$p" ] && echo "--password=$p"
                [ -n "$a" ] && echo "--list""#;
            let mut bash = std::process::Command::new("bash");
            bash.args(["-c", script, "x"]).args(&words);
            let text = String::from_utf8(bash.output().unwrap().stdout).unwrap();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let is_refused = text.lines().any(|line| line == "?");
            match rewrite(&words) {
                Some(ours) => {
                    let last_of = |name| ours.iter().rfind(|word: &&String| word.starts_with(name));
                    let names = ["--token-file=", "--location=", "--password=", "--list"];
                    let ours: Vec<_> = names.into_iter().filter_map(last_of).collect();
                    let theirs: Vec<_> = text.lines().collect();
                    prop_assert_eq!(ours, theirs);
                }
                None => prop_assert!(is_refused),
            }
        }
    }
}
