//! The life of a container, its states and refusals.

use crate::fixture::Door;
use crate::http::demultiplex;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_lives_as_in_docker() {
    let Some(door) = Door::with_image().await else { return };
    let labels = r#","Labels":{"team":"a"},"Env":["A=1"]"#;
    let id = door.create("web", &["sh", "-c", "echo out; echo err >&2; exit 3"], labels).await;
    assert_eq!(id.len(), 64);

    let before = door.get("/containers/web/json").await.json();
    assert_eq!((before["Id"].as_str(), before["Name"].as_str()), (Some(id.as_str()), Some("/web")));
    assert_eq!(before["State"]["Status"], "created");
    assert_eq!(before["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(before["Config"]["Hostname"], id[..12]);
    assert_eq!(before["Config"]["Labels"]["team"], "a");
    assert_eq!(before["HostConfig"]["IpcMode"], "private");
    assert_eq!(before["HostConfig"]["Binds"], serde_json::Value::Null);

    assert_eq!(door.post("/containers/web/start", None).await.status, 204);
    assert_eq!(door.wait(&id[..12]).await, 3);
    let logs = door.get("/containers/web/logs?stdout=1&stderr=1").await;
    assert_eq!(logs.header("Content-Type"), Some("application/vnd.docker.multiplexed-stream"));
    assert_eq!(demultiplex(&logs.body), ("out\n".to_owned(), "err\n".to_owned()));
    let errors = door.get("/v1.41/containers/web/logs?stderr=1").await;
    assert_eq!(errors.header("Content-Type"), Some("application/vnd.docker.raw-stream"));
    assert_eq!(demultiplex(&errors.body).1, "err\n");

    let after = door.get("/containers/web/json").await.json();
    assert_eq!(
        (after["State"]["Status"].as_str(), after["State"]["ExitCode"].as_i64()),
        (Some("exited"), Some(3))
    );
    for file in ["LogPath", "HostsPath", "HostnamePath", "ResolvConfPath"] {
        assert!(std::path::Path::new(after[file].as_str().unwrap()).is_file(), "{file}: {}", after[file]);
    }
    assert_eq!(door.post("/containers/web/stop", None).await.status, 304);
    assert_eq!(door.call("DELETE", "/containers/web").await.status, 204);
    assert_eq!(door.call("DELETE", "/containers/web").await.status, 404);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_refuse_what_they_must() {
    let Some(door) = Door::with_image().await else { return };
    let id = door.run("one", &["sleep", "1000"], "").await;
    let body = format!(r#"{{"Image":"{}","Cmd":["true"]}}"#, door.image);
    let conflict = door.post("/containers/create?name=one", Some(&body)).await;
    assert_eq!(conflict.status, 409);
    assert_eq!(
        conflict.message(),
        format!(
            "Conflict. The container name \"/one\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
        )
    );
    assert_eq!(door.post("/containers/one/start", None).await.status, 304);
    let refused = door.call("DELETE", "/containers/one").await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.message(),
        "cannot remove container \"one\": container is running: stop the container before removing or force remove"
    );
    let unknown = door.post("/containers/one/kill?signal=NOPE", None).await;
    assert_eq!(
        (unknown.status, unknown.message().as_str()),
        (400, "cannot kill container: one: Invalid signal: NOPE")
    );

    assert_eq!(door.post("/containers/one/pause", None).await.status, 204);
    for (path, message) in [
        ("/containers/one/pause", format!("Container {id} is already paused")),
        ("/containers/one/start", "cannot start a paused container, try unpause instead".to_owned()),
        ("/containers/one/attach?stream=1", String::new()),
    ] {
        let answer = door.post(path, None).await;
        assert_eq!(answer.status, 409, "{path}");
        assert!(message.is_empty() || answer.message() == message, "{}", answer.message());
    }
    let exec = door.post("/containers/one/exec", Some(r#"{"Cmd":["true"]}"#)).await;
    assert_eq!(exec.message(), "Container one is paused, unpause the container before exec");
    assert_eq!(door.post("/containers/one/unpause", None).await.status, 204);

    assert_eq!(door.post("/containers/one/stop?t=0", None).await.status, 204);
    let stopped = door.post("/containers/one/kill", None).await;
    assert_eq!(
        (stopped.status, stopped.message()),
        (409, format!("cannot kill container: one: container {id} is not running"))
    );
    let exec = door.post("/containers/one/exec", Some(r#"{"Cmd":["true"]}"#)).await;
    assert_eq!((exec.status, exec.message()), (409, format!("container {id} is not running")));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_cannot_start_are_bad_requests() {
    let Some(door) = Door::with_image().await else { return };
    for (program, words, code) in [
        ("nonexistent", "executable file not found in $PATH", 127),
        ("/nonexistent", "no such file or directory", 127),
        ("/etc/passwd", "permission denied", 126),
    ] {
        let id = door.create("bad", &[program], "").await;
        let answer = door.post("/containers/bad/start", None).await;
        assert_eq!(answer.status, 400, "{program}");
        assert!(answer.message().contains(words), "{}", answer.message());
        let state = door.get(&format!("/containers/{id}/json")).await.json();
        assert_eq!(state["State"]["ExitCode"], code, "{program}");
        assert_eq!(door.call("DELETE", "/containers/bad").await.status, 204);
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_follow_their_filters() {
    let Some(door) = Door::with_image().await else { return };
    let old = door.run("old", &["true"], r#","Labels":{"x":"1"}"#).await;
    door.wait("old").await;
    let new = door.run("new", &["sleep", "1000"], "").await;
    let ids = async |query: &str| -> Vec<String> {
        let list = door.get(&format!("/containers/json?{query}")).await.json();
        list.as_array().unwrap().iter().map(|row| row["Id"].as_str().unwrap().to_owned()).collect()
    };
    let filter = |json: &str| {
        let encoded: String = json.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("all=1&filters={encoded}")
    };
    assert_eq!(ids("").await, [new.as_str()]);
    assert_eq!(ids("all=1").await, [new.as_str(), old.as_str()]);
    assert_eq!(ids("limit=1").await, [new.as_str()]);
    assert_eq!(ids(&filter(r#"{"name":["^/?ol"]}"#)).await, [old.as_str()]);
    assert_eq!(ids(&filter(r#"{"label":["x=1"]}"#)).await, [old.as_str()]);
    assert_eq!(ids(&filter(r#"{"exited":["0"]}"#)).await, [old.as_str()]);
    assert_eq!(ids(&filter(r#"{"status":["running"]}"#)).await, [new.as_str()]);
    assert_eq!(ids(&filter(r#"{"before":["new"]}"#)).await, [old.as_str()]);
    assert_eq!(ids(&filter(r#"{"since":["old"]}"#)).await, [new.as_str()]);
    assert_eq!(ids(&filter(&format!(r#"{{"ancestor":["{}"]}}"#, door.image))).await.len(), 2);
    assert_eq!(ids(&filter(r#"{"ancestor":["nothing"]}"#)).await.len(), 0);
    let row = &door.get("/containers/json").await.json()[0];
    assert_eq!((row["State"].as_str(), row["Command"].as_str()), (Some("running"), Some("sleep 1000")));
    assert!(row["Status"].as_str().unwrap().starts_with("Up "));
    door.close().await;
}
