//! Recipes: which Debian packages make which image, and how they become a layer.

use crate::failure::Failure;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// One image.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) packages: &'static [&'static str],
    pub(crate) entrypoint: &'static [&'static str],
    pub(crate) command: &'static [&'static str],
    pub(crate) user: &'static str,
    pub(crate) working_directory: &'static str,
    pub(crate) environment: &'static [&'static str],
    pub(crate) ports: &'static [&'static str],
    pub(crate) volumes: &'static [&'static str],
    pub(crate) stop_signal: &'static str,
    /// A command line to try.
    pub(crate) example: &'static str,
    /// Run inside the new root once the packages are there.
    finish: &'static str,
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const BASE: Recipe = Recipe {
    name: "debian",
    packages: &["debian"],
    entrypoint: &[],
    command: &["bash"],
    user: "",
    working_directory: "",
    environment: &[PATH],
    ports: &[],
    volumes: &[],
    stop_signal: "",
    example: "cat /etc/os-release",
    finish: "",
};

const RECIPES: [Recipe; 5] = [
    Recipe {
        name: "busybox",
        packages: &["busybox-static"],
        command: &["sh"],
        example: "echo hello",
        ..BASE
    },
    BASE,
    Recipe {
        name: "nginx",
        packages: &["nginx-light"],
        command: &["nginx", "-g", "daemon off;"],
        ports: &["80/tcp"],
        stop_signal: "SIGQUIT",
        example: "nginx -v",
        finish: "ln -sf /dev/stdout /var/log/nginx/access.log; ln -sf /dev/stderr /var/log/nginx/error.log",
        ..BASE
    },
    Recipe {
        name: "redis",
        packages: &["redis-server"],
        command: &["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data"],
        user: "redis",
        working_directory: "/data",
        ports: &["6379/tcp"],
        volumes: &["/data"],
        example: "redis-server --version",
        finish: "mkdir -p /data; chown redis:redis /data",
        ..BASE
    },
    Recipe {
        name: "postgres",
        packages: &["postgresql"],
        command: &[
            "sh",
            "-c",
            "B=$(ls -d /usr/lib/postgresql/*/bin); test -s /data/PG_VERSION || $B/initdb -D /data -A trust >/dev/null; exec $B/postgres -D /data -k /tmp -h 0.0.0.0",
        ],
        user: "postgres",
        working_directory: "/data",
        ports: &["5432/tcp"],
        volumes: &["/data"],
        stop_signal: "SIGINT",
        example: "sh -c '/usr/lib/postgresql/*/bin/postgres --version'",
        finish: "mkdir -p /data; chown postgres:postgres /data; chmod 700 /data; rm -rf /var/lib/postgresql/*",
        ..BASE
    },
];

/// The recipe of a name.
pub(crate) fn find(name: &str) -> Result<Recipe, Failure> {
    RECIPES.iter().find(|recipe| recipe.name == name).cloned().ok_or_else(|| {
        let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
        Failure::usage(format!("no recipe for {name:?}; there are: {}", names.join(", ")))
    })
}

/// Makes the layer's tar.
pub(crate) fn make_layer(recipe: &Recipe, workspace: &Path, layer: &Path) -> Result<(), Failure> {
    if recipe.name == "busybox" {
        let root = workspace.join("rootfs");
        busybox(&root)?;
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).args(["--sort=name", "--numeric-owner", "--owner=0", "--group=0", "-cf"]);
        return checked(tar.arg(layer).arg("."), "tar");
    }
    debian(recipe, layer)
}

/// Makes the root file system as a directory.
pub(crate) fn make_directory(recipe: &Recipe, rootfs: &Path) -> Result<(), Failure> {
    if rootfs.exists() {
        return Err(Failure::new(format!("{} exists already", rootfs.display())));
    }
    if recipe.name == "busybox" { busybox(rootfs) } else { debian(recipe, rootfs) }
}

fn checked(command: &mut Command, hint_package: &str) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        Failure::new(format!("run {program}: {error}")).hint(format!("apt-get install {hint_package}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = errors.lines().collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n");
    Err(Failure::new(format!("{program} ended with {}:\n{tail}", output.status)))
}

fn busybox(root: &Path) -> Result<(), Failure> {
    let failed =
        |what: &str, error: std::io::Error| Failure::new(format!("{what} in {}: {error}", root.display()));
    for directory in [
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "root",
        "sys",
        "tmp",
        "usr/bin",
        "usr/sbin",
        "sbin",
        "var/spool",
        "lib",
    ] {
        std::fs::create_dir_all(root.join(directory)).map_err(|e| failed(directory, e))?;
    }
    for (directory, mode) in [("tmp", 0o1777), ("root", 0o700)] {
        std::fs::set_permissions(root.join(directory), PermissionsExt::from_mode(mode))
            .map_err(|e| failed(directory, e))?;
    }
    let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program else {
        return Err(Failure::new("there is no busybox on this host").hint("apt-get install busybox-static"));
    };
    std::fs::copy(program, root.join("bin/busybox")).map_err(|e| failed("bin/busybox", e))?;
    let list = Command::new(program)
        .arg("--list")
        .output()
        .map_err(|error| Failure::new(format!("run {program} --list: {error}")))?;
    for applet in
        String::from_utf8_lossy(&list.stdout).lines().filter(|name| !name.is_empty() && *name != "busybox")
    {
        if applet.contains('/') {
            continue;
        }
        symlink("/bin/busybox", root.join("bin").join(applet)).map_err(|e| failed(applet, e))?;
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n"),
        ("etc/shadow", "root:*:::::::\nnobody:*:::::::\n"),
    ];
    for (name, text) in files {
        std::fs::write(root.join(name), text).map_err(|e| failed(name, e))?;
    }
    std::fs::set_permissions(root.join("etc/shadow"), PermissionsExt::from_mode(0o640))
        .map_err(|e| failed("etc/shadow", e))
}

/// Debian packages through mmdebstrap, from the host's own package sources.
fn debian(recipe: &Recipe, target: &Path) -> Result<(), Failure> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase"]);
    for path in ["doc", "locale", "man", "info", "lintian"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
    }
    command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    if recipe.name != "debian" {
        command.arg(format!("--include={}", recipe.packages.join(",")));
    }
    command.arg("--customize-hook=rm -rf \"$1\"/var/cache/apt/* \"$1\"/var/log/*.log \"$1\"/var/log/apt");
    if !recipe.finish.is_empty() {
        command.arg(format!("--customize-hook=chroot \"$1\" sh -c '{}'", recipe.finish));
    }
    command.arg("").arg(target);
    command.args(package_sources()?);
    checked(&mut command, "mmdebstrap")
}

fn package_sources() -> Result<Vec<String>, Failure> {
    let mut sources = Vec::new();
    if Path::new("/etc/apt/sources.list").exists() {
        sources.push("/etc/apt/sources.list".to_owned());
    }
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path().display().to_string());
        sources
            .extend(paths.filter(|path| path.ends_with("debian.sources") || path.ends_with("debian.list")));
    }
    if sources.is_empty() {
        return Err(Failure::new("/etc/apt has no package sources").hint("this needs a Debian host"));
    }
    Ok(sources)
}
