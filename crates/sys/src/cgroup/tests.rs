//! Tables as hosts and containers have them.

use super::*;

#[test]
fn a_hybrid_host() {
    let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
        90 31 0:35 /x /run/c/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        35 31 0:35 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        37 31 0:37 / /sys/fs/cgroup/system\\040d rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let mounts = Mounts::parse(text).unwrap();
    let Mounts::V1 { hierarchies, unified, .. } = &mounts else { panic!("{mounts:?}") };
    assert_eq!(unified.as_deref(), Some("/sys/fs/cgroup/unified"));
    assert_eq!(hierarchies.len(), 3);
    assert_eq!(hierarchies[1].root, "/");
    assert_eq!(hierarchies[2].controllers, ["name=systemd"]);
    assert_eq!(mounts.directory("cpuacct", "/a/b").as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct/a/b"));
    assert_eq!(mounts.directory("memory", "/").as_deref(), Some("/sys/fs/cgroup/memory"));
    assert_eq!(mounts.directory("name=systemd", "/a").as_deref(), Some("/sys/fs/cgroup/system d/a"));
    assert_eq!(mounts.directory("rdma", "/a"), None);
}

#[test]
fn a_host_of_version_2() {
    let mounts = Mounts::parse("30 23 0:26 / /cg rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n").unwrap();
    assert_eq!(mounts.directory("memory", "/a").as_deref(), Some("/cg/a"));
    assert_eq!(Mounts::parse("21 1 8:1 / / rw - ext4 /dev/root rw\nnonsense\n"), None);
}

#[test]
fn values() {
    assert_eq!(number("max\n"), Some(u64::MAX));
    assert_eq!(number("-1\n"), Some(0));
    assert_eq!(number("12\n"), Some(12));
    assert_eq!(number("x"), None);
    assert_eq!(value_of("oom 1\noom_kill 3\n", "oom_kill"), Some(3));
    assert_eq!(flat("a 1\nb x\nc 3\n"), [("a".to_string(), 1), ("c".to_string(), 3)]);
}

/// Both ways find the same, whatever the host has.
#[test]
fn the_usual_layout_is_what_the_mount_table_says() {
    let sorted = |mut mounts: Mounts| {
        if let Mounts::V1 { hierarchies, own, .. } = &mut mounts {
            hierarchies.sort_by(|left, right| left.mount.cmp(&right.mount));
            *own = None;
        }
        mounts
    };
    let table = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap()).unwrap();
    assert_eq!(sorted(Mounts::detect().unwrap()), sorted(table));
}

#[test]
fn a_tree_in_another_place_is_looked_up_in_the_mount_table() {
    let own = |controllers: &str| Vec::from([(controllers.to_string(), "/".to_string())]);
    assert_eq!(usual::detect(&own("tare-has-no-such")), None);
    assert_eq!(usual::detect(&own("")), None, "version 2 alone");
}

#[test]
fn this_process_has_cgroups() {
    let mounts = Mounts::detect().unwrap();
    let own = own().unwrap();
    assert!(!own.is_empty());
    let memory = own.iter().find(|(list, _)| list.split(',').any(|name| name == "memory") || list.is_empty());
    let path = &memory.unwrap().1;
    let usage = Usage::read(&mounts, path).unwrap();
    // The root of version 2 has details and no sum.
    let counted = !(mounts.is_v2() && path == "/");
    assert!(usage.memory.details.is_empty() || (usage.memory.usage.usage > 0) == counted);
}
