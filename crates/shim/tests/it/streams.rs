//! Streams of the shim's own: attach, stdin, terminals, logs, log programs, ports.

use crate::skip_unless_able;
use crate::support::{LIMIT, Shim, any, receive, send};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use tare_api::containerd::task::v2 as task;
use tare_api::tare::shim::v1 as private;
use tare_api::tare::shim::v1::attach_request::Message as Request;
use tare_api::tare::shim::v1::attach_response::Message as Response;
use tare_api::tare::shim::v1::log_config::Driver;
use tare_api::ttrpc::Stream;
use tare_types::logline::parse_json_line;

fn open(id: &str, start: bool) -> private::AttachOpen {
    private::AttachOpen {
        id: id.into(),
        stdin: true,
        stdout: true,
        stderr: true,
        start,
        ..Default::default()
    }
}

/// Reads until the end; output, errors, and the end.
async fn drain(stream: &mut Stream) -> (Vec<u8>, Vec<u8>, private::AttachEnd) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match receive(stream).await {
            Response::Stdout(bytes) => out.extend(bytes),
            Response::Stderr(bytes) => err.extend(bytes),
            Response::End(end) => return (out, err, end),
            Response::Opened(_) => {}
        }
    }
}

async fn end(shim: &Shim, id: &str) {
    shim.kill(id, 9).await.unwrap_or_default();
    shim.wait(id, "").await.unwrap();
    shim.delete(id, "").await.unwrap();
}

#[tokio::test]
async fn attach_starts_feeds_and_reads_a_container() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sh", "-c", "cat; echo oops >&2; exit 4"], |_| {});
    let options = private::CreateOptions { stdin_open: true, stdin_once: true, ..Default::default() };
    shim.create("a", &bundle, &options).await.unwrap();
    let mut stream = shim.attach(open("a", true)).await;
    assert!(matches!(receive(&mut stream).await, Response::Opened(opened) if opened.pid > 0));
    send(&stream, Request::Stdin(vec![b'x'; 200_000])).await;
    send(&stream, Request::CloseStdin(())).await;
    let (out, err, last) = drain(&mut stream).await;
    assert_eq!((out.len(), err.as_slice()), (200_000, &b"oops\n"[..]));
    assert_eq!((last.exited, last.exit_status, last.reason), (true, 4, 0));
    end(&shim, "a").await;
    shim.shutdown().await;
}

#[tokio::test]
async fn stdin_closes_when_the_one_client_is_gone() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sh", "-c", "cat; exit 6"], |_| {});
    let options =
        private::CreateOptions { stdin_open: true, stdin_once: true, start: true, ..Default::default() };
    shim.create("a", &bundle, &options).await.unwrap();
    let mut stream = shim.attach(open("a", false)).await;
    receive(&mut stream).await;
    drop(stream);
    assert_eq!(shim.wait("a", "").await.unwrap(), 6);
    end(&shim, "a").await;
    shim.shutdown().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_that_can_change() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sh", "-c", "stty size; read x; stty size"], |config| {
        config["process"]["terminal"] = true.into();
    });
    let options = private::CreateOptions {
        stdin_open: true,
        terminal_size: Some(private::TerminalSize { width: 100, height: 30 }),
        ..Default::default()
    };
    let request = task::CreateTaskRequest {
        id: "a".into(),
        bundle: bundle.to_string_lossy().into_owned(),
        terminal: true,
        stdin: "tare:".into(),
        stdout: "tare:".into(),
        options: Some(any("tare.shim.v1.CreateOptions", &options)),
        ..Default::default()
    };
    shim.task::<_, task::CreateTaskResponse>("Create", &request).await.unwrap();
    let mut stream = shim.attach(open("a", true)).await;
    receive(&mut stream).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("30 100") {
        if let Response::Stdout(bytes) = receive(&mut stream).await {
            seen.extend(bytes);
        }
    }
    send(&stream, Request::Resize(private::TerminalSize { width: 55, height: 44 })).await;
    send(&stream, Request::Stdin(b"go\n".to_vec())).await;
    let (out, _, last) = drain(&mut stream).await;
    assert!(String::from_utf8_lossy(&out).contains("44 55"), "{}", String::from_utf8_lossy(&out));
    assert!(last.exited);
    end(&shim, "a").await;
    shim.shutdown().await;
}

#[tokio::test]
async fn a_client_that_never_reads_stops_neither_container_nor_log() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let log = shim.dir.path().join("log/a.json");
    let bundle = shim.bundle("a", &["sh", "-c", "seq 300000"], |_| {});
    let json = private::JsonFileLog { path: log.to_string_lossy().into_owned(), ..Default::default() };
    let options = private::CreateOptions {
        log: Some(private::LogConfig { driver: Some(Driver::JsonFile(json)) }),
        ..Default::default()
    };
    shim.create("a", &bundle, &options).await.unwrap();
    // A raw stream that is never read: the socket fills, then the shim's queue for it.
    let _silent = shim.attach(open("a", false)).await;
    let other = task::StateRequest { id: "a".into(), exec_id: String::new() };
    shim.task::<_, task::StateResponse>("State", &other).await.unwrap();
    shim.start_process("a", "").await.unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 0);
    shim.delete("a", "").await.unwrap();
    let text = std::fs::read(&log).unwrap();
    let lines: Vec<_> =
        text.split_inclusive(|byte| *byte == b'\n').map(|line| parse_json_line(line).unwrap()).collect();
    assert_eq!(lines.len(), 300_000);
    assert!(lines.iter().enumerate().all(|(at, line)| *line.text == *(at + 1).to_string().as_bytes()));
    shim.shutdown().await;
}

#[tokio::test]
async fn a_log_program_gets_both_outputs() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let program = shim.dir.path().join("logger");
    let out = shim.dir.path().join("out");
    let script = format!(
        "#!/bin/sh\nexec 5>&-\n{{ echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $1 $2\"; cat <&3; cat <&4; }} >{0}.tmp\nmv {0}.tmp {0}\n",
        out.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = shim.bundle("a", &["sh", "-c", "echo one; echo two >&2"], |_| {});
    let uri = format!("binary://{}?key=value", program.display());
    let request = task::CreateTaskRequest {
        id: "a".into(),
        bundle: bundle.to_string_lossy().into_owned(),
        stdout: uri.clone(),
        stderr: uri,
        ..Default::default()
    };
    shim.task::<_, task::CreateTaskResponse>("Create", &request).await.unwrap();
    shim.start_process("a", "").await.unwrap();
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "").await.unwrap();
    let deadline = std::time::Instant::now() + LIMIT;
    while !out.exists() {
        assert!(std::time::Instant::now() < deadline, "the log program wrote nothing");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_to_string(out).unwrap(), "a test key value\none\ntwo\n");
    shim.shutdown().await;
}

#[tokio::test]
async fn a_container_of_an_overlay_with_many_layers_leaves_no_mount() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let layers = shim.dir.path().join("layers");
    let mut lower = Vec::new();
    for number in 0..200 {
        let layer = layers.join(format!("a-rather-long-name-of-a-layer-directory-{number:040}"));
        std::fs::create_dir_all(layer.join("etc")).unwrap();
        std::fs::write(layer.join(format!("etc/{number}")), "").unwrap();
        lower.push(layer.to_string_lossy().into_owned());
    }
    crate::support::make_rootfs(&layers.join("base"));
    lower.push(layers.join("base").to_string_lossy().into_owned());
    for dir in ["upper", "work"] {
        std::fs::create_dir_all(layers.join(dir)).unwrap();
    }
    let bundle =
        shim.bundle("a", &["sh", "-c", "test -e /etc/0 -a -e /etc/199 && echo new > /etc/new"], |_| {});
    let mount = tare_api::containerd::types::Mount {
        r#type: "overlay".into(),
        source: "overlay".into(),
        options: vec![
            format!("workdir={}", layers.join("work").display()),
            format!("upperdir={}", layers.join("upper").display()),
            format!("lowerdir={}", lower.join(":")),
        ],
        ..Default::default()
    };
    let mut request = task::CreateTaskRequest {
        id: "a".into(),
        bundle: bundle.to_string_lossy().into_owned(),
        rootfs: vec![mount],
        ..Default::default()
    };
    shim.task::<_, task::CreateTaskResponse>("Create", &request).await.unwrap();
    shim.start_process("a", "").await.unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 0);
    shim.delete("a", "").await.unwrap();
    assert!(layers.join("upper/etc/new").exists());
    // A create that fails takes its mounts away again.
    request.rootfs[0].options[2] = format!("lowerdir={}", layers.join("base").display());
    std::fs::write(bundle.join("config.json"), "{").unwrap();
    assert!(shim.task::<_, task::CreateTaskResponse>("Create", &request).await.is_err());
    let mut mounts = String::new();
    std::fs::File::open("/proc/self/mounts").unwrap().read_to_string(&mut mounts).unwrap();
    assert!(!mounts.contains(&*bundle.to_string_lossy()), "a mount is left");
    shim.shutdown().await;
}
