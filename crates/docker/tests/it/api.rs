//! What the interface says without any container: versions, errors, the shapes of empty answers.

use crate::fixture::Door;

#[tokio::test]
async fn ping_tells_the_version() {
    let door = Door::open().await;
    for path in ["/_ping", "/v1.24/_ping", "/v1.51/_ping"] {
        let answer = door.get(path).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"OK"[..]), "{path}");
        assert_eq!(answer.header("Api-Version"), Some("1.51"));
        assert_eq!(answer.header("Ostype"), Some("linux"));
        assert_eq!(answer.header("Docker-Experimental"), Some("false"));
    }
    let head = door.call("HEAD", "/_ping").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    door.close().await;
}

#[tokio::test]
async fn versions_outside_the_range_are_refused() {
    let door = Door::open().await;
    let answer = door.get("/v1.52/info").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.message(), "client version 1.52 is too new. Maximum supported API version is 1.51");
    let answer = door.get("/v1.23/info").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.starts_with("client version 1.23 is too old. Minimum supported API version is 1.24"),
        "{text}"
    );
    door.close().await;
}

#[tokio::test]
async fn what_is_missing_names_itself() {
    let door = Door::open().await;
    for (method, path) in [
        ("GET", "/v1.41/images/search?term=x"),
        ("POST", "/build"),
        ("POST", "/swarm/init"),
        ("GET", "/containers/x/checkpoints"),
    ] {
        let answer = door.call(method, path).await;
        let bare = path.trim_start_matches("/v1.41").split('?').next().unwrap();
        assert_eq!(answer.status, 501, "{path}");
        assert_eq!(answer.message(), format!("not implemented: {method} {bare}"));
    }
    door.close().await;
}

#[tokio::test]
async fn unknown_paths_are_no_pages() {
    let door = Door::open().await;
    for (method, path) in
        [("GET", "/"), ("GET", "/v1.41/nothing"), ("PUT", "/version"), ("GET", "/containers/x")]
    {
        let answer = door.call(method, path).await;
        assert_eq!((answer.status, answer.message().as_str()), (404, "page not found"), "{path}");
    }
    door.close().await;
}

#[tokio::test]
async fn version_has_dockers_shape() {
    let door = Door::open().await;
    let version = door.get("/version").await.json();
    assert_eq!(version["ApiVersion"], "1.51");
    assert_eq!(version["MinAPIVersion"], "1.24");
    assert_eq!(version["Version"], "1.2.3");
    assert_eq!(version["Components"][0]["Name"], "Engine");
    assert_eq!(version["Os"], "linux");
    door.close().await;
}

#[tokio::test]
async fn missing_objects_are_named() {
    let door = Door::open().await;
    for (method, path, message) in [
        ("GET", "/containers/nobody/json", "No such container: nobody"),
        ("POST", "/containers/nobody/start", "No such container: nobody"),
        ("POST", "/containers/nobody/kill", "cannot kill container: nobody: No such container: nobody"),
        ("DELETE", "/containers/nobody", "No such container: nobody"),
        ("GET", "/images/nothing/json", "No such image: nothing:latest"),
        ("GET", "/exec/nothing/json", "No such exec instance: nothing"),
        ("GET", "/volumes/nothing", "get nothing: no such volume"),
        ("GET", "/networks/nothing", "network nothing not found"),
    ] {
        let answer = door.call(method, path).await;
        assert_eq!((answer.status, answer.message().as_str()), (404, message), "{path}");
    }
    let answer = door.post("/containers/create", Some(r#"{"Image":"nothing","Cmd":["true"]}"#)).await;
    assert_eq!((answer.status, answer.message().as_str()), (404, "No such image: nothing:latest"));
    door.close().await;
}

#[tokio::test]
async fn bad_requests_say_why() {
    let door = Door::open().await;
    let table = [
        (
            "POST",
            "/containers/create",
            Some("{"),
            "invalid JSON: EOF while parsing an object at line 1 column 1",
        ),
        ("POST", "/containers/create", Some(" "), "invalid JSON: got EOF while reading request body"),
        ("POST", "/containers/create", Some("{} {}"), "unexpected content after JSON"),
        ("GET", "/containers/json?limit=x", None, "strconv.Atoi: parsing \"x\": invalid syntax"),
        ("GET", "/containers/json?filters=x", None, "invalid filter"),
        ("GET", "/containers/json?filters=%7B%22a%22%3A%5B%22b%22%5D%7D", None, "invalid filter 'a'"),
        ("GET", "/containers/x/logs", None, "Bad parameters: you must choose at least one stream"),
        ("POST", "/containers/x/wait?condition=never", None, "invalid condition: \"never\""),
        ("POST", "/containers/x/resize?h=a&w=1", None, "invalid resize height \"a\": invalid syntax"),
        ("GET", "/events?since=5&until=1", None, "`since` time (5) cannot be after `until` time (1)"),
        ("GET", "/version?a=%zz", None, "invalid URL escape \"%zz\""),
    ];
    for (method, path, body, message) in table {
        let answer = crate::http::call(&door.socket, method, path, body).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, message), "{path}");
    }
    door.close().await;
}

#[tokio::test]
async fn events_of_the_past_end_with_until() {
    let door = Door::open().await;
    let answer = door.get("/events?since=1&until=2").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    door.close().await;
}

#[tokio::test]
async fn an_endless_stream_does_not_hold_up_the_end() {
    let door = Door::open().await;
    let socket = door.socket.clone();
    let watcher = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = vec![0; 1024];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200"));
        // Never reads again, and never goes away by itself.
        std::future::pending::<()>().await;
    });
    while tokio::time::timeout(std::time::Duration::from_millis(50), door.get("/_ping")).await.is_err() {}
    tokio::time::timeout(std::time::Duration::from_secs(10), door.close()).await.expect("the door ends");
    watcher.abort();
}
