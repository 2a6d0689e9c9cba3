//! An ordinary user's containers: no right of the machine's root anywhere.

use crate::bundle::{Bundle, able, binary};
use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

/// Nobody on the machine has this number.
const USER: u32 = 64_123;

/// A directory that belongs to the user, with a root file system and the configuration that `spec --rootless` makes.
struct Home(Bundle);

impl Home {
    fn new(name: &str) -> Self {
        let home = Self(Bundle::new(name));
        std::fs::remove_file(home.0.path.join("config.json")).unwrap();
        own(&home.0.path);
        assert!(home.tare(&["spec", "--rootless"]).status.success());
        home.0.change(|spec| spec["process"]["terminal"] = false.into());
        home
    }

    /// The command as the user, with an environment that is nearly empty.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--root").arg(self.0.path.join("state")).args(arguments).current_dir(&self.0.path);
        command
            .uid(USER)
            .gid(USER)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(std::process::Stdio::null());
        command
    }

    fn tare(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.tare(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

/// The binary must be where such a user can reach it, and the host must let one make user namespaces.
fn possible() -> bool {
    let reach = || {
        let mut probe = Command::new(binary());
        probe.arg("--version").uid(USER).gid(USER).output().is_ok_and(|output| output.status.success())
    };
    able() && tare_testkit::skip::needs(&[(reach(), "a path to the binary for an ordinary user")])
}

#[test]
fn an_ordinary_user_runs_a_container() {
    if !possible() {
        return;
    }
    let home = Home::new("rootless");
    let id = home.0.id.as_str();
    home.0.script("id -u; cat /proc/self/uid_map /proc/self/setgroups; echo x > /dev/null; echo x > /written || echo refused");
    let out = home.ok(&["run", id]);
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words, ["0", "0", &USER.to_string(), "1", "deny", "refused"], "{out}");
    home.0.script("exec sleep 1000");
    let detached =
        home.command(&["run", "--detach", id]).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(detached.success());
    assert_eq!(home.ok(&["exec", id, "cat", "/proc/1/cmdline"]), "sleep\u{0}1000\u{0}");
    assert_eq!(home.ok(&["exec", id, "id", "-u"]), "0\n");
    assert!(home.ok(&["state", id]).contains("running"));
    home.ok(&["delete", "--force", id]);
    assert_eq!(home.ok(&["list", "-q"]), "");
}

#[test]
fn what_an_ordinary_user_cannot_have_is_refused_by_name() {
    if !possible() {
        return;
    }
    let home = Home::new("refused");
    home.0.change(|spec| spec["process"]["user"]["additionalGids"] = vec![5].into());
    let error = String::from_utf8(home.tare(&["run", &home.0.id]).stderr).unwrap();
    assert!(error.contains("additional groups in a rootless container"), "{error}");
    home.0.change(|spec| {
        spec["process"]["user"]["additionalGids"] = serde_json::json!([]);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "user");
        spec["linux"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("Mappings"));
    });
    let error = String::from_utf8(home.tare(&["run", &home.0.id]).stderr).unwrap();
    assert!(error.contains("rootless container requires user namespaces"), "{error}");
    let _ = chown(&home.0.path, None, None);
}

#[test]
fn a_source_below_the_root_is_what_an_earlier_mount_put_there() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("order");
    for name in ["source", "rootfs/first", "rootfs/second"] {
        std::fs::create_dir_all(bundle.path.join(name)).unwrap();
    }
    std::fs::write(bundle.path.join("source/file"), "from the source").unwrap();
    bundle.script("cat /second/file");
    bundle.change(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        let first = bundle.path.join("rootfs/first");
        for (source, destination) in [(bundle.path.join("source"), "/first"), (first, "/second")] {
            mounts
                .push(serde_json::json!({"destination": destination, "source": source, "options": ["bind"]}));
        }
    });
    assert_eq!(bundle.ok(&["run", &bundle.id]), "from the source");
}
