//! The arguments of ps(1) that people give to `top`, as columns.
//!
//! Docker runs the host's ps and picks the container's lines. Which processes are shown is settled here anyway, so
//! that selections (`-e`, `ax`) change nothing; formats choose the columns. What would change the meaning and is not
//! done is refused by name.

use super::columns::{Column, by_name};

/// Columns with their titles.
pub(super) type Format = Vec<(Column, String)>;

/// Reads the arguments; empty means `-ef`.
///
/// # Errors
/// The reason, for a person.
pub(super) fn parse(arguments: &str) -> Result<Format, String> {
    let arguments = if arguments.trim().is_empty() { "-ef" } else { arguments };
    let mut words = arguments.split_whitespace();
    let mut chosen: Option<Format> = None;
    let mut bsd = false;
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            parse_long(long, &mut words, &mut chosen)?;
            continue;
        }
        let unix = word.strip_prefix('-');
        bsd |= unix.is_none();
        let letters = unix.unwrap_or(word);
        for (at, letter) in letters.char_indices() {
            if letter == 'o' || letter == 'O' {
                let rest = &letters[at + 1..];
                let list = if rest.is_empty() { words.next().unwrap_or_default() } else { rest };
                parse_list(list, chosen.get_or_insert_default())?;
                break;
            }
            if let Some(format) = by_letter(letter, unix.is_some()).map_err(|()| unsupported(word))? {
                chosen = Some(format);
            }
        }
    }
    let format = chosen.unwrap_or_else(|| if bsd { bsd_default() } else { unix_default() });
    if !format.iter().any(|(column, title)| *column == Column::Pid && title == "PID") {
        return Err("couldn't find PID field in ps output".to_owned());
    }
    Ok(format)
}

fn parse_long<'a>(
    long: &str,
    words: &mut impl Iterator<Item = &'a str>,
    chosen: &mut Option<Format>,
) -> Result<(), String> {
    let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
    match name {
        "format" => {
            let list = value.or_else(|| words.next()).unwrap_or_default();
            parse_list(list, chosen.get_or_insert_default())
        }
        "headers" | "cumulative" => Ok(()),
        _ => Err(unsupported(&format!("--{long}"))),
    }
}

/// `pid,user=WHO`: a title of one's own takes the rest of the list.
fn parse_list(list: &str, format: &mut Format) -> Result<(), String> {
    let mut rest = list;
    while !rest.is_empty() {
        let (entry, tail) = match (rest.find('='), rest.find(',')) {
            (Some(equals), comma) if comma.is_none_or(|comma| equals < comma) => (rest, ""),
            (_, Some(comma)) => (&rest[..comma], &rest[comma + 1..]),
            (_, None) => (rest, ""),
        };
        let (name, title) = entry.split_once('=').map_or((entry, None), |(name, title)| (name, Some(title)));
        let (column, usual) =
            by_name(name).ok_or_else(|| format!("unknown user-defined format specifier {name:?}"))?;
        if column == Column::Pid && title.is_some() {
            // The column is what finds the container's processes.
            return Err(format!("specifying \"{entry}\" is not allowed"));
        }
        format.push((column, title.unwrap_or(usual).to_owned()));
        rest = tail;
    }
    Ok(())
}

fn unsupported(word: &str) -> String {
    format!("ps option {word:?} is not supported")
}

/// What a letter of a cluster chooses; `Ok(None)` for selections and widths.
fn by_letter(letter: char, unix: bool) -> Result<Option<Format>, ()> {
    use Column::{
        Address, Channel, Command, Cpu, CpuWhole, Flags, Group, MemoryShare, Name, Nice, Pages, ParentPid,
        Pid, Priority, Resident, Session, Start, State, Status, Terminal, Threads, Time, Uid, User,
        VirtualSize,
    };
    let columns: &[(Column, &str)] = match (letter, unix) {
        ('f', true) => &[
            (User, "UID"),
            (Pid, "PID"),
            (ParentPid, "PPID"),
            (CpuWhole, "C"),
            (Start, "STIME"),
            (Terminal, "TTY"),
            (Time, "TIME"),
            (Command, "CMD"),
        ],
        ('F', true) => &[
            (User, "UID"),
            (Pid, "PID"),
            (ParentPid, "PPID"),
            (CpuWhole, "C"),
            (Pages, "SZ"),
            (Resident, "RSS"),
            (Threads, "NLWP"),
            (Start, "STIME"),
            (Terminal, "TTY"),
            (Time, "TIME"),
            (Command, "CMD"),
        ],
        ('l', true) => &[
            (Flags, "F"),
            (State, "S"),
            (Uid, "UID"),
            (Pid, "PID"),
            (ParentPid, "PPID"),
            (CpuWhole, "C"),
            (Priority, "PRI"),
            (Nice, "NI"),
            (Address, "ADDR"),
            (Pages, "SZ"),
            (Channel, "WCHAN"),
            (Terminal, "TTY"),
            (Time, "TIME"),
            (Name, "CMD"),
        ],
        ('j', true) => &[
            (Pid, "PID"),
            (Group, "PGID"),
            (Session, "SID"),
            (Terminal, "TTY"),
            (Time, "TIME"),
            (Name, "CMD"),
        ],
        ('u', false) => &[
            (User, "USER"),
            (Pid, "PID"),
            (Cpu, "%CPU"),
            (MemoryShare, "%MEM"),
            (VirtualSize, "VSZ"),
            (Resident, "RSS"),
            (Terminal, "TTY"),
            (Status, "STAT"),
            (Start, "START"),
            (Column::ShortTime, "TIME"),
            (Command, "COMMAND"),
        ],
        ('e' | 'A' | 'a' | 'd' | 'w', true) | ('a' | 'x' | 'w' | 'g' | 'e', false) => return Ok(None),
        _ => return Err(()),
    };
    Ok(Some(titled(columns)))
}

fn unix_default() -> Format {
    use Column::{Name, Pid, Terminal, Time};
    titled(&[(Pid, "PID"), (Terminal, "TTY"), (Time, "TIME"), (Name, "CMD")])
}

fn bsd_default() -> Format {
    use Column::{Command, Pid, ShortTime, Status, Terminal};
    titled(&[(Pid, "PID"), (Terminal, "TTY"), (Status, "STAT"), (ShortTime, "TIME"), (Command, "COMMAND")])
}

fn titled(columns: &[(Column, &str)]) -> Format {
    columns.iter().map(|(column, title)| (*column, (*title).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(arguments: &str) -> String {
        let format = parse(arguments).unwrap();
        format.iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn formats_of_ps() {
        assert_eq!(titles(""), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles("-e -f"), titles(""));
        assert_eq!(titles("aux"), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        assert_eq!(titles("-e"), "PID TTY TIME CMD");
        assert_eq!(titles("ax"), "PID TTY STAT TIME COMMAND");
        assert_eq!(titles("-eo pid,comm"), "PID COMMAND");
        assert_eq!(titles("-o pid -o user=WHO"), "PID WHO");
        assert_eq!(titles("axo pid,rss,args"), "PID RSS COMMAND");
        assert_eq!(titles("--format=pid,etime"), "PID ELAPSED");
    }

    #[test]
    fn what_cannot_be_shown_is_named() {
        for (arguments, word) in [
            ("-o comm", "PID"),
            ("-o pid=X", "pid=X"),
            ("-o pid,nonsense", "nonsense"),
            ("-eZ", "-eZ"),
            ("--sort=pid", "--sort=pid"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
