//! Containers that know each other by links, parts of volumes, and networks that containers come to and leave.

use crate::fixture::Door;
use serde_json::{Value, json};

/// What a container prints.
async fn output(door: &Door, name: &str) -> String {
    door.wait(name).await;
    let logs = door.get(&format!("/containers/{name}/logs?stdout=1&stderr=1")).await;
    crate::http::demultiplex(&logs.body).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_a_line_of_hosts_and_variables() {
    let Some(door) = Door::with_image().await else { return };
    let bridge = |more: &str| format!(r#","HostConfig":{{"NetworkMode":"bridge"{more}}}"#);
    let extra = r#","Env":["FOO=1"],"ExposedPorts":{"80/tcp":{}}"#;
    door.run("db", &["sleep", "1000"], &(bridge("") + extra)).await;
    let ip = door.get("/containers/db/json").await.json()["NetworkSettings"]["IPAddress"].clone();
    let ip = ip.as_str().unwrap().to_owned();
    let links = bridge(r#","Links":["db:my-db"]"#);
    let script = "echo $MY_DB_PORT $MY_DB_PORT_80_TCP_ADDR $MY_DB_NAME $MY_DB_ENV_FOO; cat /etc/hosts";
    door.run("web", &["sh", "-c", script], &links).await;
    let text = output(&door, "web").await;
    let first = text.lines().next().unwrap();
    assert_eq!(first, format!("tcp://{ip}:80 {ip} /web/my-db 1"));
    assert!(
        text.lines().any(|line| line.starts_with(&format!("{ip}\tmy-db ")) && line.ends_with(" db")),
        "{text}"
    );

    let inspected = door.get("/containers/web/json").await.json();
    assert_eq!(inspected["HostConfig"]["Links"], json!(["/db:/web/my-db"]));
    let rows = door.get("/containers/json?all=1&filters=%7B%22name%22:%5B%22db%22%5D%7D").await.json();
    assert_eq!(rows[0]["Names"], json!(["/db", "/web/my-db"]));
    assert_eq!(door.call("DELETE", "/containers/web/my-db?link=1").await.status, 204);
    assert_eq!(door.get("/containers/web/json").await.json()["HostConfig"]["Links"], Value::Null);

    // A neighbour that starts again is known again, whatever its address is then.
    door.run("holder", &["sleep", "1000"], &links).await;
    assert_eq!(door.post("/containers/db/restart?t=0", None).await.status, 204);
    let exec = r#"{"Cmd":["cat","/etc/hosts"],"AttachStdout":true}"#;
    let exec = door.post("/containers/holder/exec", Some(exec)).await.json()["Id"].clone();
    let start = format!("/exec/{}/start", exec.as_str().unwrap());
    let text = crate::http::demultiplex(&door.upgrade(&start, Some("{}")).await.rest().await).0;
    let ip = door.get("/containers/db/json").await.json()["NetworkSettings"]["IPAddress"].clone();
    let line = format!("{}\tmy-db ", ip.as_str().unwrap());
    assert!(text.lines().any(|known| known.starts_with(&line)), "{line}: {text}");

    let body = format!(r#"{{"Image":"{}","HostConfig":{{"Links":["nothing:x"]}}}}"#, door.image);
    let refused = door.post("/containers/create", Some(&body)).await;
    let message = "could not get container for nothing: No such container: nothing";
    assert_eq!((refused.status, refused.message().as_str()), (400, message));
    door.post("/containers/db/kill", None).await;
    door.wait("db").await;
    door.create("late", &["true"], &links).await;
    let refused = door.post("/containers/late/start", None).await;
    assert_eq!(refused.message(), "Cannot link to a non running container: /db AS /late/my-db");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_volume_is_mounted_and_nothing_outside_of_it() {
    let Some(door) = Door::with_image().await else { return };
    let mount = |subpath: &str| {
        json!({"HostConfig": {"NetworkMode": "none", "Mounts": [{"Type": "volume", "Source": "data", "Target": "/d",
            "VolumeOptions": {"Subpath": subpath}}]}})
    };
    let more = |subpath: &str| {
        let text = mount(subpath).to_string();
        format!(",{}", &text[1..text.len() - 1])
    };
    // The applets are few: a redirection makes the file, cd shows the directory.
    let volume = r#","HostConfig":{"NetworkMode":"none","Binds":["data:/tmp"]}"#;
    door.run("fill", &["sh", "-c", "echo inner > /tmp/file; /bin/busybox mkdir /tmp/a; echo deep > /tmp/a/b; /bin/busybox ln -s /etc /tmp/out"], volume).await;
    assert_eq!(door.wait("fill").await, 0);
    door.run("part", &["cat", "/d/b"], &more("a")).await;
    assert_eq!(output(&door, "part").await, "deep\n");
    door.run("file", &["cat", "/d"], &more("a/b")).await;
    assert_eq!(output(&door, "file").await, "deep\n");
    door.create("link", &["cat", "/d/passwd"], &more("out")).await;
    let refused = door.post("/containers/link/start", None).await;
    assert_eq!(refused.status, 400, "a link that leads out of the volume: {}", refused.message());
    let mut body = mount("../x");
    body["Image"] = door.image.clone().into();
    let refused = door.post("/containers/create", Some(&body.to_string())).await;
    let message =
        "invalid mount config for type \"volume\": subpath must be a relative path within the volume";
    assert_eq!((refused.status, refused.message().as_str()), (400, message));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_leaves_its_first_network_and_joins_another() {
    let Some(door) = Door::with_image().await else { return };
    let pool = r#"{"Name":"with a range","IPAM":{"Config":[{"Subnet":"10.213.7.0/24","IPRange":"10.213.7.64/26",
        "AuxiliaryAddresses":{"printer":"10.213.7.64"}}]}}"#;
    assert_eq!(door.post("/networks/create", Some(pool)).await.status, 201);
    let first = r#","HostConfig":{"NetworkMode":"with a range"}"#;
    door.run("web", &["sleep", "1000"], first).await;
    let networks =
        async || door.get("/containers/web/json").await.json()["NetworkSettings"]["Networks"].clone();
    let now = networks().await;
    assert_eq!(now["with a range"]["IPAddress"], "10.213.7.65", "the first of the range is reserved");
    let member = Some(r#"{"Container":"web"}"#);
    assert_eq!(door.post("/networks/with%20a%20range/disconnect", member).await.status, 200);
    assert_eq!(networks().await, json!({}));
    let has_interface = async || {
        let exec = r#"{"Cmd":["cat","/sys/class/net/eth0/operstate"],"AttachStdout":true}"#;
        let exec = door.post("/containers/web/exec", Some(exec)).await.json()["Id"].clone();
        let exec = exec.as_str().unwrap().to_owned();
        door.upgrade(&format!("/exec/{exec}/start"), Some("{}")).await.rest().await;
        door.get(&format!("/exec/{exec}/json")).await.json()["ExitCode"] == 0
    };
    assert!(!has_interface().await);
    assert_eq!(door.post("/networks/bridge/connect", member).await.status, 200);
    let now = networks().await;
    assert_eq!(now.as_object().unwrap().keys().collect::<Vec<_>>(), ["bridge"]);
    assert!(has_interface().await);
    let gone = door.call("DELETE", "/networks/with%20a%20range").await;
    assert_eq!(gone.status, 204, "nobody is on it");
    assert_eq!(door.post("/containers/web/restart?t=0", None).await.status, 204);
    assert!(networks().await["bridge"]["IPAddress"].as_str().is_some_and(|ip| !ip.is_empty()));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_ipc_namespace_shares_its_memory() {
    let Some(door) = Door::with_image().await else { return };
    let ipc = |mode: &str| format!(r#","HostConfig":{{"NetworkMode":"none","IpcMode":"{mode}"}}"#);
    door.run("donor", &["sh", "-c", "echo shared > /dev/shm/f; exec sleep 1000"], &ipc("shareable")).await;
    let script = "until test -s /dev/shm/f; do sleep 0.01; done; cat /dev/shm/f; echo back > /dev/shm/g";
    door.run("guest", &["sh", "-c", script], &ipc("container:donor")).await;
    assert_eq!(output(&door, "guest").await, "shared\n");
    // Through one that joined, it is the same.
    door.run("third", &["sleep", "1000"], &ipc("container:donor")).await;
    door.run("fourth", &["cat", "/dev/shm/g"], &ipc("container:third")).await;
    assert_eq!(output(&door, "fourth").await, "back\n");
    door.run("own", &["sh", "-c", "cat /dev/shm/f || echo none"], &ipc("private")).await;
    assert_eq!(output(&door, "own").await, "none\n");

    let directory = door.socket.parent().unwrap().display().to_string();
    let mounted = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter(|line| line.contains(&directory) && line.contains("/shm ")).count()
    };
    assert_eq!(mounted(), 1);
    assert_eq!(door.call("DELETE", "/containers/donor?force=1").await.status, 204);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while mounted() != 0 {
        assert!(std::time::Instant::now() < limit, "shared memory stays mounted");
        tokio::task::yield_now().await;
    }
    door.close().await;
}
