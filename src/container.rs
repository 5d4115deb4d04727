//! What every step of a life needs: the environment, the settings, the request to stop, the status.

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::hooks::shell::{Exit, Shell};
use crate::hooks::{Stage, Surroundings};
use crate::settings::{Environment, ServerChoice, Settings, Warning, variables};
use crate::status::Reporter;
use crate::system::cancellation::CancellationToken;
use crate::system::command::advice_on_spawning;
use crate::system::paths;

/// The container that this program runs in, as far as it concerns all steps.
pub struct Container {
    environment: Environment,
    /// The settings in force; only `PRE_UP` changes them, but for the choice of a server.
    pub settings: Settings,
    /// Asked for by a stop signal, or by a hook.
    pub stop: CancellationToken,
    /// The status file.
    pub reporter: Reporter,
    /// The tunnel's mark, and its routing table: another tunnel may have the usual number.
    pub mark: u32,
    warned: HashSet<Warning>,
    shell: Arc<Shell>,
    /// Of those that everything else goes on beside.
    pub hook_runs: Arc<HookRuns>,
}

impl Container {
    /// Reads the settings and says what is wrong with them.
    pub fn new(environment: Environment, stop: CancellationToken) -> Self {
        let (settings, warnings) = Settings::of_this_network(&environment);
        let reporter = Reporter::new(Path::new(paths::STATUS));
        let mut container = Self {
            environment,
            settings,
            stop,
            reporter,
            mark: paths::FWMARK,
            warned: HashSet::new(),
            shell: Arc::default(),
            hook_runs: Arc::default(),
        };
        container.warn(warnings);
        container.tell_paths();
        container.note_port_wanted();
        container
    }

    /// Tells hooks the paths by the names of the original's shell.
    fn tell_paths(&mut self) {
        let port_file = self.settings.port_forwarding.file.clone();
        self.set_env("portfile", port_file);
        self.set_env("tokenfile", paths::TOKEN);
        self.set_env("wg_conf", paths::WG_CONF);
    }

    /// Tells hooks the way out below the tunnel, likewise.
    pub fn tell_way_out(&mut self, interface: &str, address: Ipv4Addr) {
        self.set_env("outgoing_iface", interface);
        self.set_env("outgoing_addr", address.to_string());
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
        let mut environment = self.environment.clone();
        environment.follow(self.shell.variables());
        environment.pairs().collect()
    }

    /// Whether anything is to run at this stage.
    pub fn has_hook(&self, stage: Stage) -> bool {
        self.text_of(stage).is_some() || stage.has_script()
    }

    /// Runs the hooks of a stage; a stop ends them.
    pub fn run_hooks(&self, stage: Stage) -> Option<Exit> {
        self.run_hooks_until(stage, &self.stop)
    }

    /// Starts the hooks of a stage; everything else goes on beside them. A stop ends them.
    pub fn start_hooks(
        &self,
        stage: Stage,
        on_end: impl FnOnce() + Send + 'static,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        if !self.has_hook(stage) {
            return None;
        }
        let (environment, stop) = (self.environment(), self.stop.clone());
        let (text, shell) = (self.text_of(stage), Arc::clone(&self.shell));
        let runs = Arc::clone(&self.hook_runs);
        let run = move || {
            let around = Surroundings {
                environment: &environment,
                stop: &stop,
            };
            let this_run = runs.begin();
            let exit = shell.run_stage(stage, text.as_deref(), &names(), &around);
            drop(this_run);
            on_end();
            exit.map(on_exit);
        };
        let spawned = std::thread::Builder::new()
            .name(stage.name().to_owned())
            .spawn(run);
        spawned
            .inspect_err(|error| {
                let advice = advice_on_spawning(error);
                log::warn!("the {} hook cannot be run: {error}{advice}", stage.name());
            })
            .ok()
    }

    /// Runs the hooks of a stage of the shutdown: the stop that has been asked for does not end
    /// them.
    pub fn run_down_hooks(&self, stage: Stage) -> Option<Exit> {
        self.run_hooks_until(stage, &CancellationToken::never())
    }

    fn run_hooks_until(&self, stage: Stage, stop: &CancellationToken) -> Option<Exit> {
        let environment = self.environment();
        let around = Surroundings {
            environment: &environment,
            stop,
        };
        let text = self.text_of(stage);
        self.shell
            .run_stage(stage, text.as_deref(), &names(), &around)
    }

    /// Runs the pre-up hooks. What `PRE_UP` assigns to our variables takes effect.
    pub fn run_pre_up_hooks(&mut self) -> Option<Exit> {
        if let Some(exit) = self.run_hooks(Stage::PreUp) {
            return Some(exit);
        }
        self.environment.follow(self.shell.variables());
        let (settings, warnings) = Settings::of_this_network(&self.environment);
        let was_wanted = self.settings.port_forwarding.enabled;
        self.settings = settings;
        self.warn(warnings);
        self.tell_paths();
        self.note_port_wanted();
        let is_by_hook = self.settings.port_forwarding.enabled && !was_wanted;
        self.reporter
            .update(|status| status.port_wanted_by_hook = is_by_hook);
        None
    }

    /// The health check's own environment does not know what `PRE_UP` assigned.
    fn note_port_wanted(&self) {
        let is_wanted = self.settings.port_forwarding.enabled;
        self.reporter.note(|status| status.port_wanted = is_wanted);
    }

    /// The choice of a server by the variables as hooks have left them by now.
    pub fn choice_by_hooks(&mut self) -> ServerChoice {
        let mut environment = self.environment.clone();
        environment.follow(self.shell.variables());
        let (choice, warnings) = ServerChoice::from_environment(&environment);
        self.warn(warnings);
        choice
    }

    /// Runs `FATAL_SCRIPT`, if there is one.
    pub fn run_fatal_script(&self) -> Option<Exit> {
        let text = self.settings.fatal_script.as_deref()?;
        let environment = self.environment();
        let around = Surroundings {
            environment: &environment,
            stop: &self.stop,
        };
        self.shell.run("fatal-script", text, &names(), &around)
    }

    /// A stage's text as the texts before it left the variable.
    fn text_of(&self, stage: Stage) -> Option<String> {
        if let Some(text) = self.shell.text(stage.variable()) {
            return (!text.trim().is_empty()).then_some(text);
        }
        let hooks = &self.settings.hooks;
        match stage {
            Stage::PreUp => &hooks.pre_up,
            Stage::PostUp => &hooks.post_up,
            Stage::PreDown => &hooks.pre_down,
            Stage::PostDown => &hooks.post_down,
            Stage::PreReconnect => &hooks.pre_reconnect,
            Stage::PostReconnect => &hooks.post_reconnect,
        }
        .clone()
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

/// The stages of hooks that were run beside a tunnel that stands, whose routes they may change.
#[derive(Debug, Default)]
pub struct HookRuns {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// One of them, until it is dropped.
struct HookRun<'a>(&'a HookRuns);

impl HookRuns {
    /// How many there were; `None` while there is one.
    pub fn count(&self) -> Option<usize> {
        let ended = self.ended.load(Ordering::SeqCst);
        (self.begun.load(Ordering::SeqCst) == ended).then_some(ended)
    }

    fn begin(&self) -> HookRun<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        HookRun(self)
    }
}

impl Drop for HookRun<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Of our variables.
fn names() -> Vec<&'static str> {
    variables::ALL
        .iter()
        .map(|variable| variable.name)
        .collect()
}
