//! A shim started the way tared starts it, and bundles made of busybox.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tare_api::Any;
use tare_api::containerd::task::v2 as task;
use tare_api::status::Status;
use tare_api::tare::shim::v1 as private;
use tare_api::ttrpc::{CallOptions, Client, Stream};

/// The service's name.
pub(crate) const TASK: &str = "containerd.task.v3.Task";
/// The private service's name.
pub(crate) const PRIVATE: &str = "tare.shim.v1.Shim";
/// No answer may take longer in a test.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The binary under test: the one just built, or the one `TARE_SHIM_BINARY` names.
pub(crate) fn binary() -> String {
    let built = env!("CARGO_BIN_EXE_containerd-shim-tare-v2");
    let named = std::env::var("TARE_SHIM_BINARY").ok();
    let path = named.map(|path| std::fs::canonicalize(path).unwrap().to_string_lossy().into_owned());
    path.unwrap_or_else(|| built.to_owned())
}

/// Why tests that run containers cannot run here; the reason is printed and the test counts as skipped.
pub(crate) fn cannot_run() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("no /bin/busybox (package busybox-static)");
    }
    None
}

/// A running shim with a directory of its own; ends with the value.
pub(crate) struct Shim {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) client: Client,
    pub(crate) process: Server,
    pub(crate) socket: PathBuf,
}

impl Shim {
    /// Starts a shim that has no daemon to send events to.
    pub(crate) async fn start() -> Self {
        Self::start_with(false).await
    }

    /// Starts a shim; with `events` it sends them to `<dir>/d.sock.ttrpc`.
    pub(crate) async fn start_with(events: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("tare-shim-").tempdir().unwrap();
        let bundle = dir.path().join("group");
        std::fs::create_dir(&bundle).unwrap();
        let socket = bundle.join("shim.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
        let address = dir.path().join("d.sock");
        let mut command = Command::new(binary());
        if events {
            command.env("TTRPC_ADDRESS", dir.path().join("d.sock.ttrpc"));
        } else {
            command.env_remove("TTRPC_ADDRESS");
        }
        let process = command
            .args(["-namespace", "test", "-id", "group", "-address"])
            .arg(&address)
            .args(["-debug", "serve"])
            .current_dir(&bundle)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = Client::connect(&socket).await.unwrap();
        Self { dir, client, process: Server(process), socket }
    }

    /// Makes a bundle whose first process is `args`; `change` may change the configuration.
    pub(crate) fn bundle(
        &self,
        id: &str,
        args: &[&str],
        change: impl FnOnce(&mut serde_json::Value),
    ) -> PathBuf {
        make_bundle(self.dir.path(), id, args, change)
    }

    /// Calls a method of the Task service.
    pub(crate) async fn task<Q: prost::Message, A: prost::Message + Default>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<A, Status> {
        self.client.call(TASK, method, request, &CallOptions::timeout(LIMIT)).await
    }

    /// Calls a method of the private service.
    pub(crate) async fn private<Q: prost::Message, A: prost::Message + Default>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<A, Status> {
        self.client.call(PRIVATE, method, request, &CallOptions::timeout(LIMIT)).await
    }

    /// Creates a container whose streams are the shim's.
    pub(crate) async fn create(
        &self,
        id: &str,
        bundle: &Path,
        options: &private::CreateOptions,
    ) -> Result<u32, Status> {
        let request = task::CreateTaskRequest {
            id: id.into(),
            bundle: bundle.to_string_lossy().into_owned(),
            stdin: "tare:".into(),
            stdout: "tare:".into(),
            stderr: "tare:".into(),
            options: Some(any("tare.shim.v1.CreateOptions", options)),
            ..Default::default()
        };
        self.task::<_, task::CreateTaskResponse>("Create", &request).await.map(|response| response.pid)
    }

    /// Starts a process.
    pub(crate) async fn start_process(&self, id: &str, exec_id: &str) -> Result<u32, Status> {
        let request = task::StartRequest { id: id.into(), exec_id: exec_id.into() };
        self.task::<_, task::StartResponse>("Start", &request).await.map(|response| response.pid)
    }

    /// Describes an exec.
    pub(crate) async fn exec(&self, id: &str, exec_id: &str, args: &[&str]) -> Result<(), Status> {
        let process = serde_json::json!({ "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0} });
        let options =
            private::ExecOptions { process: process.to_string().into_bytes(), ..Default::default() };
        let request = task::ExecProcessRequest {
            id: id.into(),
            exec_id: exec_id.into(),
            stdout: "tare:".into(),
            stderr: "tare:".into(),
            spec: Some(any("tare.shim.v1.ExecOptions", &options)),
            ..Default::default()
        };
        self.task("Exec", &request).await
    }

    /// Waits for an end.
    pub(crate) async fn wait(&self, id: &str, exec_id: &str) -> Result<u32, Status> {
        let request = task::WaitRequest { id: id.into(), exec_id: exec_id.into() };
        self.task::<_, task::WaitResponse>("Wait", &request).await.map(|response| response.exit_status)
    }

    /// Deletes a process.
    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> Result<u32, Status> {
        let request = task::DeleteRequest { id: id.into(), exec_id: exec_id.into() };
        self.task::<_, task::DeleteResponse>("Delete", &request).await.map(|response| response.exit_status)
    }

    /// Sends a signal to the first process.
    pub(crate) async fn kill(&self, id: &str, signal: u32) -> Result<(), Status> {
        let request = task::KillRequest { id: id.into(), signal, ..Default::default() };
        self.task("Kill", &request).await
    }

    /// Attaches over a connection of its own.
    pub(crate) async fn attach(&self, open: private::AttachOpen) -> Stream {
        let client = Client::connect(&self.socket).await.unwrap();
        let stream = client.open(PRIVATE, "Attach", &CallOptions::default()).await.unwrap();
        send(&stream, private::attach_request::Message::Open(open)).await;
        stream
    }

    /// Asks the shim to end, and waits until it has.
    pub(crate) async fn shutdown(self) {
        let Self { dir, client, mut process, socket } = self;
        let answer: Result<(), Status> = client
            .call(TASK, "Shutdown", &task::ShutdownRequest::default(), &CallOptions::timeout(LIMIT))
            .await;
        answer.unwrap();
        drop(client);
        let status = tokio::task::spawn_blocking(move || process.0.wait());
        let status = tokio::time::timeout(LIMIT, status).await.expect("the shim does not end").unwrap();
        assert!(status.unwrap().success());
        assert!(!socket.exists(), "the socket stays behind");
        drop(dir);
    }
}

/// The shim's process; ends with the value.
pub(crate) struct Server(Child);

impl Server {
    /// Its pid.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, in most tests.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Waits until a process is gone, or a zombie of somebody else.
pub(crate) fn until_dead(pid: u32) {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") || state.contains(") X ") {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "it lives: {state}");
        std::thread::yield_now();
    }
}

/// Sends one message of a client that attached.
pub(crate) async fn send(stream: &Stream, message: private::attach_request::Message) {
    stream.sender.send(&private::AttachRequest { message: Some(message) }).await.unwrap();
}

/// The next message for a client that attached.
pub(crate) async fn receive(stream: &mut Stream) -> private::attach_response::Message {
    let next = tokio::time::timeout(LIMIT, stream.receiver.next::<private::AttachResponse>());
    next.await.expect("nothing comes").unwrap().expect("the stream ended").message.unwrap()
}

/// A message as Any.
pub(crate) fn any(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: name.into(), value: message.encode_to_vec() }
}

/// A root file system of busybox at `path`.
pub(crate) fn make_rootfs(path: &Path) {
    for dir in ["bin", "proc", "dev", "tmp", "sys", "etc"] {
        std::fs::create_dir_all(path.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", path.join("bin/busybox")).unwrap();
    for name in
        ["sh", "true", "cat", "echo", "sleep", "stty", "nc", "yes", "head", "kill", "id", "grep", "seq"]
    {
        // A second bundle may share the rootfs.
        std::os::unix::fs::symlink("busybox", path.join("bin").join(name)).unwrap_or_default();
    }
}

/// A bundle in `dir`.
pub(crate) fn make_bundle(
    dir: &Path,
    id: &str,
    args: &[&str],
    change: impl FnOnce(&mut serde_json::Value),
) -> PathBuf {
    let bundle = dir.join(id);
    make_rootfs(&bundle.join("rootfs"));
    let mut config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": { "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0} },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
        ],
        "linux": {
            "cgroupsPath": format!("/tare-shim-test-{}-{id}", std::process::id()),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    });
    change(&mut config);
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    bundle
}
