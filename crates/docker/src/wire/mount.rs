//! Mounts as they are asked for (`mount.Mount`) and as they are reported (`MountPoint`).

use super::StringMap;

wire! {
    /// One entry of `HostConfig.Mounts`.
    pub(crate) struct Mount {
        #[serde(rename = "Type", skip_serializing_if = "super::is_zero")]
        kind: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        source: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        target: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        read_only: bool,
        #[serde(skip_serializing_if = "super::is_zero")]
        consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tmpfs_options: Option<TmpfsOptions>,
    }

    /// Options of a bind mount.
    pub(crate) struct BindOptions {
        #[serde(skip_serializing_if = "super::is_zero")]
        propagation: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        non_recursive: bool,
        #[serde(skip_serializing_if = "super::is_zero")]
        create_mountpoint: bool,
        #[serde(skip_serializing_if = "super::is_zero")]
        read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "super::is_zero")]
        read_only_force_recursive: bool,
    }

    /// Options of a volume mount.
    pub(crate) struct VolumeOptions {
        #[serde(skip_serializing_if = "super::is_zero")]
        no_copy: bool,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        labels: Option<StringMap>,
        #[serde(skip_serializing_if = "super::is_zero")]
        subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        driver_config: Option<DriverConfig>,
    }

    /// The driver of a volume and its options.
    pub(crate) struct DriverConfig {
        #[serde(skip_serializing_if = "super::is_zero")]
        name: String,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        options: Option<StringMap>,
    }

    /// Options of an image mount.
    pub(crate) struct ImageOptions {
        #[serde(skip_serializing_if = "super::is_zero")]
        subpath: String,
    }

    /// Options of a tmpfs: size in bytes, mode as in chmod.
    pub(crate) struct TmpfsOptions {
        #[serde(skip_serializing_if = "super::is_zero")]
        size_bytes: i64,
        #[serde(skip_serializing_if = "super::is_zero")]
        mode: u32,
        #[serde(skip_serializing_if = "super::is_empty_list")]
        options: Option<Vec<Vec<String>>>,
    }

    /// A mount as `inspect` and `ps` report it.
    pub(crate) struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "super::is_zero")]
        kind: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        name: String,
        source: String,
        destination: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        driver: String,
        mode: String,
        #[serde(rename = "RW")]
        rw: bool,
        propagation: String,
    }
}
