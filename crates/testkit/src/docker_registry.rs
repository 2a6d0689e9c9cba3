//! Debian's `docker-registry` on loopback: a real registry with its storage in a temporary directory.

use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How the registry is run.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// Name and password for Basic authentication (bcrypt by `htpasswd`).
    pub basic: Option<(&'a str, &'a str)>,
    /// Certificate and key in PEM for TLS.
    pub tls: Option<(&'a Path, &'a Path)>,
}

/// A running registry; it ends, and its storage goes, with this value.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    host: String,
    directory: tempfile::TempDir,
}

/// Whether the program is installed; tests that need it say so when it is not.
pub fn is_installed() -> bool {
    Path::new("/usr/bin/docker-registry").exists()
}

impl DockerRegistry {
    /// Starts one on a free port and waits until it listens.
    ///
    /// # Errors
    /// When the program is absent, ends at once, or does not listen within ten seconds.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("tare-registry-").tempdir()?;
        let config = directory.path().join("config.yml");
        let mut text = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n",
            directory.path().join("data").display()
        );
        if let Some((certificate, key)) = options.tls {
            text.push_str(&format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                certificate.display(),
                key.display()
            ));
        }
        if let Some((name, password)) = options.basic {
            let file = directory.path().join("htpasswd");
            let output = Command::new("htpasswd").args(["-nbB", "-C", "4", name, password]).output()?;
            fs::write(&file, output.stdout)?;
            text.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()));
        }
        fs::write(&config, text)?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start docker-registry")?;
        let errors = child.stderr.take().context("stderr of docker-registry")?;
        let log = fs::File::create(directory.path().join("log"))?;
        match wait_until_listening(errors, log) {
            Ok(host) => Ok(Self { child, host, directory }),
            Err(error) => {
                // It may be gone already; the first error is the one to tell.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it logged so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the log to a file for as long as the registry runs; the address it names in it.
fn wait_until_listening(errors: std::process::ChildStderr, mut log: fs::File) -> Result<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            use std::io::Write as _;
            if writeln!(log, "{line}").is_err() {
                return;
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                let host = rest.split(['"', ',', ' ']).next().unwrap_or_default().to_string();
                // The receiver is gone after the first: later lines only go to the file.
                let _ = sender.send(host);
            }
        }
    });
    let begun = Instant::now();
    match receiver.recv_timeout(Duration::from_secs(10)) {
        Ok(host) => Ok(host),
        Err(_) => bail!("docker-registry did not listen within {:?}", begun.elapsed()),
    }
}
