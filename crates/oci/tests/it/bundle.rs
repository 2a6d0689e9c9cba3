//! The built command and a bundle to run it on.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};
use tare_testkit::skip;

static NEXT: AtomicU32 = AtomicU32::new(0);
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Whether the tests can run here; prints why not.
pub(crate) fn able() -> bool {
    skip::needs(&[
        (rustix::process::geteuid().is_root(), "root"),
        (Path::new("/bin/busybox").exists(), "/bin/busybox (package busybox-static)"),
    ])
}

/// The command, built as it is shipped: alone, without libc. `TARE_OCI` names one that is built already.
pub(crate) fn binary() -> &'static Path {
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TARE_OCI") {
            return path.into();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let arguments =
            ["build", "--quiet", "--profile", "small", "-p", "tare-oci", "--features", "standalone"];
        let status = Command::new(env!("CARGO")).args(arguments).current_dir(&workspace).status().unwrap();
        assert!(status.success(), "tare-oci does not build");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        target.join("small/tare-oci").canonicalize().unwrap()
    })
}

pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
}

impl Bundle {
    pub(crate) fn new(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("tare-oci-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(&id);
        let bin = path.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in [
            "sh", "cat", "id", "sleep", "ls", "echo", "tty", "true", "readlink", "dd", "basename", "kill",
            "test",
        ] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        fs::write(path.join("rootfs/data"), "").unwrap();
        let bundle = Self { path, id };
        assert!(bundle.tare(&["spec", "--bundle", bundle.path.to_str().unwrap()]).status.success());
        bundle.change(|spec| {
            spec["process"]["terminal"] = false.into();
            spec["linux"]["cgroupsPath"] = format!("/{}", bundle.id).into();
        });
        bundle
    }

    /// Changes the configuration.
    pub(crate) fn change(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path.join("config.json");
        let mut spec = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut spec);
        fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
    }

    pub(crate) fn script(&self, script: &str) -> &Self {
        self.change(|spec| spec["process"]["args"] = vec!["sh", "-c", script].into());
        self
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--root").arg(self.path.join("state")).args(arguments).current_dir(&self.path);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn tare(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command on this container that must succeed; what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.tare(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that must fail with this code; its complaint.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.tare(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        error
    }

    pub(crate) fn status(&self) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.ok(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_string()
    }

    /// The directory of its cgroup; in version 1 that of the pids controller.
    pub(crate) fn cgroup(&self) -> PathBuf {
        let trees = Path::new("/sys/fs/cgroup");
        let alone = trees.join("cgroup.controllers").exists();
        if alone { trees.join(&self.id) } else { trees.join("pids").join(&self.id) }
    }

    /// Creates in the background with no stream that would keep this test waiting.
    pub(crate) fn create(&self) {
        let mut command = self.command(&["create", &self.id]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.tare(&["delete", "--force", &self.id]);
        let left = self.cgroup();
        let _ = fs::remove_dir_all(&self.path);
        if !std::thread::panicking() {
            assert!(!left.exists(), "left behind: {left:?}");
        }
    }
}
