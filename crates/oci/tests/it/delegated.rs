//! A container whose root is an ordinary user of the host.

use crate::bundle::{Bundle, able};
use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

/// Nobody's: an id that owns nothing else.
const USER: u32 = 64_999;

fn give(path: &Path) {
    for entry in fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path());
        }
        std::os::unix::fs::lchown(entry.path(), Some(USER), Some(USER)).unwrap();
    }
    chown(path, Some(USER), Some(USER)).unwrap();
}

/// Cgroups that the user owns, as a session of systemd's has them; gone when dropped.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    fn new(name: &str) -> Self {
        let top = Path::new("/sys/fs/cgroup");
        let trees: Vec<PathBuf> = match top.join("cgroup.controllers").exists() {
            true => vec![top.to_path_buf()],
            false => ["pids", "memory", "unified"].map(|tree| top.join(tree)).to_vec(),
        };
        let made = trees.iter().filter(|tree| tree.exists()).map(|tree| tree.join(name));
        Self(made.inspect(|path| fs::create_dir(path).unwrap()).inspect(|path| give(path)).collect())
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_dir(path);
        }
    }
}

/// CVE-2023-25809: the user's cgroups on the host could be written from inside, through a `/sys` that was read-only at
/// its top only.
#[test]
fn the_hosts_cgroups_are_not_writable_inside() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("rootless");
    let delegated = Delegated::new(&format!("{}-user", bundle.id));
    let config = bundle.path.join("config.json");
    fs::remove_file(&config).unwrap();
    for directory in ["proc", "sys", "dev"] {
        fs::create_dir(bundle.path.join("rootfs").join(directory)).unwrap();
    }
    bundle.ok(&["spec", "--rootless"]);
    let script = "id -u; for d in /sys/fs/cgroup /sys/fs/cgroup/* /sys/fs/cgroup/*/*; do \
                  busybox mkdir $d/escape 2>/dev/null && echo made $d; \
                  test -f $d && ( : >> $d ) 2>/dev/null && echo writable $d; done; echo end";
    bundle.change(|spec| {
        spec["process"]["terminal"] = false.into();
        let map = |id: u32| serde_json::json!([{"containerID": 0, "hostID": id, "size": 1}]);
        spec["linux"]["uidMappings"] = map(USER);
        spec["linux"]["gidMappings"] = map(USER);
    });
    bundle.script(script);
    give(&bundle.path);
    let output = bundle.tare(&["run", &bundle.id]);
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(text, "0\nend\n", "{said}");
    for path in &delegated.0 {
        let below = fs::read_dir(path).unwrap().flatten();
        assert_eq!(
            below.filter(|entry| entry.file_type().unwrap().is_dir()).count(),
            0,
            "{}",
            path.display()
        );
    }
}
