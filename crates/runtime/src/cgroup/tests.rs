//! What can be decided without a kernel.

use super::*;

#[test]
fn shared_trees_count_once() {
    let paths = [("cpu", "/c/cpu,cpuacct/x"), ("cpuacct", "/c/cpu,cpuacct/x"), ("pids", "/c/pids/x")];
    let paths = paths.map(|(name, path)| (name.to_string(), path.to_string()));
    let cgroup = Cgroup::from_paths(BTreeMap::from(paths), false);
    assert_eq!(cgroup.directories(), ["/c/cpu,cpuacct/x", "/c/pids/x"]);
    assert_eq!(cgroup.directory("memory"), None);
    assert!(!cgroup.is_v2());
}

#[test]
fn version_2_has_one_directory() {
    let cgroup = Cgroup::from_paths(BTreeMap::from([(String::new(), "/c/x".to_string())]), false);
    assert_eq!(cgroup.directory("memory"), Some("/c/x"));
    assert!(cgroup.is_v2());
}

#[test]
fn stats_have_the_shape_of_runc() {
    let text = serde_json::to_string(&Stats::default()).unwrap();
    for part in [
        "\"throttling\":{}",
        "\"pids\":{}",
        "\"blkio\":{}",
        "\"intel_rdt\":{}",
        "\"network_interfaces\":null",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
