//! Benchmarks that pair Tare with its peers and the floor: commands in turns, so that the load of the machine falls
//! on all, medians and the median of paired ratios. Nothing here is a test; nothing fails because it was slow.

pub mod daemon;
pub mod machine;
pub mod oci;

use anyhow::{Context, Result, ensure};
use std::io::{Read, Seek, SeekFrom};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One thing to time.
pub struct Row {
    /// Name in the table.
    pub name: String,
    /// Does it once.
    pub action: Box<dyn FnMut() -> Result<Duration>>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Row {
    /// A row that runs a command and requires exit status 0.
    pub fn command(name: &str, words: &[&str]) -> Self {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Self { name: name.to_owned(), action: Box::new(move || time(&words)) }
    }

    /// A row of any action.
    pub fn action(name: &str, action: impl FnMut() -> Result<Duration> + 'static) -> Self {
        Self { name: name.to_owned(), action: Box::new(action) }
    }
}

/// Runs a command to its end; how long that took.
///
/// # Errors
/// When it cannot be started or ends with another status than 0; the message has what it said.
pub fn time<S: AsRef<str>>(words: &[S]) -> Result<Duration> {
    let shown = || words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
    let (program, arguments) = words.split_first().context("no command")?;
    // A file, not a pipe: a container that goes on running keeps it open, and nobody may wait for its end.
    let said = tempfile::tempfile().context("make a file for error messages")?;
    let errors = said.try_clone().context("share the file for error messages")?;
    let mut command = Command::new(program.as_ref());
    command
        .args(arguments.iter().map(AsRef::as_ref))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    let start = Instant::now();
    let status = command.status().with_context(|| format!("run {}", shown()))?;
    let took = start.elapsed();
    ensure!(status.success(), "{}: {status}: {}", shown(), text_of(said));
    Ok(took)
}

fn text_of(mut file: std::fs::File) -> String {
    let mut text = String::new();
    // Only for a message.
    let _read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    text.trim().to_owned()
}

/// Figures of one row.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Name in the table.
    pub name: String,
    /// All samples in the order in which they were taken.
    pub samples: Vec<Duration>,
}

impl Figures {
    /// The value below which half of the samples lie.
    pub fn median(&self) -> Duration {
        quantile(&self.samples, 0.5)
    }

    /// The value below which a tenth of the samples lie.
    pub fn low(&self) -> Duration {
        quantile(&self.samples, 0.1)
    }

    /// The median of the ratios of this row to another, sample by sample.
    pub fn ratio_to(&self, other: &Figures) -> f64 {
        let mut ratios: Vec<f64> =
            self.samples.iter().zip(&other.samples).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn quantile(samples: &[Duration], part: f64) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort();
    let at = ((sorted.len() as f64) * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Runs all rows in turns: one uncounted round, then `rounds`; before each run `rest`.
///
/// # Errors
/// That of the first run that failed.
pub fn interleave(mut rows: Vec<Row>, rounds: usize, rest: Duration) -> Result<Vec<Figures>> {
    let mut figures: Vec<Figures> = rows
        .iter()
        .map(|row| Figures { name: row.name.clone(), samples: Vec::with_capacity(rounds) })
        .collect();
    for round in 0..=rounds {
        for (row, figures) in rows.iter_mut().zip(&mut figures) {
            pause(rest);
            let took = (row.action)().with_context(|| format!("row {:?}", row.name))?;
            if round > 0 {
                figures.samples.push(took);
            }
        }
    }
    Ok(figures)
}

/// Rests; the kernel's grace periods of a busy and of a quiet machine differ.
pub fn pause(rest: Duration) {
    if !rest.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "the rest is what is measured")]
        std::thread::sleep(rest);
    }
}

/// The rows as text, each with its ratio to the rows named in `anchors`.
pub fn table(title: &str, figures: &[Figures], anchors: &[&str]) -> String {
    let mut text =
        format!("\n{title} ({} rounds, milliseconds)\n", figures.first().map_or(0, |f| f.samples.len()));
    text.push_str(&format!("  {:<34}{:>9}{:>9}", "", "median", "p10"));
    for anchor in anchors {
        text.push_str(&format!("  x {anchor}"));
    }
    text.push('\n');
    for row in figures {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        text.push_str(&format!("  {:<34}{:>9.2}{:>9.2}", row.name, ms(row.median()), ms(row.low())));
        for anchor in anchors {
            match figures.iter().find(|other| other.name == *anchor) {
                Some(other) => text.push_str(&format!("  {:>1$.2}", row.ratio_to(other), anchor.len() + 2)),
                None => text.push_str(&format!("  {:>1$}", "-", anchor.len() + 2)),
            }
        }
        text.push('\n');
    }
    text
}

/// One line of the verdict: what was to be reached, what was.
pub fn verdict(text: &str, reached: f64, bound: f64) -> String {
    let word = if reached <= bound { "reached" } else { "MISSED " };
    format!("  {word} {text}: {reached:.2} (bound {bound:.2})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[u64]) -> Figures {
        Figures { name: "x".into(), samples: values.iter().map(|&v| Duration::from_millis(v)).collect() }
    }

    #[test]
    fn ratios_are_paired() {
        // The machine was ten times slower in the second round; the ratio is the same.
        assert_eq!(figures(&[2, 20, 4]).ratio_to(&figures(&[1, 10, 2])), 2.0);
        assert_eq!(figures(&[5, 1, 3]).median(), Duration::from_millis(3));
    }

    #[test]
    fn a_failing_command_is_an_error_with_its_words() {
        let error = format!("{:#}", time(&["sh", "-c", "echo why >&2; exit 3"]).unwrap_err());
        assert!(error.contains("why") && error.contains("exit status: 3"), "{error}");
    }
}
