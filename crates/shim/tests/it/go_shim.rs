//! The client codec against Go's: Debian's containerd-shim-runc-v2 with runc, driven by our own ttrpc client.

use crate::skip_unless_able;
use crate::support::{LIMIT, make_bundle};
use std::path::Path;
use std::process::{Command, Stdio};
use tare_api::containerd::task::v2 as task;
use tare_api::ttrpc::{CallOptions, Client};
use tare_types::ErrorKind;

const GO_SHIM: &str = "/usr/bin/containerd-shim-runc-v2";
const TASK: &str = "containerd.task.v2.Task";

#[tokio::test]
async fn gos_shim_understands_our_client() {
    skip_unless_able!();
    if !Path::new(GO_SHIM).exists() || !Path::new("/usr/bin/runc").exists() {
        tare_testkit::skip::skipped("needs containerd-shim-runc-v2 and runc (packages containerd, runc)");
        return;
    }
    let dir = tempfile::Builder::new().prefix("tare-go-").tempdir().unwrap();
    let bundle = make_bundle(dir.path(), "g", &["sh", "-c", "exit 9"], |_| {});
    let start = |action: &str| {
        let mut command = Command::new(GO_SHIM);
        command.args(["-namespace", "tare-test", "-id", "g", "-address"]).arg(dir.path().join("d.sock"));
        command.args(["-publish-binary", "/bin/true"]).arg("-bundle").arg(&bundle).arg(action);
        command
            .current_dir(&bundle)
            .env("TTRPC_ADDRESS", dir.path().join("d.sock.ttrpc"))
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    // The shim opens this fifo for its log; without it, it writes nothing.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bundle.join("log"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let _log = std::fs::File::from(
        rustix::fs::open(
            bundle.join("log"),
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap(),
    );
    let output = start("start");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let address = String::from_utf8(output.stdout).unwrap();
    let socket = address.trim().strip_prefix("unix://").expect("an address");
    let client = Client::connect(Path::new(socket)).await.unwrap();
    let options = CallOptions::timeout(LIMIT);
    let runc = tare_api::containerd::runc::v1::Options {
        root: dir.path().join("runc").to_string_lossy().into_owned(),
        ..Default::default()
    };
    let create = task::CreateTaskRequest {
        id: "g".into(),
        bundle: bundle.to_string_lossy().into_owned(),
        options: Some(crate::support::any("containerd.runc.v1.Options", &runc)),
        ..Default::default()
    };
    let created: task::CreateTaskResponse = client.call(TASK, "Create", &create, &options).await.unwrap();
    assert!(created.pid > 0);
    let wait = task::WaitRequest { id: "g".into(), exec_id: String::new() };
    // Many calls at once over one connection, one of which waits.
    let waiting = tokio::spawn({
        let (client, options) = (client.clone(), options.clone());
        async move { client.call::<_, task::WaitResponse>(TASK, "Wait", &wait, &options).await }
    });
    for _ in 0..50 {
        let state = task::StateRequest { id: "g".into(), exec_id: String::new() };
        let state: task::StateResponse = client.call(TASK, "State", &state, &options).await.unwrap();
        assert_eq!(state.pid, created.pid);
    }
    let start_request = task::StartRequest { id: "g".into(), exec_id: String::new() };
    client.call::<_, task::StartResponse>(TASK, "Start", &start_request, &options).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().exit_status, 9);
    let missing = task::StateRequest { id: "nobody".into(), exec_id: String::new() };
    let status = client.call::<_, task::StateResponse>(TASK, "State", &missing, &options).await.unwrap_err();
    assert_eq!(status.kind, ErrorKind::NotFound, "{status}");
    let status = client.call::<_, ()>(TASK, "Nothing", &(), &options).await.unwrap_err();
    assert_eq!(status.kind, ErrorKind::Unimplemented, "{status}");
    let delete = task::DeleteRequest { id: "g".into(), exec_id: String::new() };
    let deleted: task::DeleteResponse = client.call(TASK, "Delete", &delete, &options).await.unwrap();
    assert_eq!(deleted.exit_status, 9);
    // It ends on this call: the answer may be lost.
    client
        .call::<_, ()>(TASK, "Shutdown", &task::ShutdownRequest::default(), &options)
        .await
        .unwrap_or_default();
    tokio::time::timeout(LIMIT, client.closed()).await.expect("Go's shim does not end");
}
