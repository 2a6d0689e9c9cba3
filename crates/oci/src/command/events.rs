//! `events`: usage once, or usage and memory shortage until the container ends.

use super::{Failure, Outcome, id};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    output,
};
use alloc::{format, string::String};
use rustix::event::{PollFd, Timespec, poll};
use serde::Serialize;
use tare_runtime::Container;
use tare_types::spec::ContainerStatus;

pub(crate) static FLAGS: Flags =
    Flags { values: &["interval"], switches: &["stats", "help"], short: &[("h", "help")], stop_after: None };

/// A line of the output.
#[derive(Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

pub(crate) fn events(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let container = context.runtime().load(id("events", arguments)?)?;
    let interval = duration(arguments.value("interval").unwrap_or("5s"))
        .filter(|milliseconds| *milliseconds > 0)
        .ok_or("duration interval must be greater than 0")?;
    if container.status()? == ContainerStatus::Stopped {
        return Err(format!("container with id {} is not running", container.id()).into());
    }
    if arguments.has("stats") {
        print_stats(&container)?;
        return Ok(0);
    }
    watch(&container, interval)
}

fn print_stats(container: &Container) -> Result<(), Failure> {
    print("stats", container.id(), Some(container.stats()?))
}

fn print<T: Serialize>(kind: &'static str, id: &str, data: Option<T>) -> Result<(), Failure> {
    let line: String = serde_json::to_string(&Event { kind, id, data })?;
    output::print(&(line + "\n"))?;
    Ok(())
}

fn watch(container: &Container, interval: u64) -> Outcome {
    let mut shortage = container.oom_events()?;
    let first = tare_sys::process::open(container.pid())?;
    let mut due = tare_sys::clock::monotonic_millis() + interval;
    loop {
        let wait = due.saturating_sub(tare_sys::clock::monotonic_millis());
        let timeout = Timespec { tv_sec: (wait / 1000) as i64, tv_nsec: (wait % 1000 * 1_000_000) as i64 };
        let interest = shortage.interest();
        let mut fds = [PollFd::new(&shortage, interest), PollFd::new(&first, rustix::event::PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))
            .map_err(|errno| format!("poll: {}", tare_sys::errno::describe(errno)))?;
        let (told, ended) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if told && shortage.take()? {
            print("oom", container.id(), None::<()>)?;
        }
        if ended {
            return Ok(0);
        }
        if tare_sys::clock::monotonic_millis() >= due {
            print_stats(container)?;
            due += interval;
        }
    }
}

/// Go's duration in milliseconds, one unit: `5s`, `500ms`, `1m`.
fn duration(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = match text.get(digits..)? {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations() {
        assert_eq!(duration("5s"), Some(5000));
        assert_eq!(duration("250ms"), Some(250));
        assert_eq!(duration("5"), None);
        assert_eq!(duration("s"), None);
    }
}
