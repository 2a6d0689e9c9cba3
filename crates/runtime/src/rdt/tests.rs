//! On directories that look like resctrl; its files are not made by mkdir(2) there, so that a class that is new is
//! prepared by the test.

use super::*;
use std::{fs, path::PathBuf};

struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-rdt-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("known/mon_groups")).unwrap();
        fs::write(path.join("known/schemata"), "    MB:0=100;1= 70\n    L3:0=00ff0;1=fffff\n").unwrap();
        fs::write(path.join("known/tasks"), "").unwrap();
        fs::write(path.join("tasks"), "").unwrap();
        Self(path)
    }

    fn make(&self, plan: &RdtPlan) -> Result<RdtGroup> {
        let mut group = RdtGroup::default();
        group.make_below(self.0.to_str().unwrap(), plan, "box").map(|()| group)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plan(class: Option<&str>, lines: &[&str], monitoring: bool) -> RdtPlan {
    let lines = lines.iter().map(ToString::to_string).collect();
    RdtPlan { class: class.map(Into::into), lines, monitoring }
}

#[test]
fn a_class_that_exists_is_compared_and_stays() {
    let tree = Tree::new("known");
    let group = tree.make(&plan(Some("known"), &["L3:0=ff0", "MB:1=70"], true)).unwrap();
    assert_eq!(group.joined.len(), 2);
    assert_eq!(group.made, [tree.0.join("known/mon_groups/box").to_str().unwrap()]);
    group.remove().unwrap();
    assert!(tree.0.join("known").exists() && !tree.0.join("known/mon_groups/box").exists());
    let error = tree.make(&plan(Some("known"), &["L3:0=f"], false)).unwrap_err();
    assert!(error.to_string().contains("L3:0=f"), "{error}");
    assert!(tree.make(&plan(Some("known"), &[], false)).is_ok());
    assert!(tree.make(&plan(Some("unknown"), &[], false)).is_err());
}

#[test]
fn the_default_class_is_the_root() {
    let tree = Tree::new("default");
    let group = tree.make(&plan(Some("/"), &[], false)).unwrap();
    assert_eq!(group.joined, [tree.0.to_str().unwrap()]);
    assert_eq!(group.tasks().unwrap().len(), 1);
}

#[test]
fn a_class_of_its_own_goes_with_the_container() {
    let tree = Tree::new("own");
    let group = tree.make(&plan(None, &[], false)).unwrap();
    assert_eq!(group.made, group.joined);
    assert!(tree.0.join("box").exists());
    group.remove().unwrap();
    assert!(!tree.0.join("box").exists());
}

#[test]
fn shares_are_written_line_by_line() {
    let tree = Tree::new("write");
    let directory = tree.0.join("known");
    let group = RdtGroup { joined: [directory.to_str().unwrap().into()].into(), made: Vec::new() };
    fs::write(directory.join("schemata"), "").unwrap();
    group.update(&["L3:0=f".into(), "MB:0=20".into()]).unwrap();
    // A file keeps the last of what is written from its beginning; resctrl takes each.
    assert_eq!(fs::read_to_string(directory.join("schemata")).unwrap(), "MB:0=20\n");
    assert!(RdtGroup::default().update(&[]).is_err());
}

#[test]
fn shares_as_the_kernel_prints_them() {
    let file = "    L3:0=0000f;1=fffff\n    MB:0=100;1=  50\n";
    for line in ["L3:0=f", "L3:1=fffff;0=000F", "MB:1=50"] {
        assert!(is_part_of(line, file), "{line}");
    }
    for line in ["L3:0=ff", "L2:0=f", "L3:2=f", "L3", "MB:0="] {
        assert!(!is_part_of(line, file), "{line}");
    }
}
