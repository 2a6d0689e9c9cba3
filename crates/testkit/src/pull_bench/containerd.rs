//! Debian's containerd with its own root, state and socket, driven by `ctr`.

use super::{Puller, Sample, usage_of};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running containerd; it ends with this value.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    socket: PathBuf,
}

impl Containerd {
    /// Starts one below a directory and waits until it answers.
    ///
    /// # Errors
    /// When it is absent or does not answer within ten seconds.
    pub fn start(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let socket = directory.join("containerd.sock");
        let config = directory.join("config.toml");
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n",
            directory.join("root"),
            directory.join("state"),
            socket
        );
        fs::write(&config, text)?;
        let log = fs::File::create(directory.join("log"))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start containerd")?;
        let this = Self { child, socket };
        let begun = Instant::now();
        while !this.ctr(&["version"]).is_ok_and(|output| output.status.success()) {
            if begun.elapsed() > Duration::from_secs(10) {
                bail!("containerd does not answer; see {}", directory.join("log").display());
            }
        }
        Ok(this)
    }

    fn ctr(&self, arguments: &[&str]) -> std::io::Result<std::process::Output> {
        Command::new("ctr").arg("--address").arg(&self.socket).args(arguments).output()
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = self.ctr(arguments)?;
        ensure!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Puller for Containerd {
    fn name(&self) -> &str {
        "containerd 1.6"
    }

    fn pull(&mut self, reference: &str) -> Result<Sample> {
        let (before, _) = usage_of(self.child.id());
        let begun = Instant::now();
        self.run(&["images", "pull", "--plain-http", reference])?;
        let wall = begun.elapsed();
        let (after, peak_kib) = usage_of(self.child.id());
        Ok(Sample { wall, peak_kib, cpu: after.saturating_sub(before) })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
