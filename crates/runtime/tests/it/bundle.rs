//! Bundles of busybox-static in a directory of their own, removed with everything that ran in them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use tare_runtime::{Container, CreateOptions, Exit, Gate, Io, Process, Runtime, RuntimeOptions};
use tare_testkit::skip;
use tare_types::spec::Spec;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Whether the tests can run here; prints why not.
pub(crate) fn able() -> bool {
    skip::needs(&[
        (rustix::process::geteuid().is_root(), "root"),
        (Path::new("/bin/busybox").exists(), "/bin/busybox (package busybox-static)"),
    ])
}

pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    pub(crate) runtime: Runtime,
}

impl Bundle {
    pub(crate) fn new(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("tare-rt-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(&id);
        let bin = path.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        for dir in ["proc", "sys", "dev", "etc", "tmp", "root"] {
            fs::create_dir_all(path.join("rootfs").join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in [
            "sh", "true", "cat", "id", "sleep", "ls", "echo", "stat", "touch", "mount", "hostname", "tty",
            "env",
        ] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        fs::write(
            path.join("rootfs/etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        )
        .unwrap();
        let root = path.join("state").to_str().unwrap().to_string();
        let runtime = Runtime::new(RuntimeOptions {
            root,
            systemd_cgroup: false,
            user_systemd: Vec::new(),
            rootless: None,
        });
        Self { path, id, runtime }
    }

    /// The default configuration, running `sh -c script`, changed by `change`.
    pub(crate) fn spec(&self, script: &str, change: impl FnOnce(&mut Spec)) -> Spec {
        let mut spec: Spec = serde_json::from_str(include_str!("default.json")).unwrap();
        spec.process.as_mut().unwrap().args = ["sh", "-c", script].map(String::from).to_vec();
        spec.linux.as_mut().unwrap().cgroups_path = format!("/{}", self.id);
        change(&mut spec);
        spec
    }

    pub(crate) fn create(
        &self,
        spec: &Spec,
        io: Io<'_>,
        gate: Gate,
    ) -> tare_runtime::Result<(Container, Process)> {
        self.runtime.create(&CreateOptions {
            id: &self.id,
            bundle: self.path.to_str().unwrap(),
            spec,
            io,
            gate,
            keep_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            notify: false,
            no_cgroups: false,
        })
    }

    /// Runs to the end: exit and what was printed on both streams.
    pub(crate) fn run(&self, spec: &Spec) -> tare_runtime::Result<(Exit, String)> {
        let (read, write) = std::io::pipe().unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        use std::os::fd::AsFd;
        let io = Io::Streams { stdin: null.as_fd(), stdout: write.as_fd(), stderr: write.as_fd() };
        let (mut container, process) = self.create(spec, io, Gate::Pipe)?;
        drop(write);
        let started = container.start();
        let text = std::io::read_to_string(read).unwrap();
        let exit = process.wait().unwrap();
        container.delete(true)?;
        started?;
        Ok((exit, text))
    }

    /// Runs a script in the default container; what it printed.
    pub(crate) fn output(&self, script: &str) -> String {
        let (exit, text) = self.run(&self.spec(script, |_| {})).unwrap();
        assert_eq!(exit, Exit::Code(0), "{text}");
        text
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Ok(mut container) = self.runtime.load(&self.id) {
            let _ = container.delete(true);
        }
        let left: Vec<_> = ["memory", "pids", "cpu", "devices", ""]
            .iter()
            .map(|controller| Path::new("/sys/fs/cgroup").join(controller).join(&self.id))
            .filter(|path| path.exists())
            .collect();
        let _ = fs::remove_dir_all(&self.path);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}
