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

/// Runs `tare` of the same build to its end, within 30 seconds.
async fn tare(door: &Door, arguments: &[&str]) -> (i32, String, String) {
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("tare");
    let output = tokio::process::Command::new("timeout")
        .args(["-k", "1", "30"])
        .arg(program)
        .args(["-H", &format!("unix://{}", door.socket.display())])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_file_systems_travel_through_tare() {
    let Some(door) = Door::with_image().await else { return };
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("tare");
    if !tare_testkit::skip::needs(&[(
        program.is_file(),
        "tare in the target directory (cargo build -p tare-cli)",
    )]) {
        return door.close().await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (images, root) = (path("images.tar"), path("root.tar"));
    let none = ["run", "--rm", "--network", "none"];
    door.run("maker", &["sh", "-c", "echo made > /made"], "").await;
    door.wait("maker").await;

    let (code, id, error) = tare(&door, &["commit", "-m", "why", "-c", "ENV A=b", "maker", "made:1"]).await;
    assert_eq!((code, &id[..7]), (0, "sha256:"), "{error}");
    assert_eq!(tare(&door, &["save", "-o", &images, "made:1"]).await, (0, String::new(), String::new()));
    assert_eq!(tare(&door, &["rmi", "made:1"]).await.0, 0);
    let loaded = tare(&door, &["load", "-i", &images]).await;
    assert_eq!(loaded, (0, "Loaded image: made:1".to_owned(), String::new()));
    let said = tare(&door, &[&none[..], &["made:1", "sh", "-c", "echo $A; cat /made"]].concat()).await;
    assert_eq!(said, (0, "b\nmade".to_owned(), String::new()));

    assert_eq!(tare(&door, &["export", "-o", &root, "maker"]).await, (0, String::new(), String::new()));
    let (code, id, error) = tare(&door, &["import", "-c", "CMD cat /made", &root, "flat:1"]).await;
    assert_eq!((code, &id[..7]), (0, "sha256:"), "{error}");
    let said = tare(&door, &[&none[..], &["flat:1"]].concat()).await;
    assert_eq!(said, (0, "made".to_owned(), String::new()));

    std::fs::write(path("junk"), "no archive").unwrap();
    for (words, expected) in [
        (&["commit", "nothing"][..], "Error response from daemon: No such container: nothing"),
        (
            &["save", "-o", "/nothing/x", "made:1"],
            "failed to save image: invalid output path: stat /nothing: no such file or directory",
        ),
        (&["load", "-i", "/nothing"], "open /nothing: no such file or directory"),
        (
            &["import", &path("junk")],
            "Error response from daemon: Error processing tar file: the archive is cut off",
        ),
    ] {
        assert_eq!(tare(&door, words).await, (1, String::new(), expected.to_owned()));
    }
    let (code, _, error) = tare(&door, &["save", "-o", &path("none"), "nothing"]).await;
    assert_eq!((code, error.as_str()), (1, "Error response from daemon: No such image: nothing:latest"));
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "a save that fails leaves nothing: {left:?}");
    door.close().await;
}
