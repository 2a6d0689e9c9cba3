//! Whole images and file systems in and out.

use crate::fixture::Door;
use crate::http::upload;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_changed_becomes_an_image_and_travels() {
    let Some(door) = Door::with_image().await else { return };
    door.run("work", &["sh", "-c", "echo new > /file"], "").await;
    assert_eq!(door.wait("work").await, 0);
    let changes = door.get("/containers/work/changes").await.json();
    assert_eq!(changes, serde_json::json!([{ "Path": "/file", "Kind": 1 }]));

    let commit =
        "/commit?container=work&repo=made&tag=1&comment=why&changes=CMD%20%5B%22cat%22%2C%22%2Ffile%22%5D";
    let committed = door.post(commit, None).await;
    assert_eq!(committed.status, 201, "{}", String::from_utf8_lossy(&committed.body));
    let id = committed.json()["Id"].as_str().unwrap().to_owned();
    let made = door.get("/images/made:1/json").await.json();
    assert_eq!((made["Id"].as_str(), made["Comment"].as_str()), (Some(id.as_str()), Some("why")));
    assert_eq!(made["Config"]["Cmd"], serde_json::json!(["cat", "/file"]));
    assert!(made["Parent"].as_str().unwrap().starts_with("sha256:"));

    let saved = door.get("/images/made:1/get").await;
    assert_eq!(saved.header("content-type"), Some("application/x-tar"));
    assert_eq!(door.call("DELETE", "/images/made:1").await.status, 200);
    assert_eq!(door.get("/images/made:1/json").await.status, 404);
    let loaded = upload(&door.socket, "POST", "/images/load", &saved.body).await;
    assert!(String::from_utf8_lossy(&loaded.body).contains("Loaded image: made:1"), "{loaded:?}");
    assert_eq!(door.get("/images/made:1/json").await.json()["Id"], id.as_str(), "the same image");
    let body = r#"{"Image":"made:1","HostConfig":{"NetworkMode":"none"}}"#;
    assert_eq!(door.post("/containers/create?name=again", Some(body)).await.status, 201);
    door.post("/containers/again/start", None).await;
    assert_eq!(door.wait("again").await, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_file_system_is_imported() {
    let Some(door) = Door::with_image().await else { return };
    door.run("source", &["sh", "-c", "echo kept > /file; sleep 1000"], "").await;
    let exported = loop {
        let exported = door.get("/containers/source/export").await;
        assert_eq!(exported.status, 200);
        if exported.body.windows(5).any(|window| window == b"kept\n") {
            break exported;
        }
    };
    let path = "/images/create?fromSrc=-&repo=flat&tag=1&changes=CMD%20%5B%22cat%22%2C%22%2Ffile%22%5D";
    let imported = upload(&door.socket, "POST", path, &exported.body).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let flat = door.get("/images/flat:1/json").await.json();
    assert_eq!(imported.json()["status"], flat["Id"]);
    assert_eq!(flat["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let Some(door) = Door::with_image().await else { return };
    let before = door.get("/images/json").await.json();
    let loaded = upload(&door.socket, "POST", "/images/load", b"no archive at all").await;
    let text = String::from_utf8_lossy(&loaded.body).into_owned();
    assert!(loaded.status == 200 && text.contains("errorDetail"), "{text}");
    let imported = upload(&door.socket, "POST", "/images/create?fromSrc=-", &[7; 1024]).await;
    assert_eq!(imported.status, 400, "{imported:?}");
    assert_eq!(door.get("/images/json?all=1").await.json(), before);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_counted_when_they_are_asked_for() {
    let Some(door) = Door::with_image().await else { return };
    door.run("big", &["sh", "-c", "head -c 5000 /dev/zero > /file"], "").await;
    door.wait("big").await;
    let row = door.get("/containers/json?all=1&size=1").await.json();
    assert_eq!(row[0]["SizeRw"], 5000);
    assert!(row[0]["SizeRootFs"].as_u64().unwrap() > 100_000, "{row}");
    assert_eq!(door.get("/containers/big/json?size=1").await.json()["SizeRw"], 5000);
    assert!(door.get("/containers/big/json").await.json().get("SizeRw").is_none());
    door.close().await;
}
