//! `ctr events`, listening for certain.
//!
//! Events are told to those who have subscribed, and nothing that `ctr events` prints says when that is. So something
//! harmless is changed, again and again, until its event is heard.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long a subscription may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A `ctr events` that runs; it ends with this value.
#[derive(Debug)]
pub struct CtrEvents {
    child: Child,
    seen: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl CtrEvents {
    /// Starts `ctr -a SOCKET ARGUMENTS… events` from a command that has all but `events`, and waits until it hears.
    ///
    /// `namespace` gets a label, which stays.
    ///
    /// # Panics
    /// When it does not hear within 20 seconds.
    #[must_use]
    pub fn start(ctr: impl Fn() -> Command, namespace: &str) -> Self {
        let mut child =
            ctr().arg("events").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("ctr runs");
        let seen = Arc::<Mutex<String>>::default();
        let (output, lines) = (child.stdout.take().expect("its output is a pipe"), Arc::clone(&seen));
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut seen = lines.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push_str(&line);
                seen.push('\n');
            }
        });
        let events = Self { child, seen, reading: Some(reading) };
        let deadline = Instant::now() + LIMIT;
        for round in 0.. {
            let label = format!("heard={round}");
            // One that fails is not heard, which is what is waited for.
            let _labelled = ctr().args(["namespaces", "label", namespace, &label]).output();
            if events.seen().contains("/namespaces/update") {
                break;
            }
            assert!(Instant::now() < deadline, "ctr events hears nothing within {LIMIT:?}");
        }
        events
    }

    /// What it has printed so far.
    #[must_use]
    pub fn seen(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a line contains all of `parts`.
    ///
    /// # Panics
    /// When there is none within 20 seconds.
    pub fn until(&self, parts: &[&str]) {
        let deadline = Instant::now() + LIMIT;
        let found = || self.seen().lines().any(|line| parts.iter().all(|part| line.contains(part)));
        while !found() {
            assert!(Instant::now() < deadline, "no event with {parts:?} in\n{}", self.seen());
            crate::bench::pause(Duration::from_millis(5));
        }
    }
}

impl Drop for CtrEvents {
    fn drop(&mut self) {
        // It may have ended with its daemon.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap_or_default();
        }
    }
}
