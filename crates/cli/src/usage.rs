//! What a wrong command line is answered: docker's sentences, usage line and exit codes.
//!
//! A wrong number of arguments ends with 1, a wrong flag or value with 125. The usage line is made from the same
//! description of the verbs that parses them.

use crate::args::Cli;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory};

/// A verb as it was typed: its path (`tare volume rm`) and its description.
pub(crate) struct Typed {
    path: String,
    command: Command,
}

impl Typed {
    /// Finds the verb in the words of a command line, without the program's name.
    pub(crate) fn find(words: &[String]) -> Self {
        let mut typed = Self { path: "tare".to_owned(), command: Cli::command() };
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if word == "-H" || word == "--host" {
                words.next();
            } else if !word.starts_with('-') {
                let Some(below) = typed.command.find_subcommand(word) else { break };
                typed = Self { path: format!("{} {}", typed.path, below.get_name()), command: below.clone() };
            }
        }
        typed
    }

    /// `Usage:  tare rm [OPTIONS] CONTAINER [CONTAINER...]`
    fn usage(&self) -> String {
        let mut line = format!("Usage:  {}", self.path);
        if self.command.get_opts().any(|flag| flag.get_id() != "help") {
            line.push_str(" [OPTIONS]");
        }
        for argument in self.command.get_positionals() {
            line.push(' ');
            line.push_str(&shown(argument));
        }
        if self.command.has_subcommands() {
            line.push_str(" COMMAND");
        }
        line
    }

    /// The lines below a fault of a flag.
    pub(crate) fn fault_of_flag(&self) -> String {
        format!("\n{}\n\n{}", self.usage(), self.more("Run"))
    }

    /// `Run 'tare run --help' for more information`
    pub(crate) fn more(&self, verb: &str) -> String {
        format!("{verb} '{} --help' for more information", self.path)
    }

    /// How many arguments the verb takes, in docker's words.
    fn wanted(&self) -> String {
        let arguments: Vec<&Arg> = self.command.get_positionals().collect();
        let least: usize = arguments.iter().filter(|a| a.is_required_set()).map(|a| required_of(a)).sum();
        // docker sets no upper bound for it.
        let open = arguments.iter().any(|argument| is_many(argument)) || self.command.get_name() == "import";
        let optional = arguments.iter().any(|argument| !argument.is_required_set());
        let (count, plural) = match arguments.len() {
            _ if open || !optional => (least, least != 1),
            most => (most, most != 1),
        };
        if let Some((least, most)) = self.range() {
            return format!("requires at least {least} and at most {most} arguments");
        }
        let bound = match (open, optional) {
            (true, _) => "at least ",
            (false, true) => "at most ",
            (false, false) => "",
        };
        match count {
            0 if !optional => "accepts no arguments".to_owned(),
            _ => format!("requires {bound}{count} argument{}", if plural { "s" } else { "" }),
        }
    }

    /// The bounds where there are both: `commit` and `port`.
    fn range(&self) -> Option<(usize, usize)> {
        let arguments: Vec<&Arg> = self.command.get_positionals().collect();
        let bounded =
            arguments.iter().all(|argument| !is_many(argument)) && self.command.get_name() != "import";
        let least = arguments.iter().filter(|argument| argument.is_required_set()).count();
        (bounded && least > 0 && least < arguments.len()).then_some((least, arguments.len()))
    }

    fn wrong_count(&self) -> String {
        let verb = if self.range().is_some() { "Run" } else { "See" };
        format!("tare: '{}' {}\n\n{}\n\n{}", self.path, self.wanted(), self.usage(), self.more(verb))
    }
}

/// `exec` takes two words in one argument, `run` and `top` one.
fn required_of(argument: &Arg) -> usize {
    if argument.get_id() == "container_and_command" { 2 } else { 1 }
}

fn is_many(argument: &Arg) -> bool {
    matches!(argument.get_action(), clap::ArgAction::Append)
        || argument.get_num_args().is_some_and(|range| range.max_values() > 1)
}

fn shown(argument: &Arg) -> String {
    let names: Vec<String> = match argument.get_value_names() {
        Some(names) => names.iter().map(ToString::to_string).collect(),
        None => vec![argument.get_id().as_str().to_uppercase()],
    };
    let text = match (names.as_slice(), is_many(argument)) {
        ([name], true) => format!("{name} [{name}...]"),
        ([first, second], true) if argument.get_id() == "container_and_command" => {
            format!("{first} {second} [ARG...]")
        }
        ([first, second], true) => format!("{first} [{second}] [ARG...]"),
        (names, _) => names.join(" "),
    };
    if argument.is_required_set() { text } else { format!("[{text}]") }
}

/// Prints what is wrong with a command line; gives the exit code.
pub(crate) fn report(error: &clap::Error, words: &[String]) -> u8 {
    if !error.use_stderr() {
        let _shown = error.print();
        return 0;
    }
    let typed = Typed::find(words);
    match sentence(error, &typed) {
        Some((text, code)) => {
            eprintln!("{text}");
            code
        }
        None => {
            let _shown = error.print();
            125
        }
    }
}

fn sentence(error: &clap::Error, typed: &Typed) -> Option<(String, u8)> {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let of_flag = |what: String| Some((format!("{what}\n{}", typed.fault_of_flag()), 125));
    let flag = |text: &str| flags_of(typed, text);
    match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => Some((typed.wrong_count(), 1)),
        ErrorKind::UnknownArgument => match text(ContextKind::InvalidArg)? {
            name if name.starts_with("--") => {
                of_flag(format!("unknown flag: {}", name.split('=').next().unwrap_or(&name)))
            }
            name if name.starts_with('-') && name.len() > 1 => {
                let letter = name.chars().nth(1).unwrap_or('-');
                of_flag(format!("unknown shorthand flag: '{letter}' in {name}"))
            }
            _ => Some((typed.wrong_count(), 1)),
        },
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand)?;
            let unknown = format!("tare: unknown command: {} {name}", typed.path);
            Some((format!("{unknown}\n\n{}", typed.more("Run")), 1))
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_some_and(|value| value.is_empty()) => {
            of_flag(format!("flag needs an argument: {}", flag(&text(ContextKind::InvalidArg)?)))
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let (value, name) = (text(ContextKind::InvalidValue)?, text(ContextKind::InvalidArg)?);
            let reason = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
            let reason = match reason.contains("digit") || reason.contains("integer") {
                true => format!("strconv.ParseInt: parsing \"{value}\": invalid syntax"),
                false => reason,
            };
            of_flag(format!("invalid argument \"{value}\" for \"{}\" flag: {reason}", flag(&name)))
        }
        _ => None,
    }
}

/// `--timeout <TIMEOUT>` → `-t, --timeout`
fn flags_of(typed: &Typed, text: &str) -> String {
    let long = text.split([' ', '=']).next().unwrap_or(text).trim_start_matches("--").to_owned();
    let found = typed.command.get_opts().find(|flag| flag.get_long() == Some(long.as_str()));
    match found.and_then(Arg::get_short) {
        Some(short) => format!("-{short}, --{long}"),
        None => format!("--{long}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn fault(line: &str) -> (String, u8) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let all = std::iter::once("tare".to_owned()).chain(words.iter().cloned());
        let parsed = Cli::command().try_get_matches_from(all);
        let error = parsed.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_err();
        sentence(&error, &Typed::find(&words)).unwrap()
    }

    #[test]
    fn a_wrong_number_of_arguments_ends_with_1() {
        let (text, code) = fault("rm");
        assert_eq!(code, 1);
        assert_eq!(
            text,
            "tare: 'tare rm' requires at least 1 argument\n\nUsage:  tare rm [OPTIONS] CONTAINER [CONTAINER...]\n\nSee 'tare rm --help' for more information"
        );
        for (line, first) in [
            ("pull", "tare: 'tare pull' requires 1 argument"),
            ("pull a b", "tare: 'tare pull' requires 1 argument"),
            ("volume rm", "tare: 'tare volume rm' requires at least 1 argument"),
            ("tag a", "tare: 'tare tag' requires 2 arguments"),
            ("run", "tare: 'tare run' requires at least 1 argument"),
            ("exec", "tare: 'tare exec' requires at least 2 arguments"),
            ("images a b", "tare: 'tare images' requires at most 1 argument"),
        ] {
            let (text, code) = fault(line);
            assert_eq!((text.lines().next().unwrap(), code), (first, 1), "{line}");
        }
    }

    #[test]
    fn a_wrong_flag_ends_with_125() {
        for (line, first) in [
            ("ps --bogus", "unknown flag: --bogus"),
            ("history -z x", "unknown shorthand flag: 'z' in -z"),
            (
                "stop -t soon x",
                "invalid argument \"soon\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"soon\": invalid syntax",
            ),
            ("run --name", "flag needs an argument: --name"),
        ] {
            let (text, code) = fault(line);
            assert_eq!((text.lines().next().unwrap(), code), (first, 125), "{line}");
        }
        assert!(fault("run --name").0.contains("Usage:  tare run [OPTIONS] IMAGE [COMMAND] [ARG...]"));
    }

    #[test]
    fn values_that_begin_with_a_dash_reach_the_verb() {
        for line in [
            "run --health-interval -1s x",
            "create --health-retries -1 x",
            "history -H=false x",
            "history -H x",
        ] {
            let words = std::iter::once("tare").chain(line.split_whitespace());
            Cli::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn an_unknown_verb_is_named() {
        let (text, code) = fault("frobnicate");
        assert!(text.starts_with("tare: unknown command: tare frobnicate\n"), "{text}");
        assert_eq!(code, 1);
    }
}
