//! Events for a daemon that is away, and the bootstrap of a group.

use crate::skip_unless_able;
use crate::support::{LIMIT, Shim, binary, make_bundle};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tare_api::containerd::events::TaskExit;
use tare_api::containerd::services::events::ttrpc::v1::ForwardRequest;
use tare_api::containerd::types::Envelope;
use tare_api::tare::shim::v1 as private;
use tare_api::ttrpc::{Call, CallOptions, Client, Method, Reply, Service, serve_connection};

/// A daemon that takes events.
#[derive(Default)]
struct Daemon(Mutex<Vec<Envelope>>);

impl Service for Daemon {
    fn method(&self, service: &str, method: &str) -> Option<Method> {
        (service == "containerd.services.events.ttrpc.v1.Events" && method == "Forward")
            .then_some(Method::Unary)
    }

    fn unary(self: Arc<Self>, call: Call) -> Reply<Vec<u8>> {
        Box::pin(async move {
            self.0.lock().unwrap().extend(call.message::<ForwardRequest>()?.envelope);
            Ok(Vec::new())
        })
    }
}

#[tokio::test]
async fn a_daemon_that_was_away_gets_every_event_in_order() {
    skip_unless_able!();
    let shim = Shim::start_with(true).await;
    let started = private::CreateOptions { start: true, ..Default::default() };
    for id in ["a", "b"] {
        let bundle = shim.bundle(id, &["sh", "-c", "exit 3"], |_| {});
        shim.create(id, &bundle, &started).await.unwrap();
        shim.wait(id, "").await.unwrap();
        shim.delete(id, "").await.unwrap();
    }
    // Only now there is a daemon.
    let daemon = Arc::new(Daemon::default());
    let listener = tokio::net::UnixListener::bind(shim.dir.path().join("d.sock.ttrpc")).unwrap();
    let serving = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_connection(stream, Arc::clone(&daemon)));
            }
        }
    });
    let deadline = tokio::time::Instant::now() + LIMIT;
    while daemon.0.lock().unwrap().len() < 8 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", daemon.0.lock().unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let events = daemon.0.lock().unwrap().clone();
    let topics: Vec<_> = events.iter().map(|event| event.topic.as_str()).collect();
    let one = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_eq!(topics, [one, one].concat());
    assert!(events.iter().all(|event| event.namespace == "test"));
    let exit = events[2].event.clone().unwrap();
    assert_eq!(exit.type_url, "containerd.events.TaskExit");
    let exit: TaskExit = prost::Message::decode(&exit.value[..]).unwrap();
    assert_eq!((exit.container_id.as_str(), exit.id.as_str(), exit.exit_status), ("a", "a", 3));
    shim.shutdown().await;
    serving.abort();
}

#[tokio::test]
async fn containers_of_a_sandbox_share_a_shim_and_others_do_not() {
    skip_unless_able!();
    let dir = tempfile::Builder::new().prefix("tare-group-").tempdir().unwrap();
    let start = |id: &str, group: Option<&str>| {
        let bundle = make_bundle(dir.path(), id, &["true"], |config| {
            if let Some(group) = group {
                config["annotations"] = serde_json::json!({ "io.kubernetes.cri.sandbox-id": group });
            }
        });
        let output = Command::new(binary())
            .args(["-namespace", "test", "-id", id, "-publish-binary", "/bin/true", "-address"])
            .arg(dir.path().join("c.sock"))
            .arg("start")
            .current_dir(&bundle)
            .env_remove("TTRPC_ADDRESS")
            .env_remove("MAX_SHIM_VERSION")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let address = String::from_utf8(output.stdout).unwrap();
        assert_eq!(std::fs::read_to_string(bundle.join("address")).unwrap(), address);
        address
    };
    let (sandbox, member, other) =
        (start("pod", Some("pod")), start("app", Some("pod")), start("lone", None));
    assert_eq!(sandbox, member);
    assert_ne!(sandbox, other);
    for address in [sandbox, other] {
        let socket = address.strip_prefix("unix://").unwrap();
        let client = Client::connect(Path::new(socket)).await.unwrap();
        let options = CallOptions::timeout(LIMIT);
        let request = private::ProcessesRequest::default();
        let answer: private::ProcessesResponse =
            client.call("tare.shim.v1.Shim", "Processes", &request, &options).await.unwrap();
        // Started by `start`, it runs from a read-only clone of the binary's mount: nothing can be written through
        // /proc/PID/exe, not even when the process has ended and ETXTBSY no longer protects the file.
        let exe = rustix::fs::statvfs(format!("/proc/{}/exe", answer.shim_pid)).unwrap();
        assert!(exe.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY), "the binary is not sealed");
        let shutdown = tare_api::containerd::task::v2::ShutdownRequest::default();
        client.call::<_, ()>("containerd.task.v2.Task", "Shutdown", &shutdown, &options).await.unwrap();
        drop(client);
        crate::support::until_dead(answer.shim_pid);
        assert!(!Path::new(socket).exists());
    }
}
