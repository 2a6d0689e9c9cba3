//! `-v`, `--mount` and `--tmpfs`.

use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// Where mounts go in a create request.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// `source:target[:options]` of bind mounts and named volumes.
    pub(crate) binds: Vec<String>,
    /// Targets of anonymous volumes → `{}`.
    pub(crate) volumes: Map<String, Value>,
    /// Target → options.
    pub(crate) tmpfs: Map<String, Value>,
    /// Typed mounts.
    pub(crate) mounts: Vec<Value>,
}

/// Parses all flags. Relative sources are completed by the caller's working directory.
pub(crate) fn parse(volumes: &[String], mounts: &[String], tmpfs: &[String]) -> Result<Mounts, Failure> {
    let mut result = Mounts::default();
    for spec in volumes {
        let fields: Vec<&str> = spec.split(':').collect();
        match fields.as_slice() {
            [target] if target.starts_with('/') => {
                result.volumes.insert((*target).to_owned(), json!({}));
            }
            [source, target, rest @ ..] if !source.is_empty() && rest.len() < 2 => {
                let mut bind = format!("{}:{target}", absolute(source)?);
                if let [options] = rest {
                    bind.push(':');
                    bind.push_str(options);
                }
                result.binds.push(bind);
            }
            _ => return Err(Failure::usage(format!("invalid volume specification: '{spec}'"))),
        }
    }
    for spec in tmpfs {
        let (target, options) = spec.split_once(':').unwrap_or((spec, ""));
        result.tmpfs.insert(target.to_owned(), Value::from(options));
    }
    for spec in mounts {
        result.mounts.push(mount(spec)?);
    }
    Ok(result)
}

/// A source that begins with `.` or `~`-free path text is a path; anything else is a volume's name.
fn absolute(source: &str) -> Result<String, Failure> {
    if !(source.starts_with('.') && (source == "." || source == ".." || source.contains('/'))) {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source)?;
    Ok(path.components().collect::<std::path::PathBuf>().display().to_string())
}

fn mount(spec: &str) -> Result<Value, Failure> {
    let invalid = |reason: String| Failure::flag(spec, "--mount", reason);
    let mut mount = Map::from_iter([("Type".to_owned(), Value::from("volume"))]);
    let mut bind = Map::new();
    let mut volume = Map::new();
    let mut labels = Map::new();
    let mut driver_options = Map::new();
    let mut tmpfs = Map::new();
    for field in spec.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), Some(value)),
            None => (field.trim().to_lowercase(), None),
        };
        let text =
            || value.ok_or_else(|| invalid(format!("invalid field '{field}' must be a key=value pair")));
        let truth = || match value.unwrap_or("true") {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(invalid(format!("invalid value for {key}: {other}"))),
        };
        match key.as_str() {
            "type" => drop(mount.insert("Type".into(), Value::from(text()?.to_lowercase()))),
            "source" | "src" => drop(mount.insert("Source".into(), Value::from(absolute(text()?)?))),
            "target" | "dst" | "destination" => drop(mount.insert("Target".into(), Value::from(text()?))),
            "readonly" | "ro" => drop(mount.insert("ReadOnly".into(), Value::from(truth()?))),
            "consistency" => drop(mount.insert("Consistency".into(), Value::from(text()?))),
            "bind-propagation" => drop(bind.insert("Propagation".into(), Value::from(text()?))),
            "bind-nonrecursive" => drop(bind.insert("NonRecursive".into(), Value::from(truth()?))),
            "bind-create-src" => drop(bind.insert("CreateMountpoint".into(), Value::from(truth()?))),
            "bind-recursive" => match text()? {
                "enabled" => {}
                "disabled" => drop(bind.insert("NonRecursive".into(), Value::from(true))),
                "writable" => drop(bind.insert("ReadOnlyNonRecursive".into(), Value::from(true))),
                "readonly" => drop(bind.insert("ReadOnlyForceRecursive".into(), Value::from(true))),
                other => return Err(invalid(format!("invalid value for bind-recursive: {other}"))),
            },
            "volume-nocopy" => drop(volume.insert("NoCopy".into(), Value::from(truth()?))),
            "volume-subpath" => drop(volume.insert("Subpath".into(), Value::from(text()?))),
            "volume-label" => {
                let (name, value) = text()?.split_once('=').unwrap_or((text()?, ""));
                labels.insert(name.to_owned(), Value::from(value));
            }
            "volume-driver" => {
                volume.insert("DriverConfig".into(), json!({"Name": text()?}));
            }
            "volume-opt" => {
                let (name, value) = text()?.split_once('=').unwrap_or((text()?, ""));
                driver_options.insert(name.to_owned(), Value::from(value));
            }
            "tmpfs-size" => {
                let size = crate::view::human::parse_size(text()?)
                    .ok_or_else(|| invalid(format!("invalid value for {key}: {}", value.unwrap_or(""))))?;
                tmpfs.insert("SizeBytes".into(), Value::from(size));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(text()?, 8)
                    .map_err(|_| invalid(format!("invalid value for {key}: {}", value.unwrap_or(""))))?;
                tmpfs.insert("Mode".into(), Value::from(mode));
            }
            _ => return Err(invalid(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if !labels.is_empty() {
        volume.insert("Labels".into(), Value::Object(labels));
    }
    if !driver_options.is_empty() {
        let name =
            volume.get("DriverConfig").and_then(|config| config["Name"].as_str()).unwrap_or("").to_owned();
        volume.insert("DriverConfig".into(), json!({"Name": name, "Options": driver_options}));
    }
    if !mount.contains_key("Target") {
        return Err(invalid("target is required".to_owned()));
    }
    for (name, options) in [("BindOptions", bind), ("VolumeOptions", volume), ("TmpfsOptions", tmpfs)] {
        if !options.is_empty() {
            mount.insert(name.to_owned(), Value::Object(options));
        }
    }
    Ok(Value::Object(mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_flags() {
        let flags = ["/data".to_owned(), "/a:/b:ro".to_owned(), "name:/c".to_owned()];
        let mounts = parse(&flags, &[], &["/t:size=1m".to_owned()]).unwrap();
        assert_eq!(mounts.binds, ["/a:/b:ro", "name:/c"]);
        assert!(mounts.volumes.contains_key("/data"));
        assert_eq!(mounts.tmpfs["/t"], "size=1m");
        assert!(parse(&["a:b:c:d".to_owned()], &[], &[]).is_err());
    }

    #[test]
    fn mount_flags() {
        let value = mount("type=bind,src=/a,dst=/b,ro").unwrap();
        assert_eq!(value, json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}));
        let value = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777").unwrap();
        assert_eq!(value["TmpfsOptions"], json!({"SizeBytes": 1_048_576, "Mode": 0o1777}));
        assert!(mount("type=bind,src=/a").is_err());
        assert!(mount("type=bind,nonsense=1,dst=/x").is_err());
    }
}
