//! `containerd.services.introspection.v1.Introspection`.

use super::{Door, convert};
use std::borrow::Cow;
use std::collections::HashMap;
use tare_api::containerd::services::introspection::v1 as wire;
use tare_api::containerd::types::Platform;
use tare_store::Filters;
use tare_store::filters::Fields;
use tare_types::ErrorKind;
use tonic::{Request, Response, Status};

/// What is built in, by containerd's names: type, id, bound to a platform.
const PARTS: [(&str, &str, bool); 31] = [
    ("io.containerd.content.v1", "content", false),
    ("io.containerd.event.v1", "exchange", false),
    ("io.containerd.snapshotter.v1", "native", true),
    ("io.containerd.snapshotter.v1", "overlayfs", true),
    ("io.containerd.metadata.v1", "redb", false),
    ("io.containerd.gc.v1", "scheduler", false),
    ("io.containerd.differ.v1", "walking", true),
    ("io.containerd.lease.v1", "manager", false),
    ("io.containerd.runtime.v2", "task", true),
    ("io.containerd.shim.v1", "manager", false),
    ("io.containerd.monitor.container.v1", "restart", false),
    ("io.containerd.service.v1", "containers-service", false),
    ("io.containerd.service.v1", "content-service", false),
    ("io.containerd.service.v1", "diff-service", false),
    ("io.containerd.service.v1", "images-service", false),
    ("io.containerd.service.v1", "introspection-service", false),
    ("io.containerd.service.v1", "namespaces-service", false),
    ("io.containerd.service.v1", "snapshots-service", false),
    ("io.containerd.service.v1", "tasks-service", false),
    ("io.containerd.grpc.v1", "containers", false),
    ("io.containerd.grpc.v1", "content", false),
    ("io.containerd.grpc.v1", "diff", false),
    ("io.containerd.grpc.v1", "events", false),
    ("io.containerd.grpc.v1", "healthcheck", false),
    ("io.containerd.grpc.v1", "images", false),
    ("io.containerd.grpc.v1", "introspection", false),
    ("io.containerd.grpc.v1", "leases", false),
    ("io.containerd.grpc.v1", "namespaces", false),
    ("io.containerd.grpc.v1", "snapshots", false),
    ("io.containerd.grpc.v1", "tasks", false),
    ("io.containerd.grpc.v1", "version", false),
];

impl Door {
    fn part(&self, (kind, id, bound): (&str, &str, bool)) -> wire::Plugin {
        let host = tare_types::Platform::host();
        let platform = Platform {
            os: host.os,
            architecture: host.architecture,
            variant: host.variant,
            ..Default::default()
        };
        let root = &self.engine.config().root;
        let mut exports = HashMap::new();
        if matches!(kind, "io.containerd.snapshotter.v1" | "io.containerd.content.v1") {
            exports.insert("root".to_owned(), root.join(format!("{kind}.{id}")).display().to_string());
        }
        let capabilities: &[&str] = match (kind, id) {
            ("io.containerd.monitor.container.v1", _) => &["no", "always", "on-failure", "unless-stopped"],
            ("io.containerd.snapshotter.v1", "overlayfs") => &["rebase"],
            _ => &[],
        };
        wire::Plugin {
            r#type: kind.to_owned(),
            id: id.to_owned(),
            requires: Vec::new(),
            platforms: if bound { vec![platform] } else { Vec::new() },
            exports,
            capabilities: capabilities.iter().map(|&c| c.to_owned()).collect(),
            init_err: None,
        }
    }
}

/// A part as filters see it.
struct Filtered<'a>(&'a wire::Plugin);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["type"] => Some(Cow::Borrowed(&self.0.r#type)),
            ["id"] => Some(Cow::Borrowed(&self.0.id)),
            ["capabilities"] => Some(Cow::Owned(self.0.capabilities.join(","))),
            _ => None,
        }
    }
}

/// The instance id as the UUID that clients expect: the eight digits, then zeros.
fn uuid(instance: &str) -> String {
    format!("{instance:0>8}-0000-4000-8000-000000000000")
}

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Door {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        let plugins =
            PARTS.iter().map(|part| self.part(*part)).filter(|p| filters.matches(&Filtered(p))).collect();
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn server(&self, _request: Request<()>) -> Result<Response<wire::ServerResponse>, Status> {
        let pidns =
            std::fs::metadata("/proc/self/ns/pid").map(|meta| std::os::unix::fs::MetadataExt::ino(&meta));
        Ok(Response::new(wire::ServerResponse {
            uuid: uuid(&self.engine.config().instance),
            pid: u64::from(std::process::id()),
            pidns: pidns.unwrap_or(0),
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        let asked = request.into_inner();
        let found = PARTS.iter().find(|(kind, id, _)| *kind == asked.r#type && *id == asked.id);
        let Some(part) = found else {
            let text = format!("plugin {}.{}", asked.r#type, asked.id);
            return Err(convert::status(ErrorKind::NotFound, &text));
        };
        if asked.options.is_some() {
            return Err(convert::status(ErrorKind::Unimplemented, "runtime information of a plugin"));
        }
        Ok(Response::new(wire::PluginInfoResponse { plugin: Some(self.part(*part)), extra: None }))
    }
}
