//! Intel RDT: shares of caches and memory bandwidth through resctrl (Documentation/filesystems/resctrl.rst).
//!
//! A class of service is a directory of resctrl; the container's processes join it by its `tasks` file, and a
//! monitoring group of the class the same way. The child joins by itself, before it can run anything of the container;
//! so does a process that joins later. The rules of what is made, compared and removed are the specification's
//! ("IntelRdt").

use crate::{During, Error, Result, plan::RdtPlan};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{
    fd::OwnedFd,
    fs::{self, Mode, OFlags},
};
use tare_sys::{Context, Errno};
use tare_types::ErrorKind;

const OPERATION: &str = "unable to apply Intel RDT configuration";
const LIMIT: usize = 1 << 20;

/// The directories of a container, as the state keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RdtGroup {
    /// Joined by every process, in this order: the class of service, and its monitoring group.
    pub(crate) joined: Vec<String>,
    /// Made for the container, in this order; removed with it.
    pub(crate) made: Vec<String>,
}

impl RdtGroup {
    /// Makes or checks the directories. What was made is removed again when something fails.
    pub(crate) fn make(plan: &RdtPlan, id: &str) -> Result<Self> {
        let mut group = Self::default();
        let root = mount_point()?;
        group.make_below(&root, plan, id).inspect_err(|_| {
            // The first error is what the caller must see.
            let _ = group.remove();
        })?;
        Ok(group)
    }

    fn make_below(&mut self, root: &str, plan: &RdtPlan, id: &str) -> Result<()> {
        let directory = match plan.class.as_deref() {
            Some("/") => root.to_string(),
            class => format!("{root}/{}", class.unwrap_or(id)),
        };
        let known = plan.class.is_some() && plan.lines.is_empty();
        let is_new = !known && make_directory(&directory)?;
        if is_new && plan.class.is_none() {
            self.made.push(directory.clone());
        }
        if is_new || plan.class.is_none() {
            write_lines(&directory, &plan.lines)?;
        } else {
            compare(&directory, &plan.lines)?;
        }
        self.joined.push(directory.clone());
        if plan.monitoring {
            let monitor = format!("{directory}/mon_groups/{id}");
            if make_directory(&monitor)? {
                self.made.push(monitor.clone());
            }
            self.joined.push(monitor);
        }
        Ok(())
    }

    /// The files that a process joins by, writing `0` into each.
    pub(crate) fn tasks(&self) -> Result<Vec<OwnedFd>> {
        let open =
            |directory: &String| tare_sys::file::open(&format!("{directory}/tasks"), OFlags::WRONLY, 0);
        self.joined.iter().map(open).collect::<tare_sys::Result<_>>().during(OPERATION)
    }

    /// Writes other shares into the class.
    pub(crate) fn update(&self, lines: &[String]) -> Result<()> {
        match self.joined.first() {
            Some(directory) => write_lines(directory, lines),
            None => {
                Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, "", "the container has no group"))
            }
        }
    }

    /// Removes what was made for the container; what is gone is fine.
    pub(crate) fn remove(&self) -> Result<()> {
        for directory in self.made.iter().rev() {
            match fs::rmdir(directory.as_str()) {
                Ok(()) | Err(Errno::NOENT) => {}
                removed => removed.on("rmdir", || directory.as_str()).during("remove the resctrl group")?,
            }
        }
        Ok(())
    }
}

/// Where resctrl is.
fn mount_point() -> Result<String> {
    let text = tare_sys::file::read_text("/proc/self/mountinfo", 16 << 20).during(OPERATION)?;
    let point = text.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("resctrl ").then(|| before.split(' ').nth(4)).flatten()
    });
    point.map(ToString::to_string).ok_or_else(|| {
        // runc's words.
        let text = "intelRdt is specified in config, but Intel RDT is not enabled";
        Error::new(ErrorKind::FailedPrecondition, "", "linux.intelRdt", text)
    })
}

/// Whether it is new.
fn make_directory(path: &str) -> Result<bool> {
    match fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno).on("mkdir", || path).during(OPERATION),
    }
}

/// One write for each: the kernel takes a line as a whole or not at all, and says why in `info/last_cmd_status`.
fn write_lines(directory: &str, lines: &[String]) -> Result<()> {
    for line in lines {
        tare_sys::file::write_existing(&format!("{directory}/schemata"), format!("{line}\n").as_bytes())
            .map_err(|error| Error::system(OPERATION, error).with_object(format!("schema {line:?}")))?;
    }
    Ok(())
}

/// Whether a class that exists has the shares that are asked for.
fn compare(directory: &str, lines: &[String]) -> Result<()> {
    let path = format!("{directory}/schemata");
    let present = if lines.is_empty() {
        // Only whether it is there.
        fs::access(directory, fs::Access::EXISTS).on("access", || directory).during(OPERATION)?;
        String::new()
    } else {
        tare_sys::file::read_text(&path, LIMIT).during(OPERATION)?
    };
    match lines.iter().find(|line| !is_part_of(line, &present)) {
        None => Ok(()),
        Some(line) => {
            let text = format!("it has other shares than {line:?}");
            Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, path, text))
        }
    }
}

/// Whether every `id=value` of a line stands in the file, which pads names and values and names all ids.
fn is_part_of(line: &str, file: &str) -> bool {
    let Some((name, wanted)) = line.split_once(':') else { return false };
    let name = name.trim();
    let values = file.lines().find_map(|line| {
        let (of, values) = line.split_once(':')?;
        (of.trim() == name).then_some(values)
    });
    let Some(values) = values else { return false };
    let known: Vec<_> = values.split(';').filter_map(share).collect();
    wanted.split(';').all(|one| share(one).is_some_and(|share| known.contains(&share)))
}

fn share(text: &str) -> Option<(&str, String)> {
    let (id, value) = text.trim().split_once('=')?;
    let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
    Some((id.trim(), value))
}

#[cfg(test)]
mod tests;
