//! A life: what is given, what happens, and the cases that are seen on the way.

use std::any::Any;
use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;

use crate::report::Verdict;
use crate::see::Check;
use crate::subject::Subject;

/// What a hook says once the start is over, before the process that runs it. It is added to every
/// `POST_UP`, in a spelling that does not appear where the text itself is logged.
const SETTLED: &str = "the start is over for ";
const SETTLED_TEXT: &str = "echo the start is ove''r for $BASHPID";
/// How long something that is to differ is looked for.
const SHORTLY: Duration = Duration::from_secs(3);

type Given = Box<dyn Fn(&World, Recipe) -> Recipe + Send>;
type Act = Box<dyn Fn(&mut Stage) + Send>;

enum Step {
    Act(Act),
    See(Case),
}

/// One thing that is to be seen.
struct Case {
    name: &'static str,
    check: Check,
    /// The sentence of the page by which the original differs.
    decision: Option<&'static str>,
}

/// A life in a world of its own.
pub struct Life {
    name: &'static str,
    world: fn() -> World,
    given: Vec<Given>,
    environment: Vec<(&'static str, String)>,
    steps: Vec<Step>,
}

/// Where a life takes place.
pub struct Stage {
    pub world: World,
    pub container: Container,
    /// How long a case may wait for what it wants to see.
    pub patience: Duration,
    /// What an act noted for later cases.
    pub noted: Vec<String>,
}

/// How a life went.
pub struct Told {
    pub verdicts: Vec<(String, Verdict)>,
    /// The container's log, where a case failed.
    pub log: Option<String>,
}

impl Life {
    /// A container with the right credentials, in the usual world.
    pub fn of(name: &'static str) -> Self {
        Self {
            name,
            world: World::new,
            given: Vec::new(),
            environment: Vec::new(),
            steps: Vec::new(),
        }
        .given(|_, recipe| recipe.credentials())
        .env("LOC", "nl_amsterdam")
    }

    /// A container that only waits, for what is run by hand in it.
    pub fn by_hand(name: &'static str) -> Self {
        Self::of(name)
            .given(|_, recipe| recipe.command(["sleep", "600"]))
            .does(|stage| stage.container.start())
    }

    pub fn in_world(mut self, world: fn() -> World) -> Self {
        self.world = world;
        self
    }

    pub fn given(mut self, change: impl Fn(&World, Recipe) -> Recipe + Send + 'static) -> Self {
        self.given.push(Box::new(change));
        self
    }

    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    pub fn file(self, path: &'static str, text: &'static str) -> Self {
        self.given(move |_, recipe| recipe.file(path, text))
    }

    pub fn script(self, path: &'static str, text: &'static str) -> Self {
        self.given(move |_, recipe| recipe.script(path, text))
    }

    /// Something happens.
    pub fn does(mut self, act: impl Fn(&mut Stage) + Send + 'static) -> Self {
        self.steps.push(Step::Act(Box::new(act)));
        self
    }

    /// The same before the container starts: what is wrong with the world.
    pub fn starts(self) -> Self {
        self.does(|stage| stage.container.start())
    }

    /// Starts, and waits until the start is over.
    pub fn connects(self) -> Self {
        self.starts().settles()
    }

    /// Waits until the start is over, post-up hook included.
    pub fn settles(self) -> Self {
        self.does(|stage| {
            let line = stage.container.wait_for_log(SETTLED, SOON).text;
            let shell = line.rsplit(' ').next().unwrap_or_default();
            // In the original it is the container's own, called run, which stays.
            let over = format!("[[ ! -e /proc/{shell} || $(</proc/{shell}/comm) == run ]]");
            wait_until("the end of the hook", SOON, || {
                stage.shell(&over).0 == Some(0)
            });
        })
    }

    /// Waits for a line of the log.
    pub fn until(self, line: &'static str) -> Self {
        self.does(move |stage| {
            stage.container.wait_for_log(line, SOON);
        })
    }

    /// `docker stop`
    pub fn stops(self) -> Self {
        self.does(|stage| {
            stage.container.stop();
        })
    }

    /// A case.
    pub fn sees(mut self, name: &'static str, check: Check) -> Self {
        self.steps.push(Step::See(Case {
            name,
            check,
            decision: None,
        }));
        self
    }

    /// The original differs in the case before, by this sentence of the page.
    pub fn differs(mut self, decision: &'static str) -> Self {
        match self.steps.last_mut() {
            Some(Step::See(case)) => case.decision = Some(decision),
            _ => panic!("{}: only a case can differ", self.name),
        }
        self
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn names(&self) -> Vec<String> {
        let names = self.cases().map(|case| self.full_name(case));
        names.collect()
    }

    pub fn decisions(&self) -> Vec<&'static str> {
        self.cases().filter_map(|case| case.decision).collect()
    }

    fn cases(&self) -> impl Iterator<Item = &Case> {
        self.steps.iter().filter_map(|step| match step {
            Step::See(case) => Some(case),
            Step::Act(_) => None,
        })
    }

    fn full_name(&self, case: &Case) -> String {
        format!("{}::{}", self.name, case.name)
    }

    /// Lives it. After an act that fails, every further case fails with it.
    pub fn run(&self, subject: &Subject) -> Told {
        let mut broken = None;
        let mut stage = caught(|| self.stage(subject))
            .map_err(|why| broken = Some(why))
            .ok();
        let mut verdicts = Vec::new();
        for step in &self.steps {
            let Some(stage) = stage.as_mut().filter(|_| broken.is_none()) else {
                if let Step::See(case) = step {
                    let why = broken.clone().unwrap_or_default();
                    verdicts.push((self.full_name(case), case.verdict(subject, Err(why))));
                }
                continue;
            };
            match step {
                Step::Act(act) => broken = caught(|| act(stage)).err(),
                Step::See(case) => {
                    let differs = subject.is_original() && case.decision.is_some();
                    stage.patience = if differs { SHORTLY } else { SOON };
                    let seen = caught(|| (case.check)(stage)).and_then(|seen| seen);
                    verdicts.push((self.full_name(case), case.verdict(subject, seen)));
                }
            }
        }
        let failed = |(_, verdict): &(String, Verdict)| matches!(verdict, Verdict::Fails(_));
        let log = verdicts.iter().any(failed).then(|| {
            stage
                .map(|stage| stage.container.logs())
                .unwrap_or_default()
        });
        Told { verdicts, log }
    }

    fn stage(&self, subject: &Subject) -> Stage {
        let world = (self.world)();
        let mut recipe = subject.container(&world);
        for given in &self.given {
            recipe = given(&world, recipe);
        }
        let mut post_up = SETTLED_TEXT.to_owned();
        for (name, value) in &self.environment {
            if *name == "POST_UP" {
                post_up = format!("{value}\n{SETTLED_TEXT}");
            } else {
                recipe = recipe.env(name, value);
            }
        }
        let container = recipe.env("POST_UP", post_up).create();
        Stage {
            world,
            container,
            patience: SOON,
            noted: Vec::new(),
        }
    }
}

impl Case {
    fn verdict(&self, subject: &Subject, seen: Result<(), String>) -> Verdict {
        match (seen, self.decision.filter(|_| subject.is_original())) {
            (Ok(()), None) => Verdict::Same,
            (Err(why), None) => Verdict::Fails(why),
            (Err(why), Some(decision)) => Verdict::Differs(decision, why),
            (Ok(()), Some(decision)) => {
                Verdict::Fails(format!("it is to differ by \"{decision}\", and does not"))
            }
        }
    }
}

impl Stage {
    /// What a program run in the container prints, both streams, and how it ends.
    pub fn exec<S: AsRef<OsStr>>(&self, words: &[S]) -> (Option<i32>, String) {
        let output = self.container.exec(words);
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// The same for a line of shell.
    pub fn shell(&self, line: &str) -> (Option<i32>, String) {
        self.exec(&["bash", "-c", line])
    }

    /// Notes the present state of something.
    pub fn note(&mut self, text: impl Into<String>) {
        self.noted.push(text.into());
    }
}

/// What a task returns, or what it panicked with.
fn caught<T>(task: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(task)).map_err(|panic| words_of(panic.as_ref()))
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}
