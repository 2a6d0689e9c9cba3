//! The commands.

mod checkpoint;
mod create;
mod events;
mod exec;
mod features;
mod lifecycle;
mod list;
mod spec;
mod update;

use crate::{
    Context,
    arguments::{Arguments, Flags},
    output,
};
use alloc::string::{String, ToString};

/// What `--help` prints, without its head.
const HELP: &str = "\
COMMANDS:
   checkpoint  write images of a running container
   create      create a container
   delete      delete the resources of a container
   events      show events and usage of a container
   exec        execute a process in a container
   features    show what this runtime can do
   kill        send a signal to a container
   list        list containers
   pause       suspend all processes of a container
   ps          show the processes of a container
   restore     bring a container back from images
   resume      resume all processes of a container
   run         create and run a container
   spec        make a configuration to start from
   start       start the program of a created container
   state       show the state of a container
   update      change the limits of a container

GLOBAL OPTIONS:
   --criu value        program for checkpoint and restore (default: criu, in $PATH)
   --log value         file that failures are logged to
   --log-format value  text or json (default: text)
   --root value        directory of the states (default: /run/tare-oci)
   --systemd-cgroup    make cgroups through systemd
   --cgroup-manager value  the same in crun's words: cgroupfs, systemd or disabled (none at all)
   --help, -h          show this
   --version, -v       show the version
";

/// A failure as the user sees it, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) code: i32,
    /// The text is a program's, not a failure of this one: it stands alone.
    pub(crate) bare: bool,
}

impl Failure {
    /// The same with words in front.
    pub(crate) fn prefixed(self, prefix: &str) -> Self {
        if self.bare {
            return self;
        }
        Self { text: prefix.to_string() + ": " + &self.text, ..self }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, code: 1, bare: false }
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self { text: text.to_string(), code: 1, bare: false }
    }
}

impl From<tare_runtime::Error> for Failure {
    fn from(error: tare_runtime::Error) -> Self {
        Self { text: error.to_string(), code: 1, bare: false }
    }
}

impl From<tare_sys::Error> for Failure {
    fn from(error: tare_sys::Error) -> Self {
        Self { text: error.to_string(), code: 1, bare: false }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self { text: error.to_string(), code: 1, bare: false }
    }
}

pub(crate) type Outcome = Result<i32, Failure>;

/// One command: its name, its flags, what it does.
struct Command {
    name: &'static str,
    flags: &'static Flags,
    run: fn(&Context<'_>, &Arguments) -> Outcome,
}

static NO_FLAGS: Flags =
    Flags { values: &[], switches: &["help"], short: &[("h", "help")], stop_after: None };

static COMMANDS: &[Command] = &[
    Command { name: "create", flags: &create::CREATE, run: create::create },
    Command { name: "run", flags: &create::RUN, run: create::run },
    Command { name: "start", flags: &NO_FLAGS, run: lifecycle::start },
    Command { name: "exec", flags: &exec::FLAGS, run: exec::exec },
    Command { name: "state", flags: &NO_FLAGS, run: lifecycle::state },
    Command { name: "kill", flags: &lifecycle::KILL, run: lifecycle::kill },
    Command { name: "delete", flags: &lifecycle::DELETE, run: lifecycle::delete },
    Command { name: "pause", flags: &NO_FLAGS, run: lifecycle::pause },
    Command { name: "resume", flags: &NO_FLAGS, run: lifecycle::resume },
    Command { name: "list", flags: &list::LIST, run: list::list },
    Command { name: "ps", flags: &list::PS, run: list::ps },
    Command { name: "events", flags: &events::FLAGS, run: events::events },
    Command { name: "update", flags: &update::FLAGS, run: update::update },
    Command { name: "spec", flags: &spec::FLAGS, run: spec::spec },
    Command { name: "checkpoint", flags: &checkpoint::CHECKPOINT, run: checkpoint::checkpoint },
    Command { name: "restore", flags: &checkpoint::RESTORE, run: checkpoint::restore },
    Command { name: "features", flags: &NO_FLAGS, run: features::features },
];

/// Runs the command of this name.
pub(crate) fn run(context: &Context<'_>, name: &str, words: &[String]) -> Outcome {
    if matches!(name, "help" | "h") {
        output::print(&overview(context.program))?;
        return Ok(0);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(Failure { text: alloc::format!("No help topic for '{name}'"), code: 3, bare: false });
    };
    let arguments = Arguments::parse(command.flags, words)?;
    if arguments.has("help") {
        output::print(&help(context.program, name, command.flags))?;
        return Ok(0);
    }
    (command.run)(context, &arguments)
}

/// What `--help` prints.
pub(crate) fn overview(program: &str) -> String {
    alloc::format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program} [global options] command \
         [command options] [arguments...]\n\n{HELP}"
    )
}

/// What `COMMAND --help` prints.
fn help(program: &str, name: &str, flags: &Flags) -> String {
    let about = HELP.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(' '));
    let about = about.map_or("not implemented", str::trim);
    let mut text = alloc::format!(
        "NAME:\n   {program} {name} - {about}\n\nUSAGE:\n   {program} {name} [command options] [arguments...]\n\nOPTIONS:\n"
    );
    let values = flags.values.iter().map(|flag| (flag, " value"));
    for (flag, value) in values.chain(flags.switches.iter().map(|flag| (flag, ""))) {
        text += &alloc::format!("   --{flag}{value}");
        for (short, _) in flags.short.iter().filter(|(_, long)| long == flag) {
            text += &alloc::format!(", -{short}{value}");
        }
        text += "\n";
    }
    text
}

/// The container's id, the first argument.
pub(crate) fn id<'a>(name: &str, arguments: &'a Arguments) -> Result<&'a str, Failure> {
    arguments.expect(name, 1, usize::MAX)?;
    arguments.positional(0).filter(|id| !id.is_empty()).ok_or_else(|| "container id cannot be empty".into())
}
