//! What only Docker's door knows of a container, kept in its record under `tare.docker`.

use crate::convert::mounts;
use crate::wire::StringMap;
use crate::wire::config::Config;
use crate::wire::host_config::HostConfig;
use crate::wire::network::NetworkingConfig;
use serde::{Deserialize, Serialize};
use tare_engine::{Any, ContainerRecord, record::DOCKER_EXTENSION};

/// Type of the extension's JSON.
const TYPE_URL: &str = "tare.docker.v1.Container";

/// The request with the image's and the daemon's defaults filled in, as `inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extension {
    /// `Config`.
    pub(crate) config: Config,
    /// `HostConfig`.
    pub(crate) host_config: HostConfig,
    /// `NetworkingConfig`.
    pub(crate) networking: NetworkingConfig,
}

impl Extension {
    /// As it goes into a record.
    pub(crate) fn to_any(&self) -> Any {
        let json =
            serde_json::to_vec(self).expect("invariant: documents of strings and numbers always print");
        Any::new(TYPE_URL, json)
    }

    /// Out of a record; `None` for a container that another door made.
    pub(crate) fn from_record(record: &ContainerRecord) -> Option<Self> {
        let any = record.extensions.get(DOCKER_EXTENSION)?;
        match crate::wire::parse(&any.value) {
            Ok(extension) => Some(extension),
            Err(error) => {
                tracing::warn!(container = %record.id, %error, "the Docker part of the record cannot be read");
                None
            }
        }
    }

    /// What the client wrote as the mode of each bind.
    pub(crate) fn modes(&self) -> StringMap {
        mounts::bind_modes(&self.host_config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_survives_its_record() {
        let mut extension = Extension::default();
        extension.config.image = "busybox".into();
        extension.config.volumes = Some([("/data".to_owned(), Default::default())].into());
        extension.host_config.port_bindings = Some([("80/tcp".to_owned(), None)].into());
        extension.host_config.resources.memory = 1 << 30;
        extension.networking.endpoints_config.insert("bridge".into(), None);
        let any = extension.to_any();
        assert_eq!(crate::wire::parse::<Extension>(&any.value).unwrap(), extension);
    }
}
