//! Life of containers and execs: codes, signals, storms, memory, undo, crashes.

use crate::skip_unless_able;
use crate::support::{LIMIT, Shim, TASK, any, binary};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tare_api::containerd::task::v2 as task;
use tare_api::tare::shim::v1 as private;
use tare_api::ttrpc::{CallOptions, Client};
use tare_testkit::soak;
use tare_types::ErrorKind;

fn plain() -> private::CreateOptions {
    private::CreateOptions::default()
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_until_delete() {
    skip_unless_able!();
    let shim = Shim::start().await;
    for (id, script, code) in [("a", "exit 7", 7), ("b", "kill -9 $$; sleep 100", 0), ("c", "exit 0", 0)] {
        let bundle = shim.bundle(id, &["sh", "-c", script], |_| {});
        shim.create(id, &bundle, &plain()).await.unwrap();
        shim.start_process(id, "").await.unwrap();
        if id == "b" {
            // The first process of a pid namespace cannot kill itself: the host does it.
            shim.kill(id, 9).await.unwrap();
            assert_eq!(shim.wait(id, "").await.unwrap(), 137);
        } else {
            assert_eq!(shim.wait(id, "").await.unwrap(), code);
        }
    }
    // Answers stay until Delete, for those who come late.
    let all: private::ProcessesResponse =
        shim.private("Processes", &private::ProcessesRequest::default()).await.unwrap();
    let codes: Vec<_> = all.processes.iter().map(|process| process.exit_status).collect();
    assert_eq!(codes, [7, 137, 0]);
    assert_eq!(shim.kill("a", 15).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(shim.delete("a", "").await.unwrap(), 7);
    assert_eq!(shim.wait("a", "").await.unwrap_err().kind, ErrorKind::NotFound);
    shim.delete("b", "").await.unwrap();
    shim.delete("c", "").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn create_may_start_and_undoes_everything_when_it_cannot() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let options = private::CreateOptions { start: true, ..plain() };
    let bundle = shim.bundle("a", &["sh", "-c", "exit 3"], |_| {});
    assert!(shim.create("a", &bundle, &options).await.unwrap() > 0);
    assert_eq!(shim.create("a", &bundle, &options).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(shim.wait("a", "").await.unwrap(), 3);
    let missing = shim.bundle("b", &["/bin/nothing"], |_| {});
    let status = shim.create("b", &missing, &options).await.unwrap_err();
    assert!(status.message.contains("no such file or directory"), "{status}");
    // Found when it is created, and refused by execve when it is started.
    let odd = shim.bundle("o", &["/bin/odd"], |_| {});
    std::fs::write(odd.join("rootfs/bin/odd"), "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(odd.join("rootfs/bin/odd"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(shim.create("o", &odd, &options).await.is_err());
    shim.create("o", &odd, &plain()).await.unwrap();
    assert!(shim.start_process("o", "").await.is_err());
    let ended = std::time::Instant::now();
    shim.delete("o", "").await.unwrap();
    assert!(ended.elapsed() < std::time::Duration::from_secs(1), "nobody told that it has ended");
    let broken = shim.bundle("c", &["true"], |_| {});
    std::fs::write(broken.join("config.json"), "{").unwrap();
    assert_eq!(shim.create("c", &broken, &plain()).await.unwrap_err().kind, ErrorKind::InvalidArgument);
    assert_eq!(shim.create("../d", &broken, &plain()).await.unwrap_err().kind, ErrorKind::InvalidArgument);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = private::PortBinding {
        protocol: "tcp".into(),
        host_ip: "127.0.0.1".into(),
        host_port: taken.local_addr().unwrap().port().into(),
        ..Default::default()
    };
    let bundle = shim.bundle("e", &["true"], |_| {});
    let status = shim
        .create("e", &bundle, &private::CreateOptions { ports: vec![port], ..plain() })
        .await
        .unwrap_err();
    assert!(status.message.contains("address already in use"), "{status}");
    let all: private::ProcessesResponse =
        shim.private("Processes", &private::ProcessesRequest::default()).await.unwrap();
    assert_eq!(all.processes.len(), 1, "only the one that was made");
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn a_container_is_made_although_its_caller_is_gone() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sh", "-c", "sleep 1000"], |_| {});
    // A log program that takes its time: Create waits for it and cannot be done when its caller goes.
    let program = shim.dir.path().join("logger");
    std::fs::write(&program, "#!/bin/sh\nsleep 0.5\nexec 5>&-\ncat > /dev/null\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let request = task::CreateTaskRequest {
        id: "a".into(),
        bundle: bundle.to_string_lossy().into_owned(),
        stdout: format!("binary://{}", program.display()),
        options: Some(any("tare.shim.v1.CreateOptions", &private::CreateOptions { start: true, ..plain() })),
        ..Default::default()
    };
    let caller = Client::connect(&shim.socket).await.unwrap();
    let call = tokio::spawn(async move {
        let limit = CallOptions::timeout(LIMIT);
        caller.call::<_, task::CreateTaskResponse>(TASK, "Create", &request, &limit).await
    });
    // The id is taken as soon as the shim has begun.
    let absent = shim.dir.path().join("absent");
    while shim.create("a", &absent, &plain()).await.unwrap_err().kind != ErrorKind::AlreadyExists {}
    call.abort();
    assert!(call.await.is_err(), "the caller is gone");
    // Who asks next waits for what becomes of it.
    let request = private::ProcessesRequest { id: "a".into() };
    let found: private::ProcessesResponse = shim.private("Processes", &request).await.unwrap();
    assert_eq!(found.processes.len(), 1);
    assert_eq!(found.processes[0].status, 2, "it runs");
    shim.kill("a", 9).await.unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 137);
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn a_container_that_is_made_too_late_is_taken_back() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sleep", "1000"], |config| {
        config["hooks"] =
            serde_json::json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.5"]}]});
    });
    let request = task::CreateTaskRequest {
        id: "a".into(),
        bundle: bundle.to_string_lossy().into_owned(),
        options: Some(any("tare.shim.v1.CreateOptions", &private::CreateOptions { start: true, ..plain() })),
        ..Default::default()
    };
    let limit = CallOptions::timeout(std::time::Duration::from_millis(200));
    let answer: Result<task::CreateTaskResponse, _> =
        shim.client.call(TASK, "Create", &request, &limit).await;
    assert_eq!(answer.unwrap_err().kind, ErrorKind::DeadlineExceeded);
    // Ends the shim only if there is no container.
    shim.shutdown().await;
}

#[tokio::test]
async fn hooks_hold_up_nobody_else() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let gate = shim.dir.path().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done; exit 0", gate.display());
    let hook = serde_json::json!([{"path": "/bin/busybox", "args": ["sh", "-c", wait]}]);
    let other = shim.bundle("other", &["sh", "-c", "sleep 0.2; exit 4"], |_| {});
    for point in ["createRuntime", "poststart", "poststop"] {
        std::fs::remove_file(&gate).unwrap_or_default();
        let hooked = shim.bundle(point, &["sleep", "1000"], |config| {
            config["hooks"] = serde_json::json!({point: hook});
        });
        let life = async {
            shim.create(point, &hooked, &plain()).await.unwrap();
            shim.start_process(point, "").await.unwrap();
            shim.kill(point, 9).await.unwrap();
            assert_eq!(shim.wait(point, "").await.unwrap(), 137);
            shim.delete(point, "").await.unwrap();
        };
        // The hook ends only after the other container's whole life, its exit included.
        let others = async {
            let options = private::CreateOptions { start: true, ..plain() };
            shim.create("other", &other, &options).await.unwrap();
            shim.exec("other", "x", &["sh", "-c", "exit 6"]).await.unwrap();
            shim.start_process("other", "x").await.unwrap();
            assert_eq!(shim.wait("other", "x").await.unwrap(), 6);
            assert_eq!(shim.wait("other", "").await.unwrap(), 4);
            shim.delete("other", "").await.unwrap();
            std::fs::write(&gate, "").unwrap();
        };
        tokio::join!(life, others);
    }
    shim.shutdown().await;
}

#[tokio::test]
async fn a_created_container_can_be_deleted_and_a_running_one_not() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sleep", "1000"], |_| {});
    shim.create("a", &bundle, &plain()).await.unwrap();
    shim.delete("a", "").await.unwrap();
    shim.create("a", &bundle, &plain()).await.unwrap();
    shim.start_process("a", "").await.unwrap();
    assert_eq!(shim.start_process("a", "").await.unwrap_err().kind, ErrorKind::FailedPrecondition);
    assert_eq!(shim.delete("a", "").await.unwrap_err().kind, ErrorKind::FailedPrecondition);
    shim.kill("a", 9).await.unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 137);
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn no_exit_of_a_storm_is_lost_and_no_zombie_stays() {
    skip_unless_able!();
    let shim = Arc::new(Shim::start().await);
    let bundle = shim.bundle("a", &["sleep", "1000"], |_| {});
    shim.create("a", &bundle, &plain()).await.unwrap();
    shim.start_process("a", "").await.unwrap();
    let execs: Vec<_> = (0..u32::try_from(soak::size("TARE_SOAK_EXECS", 100)).unwrap())
        .map(|number| {
            let shim = Arc::clone(&shim);
            tokio::spawn(async move {
                let (id, code) = (format!("x{number}"), format!("exit {}", number % 50));
                shim.exec("a", &id, &["sh", "-c", &code]).await.unwrap();
                shim.start_process("a", &id).await.unwrap();
                assert_eq!(shim.wait("a", &id).await.unwrap(), number % 50);
                assert_eq!(shim.delete("a", &id).await.unwrap(), number % 50);
            })
        })
        .collect();
    for exec in execs {
        tokio::time::timeout(LIMIT, exec).await.expect("an exit was lost").unwrap();
    }
    // Orphans of execs become the shim's children and must be reaped too.
    shim.exec("a", "orphan", &["sh", "-c", "(sleep 0.1 &) ; exit 0"]).await.unwrap();
    shim.start_process("a", "orphan").await.unwrap();
    shim.wait("a", "orphan").await.unwrap();
    let children = format!("/proc/{0}/task/{0}/children", shim.process.id());
    let deadline = std::time::Instant::now() + LIMIT;
    while std::fs::read_to_string(&children).unwrap().split_whitespace().count() != 1 {
        assert!(
            std::time::Instant::now() < deadline,
            "zombies: {}",
            std::fs::read_to_string(&children).unwrap()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    shim.kill("a", 9).await.unwrap();
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "").await.unwrap();
    Arc::into_inner(shim).unwrap().shutdown().await;
}

#[tokio::test]
async fn a_failed_exec_has_the_codes_of_a_shell() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sleep", "1000"], |_| {});
    shim.create("a", &bundle, &private::CreateOptions { start: true, ..plain() }).await.unwrap();
    std::fs::write(bundle.join("rootfs/bin/plain"), "text").unwrap();
    for (exec, program, code) in [("m", "nothing-here", 127), ("p", "/bin/plain", 126)] {
        shim.exec("a", exec, &[program]).await.unwrap();
        assert!(shim.start_process("a", exec).await.is_err());
        assert_eq!(shim.wait("a", exec).await.unwrap(), code);
        assert_eq!(shim.delete("a", exec).await.unwrap(), code);
    }
    shim.kill("a", 9).await.unwrap();
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn killing_the_shim_is_cleaned_up_by_delete() {
    skip_unless_able!();
    let mut shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sleep", "1000"], |_| {});
    let pid = shim.create("a", &bundle, &private::CreateOptions { start: true, ..plain() }).await.unwrap();
    shim.process.kill();
    let address = shim.dir.path().join("d.sock");
    let delete = || {
        Command::new(binary())
            .args(["-namespace", "test", "-id", "a", "-address"])
            .arg(&address)
            .arg("-bundle")
            .arg(&bundle)
            .arg("delete")
            .output()
            .unwrap()
    };
    for _ in 0..2 {
        let output = delete();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let response = <task::DeleteResponse as prost::Message>::decode(&output.stdout[..]).unwrap();
        assert_eq!(response.exit_status, 137);
    }
    crate::support::until_dead(pid);
    assert!(!Path::new(&format!("{}/runtime/test/a", shim.dir.path().display())).exists());
}

#[tokio::test]
async fn pause_pids_update_and_stats() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let bundle = shim.bundle("a", &["sleep", "1000"], |_| {});
    let pid = shim.create("a", &bundle, &private::CreateOptions { start: true, ..plain() }).await.unwrap();
    shim.exec("a", "x", &["sleep", "1000"]).await.unwrap();
    let exec = shim.start_process("a", "x").await.unwrap();
    let pids: task::PidsResponse = shim.task("Pids", &task::PidsRequest { id: "a".into() }).await.unwrap();
    let mut found: Vec<_> = pids.processes.iter().map(|process| process.pid).collect();
    found.sort_unstable();
    assert_eq!(found, [pid.min(exec), pid.max(exec)]);
    assert!(pids.processes.iter().any(|process| process.pid == exec && process.info.is_some()));
    let state = || async {
        let request = task::StateRequest { id: "a".into(), exec_id: String::new() };
        shim.task::<_, task::StateResponse>("State", &request).await.unwrap().status
    };
    shim.task::<_, ()>("Pause", &task::PauseRequest { id: "a".into() }).await.unwrap();
    assert_eq!(state().await, 4);
    shim.task::<_, ()>("Resume", &task::ResumeRequest { id: "a".into() }).await.unwrap();
    assert_eq!(state().await, 2);
    let resources = tare_api::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
        value: br#"{"pids":{"limit":77}}"#.to_vec(),
    };
    let update = task::UpdateTaskRequest { id: "a".into(), resources: Some(resources), ..Default::default() };
    shim.task::<_, ()>("Update", &update).await.unwrap();
    let stats: task::StatsResponse =
        shim.task("Stats", &task::StatsRequest { id: "a".into() }).await.unwrap();
    let stats = stats.stats.unwrap();
    let limit = match stats.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => {
            let metrics: tare_api::io::containerd::cgroups::v1::Metrics =
                prost::Message::decode(&stats.value[..]).unwrap();
            metrics.pids.unwrap().limit
        }
        "io.containerd.cgroups.v2.Metrics" => {
            let metrics: tare_api::io::containerd::cgroups::v2::Metrics =
                prost::Message::decode(&stats.value[..]).unwrap();
            metrics.pids.unwrap().limit
        }
        other => panic!("{other}"),
    };
    assert_eq!(limit, 77);
    shim.kill("a", 9).await.unwrap();
    assert_eq!(shim.wait("a", "x").await.unwrap(), 137, "execs end with the container");
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "x").await.unwrap();
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
}

#[tokio::test]
async fn the_server_is_alone_sealed_off_and_slim() {
    skip_unless_able!();
    let shim = Shim::start().await;
    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", shim.process.id())).unwrap();
    shim.private::<_, private::ProcessesResponse>("Processes", &private::ProcessesRequest::default())
        .await
        .unwrap();
    assert_eq!(proc("comm").trim(), "containerd-shim");
    let stat = proc("stat");
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let pid = shim.process.id().to_string();
    assert_eq!((fields[2], fields[3]), (pid.as_str(), pid.as_str()), "group and session of its own");
    assert!(proc("status").contains("Threads:\t1\n"));
    assert_eq!(std::fs::metadata(&shim.socket).unwrap().permissions().mode() & 0o777, 0o600);
    // SIGTERM is for daemons: containers outlive them.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    shim.private::<_, private::ProcessesResponse>("Processes", &private::ProcessesRequest::default())
        .await
        .unwrap();
    shim.shutdown().await;
}
