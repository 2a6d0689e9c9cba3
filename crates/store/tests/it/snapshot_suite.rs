//! What every snapshotter must do, written against the trait alone. The behaviours are those of containerd's
//! snapshotter contract.

use crate::support::{NOW, key, labels, ns, run};
use std::path::{Path, PathBuf};
use tare_store::{
    Filters, Snapshotter, Tables,
    metadata::LeaseRow,
    snapshot::{CommitOptions, Kind, PrepareRequest},
};
use tare_types::{ErrorKind, LeaseId, Mount, Namespace, Timestamp};

pub(crate) struct Subject<'a> {
    pub(crate) snapshotter: &'a dyn Snapshotter,
    /// Where mount points are made.
    pub(crate) scratch: &'a Path,
}

impl Subject<'_> {
    fn prepare(&self, name: &str, parent: Option<&str>) -> tare_store::Result<Vec<Mount>> {
        self.make(Kind::Active, name, parent)
    }

    fn make(&self, kind: Kind, name: &str, parent: Option<&str>) -> tare_store::Result<Vec<Mount>> {
        let (namespace, name, parent) = (ns("suite"), key(name), parent.map(key));
        let request = PrepareRequest {
            namespace: &namespace,
            key: &name,
            parent: parent.as_ref(),
            labels: labels(&[("made", "yes")]),
            lease: None,
            now: NOW,
        };
        match kind {
            Kind::View => self.snapshotter.view(&request),
            _ => self.snapshotter.prepare(&request),
        }
    }

    fn commit(&self, name: &str, active: &str) -> tare_store::Result<()> {
        self.snapshotter.commit(&ns("suite"), &key(name), &key(active), &options())
    }

    /// Mounts, runs a shell script in the root, unmounts.
    fn shell(&self, mounts: &[Mount], script: &str) -> String {
        let target = tempfile::tempdir_in(self.scratch).unwrap();
        let _mounted = Mounted::new(mounts, target.path());
        run("sh", &["-ec", &format!("cd '{}'; {script}", target.path().display())])
    }

    /// A committed layer on top of another one, filled by a script.
    fn layer(&self, name: &str, parent: Option<&str>, script: &str) {
        let active = format!("{name}-active");
        let mounts = self.prepare(&active, parent).unwrap();
        self.shell(&mounts, script);
        self.commit(name, &active).unwrap();
    }

    fn kind_of(&self, result: tare_store::Result<impl Sized>) -> ErrorKind {
        match result {
            Ok(_) => panic!("it should have failed"),
            Err(error) => error.kind(),
        }
    }
}

fn options() -> CommitOptions {
    CommitOptions { labels: labels(&[]), parent: None, usage: None, lease: None, deferred: false, now: NOW }
}

struct Mounted(PathBuf);

impl Mounted {
    fn new(mounts: &[Mount], target: &Path) -> Self {
        for mount in mounts {
            let options = mount.options.join(",");
            let target = target.to_str().unwrap();
            if mount.kind == "bind" {
                run("mount", &["--bind", &mount.source, target]);
                if mount.options.iter().any(|option| option == "ro") {
                    run("mount", &["-o", "remount,bind,ro", target]);
                }
            } else {
                run("mount", &["-t", &mount.kind, "-o", &options, &mount.source, target]);
            }
        }
        Self(target.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

type Behaviour = fn(&Subject<'_>);

/// Runs all of it; a failure is preceded by the name of the behaviour.
#[allow(clippy::print_stderr, reason = "tells which behaviour a failure belongs to")]
pub(crate) fn all(subject: &Subject<'_>) {
    let behaviours: [(&str, Behaviour); 20] = [
        ("an empty root is writable", empty_root),
        ("a child sees its parent", child_sees_parent),
        ("a change stays in its own snapshot", change_is_own),
        ("a deletion hides what is below", deletion),
        ("a directory made anew is empty", directory_made_anew),
        ("owner and mode of files and of the root stay", attributes),
        ("a hard link stays one file in its layer", hard_link),
        ("a rename across layers works", rename),
        ("a view cannot be written", view_is_read_only),
        ("a view of nothing is possible", view_of_nothing),
        ("a view cannot be committed", view_commit),
        ("keys are unique", unique),
        ("a parent must be committed and exist", parent_rules),
        ("a committed snapshot has no mounts", committed_mounts),
        ("what has children stays", children),
        ("removed is gone", removed),
        ("commit moves the name", commit_moves),
        ("labels and filters", labels_and_filters),
        ("usage grows with content", usage),
        ("a long chain mounts", long_chain),
    ];
    for (name, behaviour) in behaviours {
        eprintln!("{}: {name}", subject.snapshotter.name());
        behaviour(subject);
    }
    namespaces_are_apart(subject);
    leases_are_told(subject);
}

fn empty_root(s: &Subject<'_>) {
    let mounts = s.prepare("empty", None).unwrap();
    assert_eq!(s.shell(&mounts, "ls -A; echo x > f; cat f"), "x\n");
    let again = s.snapshotter.mounts(&ns("suite"), &key("empty")).unwrap();
    assert_eq!(again, mounts, "mounts are the same each time");
    assert_eq!(s.shell(&again, "cat f"), "x\n");
}

fn child_sees_parent(s: &Subject<'_>) {
    s.layer("base", None, "echo base > file; mkdir dir; echo in > dir/file");
    let mounts = s.prepare("child", Some("base")).unwrap();
    assert_eq!(s.shell(&mounts, "cat file dir/file"), "base\nin\n");
}

fn change_is_own(s: &Subject<'_>) {
    let one = s.prepare("own-1", Some("base")).unwrap();
    let two = s.prepare("own-2", Some("base")).unwrap();
    s.shell(&one, "echo changed > file; echo more >> dir/file");
    assert_eq!(s.shell(&two, "cat file dir/file"), "base\nin\n");
    assert_eq!(s.shell(&one, "cat file dir/file"), "changed\nin\nmore\n");
}

fn deletion(s: &Subject<'_>) {
    s.layer("without", Some("base"), "rm file; rm -r dir");
    let mounts = s.prepare("without-child", Some("without")).unwrap();
    assert_eq!(s.shell(&mounts, "ls -A"), "");
    s.layer("with-again", Some("without"), "echo new > file");
    let mounts = s.prepare("with-again-child", Some("with-again")).unwrap();
    assert_eq!(s.shell(&mounts, "cat *"), "new\n");
}

fn directory_made_anew(s: &Subject<'_>) {
    s.layer("anew", Some("base"), "rm -r dir; mkdir dir; echo 1 > dir/other");
    let mounts = s.prepare("anew-child", Some("anew")).unwrap();
    assert_eq!(s.shell(&mounts, "ls dir"), "other\n");
}

fn attributes(s: &Subject<'_>) {
    s.layer(
        "attr",
        None,
        "echo x > f; chown 12:34 f; chmod 4711 f; chmod 710 .; chown 1:2 .; touch -d @99 f",
    );
    let mounts = s.prepare("attr-child", Some("attr")).unwrap();
    assert_eq!(s.shell(&mounts, "stat -c '%a %u %g %Y' f"), "4711 12 34 99\n");
    if s.snapshotter.name() == "native" {
        assert_eq!(s.shell(&mounts, "stat -c '%a %u %g' ."), "710 1 2\n");
    }
}

fn hard_link(s: &Subject<'_>) {
    s.layer("link", None, "echo 1 > a; ln a b");
    let mounts = s.make(Kind::View, "link-view", Some("link")).unwrap();
    assert_eq!(s.shell(&mounts, "test a -ef b && stat -c %h a"), "2\n");
}

fn rename(s: &Subject<'_>) {
    let mounts = s.prepare("rename", Some("base")).unwrap();
    assert_eq!(
        s.shell(&mounts, "mv file moved; cat moved; mv dir dir2; ls; cat dir2/file"),
        "base\ndir2\nmoved\nin\n"
    );
}

fn view_is_read_only(s: &Subject<'_>) {
    let mounts = s.make(Kind::View, "view", Some("base")).unwrap();
    assert_eq!(s.shell(&mounts, "cat file; ! touch file 2>/dev/null; ! touch new 2>/dev/null"), "base\n");
    s.layer("two", Some("base"), "echo 2 > two");
    let mounts = s.make(Kind::View, "view-2", Some("two")).unwrap();
    assert_eq!(s.shell(&mounts, "cat file two; ! touch new 2>/dev/null"), "base\n2\n");
}

fn view_of_nothing(s: &Subject<'_>) {
    let mounts = s.make(Kind::View, "view-nothing", None).unwrap();
    assert_eq!(s.shell(&mounts, "ls -A; ! touch x 2>/dev/null"), "");
}

fn view_commit(s: &Subject<'_>) {
    s.make(Kind::View, "view-commit", Some("base")).unwrap();
    assert_eq!(s.kind_of(s.commit("never", "view-commit")), ErrorKind::FailedPrecondition);
    assert_eq!(s.kind_of(s.commit("never", "base")), ErrorKind::FailedPrecondition);
    assert_eq!(s.kind_of(s.commit("never", "absent")), ErrorKind::NotFound);
}

fn unique(s: &Subject<'_>) {
    assert_eq!(s.kind_of(s.prepare("base", None)), ErrorKind::AlreadyExists);
    s.prepare("unique", None).unwrap();
    assert_eq!(s.kind_of(s.prepare("unique", None)), ErrorKind::AlreadyExists);
    assert_eq!(s.kind_of(s.make(Kind::View, "unique", Some("base"))), ErrorKind::AlreadyExists);
    assert_eq!(s.kind_of(s.commit("base", "unique")), ErrorKind::AlreadyExists);
    // The refused commit has changed nothing.
    assert_eq!(s.snapshotter.stat(&ns("suite"), &key("unique")).unwrap().kind, Kind::Active);
}

fn parent_rules(s: &Subject<'_>) {
    assert_eq!(s.kind_of(s.prepare("orphan", Some("absent"))), ErrorKind::NotFound);
    s.prepare("not-committed", None).unwrap();
    assert_eq!(s.kind_of(s.prepare("orphan", Some("not-committed"))), ErrorKind::InvalidArgument);
    assert_eq!(s.kind_of(s.snapshotter.stat(&ns("suite"), &key("orphan"))), ErrorKind::NotFound);
}

fn committed_mounts(s: &Subject<'_>) {
    let mounts = s.snapshotter.mounts(&ns("suite"), &key("base"));
    assert_eq!(s.kind_of(mounts), ErrorKind::FailedPrecondition);
    assert_eq!(s.kind_of(s.snapshotter.mounts(&ns("suite"), &key("absent"))), ErrorKind::NotFound);
}

fn children(s: &Subject<'_>) {
    s.layer("parent", None, "true");
    s.prepare("parent-child", Some("parent")).unwrap();
    let remove = |name: &str| s.snapshotter.remove(&ns("suite"), &key(name));
    assert_eq!(s.kind_of(remove("parent")), ErrorKind::FailedPrecondition);
    remove("parent-child").unwrap();
    remove("parent").unwrap();
}

fn removed(s: &Subject<'_>) {
    s.prepare("gone", Some("base")).unwrap();
    s.snapshotter.remove(&ns("suite"), &key("gone")).unwrap();
    assert_eq!(s.kind_of(s.snapshotter.remove(&ns("suite"), &key("gone"))), ErrorKind::NotFound);
    assert_eq!(s.kind_of(s.snapshotter.mounts(&ns("suite"), &key("gone"))), ErrorKind::NotFound);
    assert_eq!(s.snapshotter.cleanup().unwrap(), 0, "nothing was left to clean up");
    let mounts = s.prepare("gone", None).unwrap();
    assert_eq!(s.shell(&mounts, "ls -A"), "", "a new one of the name is empty");
}

fn commit_moves(s: &Subject<'_>) {
    s.layer("moved", Some("base"), "echo 1 > moved");
    let stat = |name: &str| s.snapshotter.stat(&ns("suite"), &key(name));
    assert_eq!(s.kind_of(stat("moved-active")), ErrorKind::NotFound);
    let info = stat("moved").unwrap();
    assert_eq!((info.kind, info.parent), (Kind::Committed, Some(key("base"))));
    assert!(info.labels.is_empty(), "labels of the active one do not pass over");
}

fn labels_and_filters(s: &Subject<'_>) {
    s.prepare("labelled", Some("base")).unwrap();
    let (namespace, name) = (ns("suite"), key("labelled"));
    let later = Timestamp::new(NOW.seconds + 1, 0);
    let paths = ["labels.a.b".to_string()];
    let info = s.snapshotter.update(&namespace, &name, &labels(&[("a.b", "c")]), &paths, later).unwrap();
    assert_eq!((info.labels.get("made").unwrap().as_str(), info.updated_at), ("yes", later));
    let find = |filter: &str| -> Vec<String> {
        let found = s.snapshotter.list(&namespace, &Filters::parse(&[filter]).unwrap()).unwrap();
        found.into_iter().map(|info| info.name.into()).collect()
    };
    assert_eq!(find("labels.\"a.b\"==c"), ["labelled"]);
    assert_eq!(find("name==labelled,kind==active,parent==base"), ["labelled"]);
    assert!(find("kind==committed").contains(&"base".to_string()));
    let absent = s.snapshotter.update(&namespace, &key("absent"), &labels(&[]), &[], NOW);
    assert_eq!(s.kind_of(absent), ErrorKind::NotFound);
}

fn usage(s: &Subject<'_>) {
    let mounts = s.prepare("usage", None).unwrap();
    let of = |name: &str| s.snapshotter.usage(&ns("suite"), &key(name)).unwrap();
    let empty = of("usage");
    s.shell(&mounts, "head -c 1000000 /dev/zero > big; ln big again; mkdir d");
    let full = of("usage");
    assert_eq!(full.inodes - empty.inodes, 2, "a hard link is counted once");
    assert!(full.bytes - empty.bytes >= 1_000_000);
    s.commit("usage-done", "usage").unwrap();
    assert_eq!(of("usage-done"), full);
}

fn long_chain(s: &Subject<'_>) {
    let count = if s.snapshotter.name() == "native" { 5 } else { 40 };
    for at in 0..count {
        let parent = (at > 0).then(|| format!("chain-{}", at - 1));
        s.layer(&format!("chain-{at}"), parent.as_deref(), &format!("echo {at} > f{at}; echo {at} > last"));
    }
    let mounts = s.prepare("chain", Some(&format!("chain-{}", count - 1))).unwrap();
    let seen = s.shell(&mounts, "cat last; ls | wc -l");
    assert_eq!(seen, format!("{}\n{}\n", count - 1, count + 1));
}

fn namespaces_are_apart(s: &Subject<'_>) {
    let other = Namespace::new("other").unwrap();
    assert_eq!(s.kind_of(s.snapshotter.stat(&other, &key("base"))), ErrorKind::NotFound);
    assert!(s.snapshotter.list(&other, &Filters::all()).unwrap().is_empty());
}

fn leases_are_told(s: &Subject<'_>) {
    let (namespace, name, id) = (ns("suite"), key("leased"), LeaseId::new("l").unwrap());
    let request = PrepareRequest {
        namespace: &namespace,
        key: &name,
        parent: None,
        labels: labels(&[]),
        lease: Some(&id),
        now: NOW,
    };
    assert_eq!(s.kind_of(s.snapshotter.prepare(&request)), ErrorKind::NotFound, "no such lease");
    let row = LeaseRow { id: id.clone(), created_at: NOW, labels: labels(&[]) };
    s.snapshotter.metadata().update(|tx| tx.put_lease(&namespace, &row)).unwrap();
    s.snapshotter.prepare(&request).unwrap();
    let resources = s.snapshotter.metadata().read().unwrap().lease_resources(&namespace, &id).unwrap();
    assert_eq!(resources[0].kind, format!("snapshots/{}", s.snapshotter.name()));
    assert_eq!(resources[0].id, "leased");
}
