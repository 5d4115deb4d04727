//! What every step of a life needs: the environment, the settings, the request to stop, the status.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::thread::JoinHandle;

use crate::hooks::{self, Stage, Surroundings};
use crate::settings::{Environment, Settings, Warning, variables};
use crate::status::Reporter;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;

/// The container that this program runs in, as far as it concerns all steps.
pub struct Container {
    environment: Environment,
    /// The settings in force; only `PRE_UP` changes them.
    pub settings: Settings,
    /// Asked for by a stop signal.
    pub stop: CancellationToken,
    /// The status file.
    pub reporter: Reporter,
    /// The tunnel's mark, and its routing table: another tunnel may have the usual number.
    pub mark: u32,
    warned: HashSet<Warning>,
}

impl Container {
    /// Reads the settings and says what is wrong with them.
    pub fn new(environment: Environment, stop: CancellationToken) -> Self {
        let (settings, warnings) = Settings::from_environment(&environment);
        let reporter = Reporter::new(Path::new(paths::STATUS));
        let mut container = Self {
            environment,
            settings,
            stop,
            reporter,
            mark: paths::FWMARK,
            warned: HashSet::new(),
        };
        container.warn(warnings);
        container
    }

    /// The settings in force, for the log.
    pub fn effective_settings(&self) -> String {
        Settings::effective(&self.environment)
    }

    /// Tells children, hooks above all, something in a variable.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.set(name, value);
    }

    /// Takes back what children were told.
    pub fn unset_env(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// Puts `directory` first in PATH, for hooks and all other children.
    pub fn prefer_programs_of(&mut self, directory: &str) {
        let path = self
            .environment
            .text("PATH")
            .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if path.split(':').next() != Some(directory) {
            let path = format!("{directory}:{path}");
            self.environment.set("PATH", path);
        }
    }

    /// The environment that children get.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        self.environment.pairs().collect()
    }

    /// Whether anything is to run at this stage.
    pub fn has_hook(&self, stage: Stage) -> bool {
        self.text_of(stage).is_some() || stage.has_script()
    }

    /// Runs the hooks of a stage; a stop ends them.
    pub fn run_hooks(&self, stage: Stage) {
        self.run_hooks_until(stage, &self.stop);
    }

    /// Starts the hooks of a stage; everything else goes on beside them. A stop ends them.
    pub fn start_hooks(&self, stage: Stage) -> Option<JoinHandle<()>> {
        if !self.has_hook(stage) {
            return None;
        }
        let (environment, stop) = (self.environment(), self.stop.clone());
        let text = self.text_of(stage).map(str::to_owned);
        let run = move || {
            hooks::run(
                stage,
                text.as_deref(),
                &Surroundings {
                    environment: &environment,
                    stop: &stop,
                },
            );
        };
        let spawned = std::thread::Builder::new()
            .name(stage.name().to_owned())
            .spawn(run);
        spawned
            .inspect_err(|error| log::warn!("the {} hook cannot be run: {error}", stage.name()))
            .ok()
    }

    /// Runs the hooks of a stage of the shutdown: the stop that has been asked for does not end
    /// them.
    pub fn run_down_hooks(&self, stage: Stage) {
        self.run_hooks_until(stage, &CancellationToken::never());
    }

    fn run_hooks_until(&self, stage: Stage, stop: &CancellationToken) {
        let environment = self.environment();
        hooks::run(
            stage,
            self.text_of(stage),
            &Surroundings {
                environment: &environment,
                stop,
            },
        );
    }

    /// Runs the pre-up hooks. What `PRE_UP` assigns to our variables takes effect.
    pub fn run_pre_up_hooks(&mut self) {
        let environment = self.environment();
        let around = Surroundings {
            environment: &environment,
            stop: &self.stop,
        };
        hooks::run(Stage::PreUp, None, &around);
        let Some(text) = self.settings.hooks.pre_up.clone() else {
            return;
        };
        if self.stop.is_cancelled() {
            return;
        }
        let ours: Vec<String> = variables::ALL
            .iter()
            .map(|variable| variable.name.to_owned())
            .collect();
        for (name, value) in hooks::run_pre_up(&text, &ours, &around) {
            self.environment.set(name, value);
        }
        let (settings, warnings) = Settings::from_environment(&self.environment);
        self.settings = settings;
        self.warn(warnings);
    }

    /// Runs a command line of the user's to its end, its output prefixed with `[name]`.
    pub fn run_script(&self, name: &'static str, text: &str) {
        let environment = self.environment();
        hooks::run_text(
            name,
            text,
            &Surroundings {
                environment: &environment,
                stop: &self.stop,
            },
        );
    }

    fn text_of(&self, stage: Stage) -> Option<&str> {
        let hooks = &self.settings.hooks;
        match stage {
            Stage::PreUp => &hooks.pre_up,
            Stage::PostUp => &hooks.post_up,
            Stage::PreDown => &hooks.pre_down,
            Stage::PostDown => &hooks.post_down,
            Stage::PreReconnect => &hooks.pre_reconnect,
            Stage::PostReconnect => &hooks.post_reconnect,
        }
        .as_deref()
    }

    /// Each warning is given once, also when the settings are read again.
    fn warn(&mut self, warnings: Vec<Warning>) {
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                log::warn!("{warning}");
            }
        }
    }
}
