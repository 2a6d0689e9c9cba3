//! tare-oci, the runc-compatible command: arguments in, exit code out.
//!
//! Flags, texts, exit codes and output shapes are runc's. Everything that happens to a container is in
//! `tare-runtime`; this crate reads arguments and files, prints, and forwards streams and signals in the
//! foreground. It has no libc (`main.rs`) and is a library too, so that its parts are tested with std.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arguments;
mod bundle;
mod command;
mod foreground;
mod log;
mod notify;
mod output;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use arguments::Arguments;
use command::Failure;
use log::Log;

/// Everything a command is run with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// What the program was called as: callers that put it in the place of runc look for that name in its texts.
    pub(crate) program: &'a str,
    pub(crate) root: String,
    /// By `--root`.
    pub(crate) root_is_given: bool,
    pub(crate) systemd_cgroup: bool,
    /// `--criu`: a name or a path.
    pub(crate) criu: String,
    /// `--cgroup-manager disabled`, which is crun's.
    pub(crate) no_cgroups: bool,
    /// `--rootless`; nothing for `auto`.
    pub(crate) rootless: Option<bool>,
    pub(crate) log: Log,
    pub(crate) environment: &'a [String],
}

impl Context<'_> {
    /// A variable of the caller's environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// The socket of whoever waits for the service to be ready (sd_notify(3)).
    pub(crate) fn notify(&self) -> Option<&str> {
        self.variable("NOTIFY_SOCKET").filter(|address| !address.is_empty())
    }

    /// Where the caller's own systemd is reached: itself, else its message bus.
    fn user_systemd(&self) -> Vec<String> {
        let directory = self.variable("XDG_RUNTIME_DIR").filter(|directory| directory.starts_with('/'));
        let below = |name: &str| directory.map(|directory| format!("unix:path={directory}/{name}"));
        let bus = self.variable("DBUS_SESSION_BUS_ADDRESS").map(ToString::to_string);
        [below("systemd/private"), bus, below("bus")].into_iter().flatten().collect()
    }

    pub(crate) fn runtime(&self) -> tare_runtime::Runtime {
        tare_runtime::Runtime::new(tare_runtime::RuntimeOptions {
            root: self.root.clone(),
            systemd_cgroup: self.systemd_cgroup,
            user_systemd: self.user_systemd(),
            rootless: self.rootless,
        })
    }
}

/// Whether the command that these words (without the program's name) ask for starts a process in a container. Such a
/// command must run from a sealed binary.
pub fn enters_containers<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> bool {
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix(b"-") else {
            return matches!(word, b"run" | b"create" | b"exec" | b"restore");
        };
        if takes_value(flag.strip_prefix(b"-").unwrap_or(flag)) {
            words.next();
        }
    }
    false
}

/// As [`arguments::GLOBAL`], without reading a table: this comes before everything else.
fn takes_value(flag: &[u8]) -> bool {
    matches!(flag, b"log" | b"log-format" | b"root" | b"criu" | b"rootless" | b"cgroup-manager")
}

/// The program's own name.
pub(crate) const NAME: &str = "tare-oci";

/// Prints a complaint on standard error.
pub fn complain(text: &str) {
    output::error(&format!("{NAME}: {text}\n"));
}

/// What the program was called as, without directories.
fn called_as(arguments: &[String]) -> &str {
    let name = arguments.first().and_then(|path| path.rsplit('/').next());
    name.filter(|name| !name.is_empty() && *name != "exe").unwrap_or(NAME)
}

/// Runs the command that the arguments (with the program's name) ask for; the exit code.
pub fn run(arguments: &[String], environment: &[String]) -> i32 {
    let words = arguments.get(1..).unwrap_or_default();
    let global = match Arguments::parse(&arguments::GLOBAL, words) {
        Ok(global) => global,
        Err(text) => {
            complain(&format!("error: {text}"));
            return 1;
        }
    };
    let program = called_as(arguments);
    if global.has("version") {
        return done(output::print(&version(program)));
    }
    let Some(name) = global.positional(0).filter(|_| !global.has("help")) else {
        return done(output::print(&command::overview(program)));
    };
    let log = Log::new(global.value("log"), global.value("log-format"), global.has("debug"));
    let manager = global.value("cgroup-manager").unwrap_or("cgroupfs");
    if !matches!(manager, "cgroupfs" | "systemd" | "disabled") {
        complain(&format!("error: unknown cgroup manager {manager:?}: cgroupfs, systemd or disabled"));
        return 1;
    }
    let context = Context {
        program,
        root_is_given: global.value("root").is_some(),
        root: global.value("root").map_or_else(|| default_root(environment), ToString::to_string),
        criu: global.value("criu").filter(|program| !program.is_empty()).unwrap_or("criu").to_string(),
        systemd_cgroup: global.has("systemd-cgroup") || manager == "systemd",
        no_cgroups: manager == "disabled",
        rootless: match global.value("rootless").unwrap_or("auto") {
            "auto" => None,
            word => match word.parse() {
                Ok(rootless) => Some(rootless),
                Err(_) => {
                    complain(&format!("error: invalid value {word:?} for --rootless: true, false or auto"));
                    return 1;
                }
            },
        },
        log,
        environment,
    };
    context.log.debug(&format!("command {name}, states in {}", context.root));
    match command::run(&context, name, &global.rest(1)) {
        Ok(code) => code,
        Err(Failure { text, code, bare }) => {
            context.log.error(&text);
            if bare {
                output::error(&(text + "\n"));
            } else {
                output::error(&format!("{program}: error: {text}\n"));
            }
            code
        }
    }
}

/// Where states are without `--root`: an ordinary user's own directory, also if it is root of a user namespace. runc's
/// rule, with its exception for one that calls itself root.
fn default_root(environment: &[String]) -> String {
    let variable = |name: &str| environment.iter().find_map(|entry| entry.strip_prefix(name));
    let is_users = |_: &&str| {
        // The machine's root, who has /proc, is not mapped in such a namespace.
        let confined = || rustix::fs::stat("/proc").is_ok_and(|stat| stat.st_uid != 0);
        !rustix::process::geteuid().is_root() || (confined() && variable("USER=") != Some("root"))
    };
    let directory = variable("XDG_RUNTIME_DIR=").filter(|directory| !directory.is_empty()).filter(is_users);
    directory.map_or_else(|| "/run/tare-oci".to_string(), |directory| format!("{directory}/tare-oci"))
}

fn done(result: tare_sys::Result<()>) -> i32 {
    i32::from(result.is_err())
}

/// The commit is that of the build, where whoever builds has told it.
fn version(program: &str) -> String {
    let commit = option_env!("TARE_COMMIT").unwrap_or("unknown");
    let (own, spec) = (env!("CARGO_PKG_VERSION"), tare_types::spec::VERSION);
    format!("{program} version {own}\ncommit: {commit}\nspec: {spec}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_enter_containers_are_known_before_anything_is_read() {
        let enters = |line: &str| enters_containers(line.split(' ').map(str::as_bytes));
        assert!(enters("run x"));
        assert!(enters("--root /run/a --log=/l --debug exec --tty x sh"));
        assert!(enters("-log-format json restore x"));
        assert!(!enters("--root run state x"));
        assert!(!enters("--version"));
        for flag in arguments::GLOBAL.values {
            assert!(enters(&format!("--{flag} state create x")), "{flag}");
        }
        for flag in arguments::GLOBAL.switches {
            assert!(!takes_value(flag.as_bytes()), "{flag}");
        }
    }
}
