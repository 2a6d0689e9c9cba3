//! Containers of a foreign shim: Go's, unchanged, with the streams in the hands of one of Tare's.

use crate::fixture::{Door, GO_SHIM};
use crate::http::demultiplex;
use std::path::Path;
use tare_testkit::skip;
use tokio::io::AsyncWriteExt;

const GO: &str = r#","HostConfig":{"NetworkMode":"none","Runtime":"go"}"#;

async fn door() -> Option<Door> {
    let missing = [
        (Path::new(GO_SHIM).is_file(), "containerd-shim-runc-v2 (package containerd)"),
        (Path::new("/usr/sbin/runc").is_file() || Path::new("/usr/bin/runc").is_file(), "runc"),
    ];
    if !skip::needs(&missing) {
        return None;
    }
    Door::with_image().await
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_attach_and_exec_work_behind_gos_shim() {
    let Some(door) = door().await else { return };
    let stdin = format!(r#","OpenStdin":true,"StdinOnce":true,"AttachStdin":true{GO}"#);
    door.create("echo", &["sh", "-c", "cat; echo err >&2; exit 4"], &stdin).await;
    let mut attached = door.upgrade("/containers/echo/attach?stream=1&stdin=1&stdout=1&stderr=1", None).await;
    // The client has said all and left stdin before the program exists.
    attached.stream.write_all(b"one\ntwo\n").await.unwrap();
    attached.stream.shutdown().await.unwrap();
    let started = door.post("/containers/echo/start", None).await;
    assert_eq!(started.status, 204, "{}", String::from_utf8_lossy(&started.body));
    assert_eq!(demultiplex(&attached.rest().await), ("one\ntwo\n".to_owned(), "err\n".to_owned()));
    assert_eq!(door.wait("echo").await, 4);
    let logs = door.get("/containers/echo/logs?stdout=1&stderr=1").await;
    assert_eq!(demultiplex(&logs.body), ("one\ntwo\n".to_owned(), "err\n".to_owned()));

    door.run("host", &["sleep", "1000"], GO).await;
    let body = r#"{"Cmd":["sh","-c","echo in; exit 5"],"AttachStdout":true,"AttachStderr":true}"#;
    let exec = door.post("/containers/host/exec", Some(body)).await.json()["Id"].as_str().unwrap().to_owned();
    let stream = door.upgrade(&format!("/exec/{exec}/start"), Some(r#"{"Detach":false}"#)).await;
    assert_eq!(demultiplex(&stream.rest().await).0, "in\n");
    // Known when the stream has ended: the docker command asks next.
    assert_eq!(door.get(&format!("/exec/{exec}/json")).await.json()["ExitCode"], 5);
    door.close().await;
}
