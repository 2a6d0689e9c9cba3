//! Attached clients, execs, logs that are followed, and clients that do not read.

use crate::fixture::Door;
use crate::http::{demultiplex, open};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_client_misses_nothing_and_closes_stdin() {
    let Some(door) = Door::with_image().await else { return };
    let stdin = r#","OpenStdin":true,"StdinOnce":true,"AttachStdin":true"#;
    door.create("echo", &["cat"], stdin).await;
    let mut attached = door.upgrade("/containers/echo/attach?stream=1&stdin=1&stdout=1&stderr=1", None).await;
    assert!(attached.head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{}", attached.head);
    assert!(attached.head.to_lowercase().contains("upgrade: tcp\r\n"), "{}", attached.head);
    assert!(attached.head.contains("application/vnd.docker.multiplexed-stream"), "{}", attached.head);

    let waiter = open(&door.socket, "POST", "/containers/echo/wait?condition=next-exit", false, None).await;
    assert!(waiter.head.starts_with("HTTP/1.1 200 OK"), "the head comes before the exit");
    assert_eq!(door.post("/containers/echo/start", None).await.status, 204);
    attached.stream.write_all(b"one\ntwo\n").await.unwrap();
    attached.stream.shutdown().await.unwrap();
    assert_eq!(demultiplex(&attached.rest().await).0, "one\ntwo\n");
    drop(waiter);
    assert_eq!(door.wait("echo").await, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_raw_and_has_keys_that_detach() {
    let Some(door) = Door::with_image().await else { return };
    door.run("term", &["sh", "-c", "cat; echo never"], r#","Tty":true,"OpenStdin":true"#).await;
    let mut attached = door.upgrade("/containers/term/attach?stream=1&stdin=1&stdout=1", None).await;
    assert!(attached.head.contains("application/vnd.docker.raw-stream"), "{}", attached.head);
    attached.stream.write_all(b"hi\r").await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(2).any(|window| window == b"hi") {
        seen.push(attached.stream.read_u8().await.unwrap());
    }
    attached.stream.write_all(b"\x10\x11").await.unwrap();
    attached.rest().await;
    let state = door.get("/containers/term/json").await.json();
    assert_eq!(state["State"]["Running"], true, "detaching leaves it running");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn execs_stream_and_keep_their_codes() {
    let Some(door) = Door::with_image().await else { return };
    door.run("host", &["sleep", "1000"], "").await;
    let create = async |json: &str| {
        let answer = door.post("/containers/host/exec", Some(json)).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["Id"].as_str().unwrap().to_owned()
    };
    let both = r#""AttachStdout":true,"AttachStderr":true"#;
    let exec = create(&format!(r#"{{"Cmd":["sh","-c","echo out; echo err >&2; exit 5"],{both}}}"#)).await;
    let stream = door.upgrade(&format!("/exec/{exec}/start"), Some(r#"{"Detach":false}"#)).await;
    assert_eq!(demultiplex(&stream.rest().await), ("out\n".to_owned(), "err\n".to_owned()));
    let view = door.get(&format!("/exec/{exec}/json")).await.json();
    assert_eq!((view["ExitCode"].as_i64(), view["Running"].as_bool()), (Some(5), Some(false)));
    assert_eq!(view["ProcessConfig"]["entrypoint"], "sh");
    let again = door.post(&format!("/exec/{exec}/start"), Some("{}")).await;
    assert_eq!(again.status, 409);

    let missing = create(&format!(r#"{{"Cmd":["nonexistent"],{both}}}"#)).await;
    let stream = door.upgrade(&format!("/exec/{missing}/start"), Some("{}")).await;
    let (said, _) = demultiplex(&stream.rest().await);
    assert!(said.starts_with("OCI runtime exec failed: exec failed: "), "{said}");
    assert!(said.contains("executable file not found in $PATH") && said.ends_with("\r\n"), "{said}");
    assert_eq!(door.get(&format!("/exec/{missing}/json")).await.json()["ExitCode"], 127);

    let detached = create(r#"{"Cmd":["true"]}"#).await;
    let answer = door.post(&format!("/exec/{detached}/start"), Some(r#"{"Detach":true}"#)).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let none = door.post("/containers/host/exec", Some("{}")).await;
    assert_eq!((none.status, none.message().as_str()), (400, "No exec command specified"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_upgrade_gets_the_stream_as_a_body() {
    let Some(door) = Door::with_image().await else { return };
    door.create("plain", &["echo", "hello"], "").await;
    let attached =
        open(&door.socket, "POST", "/containers/plain/attach?stream=1&stdout=1", false, None).await;
    assert!(attached.head.starts_with("HTTP/1.1 200 OK"), "{}", attached.head);
    door.post("/containers/plain/start", None).await;
    door.wait("plain").await;
    let mut stream = attached.stream;
    let mut bytes = Vec::new();
    // The connection stays open after the body; its last chunk is the end.
    while !bytes.ends_with(b"\r\n0\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    assert!(bytes.windows(6).any(|window| window == b"hello\n"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_said_before_it_left_arrives() {
    let Some(door) = Door::with_image().await else { return };
    // No StdinOnce: the end of the client's bytes is the end of the session, as with dockerd.
    door.run("listens", &["cat"], r#","OpenStdin":true"#).await;
    let mut expected = String::new();
    for round in 0..50 {
        expected.push_str(&format!("line {round}\n"));
        let mut client = door.upgrade("/containers/listens/attach?stream=1&stdin=1&stdout=1", None).await;
        client.stream.write_all(format!("line {round}\n").as_bytes()).await.unwrap();
        client.stream.shutdown().await.unwrap();
        client.rest().await;
    }
    let arrived = async {
        while demultiplex(&door.get("/containers/listens/logs?stdout=1").await.body).0 != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("every line arrives");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_blocks_nobody() {
    let Some(door) = Door::with_image().await else { return };
    const BYTES: usize = 8 << 20;
    let line = "x".repeat(1023);
    let command = format!("yes {line} | head -c {BYTES}");
    door.create("loud", &["sh", "-c", &command], "").await;
    // Two clients that read nothing but the head.
    let attached = door.upgrade("/containers/loud/attach?stream=1&stdout=1", None).await;
    let followed = open(&door.socket, "GET", "/containers/loud/logs?stdout=1&follow=1", false, None).await;
    let started = std::time::Instant::now();
    door.post("/containers/loud/start", None).await;
    let ended = tokio::time::timeout(Duration::from_secs(15), door.wait("loud")).await;
    assert_eq!(ended.expect("the container is not held up"), 0);
    println!("8 MiB past two clients that do not read: {:?}", started.elapsed());
    let logs = door.get("/containers/loud/logs?stdout=1").await;
    assert_eq!(demultiplex(&logs.body).0.len(), BYTES, "the log has everything");
    drop((attached, followed));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_to_the_end() {
    let Some(door) = Door::with_image().await else { return };
    door.run("slow", &["sh", "-c", "echo one; sleep 0.2; echo two"], "").await;
    let logs = door.get("/containers/slow/logs?stdout=1&follow=1").await;
    assert_eq!(demultiplex(&logs.body).0, "one\ntwo\n");
    let last = door.get("/containers/slow/logs?stdout=1&tail=1&timestamps=1").await;
    let (line, _) = demultiplex(&last.body);
    let (time, text) = line.split_once(' ').unwrap();
    assert_eq!((text, time.len()), ("two\n", "2026-01-02T03:04:05.000000006Z".len()));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_input_and_output() {
    let Some(door) = Door::with_image().await else { return };
    door.run("echo", &["sh", "-c", "cat; echo end"], r#","OpenStdin":true,"StdinOnce":true"#).await;
    let mut stream = tokio::net::UnixStream::connect(&door.socket).await.unwrap();
    let head = "GET /containers/echo/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\
                Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    // A masked text frame with the mask 0, and a ping.
    stream.write_all(b"\x81\x83\0\0\0\0hi\n\x89\x81\0\0\0\0?").await.unwrap();
    let frame = async |stream: &mut tokio::net::UnixStream| {
        let (kind, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
        let mut payload = vec![0; length.into()];
        stream.read_exact(&mut payload).await.unwrap();
        (kind, payload)
    };
    let mut seen = vec![frame(&mut stream).await, frame(&mut stream).await];
    seen.sort();
    assert_eq!(seen, [(0x82, b"hi\n".to_vec()), (0x8a, b"?".to_vec())]);
    stream.write_all(b"\x88\x80\0\0\0\0").await.unwrap();
    assert_eq!(door.wait("echo").await, 0, "the end of the client ends the input");
    door.close().await;
}
