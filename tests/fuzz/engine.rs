//! Runs cases for a while, and tells of a failing one how to repeat it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::mutator::Mutator;

/// For each target, unless `FUZZ_SECONDS` says otherwise.
const USUAL_TIME: Duration = Duration::from_secs(1);
/// Looking at the clock costs more than many a case.
const CASES_BETWEEN_LOOKS: u64 = 16;

/// Hands changed examples of `target` to `holds`, which panics where its property does not hold.
/// With `FUZZ_SEED` the one case of that seed.
pub fn run(target: &str, holds: impl Fn(&[u8], &mut fastrand::Rng)) {
    let mutator = Mutator::new(examples(target));
    let case = |seed: u64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let input = mutator.input(&mut rng);
        if catch_unwind(AssertUnwindSafe(|| holds(&input, &mut rng))).is_err() {
            panic!(
                "fuzz target {target}, seed {seed}, input {:?}\nto repeat it: FUZZ_SEED={seed} \
                 scripts/fuzz {target}",
                String::from_utf8_lossy(&input)
            );
        }
    };
    if let Some(seed) = number("FUZZ_SEED") {
        return case(seed);
    }
    let time = number("FUZZ_SECONDS").map_or(USUAL_TIME, Duration::from_secs);
    let first: u64 = fastrand::u64(..);
    let started = Instant::now();
    let mut cases = 0;
    while cases % CASES_BETWEEN_LOOKS != 0 || started.elapsed() < time {
        case(first.wrapping_add(cases));
        cases += 1;
    }
    println!("fuzz target {target}: {cases} cases from seed {first}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn examples(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut paths: Vec<_> = fs::read_dir(folder.join(target))
        .unwrap_or_else(|error| panic!("corpus of {target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    // A seed means the same everywhere.
    paths.sort();
    let examples: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!examples.is_empty(), "{target} has no example");
    examples
}
