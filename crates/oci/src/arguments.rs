//! Command line arguments as runc's library reads them: `-f`, `--flag`, `--flag=value`, `--flag value`,
//! flags also behind positional arguments unless the command passes them on.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What a command accepts.
#[derive(Debug)]
pub(crate) struct Flags {
    /// Flags that take a value, long names.
    pub(crate) values: &'static [&'static str],
    /// Flags that are set or not.
    pub(crate) switches: &'static [&'static str],
    /// Short names and what they stand for.
    pub(crate) short: &'static [(&'static str, &'static str)],
    /// After this many positional arguments everything is positional; for commands that pass arguments on.
    pub(crate) stop_after: Option<usize>,
}

/// Flags before the command's name.
pub(crate) static GLOBAL: Flags = Flags {
    values: &["log", "log-format", "root", "criu", "rootless", "cgroup-manager"],
    switches: &["debug", "systemd-cgroup", "help", "version"],
    short: &[("h", "help"), ("v", "version")],
    stop_after: Some(0),
};

impl Flags {
    fn long<'n>(&self, name: &'n str) -> &'n str {
        self.short.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long)
    }
}

/// Arguments of one command, sorted.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    values: Vec<(String, String)>,
    positional: Vec<String>,
}

impl Arguments {
    /// Sorts the words; an unknown flag or a missing value is an error text.
    pub(crate) fn parse(flags: &Flags, words: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let passed_on = flags.stop_after.is_some_and(|limit| parsed.positional.len() > limit);
            let flag = word.strip_prefix('-').filter(|name| !name.is_empty() && !passed_on);
            let Some(flag) = flag else {
                parsed.positional.push(word.clone());
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag.is_empty() {
                // `--`: the rest is positional.
                parsed.positional.extend(words.by_ref().cloned());
                break;
            }
            let (name, given) =
                flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            let name = flags.long(name);
            if flags.values.contains(&name) {
                let next = given.map(ToString::to_string).or_else(|| words.next().cloned());
                let value = next.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
                parsed.values.push((name.to_string(), value));
            } else if flags.switches.contains(&name) {
                if !matches!(given, Some("false" | "0" | "f" | "F" | "FALSE" | "False")) {
                    parsed.values.push((name.to_string(), String::new()));
                }
            } else {
                return Err(format!("flag provided but not defined: -{name}"));
            }
        }
        Ok(parsed)
    }

    /// Whether a flag was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| known == name)
    }

    /// A flag's value; the last one if it was given often.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag, in order.
    pub(crate) fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.values.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A value as a number.
    pub(crate) fn number<T: core::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("invalid value {text:?} for flag -{name}: it is not a number in range"))
        };
        self.value(name).map(parse).transpose()
    }

    /// A positional argument.
    pub(crate) fn positional(&self, index: usize) -> Option<&str> {
        self.positional.get(index).map(String::as_str)
    }

    /// The positional arguments from `index` on.
    pub(crate) fn rest(&self, index: usize) -> Vec<String> {
        self.positional.get(index..).unwrap_or_default().to_vec()
    }

    /// Exactly this many positional arguments, or an error text as runc's.
    pub(crate) fn expect(&self, command: &str, least: usize, most: usize) -> Result<(), String> {
        let count = self.positional.len();
        if count < least {
            return Err(format!("{command}: {:?} requires a minimum of {least} argument(s)", command));
        }
        if count > most {
            return Err(format!("{command}: {:?} requires a maximum of {most} argument(s)", command));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static EXEC: Flags = Flags {
        values: &["env", "user"],
        switches: &["tty", "detach"],
        short: &[("e", "env"), ("t", "tty")],
        stop_after: Some(0),
    };
    static KILL: Flags = Flags { values: &[], switches: &["all"], short: &[("a", "all")], stop_after: None };

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(ToString::to_string).collect()
    }

    #[test]
    fn forms_of_flags() {
        let parsed =
            Arguments::parse(&EXEC, &words("-e A=1 --env=B=2 -t --detach=false box sh -c -t")).unwrap();
        assert_eq!(parsed.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert!(parsed.has("tty") && !parsed.has("detach"));
        assert_eq!(parsed.rest(0), ["box", "sh", "-c", "-t"]);
        let parsed = Arguments::parse(&KILL, &words("box 9 --all")).unwrap();
        assert!(parsed.has("all"));
        assert_eq!(parsed.rest(0), ["box", "9"]);
        assert!(Arguments::parse(&KILL, &words("--nope")).is_err());
        assert!(Arguments::parse(&EXEC, &words("--env")).is_err());
    }
}
