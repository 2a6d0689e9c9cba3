//! Creating, starting, joining, killing, deleting.

use crate::bundle::{Bundle, able};
use std::{
    fs,
    io::{Read, Write},
    os::fd::AsFd,
};
use tare_runtime::{ExecOptions, Exit, Gate, Io};
use tare_types::{
    ErrorKind,
    spec::{ContainerStatus, Hook, Hooks, Process},
};

/// A container whose program sleeps, created and started.
pub(crate) fn sleeping(bundle: &Bundle, gate: Gate) -> (tare_runtime::Container, tare_runtime::Process) {
    let spec = bundle.spec("exec sleep 1000", |_| {});
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let null = null.as_fd();
    let io = Io::Streams { stdin: null, stdout: null, stderr: null };
    let (mut container, process) = bundle.create(&spec, io, gate).unwrap();
    container.start().unwrap();
    (container, process)
}

pub(crate) fn exec(
    container: &tare_runtime::Container,
    process: &Process,
) -> tare_runtime::Result<(Exit, String)> {
    let (mut read, write) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let io = Io::Streams { stdin: null.as_fd(), stdout: write.as_fd(), stderr: write.as_fd() };
    let options = ExecOptions { process, io, keep_fds: 0, cgroup: Vec::new(), ignore_paused: false };
    let started = container.exec(&options)?;
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    Ok((started.wait().unwrap(), text))
}

pub(crate) fn shell(bundle: &Bundle, script: &str) -> Process {
    *bundle.spec(script, |_| {}).process.unwrap()
}

#[test]
fn a_container_runs_and_leaves_nothing() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("run");
    let text = bundle.output("echo hello; hostname; id -u; pwd; echo $HOME; ls /proc | head -1");
    assert_eq!(text.lines().collect::<Vec<_>>()[..5], ["hello", "runc", "0", "/", "/root"], "{text}");
    let (exit, _) = bundle.run(&bundle.spec("exit 42", |_| {})).unwrap();
    assert_eq!(exit, Exit::Code(42));
    let (exit, _) = bundle.run(&bundle.spec("kill -9 $$", |_| {})).unwrap();
    // The first process of a pid namespace cannot kill itself; the shell goes on and ends.
    assert!(matches!(exit, Exit::Code(_)), "{exit:?}");
}

#[test]
fn states_follow_the_life() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("states");
    let spec = bundle.spec("exec sleep 1000", |_| {});
    let (mut container, process) = bundle.create(&spec, Io::Inherit, Gate::Fifo).unwrap();
    assert_eq!(container.status().unwrap(), ContainerStatus::Created);
    assert_eq!(bundle.runtime.list().unwrap(), [bundle.id.as_str()]);
    let again = bundle.create(&spec, Io::Inherit, Gate::Fifo).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    // Another object, as another process would have it.
    bundle.runtime.load(&bundle.id).unwrap().start().unwrap();
    assert_eq!(container.status().unwrap(), ContainerStatus::Running);
    assert_eq!(container.start().unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(container.delete(false).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    container.pause().unwrap();
    assert_eq!(container.status().unwrap(), ContainerStatus::Paused);
    assert_eq!(exec(&container, &shell(&bundle, "true")).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    container.resume().unwrap();
    assert_eq!(container.status().unwrap(), ContainerStatus::Running);
    assert_eq!(container.processes().unwrap(), [process.pid]);
    container.kill(9).unwrap();
    assert_eq!(process.wait().unwrap(), Exit::Signal(9));
    assert_eq!(container.status().unwrap(), ContainerStatus::Stopped);
    assert!(container.kill(15).unwrap_err().to_string().contains("not running"));
    container.delete(false).unwrap();
    assert_eq!(bundle.runtime.load(&bundle.id).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(bundle.runtime.list().unwrap().is_empty());
}

#[test]
fn a_created_container_is_deleted_without_force() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("created");
    for gate in [Gate::Fifo, Gate::Pipe] {
        let (mut container, process) =
            bundle.create(&bundle.spec("true", |_| {}), Io::Inherit, gate).unwrap();
        container.delete(false).unwrap();
        assert_eq!(process.wait().unwrap(), Exit::Signal(9));
    }
    // Dropping the pipe instead ends the process too.
    let (container, process) = bundle.create(&bundle.spec("true", |_| {}), Io::Inherit, Gate::Pipe).unwrap();
    drop(container);
    assert_eq!(process.wait().unwrap(), Exit::Code(1));
}

#[test]
fn processes_join() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("exec");
    let (mut container, first) = sleeping(&bundle, Gate::Pipe);
    let (exit, text) =
        exec(&container, &shell(&bundle, "echo in $(hostname); ls /proc/1/exe -l; exit 7")).unwrap();
    assert_eq!(exit, Exit::Code(7));
    assert!(text.starts_with("in runc\n") && text.contains("busybox"), "{text}");
    let mut user = shell(&bundle, "id -u; id -g; echo $HOME; cat /proc/self/cgroup");
    user.user.uid = 1000;
    user.user.gid = 1000;
    let (_, text) = exec(&container, &user).unwrap();
    assert!(text.starts_with("1000\n1000\n/home/user\n"), "{text}");
    // Its cgroup is the container's, whose namespace the first process has not left.
    assert!(text.lines().any(|line| line.ends_with(&bundle.id)), "{text}");
    // Nothing of the caller is open.
    let (_, text) = exec(&container, &shell(&bundle, "ls /proc/self/fd")).unwrap();
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "3 is the directory listed"
    );
    let mut missing = shell(&bundle, "");
    missing.args = vec!["nope".into()];
    let error = exec(&container, &missing).unwrap_err();
    assert!(error.to_string().ends_with("exec: \"nope\": executable file not found in $PATH"), "{error}");
    missing.args = vec!["/etc/passwd".into()];
    let error = exec(&container, &missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    container.kill(9).unwrap();
    first.wait().unwrap();
    assert_eq!(exec(&container, &shell(&bundle, "true")).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    container.delete(false).unwrap();
}

#[test]
fn terminals_are_handed_back() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("tty");
    let spec = bundle.spec("tty; stty size 2>/dev/null; read line; echo got $line", |spec| {
        spec.process.as_mut().unwrap().terminal = true;
    });
    let (mut container, mut process) = bundle.create(&spec, Io::Console, Gate::Pipe).unwrap();
    let mut master = fs::File::from(process.console.take().unwrap());
    container.start().unwrap();
    master.write_all(b"words\n").unwrap();
    let mut text = Vec::new();
    let mut bytes = [0; 512];
    // A master whose last slave is gone answers EIO.
    while let Ok(length @ 1..) = master.read(&mut bytes) {
        text.extend_from_slice(&bytes[..length]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("/dev/") && text.contains("got words"), "{text}");
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
    container.delete(false).unwrap();
    // Streams and terminal must fit.
    assert_eq!(bundle.create(&spec, Io::Inherit, Gate::Pipe).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_program_that_is_missing_leaves_nothing() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("missing");
    for (program, text) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": permission denied"),
    ] {
        let spec = bundle.spec("", |spec| spec.process.as_mut().unwrap().args = vec![program.into()]);
        let error = bundle.create(&spec, Io::Inherit, Gate::Pipe).unwrap_err();
        assert!(error.to_string().ends_with(text), "{error}");
        assert!(bundle.runtime.list().unwrap().is_empty());
    }
    // Found, but not a program: execve's own answer, at start.
    fs::write(bundle.path.join("rootfs/bin/text"), "no program\n").unwrap();
    let mut mode = fs::metadata(bundle.path.join("rootfs/bin/text")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs::set_permissions(bundle.path.join("rootfs/bin/text"), mode).unwrap();
    let spec = bundle.spec("", |spec| spec.process.as_mut().unwrap().args = vec!["text".into()]);
    let (mut container, process) = bundle.create(&spec, Io::Inherit, Gate::Fifo).unwrap();
    let error = container.start().unwrap_err();
    assert!(error.to_string().contains("exec format error"), "{error}");
    process.wait().unwrap();
    container.delete(false).unwrap();
}

#[test]
fn hooks_run_at_their_points() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("hooks");
    let log = bundle.path.join("rootfs/log");
    let path = log.to_str().unwrap();
    let hook = |name: &str, file: &str| Hook {
        path: "/bin/busybox".into(),
        args: ["sh", "-c", &format!("echo {name} >> {file}; /bin/busybox cat >> {file}; echo >> {file}")]
            .map(String::from)
            .to_vec(),
        ..Hook::default()
    };
    let inside = |name: &str| Hook { path: "/bin/busybox".into(), ..hook(name, "/log") };
    let spec = bundle.spec("echo program >> /log", |spec| {
        spec.root.as_mut().unwrap().readonly = false;
        spec.hooks = Some(Box::new(Hooks {
            prestart: vec![hook("prestart", path)],
            create_runtime: vec![hook("createRuntime", path)],
            create_container: vec![hook("createContainer", path)],
            start_container: vec![inside("startContainer")],
            poststart: vec![hook("poststart", path)],
            poststop: vec![hook("poststop", path)],
        }));
    });
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    let log = fs::read_to_string(&log).unwrap();
    let mut names: Vec<_> = log.lines().filter(|line| !line.starts_with('{') && !line.is_empty()).collect();
    // The program and the hook after its start are not ordered.
    names.retain(|name| *name != "program");
    let order = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_eq!(names, order);
    assert!(log.contains("program"));
    assert!(log.contains("\"status\":\"creating\"") && log.contains("\"status\":\"stopped\""), "{log}");
    let failing = Hook { path: "/bin/busybox".into(), args: vec!["false".into()], ..Hook::default() };
    let spec = bundle.spec("true", |spec| {
        spec.hooks = Some(Box::new(Hooks { create_runtime: vec![failing], ..Hooks::default() }));
    });
    let error = bundle.create(&spec, Io::Inherit, Gate::Pipe).unwrap_err();
    assert!(error.to_string().contains("createRuntime hook #0"), "{error}");
    assert!(bundle.runtime.list().unwrap().is_empty());
}
