//! What a container is created with beyond containerd's request: decoded options, and the runtime's directory,
//! which `delete` must find again when the shim is dead.

use prost::Message;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tare_api::Any;
use tare_api::containerd::runc::v1::Options as RuncOptions;
use tare_api::status::Status;
use tare_api::tare::shim::v1::{CreateOptions, ExecOptions, RuntimeOptions as WireRuntime};
use tare_types::ErrorKind;
use tare_types::spec::Spec;

use crate::args::Args;

/// File in the bundle that holds the runtime's directory when it is not the default one.
const FILE: &str = "runtime.json";

/// The longest a hook may run that names no limit.
const HOOK: Duration = Duration::from_secs(60);

/// Where the runtime keeps its states, and how it makes cgroups.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct RuntimeRoot {
    pub(crate) root: String,
    pub(crate) systemd_cgroup: bool,
}

/// `<dir of the daemon's socket>/runtime/<namespace>`.
pub(crate) fn default_root(args: &Args) -> RuntimeRoot {
    let address = args.address.strip_prefix("unix://").unwrap_or(&args.address);
    let dir = Path::new(address).parent().filter(|dir| dir.is_absolute());
    let dir = dir.map_or_else(|| PathBuf::from("/run/tare"), Path::to_path_buf);
    let root = dir.join("runtime").join(&args.namespace);
    RuntimeRoot { root: root.to_string_lossy().into_owned(), systemd_cgroup: false }
}

/// The directory a container of this bundle was created with.
pub(crate) fn load_runtime_root(bundle: &Path, args: &Args) -> RuntimeRoot {
    let text = std::fs::read(bundle.join(FILE)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_else(|| default_root(args))
}

/// Keeps the directory for `delete`; the default one needs no file.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save_runtime_root(bundle: &Path, root: &RuntimeRoot, args: &Args) -> Result<(), Status> {
    if *root == default_root(args) {
        return Ok(());
    }
    let path = bundle.join(FILE);
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(ErrorKind::Internal, format!("write {}: {error}", path.display()))
    };
    let text = serde_json::to_vec(root).map_err(|error| failed(&error))?;
    std::fs::write(&path, text).map_err(|error| failed(&error))
}

/// The options of a create request, in one form.
///
/// # Errors
/// `InvalidArgument` for bytes or a type that are none of the known ones, `Unimplemented` for a foreign runtime binary.
pub(crate) fn create_options(any: Option<&Any>) -> Result<CreateOptions, Status> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty()) else { return Ok(CreateOptions::default()) };
    let invalid = |error: prost::DecodeError| {
        Status::new(ErrorKind::InvalidArgument, format!("options {}: {error}", any.type_url))
    };
    match type_name(any) {
        "tare.shim.v1.CreateOptions" => CreateOptions::decode(&any.value[..]).map_err(invalid),
        "containerd.runc.v1.Options" => {
            let options = RuncOptions::decode(&any.value[..]).map_err(invalid)?;
            if !matches!(options.binary_name.as_str(), "" | "runc" | "tare-oci") {
                return Err(Status::unimplemented("a foreign runtime binary (BinaryName)"));
            }
            Ok(CreateOptions {
                runtime: Some(WireRuntime {
                    root: options.root,
                    systemd_cgroup: options.systemd_cgroup,
                    no_pivot_root: options.no_pivot_root,
                    no_new_keyring: options.no_new_keyring,
                }),
                ..Default::default()
            })
        }
        // `ctr run --runtime-config-path` and CRI configurations: a file of the runtime's own, of which there is none.
        "runtimeoptions.v1.Options" => Ok(CreateOptions::default()),
        other => Err(Status::new(ErrorKind::InvalidArgument, format!("options of unknown type {other:?}"))),
    }
}

/// Gives each hook without a limit of its own one: what is left of the call that runs it first, and [`HOOK`] at most.
pub(crate) fn limit_hooks(spec: &mut Spec, deadline: Option<Instant>) {
    let Some(hooks) = &mut spec.hooks else { return };
    let left = deadline.map_or(HOOK, |deadline| deadline.saturating_duration_since(Instant::now()).min(HOOK));
    let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX).max(1);
    let all = [
        &mut hooks.prestart,
        &mut hooks.create_runtime,
        &mut hooks.create_container,
        &mut hooks.start_container,
        &mut hooks.poststart,
        &mut hooks.poststop,
    ];
    for hook in all.into_iter().flatten() {
        hook.timeout.get_or_insert(seconds);
    }
}

/// The cgroup that the caller wants the shim itself in (`ShimCgroup` of the Go shim's options).
pub(crate) fn shim_cgroup(any: Option<&Any>) -> Option<String> {
    let any = any.filter(|any| type_name(any) == "containerd.runc.v1.Options")?;
    RuncOptions::decode(&any.value[..])
        .ok()
        .map(|options| options.shim_cgroup)
        .filter(|path| !path.is_empty())
}

/// What an exec is made of: the options around the OCI process, and the process.
///
/// # Errors
/// `InvalidArgument` for a missing or unreadable process.
pub(crate) fn exec_options(any: Option<&Any>) -> Result<(ExecOptions, tare_types::spec::Process), Status> {
    let any = any.ok_or_else(|| Status::new(ErrorKind::InvalidArgument, "exec: the process is missing"))?;
    let invalid = |error: &dyn std::fmt::Display| {
        Status::new(ErrorKind::InvalidArgument, format!("exec: process {}: {error}", any.type_url))
    };
    let mut options = ExecOptions::default();
    let json = if type_name(any) == "tare.shim.v1.ExecOptions" {
        options = ExecOptions::decode(&any.value[..]).map_err(|error| invalid(&error))?;
        std::mem::take(&mut options.process)
    } else {
        any.value.clone()
    };
    let process = tare_types::spec::parse(&json).map_err(|error| invalid(&error))?;
    Ok((options, process))
}

/// The type's name without a prefix such as `type.googleapis.com/`; containerd's JSON types keep their path.
fn type_name(any: &Any) -> &str {
    any.type_url.strip_prefix("type.googleapis.com/").unwrap_or(&any.type_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(name: &str, value: Vec<u8>) -> Any {
        Any { type_url: name.into(), value }
    }

    #[test]
    fn options_of_all_callers_are_understood() {
        assert_eq!(create_options(None).unwrap(), CreateOptions::default());
        let runc = RuncOptions { root: "/r".into(), ..Default::default() };
        let options = create_options(Some(&any("containerd.runc.v1.Options", runc.encode_to_vec()))).unwrap();
        assert_eq!(options.runtime.unwrap().root, "/r");
        let runc = RuncOptions { binary_name: "crun".into(), ..Default::default() };
        let error =
            create_options(Some(&any("containerd.runc.v1.Options", runc.encode_to_vec()))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unimplemented);
        // What Go's shim would run by default is what this shim does itself.
        let runc = RuncOptions { binary_name: "runc".into(), shim_cgroup: "/s".into(), ..Default::default() };
        let runc = any("containerd.runc.v1.Options", runc.encode_to_vec());
        assert!(create_options(Some(&runc)).is_ok());
        assert_eq!(shim_cgroup(Some(&runc)).as_deref(), Some("/s"));
        assert_eq!(shim_cgroup(None), None);
        let own = CreateOptions { stdin_open: true, ..Default::default() };
        assert_eq!(
            create_options(Some(&any("tare.shim.v1.CreateOptions", own.encode_to_vec()))).unwrap(),
            own
        );
        assert_eq!(create_options(Some(&any("x.Y", vec![]))).unwrap_err().kind, ErrorKind::InvalidArgument);
        let junk = any("containerd.runc.v1.Options", vec![0xff; 9]);
        assert_eq!(create_options(Some(&junk)).unwrap_err().kind, ErrorKind::InvalidArgument);
    }

    #[test]
    fn no_hook_runs_for_ever() {
        let text = r#"{"hooks": {"poststart": [{"path": "/a", "timeout": 7}, {"path": "/b"}], "poststop": [{"path": "/c"}]}}"#;
        let limits = |deadline| {
            let mut spec: Spec = serde_json::from_str(text).unwrap();
            limit_hooks(&mut spec, deadline);
            let hooks = spec.hooks.unwrap();
            hooks.poststart.iter().chain(&hooks.poststop).filter_map(|hook| hook.timeout).collect::<Vec<_>>()
        };
        assert_eq!(limits(None), [7, 60, 60]);
        let now = Instant::now();
        assert_eq!(limits(now.checked_add(Duration::from_millis(9900))), [7, 9, 9]);
        assert_eq!(limits(Some(now)), [7, 1, 1], "a call that is late already");
    }

    #[test]
    fn an_exec_needs_a_process() {
        assert!(exec_options(None).is_err());
        assert!(
            exec_options(Some(&any("types.containerd.io/opencontainers/runtime-spec/1/Process", vec![1])))
                .is_err()
        );
        let json = br#"{"args":["true"],"cwd":"/"}"#.to_vec();
        let bare = any("types.containerd.io/opencontainers/runtime-spec/1/Process", json.clone());
        assert_eq!(exec_options(Some(&bare)).unwrap().1.args, ["true"]);
        let own = ExecOptions { process: json, stdin_open: true, ..Default::default() };
        let (options, process) =
            exec_options(Some(&any("tare.shim.v1.ExecOptions", own.encode_to_vec()))).unwrap();
        assert_eq!((options.stdin_open, process.args.len()), (true, 1));
    }
}
