//! Networks.

use crate::body::{self, Handled};
use crate::convert::list::is_prunable;
use crate::convert::network::to_network;
use crate::convert::new_network::{to_attachment, to_new_network};
use crate::door::Docker;
use crate::filters::Filters;
use crate::handlers::system::now;
use crate::request::Request;
use crate::units::parse_until;
use crate::wire::network::{CreateNetwork, Membership, Network, NetworkCreated, NetworksPruned};
use http::StatusCode;
use tare_types::ErrorKind;

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `GET /networks`. The list does not show the containers.
pub(crate) async fn list(door: &Docker, request: &Request) -> Handled {
    let filters = Filters::parse(request.query.get("filters"))?.accept(FILTERS)?;
    let mut networks = Vec::new();
    let containers = match filters.contains("dangling") {
        true => door.engine().containers().list(door.namespace()).await,
        false => Vec::new(),
    };
    for network in door.engine().networks().list().await? {
        let is_dangling = !network.built_in && to_network(&network, &containers).containers.is_empty();
        let kind = if network.built_in { "builtin" } else { "custom" };
        let network = to_network(&network, &[]);
        if is_wanted(&network, kind, is_dangling, &filters) {
            networks.push(network);
        }
    }
    body::ok(&networks)
}

fn is_wanted(network: &Network, kind: &str, is_dangling: bool, filters: &Filters) -> bool {
    let dangling = filters.contains("dangling").then(|| filters.flag_or("dangling", false).unwrap_or(false));
    filters.matches("name", &network.name)
        && filters.matches_prefix("id", &network.id)
        && filters.matches_exactly("driver", &network.driver)
        && filters.matches_exactly("scope", &network.scope)
        && filters.matches_exactly("type", kind)
        && filters.matches_labels("label", &network.labels)
        && dangling.is_none_or(|wanted| wanted == is_dangling)
}

/// `GET /networks/{name}`.
pub(crate) async fn inspect(door: &Docker, name: &str) -> Handled {
    let network = door.engine().networks().get(name).await?;
    let containers = door.engine().containers().list(door.namespace()).await;
    body::ok(&to_network(&network, &containers))
}

/// `POST /networks/create`.
pub(crate) async fn create(door: &Docker, mut request: Request) -> Handled {
    let wire: CreateNetwork = request.json().await?;
    let network = door.engine().networks().create(to_new_network(wire)?).await?;
    body::json(StatusCode::CREATED, &NetworkCreated { id: network.id, warning: String::new() })
}

/// `DELETE /networks/{name}`.
pub(crate) async fn remove(door: &Docker, name: &str) -> Handled {
    door.engine().networks().remove(name).await?;
    Ok(body::status(StatusCode::NO_CONTENT))
}

/// `POST /networks/{name}/connect`.
pub(crate) async fn connect(door: &Docker, mut request: Request, name: &str) -> Handled {
    let wire: Membership = request.json().await?;
    let attachment = to_attachment(name, wire.endpoint_config.unwrap_or_default())?;
    door.engine().networks().connect(door.namespace(), &wire.container, attachment).await?;
    Ok(body::status(StatusCode::OK))
}

/// `POST /networks/{name}/disconnect`.
pub(crate) async fn disconnect(door: &Docker, mut request: Request, name: &str) -> Handled {
    let wire: Membership = request.json().await?;
    door.engine().networks().disconnect(door.namespace(), &wire.container, name).await?;
    Ok(body::status(StatusCode::OK))
}

/// `POST /networks/prune`: those that a person made and no running container is on.
pub(crate) async fn prune(door: &Docker, request: &Request) -> Handled {
    let filters =
        Filters::parse(request.query.get("filters"))?.accept(&["label", "label!", "until", "dangling"])?;
    let until = parse_until(&filters, now())?;
    let mut deleted = Vec::new();
    for network in door.engine().networks().list().await? {
        if network.built_in || !is_prunable(&filters, &network.labels, network.created_at, until) {
            continue;
        }
        match door.engine().networks().remove(&network.id).await {
            Ok(_) => deleted.push(network.name),
            // In use, or removed by somebody else meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    body::ok(&NetworksPruned { networks_deleted: Some(deleted).filter(|deleted| !deleted.is_empty()) })
}
