//! Which request means which operation. A path that the interface has and that is not done here is known as such.

use http::Method;

/// An operation with the object it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Options,
    Version,
    Info,
    Events,
    DiskUsage,
    Auth,
    ContainerList,
    ContainerCreate,
    ContainerPrune,
    ContainerInspect(String),
    ContainerRemove(String),
    ContainerExport(String),
    ContainerChanges(String),
    ContainerTop(String),
    ContainerLogs(String),
    ContainerStats(String),
    ContainerAttach(String),
    ContainerKill(String),
    ContainerPause(String),
    ContainerUnpause(String),
    ContainerRestart(String),
    ContainerStart(String),
    ContainerStop(String),
    ContainerWait(String),
    ContainerResize(String),
    ContainerRename(String),
    ContainerUpdate(String),
    ArchiveStat(String),
    ArchiveGet(String),
    ArchivePut(String),
    ExecCreate(String),
    ExecInspect(String),
    ExecStart(String),
    ExecResize(String),
    Commit,
    ImageLoad,
    ImagesSave,
    ImageSave(String),
    ImageList,
    ImageCreate,
    ImagePrune,
    ImageInspect(String),
    ImageHistory(String),
    ImagePush(String),
    ImageTag(String),
    ImageRemove(String),
    VolumeList,
    VolumeCreate,
    VolumePrune,
    VolumeInspect(String),
    VolumeRemove(String),
    NetworkList,
    NetworkPrune,
    NetworkInspect(String),
    NetworkCreate,
    NetworkConnect(String),
    NetworkDisconnect(String),
    NetworkRemove(String),
    BuildCachePrune,
    PluginInspect(String),
    PluginList,
    DistributionInspect(String),
    ContainerAttachSocket(String),
    /// Of a manager of a swarm, which this is not.
    SwarmOnly,
    SwarmLeave,
    /// The interface has it; it is not done here.
    NotImplemented,
}

/// Finds the operation; the path is decoded and has no version before it.
pub(crate) fn resolve(method: &Method, path: &str) -> Option<Route> {
    let path = path.strip_prefix('/')?;
    if method == Method::OPTIONS {
        return Some(Route::Options);
    }
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match first {
        "containers" => containers(method, rest),
        "exec" => exec(method, rest),
        "images" => images(method, rest),
        "volumes" => volumes(method, rest),
        "networks" => networks(method, rest),
        "plugins" => plugins(method, rest),
        _ => system(method, path),
    }
    .or_else(|| is_one_of(SWARM, method, path).then_some(Route::SwarmOnly))
    .or_else(|| is_one_of(PROMISED, method, path).then_some(Route::NotImplemented))
}

fn system(method: &Method, path: &str) -> Option<Route> {
    Some(match (method.as_str(), path) {
        ("GET" | "HEAD", "_ping") => Route::Ping,
        ("GET", "version") => Route::Version,
        ("GET", "info") => Route::Info,
        ("GET", "events") => Route::Events,
        ("GET", "system/df") => Route::DiskUsage,
        ("POST", "auth") => Route::Auth,
        ("POST", "commit") => Route::Commit,
        ("POST", "build/prune") => Route::BuildCachePrune,
        ("POST", "swarm/leave") => Route::SwarmLeave,
        ("GET", path) => {
            let name = path.strip_prefix("distribution/")?.strip_suffix("/json")?;
            Route::DistributionInspect(name.to_owned())
        }
        _ => return None,
    })
}

fn containers(method: &Method, rest: &str) -> Option<Route> {
    match (method.as_str(), rest) {
        ("GET", "json") => return Some(Route::ContainerList),
        ("POST", "create") => return Some(Route::ContainerCreate),
        ("POST", "prune") => return Some(Route::ContainerPrune),
        _ => {}
    }
    if method == Method::DELETE {
        return Some(Route::ContainerRemove(rest.to_owned()));
    }
    if let Some(name) = rest.strip_suffix("/attach/ws").filter(|_| method == Method::GET) {
        return Some(Route::ContainerAttachSocket(name.to_owned()));
    }
    let (name, verb) = rest.rsplit_once('/')?;
    let name = name.to_owned();
    Some(match (method.as_str(), verb) {
        ("GET", "json") => Route::ContainerInspect(name),
        ("GET", "export") => Route::ContainerExport(name),
        ("GET", "changes") => Route::ContainerChanges(name),
        ("GET", "top") => Route::ContainerTop(name),
        ("GET", "logs") => Route::ContainerLogs(name),
        ("GET", "stats") => Route::ContainerStats(name),
        ("HEAD", "archive") => Route::ArchiveStat(name),
        ("GET", "archive") => Route::ArchiveGet(name),
        ("PUT", "archive") => Route::ArchivePut(name),
        ("POST", "kill") => Route::ContainerKill(name),
        ("POST", "pause") => Route::ContainerPause(name),
        ("POST", "unpause") => Route::ContainerUnpause(name),
        ("POST", "restart") => Route::ContainerRestart(name),
        ("POST", "start") => Route::ContainerStart(name),
        ("POST", "stop") => Route::ContainerStop(name),
        ("POST", "wait") => Route::ContainerWait(name),
        ("POST", "resize") => Route::ContainerResize(name),
        ("POST", "attach") => Route::ContainerAttach(name),
        ("POST", "exec") => Route::ExecCreate(name),
        ("POST", "rename") => Route::ContainerRename(name),
        ("POST", "update") => Route::ContainerUpdate(name),
        _ => return None,
    })
}

fn exec(method: &Method, rest: &str) -> Option<Route> {
    let (id, verb) = rest.rsplit_once('/')?;
    let id = id.to_owned();
    Some(match (method.as_str(), verb) {
        ("GET", "json") => Route::ExecInspect(id),
        ("POST", "start") => Route::ExecStart(id),
        ("POST", "resize") => Route::ExecResize(id),
        _ => return None,
    })
}

fn images(method: &Method, rest: &str) -> Option<Route> {
    match (method.as_str(), rest) {
        ("GET", "json") => return Some(Route::ImageList),
        ("GET", "get") => return Some(Route::ImagesSave),
        ("POST", "load") => return Some(Route::ImageLoad),
        ("POST", "create") => return Some(Route::ImageCreate),
        ("POST", "prune") => return Some(Route::ImagePrune),
        _ => {}
    }
    if method == Method::DELETE {
        return Some(Route::ImageRemove(rest.to_owned()));
    }
    // A reference holds slashes; the verb is what follows the last one.
    let (name, verb) = rest.rsplit_once('/')?;
    let name = name.to_owned();
    Some(match (method.as_str(), verb) {
        ("GET", "json") => Route::ImageInspect(name),
        ("GET", "get") => Route::ImageSave(name),
        ("GET", "history") => Route::ImageHistory(name),
        ("POST", "push") => Route::ImagePush(name),
        ("POST", "tag") => Route::ImageTag(name),
        _ => return None,
    })
}

fn volumes(method: &Method, rest: &str) -> Option<Route> {
    Some(match (method.as_str(), rest) {
        ("GET", "") => Route::VolumeList,
        ("POST", "create") => Route::VolumeCreate,
        ("POST", "prune") => Route::VolumePrune,
        ("GET", name) => Route::VolumeInspect(name.to_owned()),
        ("DELETE", name) => Route::VolumeRemove(name.to_owned()),
        _ => return None,
    })
}

fn networks(method: &Method, rest: &str) -> Option<Route> {
    Some(match (method.as_str(), rest) {
        ("GET", "") => Route::NetworkList,
        ("POST", "prune") => Route::NetworkPrune,
        ("POST", "create") => Route::NetworkCreate,
        ("POST", rest) => match rest.split_once('/')? {
            (name, "connect") => Route::NetworkConnect(name.to_owned()),
            (name, "disconnect") => Route::NetworkDisconnect(name.to_owned()),
            _ => return None,
        },
        ("DELETE", name) if !name.is_empty() => Route::NetworkRemove(name.to_owned()),
        ("GET", name) => Route::NetworkInspect(name.to_owned()),
        _ => return None,
    })
}

/// There are no plugins, so every question for one has an answer: `docker inspect NAME` asks here too.
fn plugins(method: &Method, rest: &str) -> Option<Route> {
    if method == Method::GET && rest.is_empty() {
        return Some(Route::PluginList);
    }
    let name = rest.strip_suffix("/json").filter(|_| method == Method::GET)?;
    Some(Route::PluginInspect(name.to_owned()))
}

/// What dockerd routes and nothing above does: `{}` stands for a name.
const PROMISED: &[(&str, &str)] = &[
    ("POST", "build"),
    ("POST", "build/cancel"),
    ("POST", "session"),
    ("POST", "grpc"),
    ("GET", "containers/{}/checkpoints"),
    ("POST", "containers/{}/checkpoints"),
    ("DELETE", "containers/{}/checkpoints/{}"),
    ("GET", "images/search"),
    ("PUT", "volumes/{}"),
    ("GET", "plugins/privileges"),
    ("DELETE", "plugins/{}"),
    ("POST", "plugins/pull"),
    ("POST", "plugins/create"),
    ("POST", "plugins/{}/enable"),
    ("POST", "plugins/{}/disable"),
    ("POST", "plugins/{}/push"),
    ("POST", "plugins/{}/upgrade"),
    ("POST", "plugins/{}/set"),
    ("POST", "swarm/init"),
    ("POST", "swarm/join"),
];

/// What only a manager of a swarm answers.
const SWARM: &[(&str, &str)] = &[
    ("GET", "swarm"),
    ("GET", "swarm/unlockkey"),
    ("POST", "swarm/update"),
    ("POST", "swarm/unlock"),
    ("GET", "services"),
    ("GET", "services/{}"),
    ("GET", "services/{}/logs"),
    ("POST", "services/create"),
    ("POST", "services/{}/update"),
    ("DELETE", "services/{}"),
    ("GET", "nodes"),
    ("GET", "nodes/{}"),
    ("POST", "nodes/{}/update"),
    ("DELETE", "nodes/{}"),
    ("GET", "tasks"),
    ("GET", "tasks/{}"),
    ("GET", "tasks/{}/logs"),
    ("GET", "secrets"),
    ("GET", "secrets/{}"),
    ("POST", "secrets/create"),
    ("POST", "secrets/{}/update"),
    ("DELETE", "secrets/{}"),
    ("GET", "configs"),
    ("GET", "configs/{}"),
    ("POST", "configs/create"),
    ("POST", "configs/{}/update"),
    ("DELETE", "configs/{}"),
];

fn is_one_of(list: &[(&str, &str)], method: &Method, path: &str) -> bool {
    list.iter().any(|(verb, pattern)| *verb == method.as_str() && fits(pattern, path))
}

/// `{}` takes one segment or, in a reference, several.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once("{}") {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            (1..=rest.len())
                .filter(|at| rest.is_char_boundary(*at) && !rest[..*at].ends_with('/'))
                .any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Option<Route> {
        resolve(&Method::GET, path)
    }

    #[test]
    fn paths_lead_to_operations() {
        assert_eq!(get("/containers/json"), Some(Route::ContainerList));
        assert_eq!(get("/containers/json/json"), Some(Route::ContainerInspect("json".into())));
        assert_eq!(get("/containers//web/json"), Some(Route::ContainerInspect("/web".into())));
        let image = "127.0.0.1:5000/a/b:tag";
        assert_eq!(get(&format!("/images/{image}/json")), Some(Route::ImageInspect(image.into())));
        assert_eq!(resolve(&Method::DELETE, "/images/a/b"), Some(Route::ImageRemove("a/b".into())));
        assert_eq!(resolve(&Method::HEAD, "/_ping"), Some(Route::Ping));
        assert_eq!(get("/images/get"), Some(Route::ImagesSave));
        assert_eq!(get("/images/a/b/get"), Some(Route::ImageSave("a/b".into())));
        assert_eq!(get("/volumes"), Some(Route::VolumeList));
        assert_eq!(get("/volumes/data"), Some(Route::VolumeInspect("data".into())));
    }

    #[test]
    fn what_is_promised_is_known() {
        for path in ["/images/search", "/containers/x/checkpoints"] {
            assert_eq!(get(path), Some(Route::NotImplemented), "{path}");
        }
        for path in ["/swarm", "/nodes/x", "/services/x/logs"] {
            assert_eq!(get(path), Some(Route::SwarmOnly), "{path}");
        }
        assert_eq!(get("/containers/x/attach/ws"), Some(Route::ContainerAttachSocket("x".into())));
        assert_eq!(get("/distribution/a/b:c/json"), Some(Route::DistributionInspect("a/b:c".into())));
        assert_eq!(resolve(&Method::POST, "/build"), Some(Route::NotImplemented));
        assert_eq!(resolve(&Method::POST, "/networks/x/connect"), Some(Route::NetworkConnect("x".into())));
    }

    #[test]
    fn all_else_is_no_page() {
        for path in
            ["/", "/nothing", "/containers", "/containers/x", "/containers/x/y", "/exec/x", "/plugins/x"]
        {
            assert_eq!(get(path), None, "{path}");
        }
        assert_eq!(resolve(&Method::PUT, "/containers/x/json"), None);
    }
}
