//! Images, volumes, files, events and usage.

use crate::fixture::Door;
use crate::http::{call, open};
use serde_json::Value;
use tokio::io::AsyncReadExt;

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_named_and_removed() {
    let Some(door) = Door::with_image().await else { return };
    let again = door.post(&format!("/images/create?fromImage={}", door.image), None).await;
    let text = String::from_utf8(again.body).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["status"], "Pulling from busybox");
    let last = lines.last().unwrap()["status"].as_str().unwrap();
    assert_eq!(last, format!("Status: Image is up to date for {}", door.image));

    let list = door.get("/images/json").await.json();
    assert_eq!(list[0]["RepoTags"][0].as_str(), Some(door.image.as_str()));
    let id = list[0]["Id"].as_str().unwrap().to_owned();
    assert_eq!(door.post(&format!("/images/{}/tag?repo=other&tag=1", door.image), None).await.status, 201);
    let inspected = door.get("/images/other:1/json").await.json();
    assert_eq!((inspected["Id"].as_str(), inspected["Os"].as_str()), (Some(id.as_str()), Some("linux")));
    assert_eq!(inspected["Config"]["Cmd"][0], "/bin/sh");
    assert_eq!(door.get(&format!("/images/{}/history", &id[7..19])).await.status, 200);

    door.create("user", &["true"], "").await;
    let removed = door.call("DELETE", "/images/other:1").await.json();
    assert_eq!(removed[0]["Untagged"], "other:1");
    let refused = door.call("DELETE", &format!("/images/{}", door.image)).await;
    assert_eq!(refused.status, 409);
    let start = format!(
        "conflict: unable to remove repository reference \"{}\" (must force) - container ",
        door.image
    );
    assert!(refused.message().starts_with(&start), "{}", refused.message());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_fails_at_once_is_an_error() {
    let Some(door) = Door::with_image().await else { return };
    let host = door.image.split('/').next().unwrap();
    let missing = door.post(&format!("/images/create?fromImage={host}/nothing&tag=1"), None).await;
    assert_eq!(missing.status, 404);
    let start = format!("manifest for {host}/nothing:1 not found: manifest unknown");
    assert!(missing.message().starts_with(&start), "{}", missing.message());
    let bad = door.post("/images/create?fromImage=Bad&tag=1", None).await;
    assert_eq!(
        (bad.status, bad.message().as_str()),
        (400, "invalid reference format: repository name (Bad) must be lowercase")
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_made_used_and_removed() {
    let Some(door) = Door::with_image().await else { return };
    let made = door.post("/volumes/create", Some(r#"{"Name":"data","Labels":{"a":"b"}}"#)).await;
    assert_eq!(made.status, 201);
    let volume = made.json();
    assert_eq!((volume["Name"].as_str(), volume["Driver"].as_str()), (Some("data"), Some("local")));
    assert_eq!((volume["Scope"].as_str(), &volume["Options"]), (Some("local"), &Value::Null));
    let id = door
        .create("user", &["true"], r#","HostConfig":{"NetworkMode":"none","Binds":["data:/d:ro"]}"#)
        .await;
    let mount = &door.get("/containers/user/json").await.json()["Mounts"][0];
    assert_eq!((mount["Type"].as_str(), mount["Name"].as_str()), (Some("volume"), Some("data")));
    assert_eq!((mount["RW"].as_bool(), mount["Mode"].as_str()), (Some(false), Some("ro")));
    let refused = door.call("DELETE", "/volumes/data").await;
    assert_eq!((refused.status, refused.message()), (409, format!("remove data: volume is in use - [{id}]")));
    door.call("DELETE", "/containers/user").await;
    assert_eq!(door.call("DELETE", "/volumes/data").await.status, 204);
    let gone = door.call("DELETE", "/volumes/data").await;
    assert_eq!((gone.status, gone.message().as_str()), (404, "get data: no such volume"));
    let bad = door.post("/volumes/create", Some(r#"{"Name":"a b"}"#)).await;
    assert!(
        bad.message().starts_with("create a b: \"a b\" includes invalid characters"),
        "{}",
        bad.message()
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_out_of_a_container() {
    let Some(door) = Door::with_image().await else { return };
    door.create("box", &["true"], "").await;
    let stat = call(&door.socket, "HEAD", "/containers/box/archive?path=/etc/passwd", None).await;
    assert_eq!(stat.status, 200);
    let header = stat.header("X-Docker-Container-Path-Stat").expect("the header of a path");
    assert!(header.starts_with("eyJuYW1lIjoicGFzc3dkIi"), "base64 of {{\"name\":\"passwd\": {header}");
    let tar = door.get("/containers/box/archive?path=/etc/passwd").await;
    assert_eq!(tar.header("Content-Type"), Some("application/x-tar"));
    assert!(tar.body.starts_with(b"passwd\0"));
    assert!(tar.body.windows(7).any(|window| window == b"/bin/sh"));
    let missing = door.get("/containers/box/archive?path=/nothing").await;
    assert_eq!(
        (missing.status, missing.message().as_str()),
        (404, "Could not find the file /nothing in container box")
    );
    let without = door.get("/containers/box/archive").await;
    assert_eq!(without.status, 400);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_a_life_in_order() {
    let Some(door) = Door::with_image().await else { return };
    let filters = "%7B%22container%22%3A%5B%22told%22%5D%7D";
    let mut watch = open(&door.socket, "GET", &format!("/events?filters={filters}"), false, None).await;
    let id = door.run("told", &["true"], "").await;
    door.wait("told").await;
    door.call("DELETE", "/containers/told").await;
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains("\"destroy\"") {
        let read = watch.stream.read(&mut bytes).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let events: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let actions: Vec<&str> = events.iter().map(|event| event["Action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    assert!(events.iter().all(|event| event["Actor"]["ID"] == id.as_str() && event["id"] == id.as_str()));
    assert_eq!(events[2]["Actor"]["Attributes"]["exitCode"], "0");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_once_or_as_it_changes() {
    let Some(door) = Door::with_image().await else { return };
    door.run("busy", &["sleep", "1000"], "").await;
    let once = door.get("/containers/busy/stats?stream=0&one-shot=1").await.json();
    assert_eq!(once["name"], "/busy");
    assert_eq!(once["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(once["pids_stats"]["current"], 1);
    assert!(once["memory_stats"]["limit"].as_u64().unwrap() > 0);
    let twice = door.get("/containers/busy/stats?stream=0").await.json();
    assert_ne!(twice["preread"], "0001-01-01T00:00:00Z");
    let top = door.get("/containers/busy/top").await.json();
    assert_eq!(top["Titles"][0], "UID");
    assert_eq!(top["Processes"].as_array().unwrap().len(), 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_asked_for_a_name_and_for_all_tags() {
    let Some(door) = Door::with_image().await else { return };
    let found = door.get(&format!("/distribution/{}/json", door.image)).await;
    assert_eq!(found.status, 200, "{}", String::from_utf8_lossy(&found.body));
    let found = found.json();
    assert!(found["Descriptor"]["digest"].as_str().unwrap().starts_with("sha256:"), "{found}");
    assert_eq!(found["Platforms"][0]["os"], "linux");

    let repository = door.image.strip_suffix(":latest").unwrap();
    // Three names: the registry gives two at a time.
    for tag in ["1", "2"] {
        door.post(&format!("/images/{}/tag?repo={repository}&tag={tag}", door.image), None).await;
    }
    let pushed = door.post(&format!("/images/{repository}/push"), None).await;
    let text = String::from_utf8(pushed.body).unwrap();
    for tag in ["1", "2", "latest"] {
        assert!(text.contains(&format!("{tag}: digest: sha256:")), "{text}");
    }
    for tag in ["1", "2"] {
        door.call("DELETE", &format!("/images/{repository}:{tag}")).await;
    }
    let pulled = door.post(&format!("/images/create?fromImage={repository}"), None).await;
    let text = String::from_utf8(pulled.body).unwrap();
    assert_eq!(pulled.status, 200, "{text}");
    assert!(text.contains("Pulling from busybox"), "{text}");
    assert!(text.contains(&format!("Status: Downloaded newer image for {repository}")), "{text}");
    let list = door.get("/images/json").await.json();
    assert_eq!(list[0]["RepoTags"].as_array().map(Vec::len), Some(3), "{list}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_swarm_does_is_refused_in_its_words() {
    let door = Door::open().await;
    let nodes = door.get("/nodes").await;
    assert_eq!(nodes.status, 503);
    assert!(nodes.message().starts_with("This node is not a swarm manager."), "{}", nodes.message());
    assert_eq!(door.post("/swarm/leave?force=1", None).await.status, 503);
    assert_eq!(door.post("/swarm/init", Some("{}")).await.status, 501);
    assert_eq!(door.get("/plugins").await.json(), serde_json::json!([]));
    door.close().await;
}
