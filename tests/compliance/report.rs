//! What is printed, and the figures.

use crate::subject::Subject;

/// What became of a case.
#[derive(Debug)]
pub enum Verdict {
    /// As expected of ours.
    Same,
    /// Not so in the original, by a decision that the page names; what was seen instead.
    Differs(&'static str, String),
    /// A difference that no decision explains, or one that is none.
    Fails(String),
}

#[derive(Debug, Default)]
pub struct Report {
    same: usize,
    differs: usize,
    failed: Vec<String>,
}

impl Report {
    pub fn note(&mut self, name: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Same => {
                self.same += 1;
                println!("test {name} ... ok");
            }
            Verdict::Differs(decision, seen) => {
                self.differs += 1;
                println!("test {name} ... differs by \"{decision}\" ({seen})");
            }
            Verdict::Fails(why) => {
                self.failed.push(name.to_owned());
                println!("test {name} ... FAILED: {why}");
            }
        }
    }

    pub fn log(life: &str, log: &str) {
        println!("---- the log of {life} ----\n{log}---- end of the log of {life} ----");
    }

    pub fn failed(&self) -> bool {
        !self.failed.is_empty()
    }

    pub fn summary(&self, subject: &Subject) {
        let all = self.same + self.differs + self.failed.len();
        println!("\n{subject}: {} of {all} cases as promised", self.same);
        if self.differs > 0 {
            println!("{} differ by a decision", self.differs);
        }
        for name in &self.failed {
            println!("failed: {name}");
        }
    }
}
