//! Events.

use crate::filters::Filters;
use crate::wire::event::{Actor, Message};
use tare_engine::events::{Body, Event};

/// The event as Docker's clients read it; `None` for what they are not shown.
pub(crate) fn to_message(event: &Event) -> Option<Message> {
    let (kind, action, id) = event.action()?;
    let mut attributes = (*event.attributes).clone();
    if let Body::TaskExited { id, exec_id, status, .. } = &event.body {
        attributes.entry("exitCode".to_owned()).or_insert_with(|| status.to_string());
        if id != exec_id {
            attributes.entry("execID".to_owned()).or_insert_with(|| exec_id.clone());
        }
    }
    // The members of API 1.21 and before, kept for containers and images.
    let (status, old_id, from) = match kind {
        "container" => {
            (action.to_owned(), id.to_owned(), attributes.get("image").cloned().unwrap_or_default())
        }
        "image" => (action.to_owned(), id.to_owned(), String::new()),
        _ => Default::default(),
    };
    Some(Message {
        status,
        id: old_id,
        from,
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor: Actor { id: id.to_owned(), attributes },
        scope: "local".to_owned(),
        time: event.time.seconds,
        time_nano: event.time.unix_nanos(),
    })
}

/// Whether the filters let the event through.
pub(crate) fn is_wanted(message: &Message, filters: &Filters) -> bool {
    let actor = &message.actor;
    let name = actor.attributes.get("name").map_or("", String::as_str);
    // `exec_start: sh` is wanted by `exec_start`, `health_status: healthy` by `health_status`.
    let action = message.action.split_once(':').map_or(message.action.as_str(), |(action, _)| action);
    let is_action =
        filters.matches_exactly("event", &message.action) || filters.matches_exactly("event", action);
    let is_object = |kind: &str| {
        !filters.contains(kind)
            || (message.kind == kind
                && (filters.matches_prefix(kind, &actor.id) || filters.matches_prefix(kind, name)))
    };
    let is_image = !filters.contains("image") || is_image(message, filters);
    is_action
        && filters.matches_exactly("type", &message.kind)
        && filters.matches_exactly("scope", &message.scope)
        && filters.matches_labels("label", &actor.attributes)
        && is_image
        && ["container", "volume", "network", "daemon", "plugin", "service", "node", "secret", "config"]
            .into_iter()
            .all(is_object)
}

/// An image filter takes events of the image and of its containers, with and without the tag.
fn is_image(message: &Message, filters: &Filters) -> bool {
    let key = if message.kind == "image" { "name" } else { "image" };
    let name = message.actor.attributes.get(key).map_or("", String::as_str);
    let last_slash = name.rfind('/').map_or(0, |at| at + 1);
    let without_tag = name[last_slash..].find(':').map_or(name, |at| &name[..last_slash + at]);
    [message.actor.id.as_str(), name, without_tag]
        .into_iter()
        .any(|text| filters.matches_exactly("image", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use tare_types::{Namespace, Timestamp};

    fn died() -> Message {
        let attributes = BTreeMap::from([
            ("name".to_owned(), "web".to_owned()),
            ("image".to_owned(), "host:5000/nginx:1".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ]);
        let event = Event {
            sequence: 1,
            time: Timestamp::new(5, 7),
            namespace: Namespace::default_namespace(),
            body: Body::TaskExited {
                id: "abc".into(),
                exec_id: "abc".into(),
                pid: 1,
                status: 137,
                exited_at: Timestamp::new(5, 7),
            },
            attributes: Arc::new(attributes),
        };
        to_message(&event).unwrap()
    }

    #[test]
    fn a_death_reads_as_in_docker() {
        let json = serde_json::to_string(&died()).unwrap();
        let expected = r#"{"status":"die","id":"abc","from":"host:5000/nginx:1","Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"137","image":"host:5000/nginx:1","name":"web","team":"a"}},"scope":"local","time":5,"timeNano":5000000007}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn filters_choose() {
        let wanted = |json: &str| is_wanted(&died(), &Filters::parse(json).unwrap());
        for json in [
            "{}",
            r#"{"event":["die","start"]}"#,
            r#"{"container":["web"]}"#,
            r#"{"container":["ab"]}"#,
            r#"{"image":["host:5000/nginx"]}"#,
            r#"{"image":["host:5000/nginx:1"]}"#,
            r#"{"label":["team=a"],"type":["container"]}"#,
        ] {
            assert!(wanted(json), "{json}");
        }
        for json in [
            r#"{"event":["start"]}"#,
            r#"{"container":["db"]}"#,
            r#"{"image":["nginx"]}"#,
            r#"{"type":["image"]}"#,
            r#"{"volume":["abc"]}"#,
            r#"{"label":["team=b"]}"#,
        ] {
            assert!(!wanted(json), "{json}");
        }
    }
}
