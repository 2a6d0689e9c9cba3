//! tared with its own root, state and sockets, driven through its Docker socket by plain HTTP.

use super::{Puller, Sample, usage_of};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running tared; it ends with this value.
#[derive(Debug)]
pub struct Tared {
    child: Child,
    socket: PathBuf,
}

impl Tared {
    /// Starts `program` below a directory and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer within ten seconds.
    pub fn start(program: &Path, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let socket = directory.join("docker.sock");
        let log = fs::File::create(directory.join("log"))?;
        let child = Command::new(program)
            .arg("--root")
            .arg(directory.join("root"))
            .arg("--state")
            .arg(directory.join("state"))
            .arg("--address")
            .arg(directory.join("tared.sock"))
            .arg("--docker-address")
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let this = Self { child, socket };
        let begun = Instant::now();
        while this.request("GET", "/_ping").is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                bail!("tared does not answer; see {}", directory.join("log").display());
            }
        }
        Ok(this)
    }

    /// One request on a connection of its own; the body of a good answer.
    fn request(&self, method: &str, path: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: tare\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {}", answer.lines().last().unwrap_or_default());
        // A pull that fails in the middle says so in its stream.
        ensure!(!answer.contains("\"errorDetail\""), "{method} {path}: {answer}");
        Ok(answer)
    }
}

impl Puller for Tared {
    fn name(&self) -> &str {
        "tare"
    }

    fn pull(&mut self, reference: &str) -> Result<Sample> {
        let (before, _) = usage_of(self.child.id());
        let begun = Instant::now();
        let (name, tag) = reference.rsplit_once(':').context("a tag")?;
        self.request("POST", &format!("/images/create?fromImage={name}&tag={tag}"))?;
        let wall = begun.elapsed();
        let (after, peak_kib) = usage_of(self.child.id());
        Ok(Sample { wall, peak_kib, cpu: after.saturating_sub(before) })
    }
}

impl Drop for Tared {
    fn drop(&mut self) {
        // It takes its bridge away before it ends. Already ended is as good.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
