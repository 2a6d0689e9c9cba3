//! Bundles and paths of the command line.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_types::spec::Spec;

/// Largest configuration that is read, in bytes.
const LIMIT: usize = 64 << 20;

/// An absolute path: relative ones start in the working directory.
pub(crate) fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        return Ok(trimmed(path));
    }
    let cwd = rustix::process::getcwd(Vec::new())
        .map_err(|errno| format!("getcwd: {}", tare_sys::errno::describe(errno)))?;
    let cwd = cwd.to_str().map_err(|_| "the working directory is not UTF-8".to_string())?.to_string();
    let path = path.trim_start_matches("./");
    Ok(trimmed(&if path.is_empty() || path == "." { cwd } else { format!("{cwd}/{path}") }))
}

fn trimmed(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if path.is_empty() { "/".to_string() } else { path.to_string() }
}

/// Reads the configuration of a bundle.
pub(crate) fn load(bundle: &str) -> Result<Spec, String> {
    load_from(bundle, "config.json")
}

/// The same from another file, by its absolute path or one in the bundle (crun's `--config`).
pub(crate) fn load_from(bundle: &str, file: &str) -> Result<Spec, String> {
    let path = if file.starts_with('/') { file.to_string() } else { format!("{bundle}/{file}") };
    let bytes = match tare_sys::file::read(&path, LIMIT) {
        Err(error) if error.is_not_found() => {
            return Err(format!("JSON specification file {file} not found"));
        }
        bytes => bytes.map_err(|error| error.to_string())?,
    };
    parse(&bytes, &path)
}

/// Parses a document and names the file in what is wrong with it.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], path: &str) -> Result<T, String> {
    tare_types::spec::parse(bytes).map_err(|error| format!("{path}: {error}"))
}

/// Reads a document from a file, or from standard input for `-`.
pub(crate) fn read_document<T: serde::de::DeserializeOwned>(path: &str) -> Result<T, String> {
    let bytes = if path == "-" {
        tare_sys::file::read_fd(crate::output::standard()[0], LIMIT)
            .map_err(|errno| format!("read standard input: {}", tare_sys::errno::describe(errno)))?
    } else {
        tare_sys::file::read(path, LIMIT).map_err(|error| error.to_string())?
    };
    parse(&bytes, path)
}

/// Writes a pid file whole: others wait for its name.
pub(crate) fn write_pid_file(path: &str, pid: i32) -> Result<(), String> {
    let path = absolute(path)?;
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let directory = if directory.is_empty() { "/" } else { directory };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    tare_sys::file::open(directory, flags, 0)
        .and_then(|directory| tare_sys::file::replace_at(&directory, name, pid.to_string().as_bytes(), 0o644))
        .map_err(|error| format!("write the pid file: {error}"))
}
