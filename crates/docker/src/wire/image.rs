//! Images.

use super::StringMap;
use super::container::GraphDriver;
use serde_json::{Map, Value};

wire! {
    /// One row of `GET /images/json`.
    pub(crate) struct Summary {
        containers: i64,
        created: i64,
        id: String,
        labels: Option<StringMap>,
        parent_id: String,
        repo_digests: Vec<String>,
        repo_tags: Vec<String>,
        shared_size: i64,
        size: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        virtual_size: Option<i64>,
    }

    /// Answer of `GET /images/{name}/json`.
    pub(crate) struct Inspect {
        id: String,
        repo_tags: Vec<String>,
        repo_digests: Vec<String>,
        parent: String,
        comment: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        created: String,
        docker_version: String,
        author: String,
        config: Map<String, Value>,
        architecture: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        variant: String,
        os: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        os_version: String,
        size: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        virtual_size: Option<i64>,
        graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        root_fs: RootFs,
        metadata: Metadata,
    }

    /// The layers of an image.
    pub(crate) struct RootFs {
        #[serde(rename = "Type", skip_serializing_if = "super::is_zero")]
        kind: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        layers: Vec<String>,
    }

    /// What the daemon knows of an image beside its content.
    pub(crate) struct Metadata {
        last_tag_time: String,
    }

    /// One row of `GET /images/{name}/history`.
    pub(crate) struct History {
        comment: String,
        created: i64,
        created_by: String,
        id: String,
        size: i64,
        tags: Option<Vec<String>>,
    }

    /// One row of `DELETE /images/{name}`.
    pub(crate) struct Deleted {
        #[serde(skip_serializing_if = "super::is_zero")]
        deleted: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        untagged: String,
    }

    /// Answer of `POST /images/prune`.
    pub(crate) struct PruneReport {
        images_deleted: Option<Vec<Deleted>>,
        space_reclaimed: u64,
    }
}

/// Answer of `GET /distribution/{name}/json`. Its members are documents of OCI.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DistributionInspect {
    pub(crate) descriptor: tare_types::Descriptor,
    pub(crate) platforms: Vec<tare_types::Platform>,
}
