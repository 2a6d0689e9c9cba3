//! Events.

use super::StringMap;

wire! {
    /// One line of `GET /events`. The first three repeat what newer clients read from the actor.
    pub(crate) struct Message {
        #[serde(rename = "status", skip_serializing_if = "super::is_zero")]
        status: String,
        #[serde(rename = "id", skip_serializing_if = "super::is_zero")]
        id: String,
        #[serde(rename = "from", skip_serializing_if = "super::is_zero")]
        from: String,
        #[serde(rename = "Type")]
        kind: String,
        action: String,
        actor: Actor,
        #[serde(rename = "scope", skip_serializing_if = "super::is_zero")]
        scope: String,
        /// Seconds since 1970.
        #[serde(rename = "time", skip_serializing_if = "super::is_zero")]
        time: i64,
        /// Nanoseconds since 1970.
        #[serde(rename = "timeNano", skip_serializing_if = "super::is_zero")]
        time_nano: i64,
    }

    /// What an event is about.
    pub(crate) struct Actor {
        #[serde(rename = "ID")]
        id: String,
        attributes: StringMap,
    }
}
