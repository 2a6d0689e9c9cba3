//! Volumes.

use crate::wire::volume::{Create, Usage, Volume};
use tare_engine::volumes as domain;
use tare_types::Timestamp;

/// The engine's request.
pub(crate) fn to_request(wire: Create) -> domain::CreateVolume {
    domain::CreateVolume {
        name: Some(wire.name).filter(|name| !name.is_empty()),
        driver: wire.driver,
        options: wire.driver_opts.unwrap_or_default(),
        labels: wire.labels.unwrap_or_default(),
    }
}

/// A volume as it is shown; `null` for options and labels that nobody gave.
pub(crate) fn to_wire(volume: &domain::Volume, usage: Option<Usage>) -> Volume {
    Volume {
        // dockerd prints whole seconds here.
        created_at: Timestamp::new(volume.created_at.seconds, 0).to_string(),
        driver: volume.driver.clone(),
        labels: Some(volume.labels.clone()).filter(|labels| !labels.is_empty()),
        mountpoint: volume.mountpoint.to_string_lossy().into_owned(),
        name: volume.name.clone(),
        options: Some(volume.options.clone()).filter(|options| !options.is_empty()),
        scope: "local".to_owned(),
        usage_data: usage,
    }
}
