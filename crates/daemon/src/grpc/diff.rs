//! `containerd.services.diff.v1.Diff`.
//!
//! Layers are applied to the directory behind the mounts, not through them: nothing is mounted, and deletions are
//! written as the mount's own kind wants them. What differs between two mounts is written by `tare_engine::diff`.

use super::{Door, blocking, convert, scope};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tare_api::containerd::services::diff::v1 as wire;
use tare_engine::diff::{self, DiffRequest};
use tare_engine::events::Body;
use tare_store::layer::{ApplyOptions, Limits, WhiteoutFormat, apply};
use tare_types::image::media;
use tare_types::{Descriptor, ErrorKind, Mount};
use tonic::{Request, Response, Status};

/// Where a layer goes, as paths.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    directory: String,
    whiteouts: WhiteoutFormat,
    /// Topmost first.
    lowers: Vec<String>,
}

/// The directory behind a single writable mount.
fn target(mounts: &[Mount]) -> Result<Target, Status> {
    let unusable = |text: &str| convert::status(ErrorKind::InvalidArgument, text);
    let [mount] = mounts else {
        return Err(unusable(&format!("a layer is applied to one mount, not to {}", mounts.len())));
    };
    if mount.options.iter().any(|option| option == "ro") {
        return Err(unusable("a layer cannot be applied to a read-only mount"));
    }
    let option =
        |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    match mount.kind.as_str() {
        "bind" | "rbind" => Ok(Target {
            directory: mount.source.clone(),
            whiteouts: WhiteoutFormat::Remove,
            lowers: Vec::new(),
        }),
        "overlay" => Ok(Target {
            directory: option("upperdir")
                .ok_or_else(|| unusable("the overlay mount has no upperdir"))?
                .to_owned(),
            whiteouts: WhiteoutFormat::Overlay {
                userxattr: mount.options.iter().any(|option| option == "userxattr"),
            },
            lowers: option("lowerdir")
                .unwrap_or_default()
                .split(':')
                .filter(|d| !d.is_empty())
                .map(str::to_owned)
                .collect(),
        }),
        other => Err(convert::status(
            ErrorKind::Unimplemented,
            &format!("apply a layer to a mount of type {other:?}"),
        )),
    }
}

fn open(path: &str) -> Result<OwnedFd, Status> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| {
        convert::status(ErrorKind::Internal, &format!("open the layer's directory {path}: {error}"))
    })
}

#[tonic::async_trait]
impl wire::diff_server::Diff for Door {
    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let layer = convert::from_descriptor(request.diff)?;
        let target = target(&convert::from_mounts(request.mounts))?;
        let content = self.engine.stores().content.clone();
        let applied = blocking(move || {
            let file = content.reader(&namespace, &layer.digest).map_err(convert::store)?.into_file();
            let root = open(&target.directory)?;
            let lowers = target.lowers.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
            let options = ApplyOptions { whiteouts: target.whiteouts, limits: Limits::default() };
            let directory =
                rustix::io::dup(&root).map_err(|error| Status::internal(format!("dup: {error}")))?;
            let mut applied = apply(file, directory, options).map_err(convert::store)?;
            applied.settle(&root, &lowers).map_err(convert::store)?;
            if request.sync_fs {
                rustix::fs::syncfs(&root)
                    .map_err(|error| Status::internal(format!("syncfs {}: {error}", target.directory)))?;
            }
            Ok(applied)
        })
        .await?;
        let descriptor = Descriptor::new(media::OCI_LAYER, applied.diff_id.0, applied.size);
        Ok(Response::new(wire::ApplyResponse { applied: Some(convert::descriptor(&descriptor)) }))
    }

    async fn diff(
        &self,
        request: Request<wire::DiffRequest>,
    ) -> Result<Response<wire::DiffResponse>, Status> {
        let (namespace, lease) = (scope::namespace(request.metadata())?, scope::lease(request.metadata())?);
        let asked = request.into_inner();
        let reference = match asked.r#ref.as_str() {
            "" => unique("diff"),
            given => given.to_owned(),
        };
        let diff = DiffRequest {
            namespace: namespace.clone(),
            lease,
            lower: convert::from_mounts(asked.left),
            upper: convert::from_mounts(asked.right),
            media_type: asked.media_type,
            reference,
            labels: convert::from_labels(asked.labels),
        };
        let stores = self.engine.stores().clone();
        let layer = blocking(move || diff::write(&stores, &diff).map_err(convert::engine)).await?;
        let body = Body::ContentCreated { digest: layer.digest.to_string(), size: layer.size };
        self.engine.events().publish(&namespace, convert::now(), body, Arc::default());
        Ok(Response::new(wire::DiffResponse { diff: Some(convert::descriptor(&layer)) }))
    }
}

/// A name that nobody else uses: the process, the time and a number.
fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = convert::now();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{}.{:09}-{number}", std::process::id(), now.seconds, now.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.into(),
            source: "/src".into(),
            target: String::new(),
            options: options.iter().map(|&o| o.to_owned()).collect(),
        }
    }

    #[test]
    fn the_directory_behind_a_mount() {
        let found = target(&[mount("overlay", &["workdir=/w", "upperdir=/u", "lowerdir=/a:/b"])]).unwrap();
        assert_eq!((found.directory.as_str(), found.lowers.len()), ("/u", 2));
        assert_eq!(target(&[mount("bind", &["rw", "rbind"])]).unwrap().whiteouts, WhiteoutFormat::Remove);
        for bad in [
            vec![],
            vec![mount("bind", &["ro"])],
            vec![mount("overlay", &["lowerdir=/a"])],
            vec![mount("nfs", &[])],
        ] {
            assert!(target(&bad).is_err(), "{bad:?}");
        }
    }
}
