//! Volumes.

use super::StringMap;

wire! {
    /// Body of `POST /volumes/create`.
    pub(crate) struct Create {
        driver: String,
        driver_opts: Option<StringMap>,
        labels: Option<StringMap>,
        name: String,
        cluster_volume_spec: Option<serde_json::Value>,
    }

    /// A volume.
    pub(crate) struct Volume {
        #[serde(skip_serializing_if = "super::is_zero")]
        created_at: String,
        driver: String,
        labels: Option<StringMap>,
        mountpoint: String,
        name: String,
        options: Option<StringMap>,
        scope: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage_data: Option<Usage>,
    }

    /// How much a volume holds and how many containers refer to it; -1 is not known.
    pub(crate) struct Usage {
        ref_count: i64,
        size: i64,
    }

    /// Answer of `GET /volumes`.
    pub(crate) struct List {
        volumes: Vec<Volume>,
        warnings: Option<Vec<String>>,
    }

    /// Answer of `POST /volumes/prune`.
    pub(crate) struct PruneReport {
        volumes_deleted: Option<Vec<String>>,
        space_reclaimed: u64,
    }
}
