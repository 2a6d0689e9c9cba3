//! Isolation: capabilities, security options and namespaces.

use crate::error::ApiError;
use crate::query::quote;
use crate::wire::host_config::HostConfig;
use tare_engine::request::{NamespaceMode, Seccomp, Security};
use tare_types::specgen;

/// The engine's request for isolation.
pub(crate) fn to_security(host: &HostConfig) -> Result<Security, ApiError> {
    let mut security = Security {
        privileged: host.privileged,
        cap_add: host.cap_add.as_slice().to_vec(),
        cap_drop: host.cap_drop.as_slice().to_vec(),
        readonly_rootfs: host.readonly_rootfs,
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        group_add: host.group_add.clone().unwrap_or_default(),
        sysctls: host.sysctls.clone().unwrap_or_default(),
        oom_score_adj: Some(host.oom_score_adj).filter(|adj| *adj != 0),
        pid: namespace(&host.pid_mode, "PID", &[])?,
        ipc: namespace(&host.ipc_mode, "IPC", &["none", "private", "shareable"])?,
        uts: namespace(&host.uts_mode, "UTS", &[])?,
        cgroup: namespace(&host.cgroupns_mode, "cgroup", &["private"])?,
        user: namespace(&host.userns_mode, "userns", &["private"])?,
        ..Security::default()
    };
    if let Some(adj) = security.oom_score_adj.filter(|adj| !(-1000..=1000).contains(adj)) {
        return Err(ApiError::bad_parameter(format!(
            "Invalid value {adj}, range for oom score adj is [-1000, 1000]"
        )));
    }
    for (list, names) in [("CapAdd", &security.cap_add), ("CapDrop", &security.cap_drop)] {
        specgen::adjust_capabilities::<_, &str>(names, &[], false).map_err(|unknown| {
            ApiError::bad_parameter(format!("invalid {list}: unknown capability: {}", quote(&unknown.value)))
        })?;
    }
    for option in host.security_opt.iter().flatten() {
        apply_option(&mut security, option)?;
    }
    Ok(security)
}

fn apply_option(security: &mut Security, option: &str) -> Result<(), ApiError> {
    match option {
        "no-new-privileges" => {
            security.no_new_privileges = Some(true);
            return Ok(());
        }
        "disable" => {
            security.selinux.push("disable".to_owned());
            return Ok(());
        }
        _ => {}
    }
    // The colon is the older form.
    let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        return Err(ApiError::bad_parameter(format!("invalid --security-opt 1: {}", quote(option))));
    };
    let unknown = || ApiError::bad_parameter(format!("invalid --security-opt 2: {}", quote(option)));
    match name {
        "label" => security.selinux.push(value.to_owned()),
        "apparmor" => security.apparmor = value.to_owned(),
        "seccomp" => {
            security.seccomp = match value {
                "unconfined" => Seccomp::Unconfined,
                "builtin" | "" => Seccomp::Default,
                profile => Seccomp::Profile(profile.to_owned()),
            };
        }
        "no-new-privileges" => security.no_new_privileges = Some(parse_bool(value).ok_or_else(unknown)?),
        "systempaths" if value == "unconfined" => security.unmask_system_paths = true,
        _ => return Err(unknown()),
    }
    Ok(())
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The words of dockerd for a namespace mode; `allowed` names those of the kind besides `host` and `container:`.
fn namespace(mode: &str, kind: &str, allowed: &[&str]) -> Result<NamespaceMode, ApiError> {
    let containers = matches!(kind, "PID" | "IPC");
    let invalid = || ApiError::bad_parameter(format!("invalid {kind} mode: {mode}"));
    Ok(match mode {
        "" => NamespaceMode::Default,
        "host" => NamespaceMode::Host,
        "none" if allowed.contains(&"none") => NamespaceMode::None,
        "private" if allowed.contains(&"private") => NamespaceMode::Private,
        "shareable" if allowed.contains(&"shareable") => NamespaceMode::Shareable,
        _ => match mode.strip_prefix("container:") {
            Some(other) if containers && !other.is_empty() => NamespaceMode::Container(other.to_owned()),
            _ => return Err(invalid()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Security, String> {
        to_security(&crate::wire::parse(json.as_bytes()).unwrap()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn options_are_read() {
        let security = read(
            r#"{"SecurityOpt":["no-new-privileges","seccomp=unconfined","label=disable","apparmor:none"],
                "PidMode":"container:db","IpcMode":"shareable","UTSMode":"host","CapAdd":"NET_ADMIN","OomScoreAdj":-5}"#,
        )
        .unwrap();
        assert_eq!(security.no_new_privileges, Some(true));
        assert_eq!(security.seccomp, Seccomp::Unconfined);
        assert_eq!(
            (security.apparmor.as_str(), security.selinux.as_slice()),
            ("none", &["disable".to_owned()][..])
        );
        assert_eq!(security.pid, NamespaceMode::Container("db".into()));
        assert_eq!((security.ipc, security.uts), (NamespaceMode::Shareable, NamespaceMode::Host));
        assert_eq!(
            (security.cap_add.as_slice(), security.oom_score_adj),
            (&["NET_ADMIN".to_owned()][..], Some(-5))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let table = [
            (r#"{"CapAdd":["NET_ADMIN","FOO"]}"#, "invalid CapAdd: unknown capability: \"CAP_FOO\""),
            (r#"{"SecurityOpt":["x"]}"#, "invalid --security-opt 1: \"x\""),
            (r#"{"SecurityOpt":["x=y"]}"#, "invalid --security-opt 2: \"x=y\""),
            (
                r#"{"SecurityOpt":["no-new-privileges=maybe"]}"#,
                "invalid --security-opt 2: \"no-new-privileges=maybe\"",
            ),
            (r#"{"PidMode":"x"}"#, "invalid PID mode: x"),
            (r#"{"UTSMode":"container:a"}"#, "invalid UTS mode: container:a"),
            (r#"{"IpcMode":"container:"}"#, "invalid IPC mode: container:"),
            (r#"{"OomScoreAdj":2000}"#, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        ];
        for (json, message) in table {
            assert_eq!(read(json).unwrap_err(), message);
        }
    }
}
