//! `tared oci-hook`: a hook of a container that gets what it needs on its command line, as `containerd oci-hook` gives it.
//!
//! `ctr run --gpus` and others write such hooks into specs. The container's state comes on standard input (OCI runtime
//! specification, "Hooks"); the arguments are templates: `{{id}}`, `{{bundle}}`, `{{rootfs}}`, `{{pid}}`, `{{status}}`,
//! `{{annotation "name"}}`.

use anyhow::{Context, bail};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Longest state that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The state of a container as a runtime tells it to hooks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    id: String,
    status: String,
    pid: i64,
    bundle: PathBuf,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Spec {
    root: Option<Root>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

/// Fills the templates of `command` and executes it in place of this process.
///
/// # Errors
/// Everything that kept it from that: it does not return otherwise.
pub fn run(command: &[String]) -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().take(LIMIT).read_to_string(&mut text).context("read the container's state")?;
    let state: State = serde_json::from_str(&text).context("read the container's state")?;
    let filled = command.iter().map(|argument| fill(argument, &state)).collect::<anyhow::Result<Vec<_>>>()?;
    let Some((program, arguments)) = filled.split_first() else { bail!("oci-hook: no command") };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("execute {program}"))
}

fn fill(template: &str, state: &State) -> anyhow::Result<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").with_context(|| format!("{template}: no end of {{{{"))?;
        filled.push_str(before);
        filled.push_str(&value(name.trim(), state).with_context(|| format!("in {template}"))?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(name: &str, state: &State) -> anyhow::Result<String> {
    Ok(match name {
        "id" => state.id.clone(),
        "status" => state.status.clone(),
        "pid" => state.pid.to_string(),
        "bundle" => state.bundle.display().to_string(),
        "rootfs" => rootfs(&state.bundle)?.display().to_string(),
        other => {
            let key = other.strip_prefix("annotation").map(|key| key.trim().trim_matches('"'));
            let Some(key) = key else { bail!("{other:?} is not known") };
            state.annotations.get(key).with_context(|| format!("there is no annotation {key:?}"))?.clone()
        }
    })
}

fn rootfs(bundle: &Path) -> anyhow::Result<PathBuf> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let spec: Spec = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    // Joined to an absolute path it is that path.
    Ok(bundle.join(spec.root.map_or_else(|| "rootfs".into(), |root| root.path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_from_the_state() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join("config.json"), r#"{"root":{"path":"fs"}}"#).unwrap();
        let state = State {
            id: "a".into(),
            status: "created".into(),
            pid: 7,
            bundle: bundle.path().into(),
            annotations: [("k".to_owned(), "v".to_owned())].into(),
        };
        let fill = |text: &str| fill(text, &state);
        assert_eq!(fill("--pid={{pid}}:{{ id }}-{{status}}").unwrap(), "--pid=7:a-created");
        assert_eq!(fill("{{rootfs}}").unwrap(), bundle.path().join("fs").display().to_string());
        assert_eq!(fill("{{annotation \"k\"}}").unwrap(), "v");
        assert_eq!(fill("plain").unwrap(), "plain");
        for bad in ["{{pid", "{{who}}", "{{annotation \"absent\"}}"] {
            assert!(fill(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
