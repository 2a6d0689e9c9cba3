//! Networks: shown here, made elsewhere.

use crate::body::{self, Handled};
use crate::convert::network::to_network;
use crate::door::Docker;
use crate::filters::Filters;
use crate::request::Request;
use crate::wire::network::Network;
use std::collections::BTreeMap;

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `GET /networks`. The list does not show the containers.
pub(crate) async fn list(door: &Docker, request: &Request) -> Handled {
    let filters = Filters::parse(request.query.get("filters"))?.accept(FILTERS)?;
    let mut networks = Vec::new();
    for network in door.engine().networks().list().await? {
        let network = to_network(&network, &[]);
        if is_wanted(&network, &filters) {
            networks.push(network);
        }
    }
    body::ok(&networks)
}

fn is_wanted(network: &Network, filters: &Filters) -> bool {
    let contains = |name: &str, text: &str| {
        !filters.contains(name) || filters.values(name).any(|part| text.contains(part))
    };
    // All networks here are built in; none of them is ever dangling.
    let is_dangling = !filters.contains("dangling") || !filters.flag_or("dangling", false).unwrap_or(false);
    contains("name", &network.name)
        && filters.matches_prefix("id", &network.id)
        && filters.matches_exactly("driver", &network.driver)
        && filters.matches_exactly("scope", &network.scope)
        && filters.matches_exactly("type", "builtin")
        && filters.matches_labels("label", &network.labels)
        && is_dangling
}

/// `GET /networks/{name}`.
pub(crate) async fn inspect(door: &Docker, name: &str) -> Handled {
    let network = door.engine().networks().get(name).await?;
    let containers = door.engine().containers().list(door.namespace()).await;
    body::ok(&to_network(&network, &containers))
}

/// `POST /networks/prune`: the built-in networks are never removed, and there are no others.
pub(crate) fn prune(request: &Request) -> Handled {
    Filters::parse(request.query.get("filters"))?.accept(&["label", "label!", "until"])?;
    body::ok(&BTreeMap::from([("NetworksDeleted", None::<Vec<String>>)]))
}
