//! Keys of a configuration file that nothing reads, with their lines.

use toml::de::{DeTable, DeValue};

/// Known keys by table; `*` stands for any name.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "version", "root", "state", "grpc", "docker", "cgroup", "debug", "metrics", "image", "registry",
            "network", "log", "runtime", "runtimes",
        ],
    ),
    ("grpc", &["address", "uid", "gid"]),
    ("docker", &["address", "uid", "gid"]),
    ("cgroup", &["path"]),
    ("debug", &["level", "format"]),
    ("metrics", &["address"]),
    ("image", &["snapshotter", "max_concurrent_downloads"]),
    ("registry", &["config_path", "insecure"]),
    ("network", &["bridge_subnet", "ready_namespaces"]),
    ("log", &["driver", "options"]),
    ("log.options", &["*"]),
    ("runtime", &["shim", "default"]),
    ("runtimes", &["*"]),
    ("runtimes.*", &["shim", "binary_name"]),
];

/// Unknown keys with their lines, in the order of the file. Text that is no TOML has none.
pub(super) fn keys(text: &str) -> Vec<(String, usize)> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let mut found = Vec::new();
    walk(document.get_ref(), "", "", &mut found);
    found.sort_by_key(|(_, offset)| *offset);
    let line = |offset: usize| text[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1;
    found.into_iter().map(|(key, offset)| (key, line(offset))).collect()
}

/// `path` is what the file says, `pattern` the same with `*` for free names.
fn walk(table: &DeTable<'_>, path: &str, pattern: &str, found: &mut Vec<(String, usize)>) {
    let Some((_, known)) = KNOWN.iter().find(|(name, _)| *name == pattern) else { return };
    let join = |base: &str, key: &str| if base.is_empty() { key.to_owned() } else { format!("{base}.{key}") };
    for (key, value) in table {
        let name: &str = key.get_ref();
        let free = known.contains(&"*");
        if !free && !known.contains(&name) {
            found.push((join(path, name), key.span().start));
            continue;
        }
        if let DeValue::Table(inner) = value.get_ref() {
            walk(inner, &join(path, name), &join(pattern, if free { "*" } else { name }), found);
        }
    }
}
