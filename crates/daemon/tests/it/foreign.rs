//! Go's shim and runc, driven by tared: an unchanged second runtime.

use crate::{
    containerd::start,
    host::{Host, wait_for},
    network::fetch,
};
use std::{fs, io::Write, path::Path, process::Stdio};
use tare_testkit::{ctr_events::CtrEvents, skip};

/// The shim of the package containerd.
const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";

fn is_here() -> bool {
    let needs = [
        (Path::new(SHIM).is_file(), "containerd-shim-runc-v2"),
        (Path::new("/usr/sbin/runc").is_file(), "runc"),
    ];
    skip::needs(&needs)
}

#[test]
fn gos_shim_runs_containers_and_is_found_again_after_the_daemon_died() {
    if !is_here() {
        return;
    }
    let Some(mut host) = start() else { return };
    let (image, name) = (host.image.clone(), host.name("go"));
    let once = host.name("once");
    let said = host.ctr(&["run", "--rm", "--runtime", SHIM, &image, &once, "sh", "-c", "echo out; exit 3"]);
    assert_eq!((said.code, said.out.as_str()), (3, "out"));

    let plain = || {
        let mut command = std::process::Command::new("ctr");
        command.arg("-a").arg(host.path("state/tared.sock"));
        command
    };
    let events = CtrEvents::start(plain, "default");
    host.ctr(&["run", "-d", "--runtime", SHIM, &image, &name, "sleep", "1000"]).good();
    let exec = |host: &crate::host::Host, id: &str| {
        host.ctr(&["tasks", "exec", "--exec-id", id, &name, "sh", "-c", "echo inside; exit 5"])
    };
    let said = exec(&host, "e1");
    assert_eq!((said.code, said.out.as_str()), (5, "inside"));
    let terminal =
        format!("ctr -a {} tasks exec -t --exec-id e2 {name} tty", host.path("state/tared.sock").display());
    let said = std::process::Command::new("script").args(["-qec", &terminal, "/dev/null"]).output();
    if let Ok(said) = said {
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(text.contains("/dev/pts/"), "{text}");
    }
    host.ctr(&["tasks", "pause", &name]).good();
    assert!(host.ctr(&["tasks", "ls"]).good().out.contains("PAUSED"));
    host.ctr(&["tasks", "resume", &name]).good();
    assert!(host.ctr(&["tasks", "metrics", &name]).good().out.contains("pids.current"));
    assert!(host.ctr(&["tasks", "ps", &name]).good().out.lines().count() >= 2);

    host.kill();
    host.up();
    assert!(host.ctr(&["tasks", "ls"]).good().out.contains("RUNNING"));
    let said = exec(&host, "e3");
    assert_eq!((said.code, said.out.as_str()), (5, "inside"));
    host.ctr(&["tasks", "kill", "-s", "KILL", &name]).good();
    wait_for("the end", || host.ctr(&["tasks", "ls"]).out.contains("STOPPED").then_some(()));
    host.ctr(&["tasks", "rm", &name]);
    host.ctr(&["containers", "rm", &name]).good();
    let seen = events.seen();
    for topic in ["/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/paused", "/tasks/resumed"] {
        assert!(seen.contains(topic), "{topic} in {seen}");
    }
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

/// Starts an exec whose output is attached, or not.
fn begin(host: &Host, container: &str, script: &str, attached: bool) -> String {
    let before = host.field(container, "{{.ExecIDs}}");
    let mut options = vec!["exec"];
    if !attached {
        options.push("-d");
    }
    let command = [&options[..], &[container, "sh", "-c", script]].concat();
    let mut child = host.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waiting = std::thread::spawn(move || child.wait().unwrap());
    if !attached {
        waiting.join().unwrap();
    }
    wait_for("the exec", || {
        let now = host.field(container, "{{.ExecIDs}}");
        let new =
            now.trim_matches(['[', ']']).split(' ').find(|id| !id.is_empty() && !before.contains(id))?;
        let told = host.get(&format!("/exec/{new}/json"));
        (told.contains("\"Running\":true") && !told.contains("\"Pid\":0")).then(|| new.to_owned())
    })
}

#[test]
fn the_death_of_the_daemon_takes_nothing_from_containers_of_gos_shim() {
    if !is_here() {
        return;
    }
    let Some(mut host) = Host::start() else { return };
    let image = host.image.clone();
    let script = "echo served > /data/name; httpd -p 80 -h /data; \
                  i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.02; done";
    let go = |name: &str, options: &[&str], command: &[&str]| {
        let run = ["run", "-d", "--runtime", SHIM, "--name", name];
        host.docker(&[&run[..], options, &[&image], command].concat()).good();
    };
    go("web", &["-p", "127.0.0.1:0:80"], &["sh", "-c", script]);
    go("talks", &["-i", "--network", "none"], &["cat"]);
    go("ends", &["--network", "none"], &["sh", "-c", "sleep 1; echo bye; exit 5"]);
    let ends = host.field("ends", "{{.State.Pid}}");
    let pid = host.field("web", "{{.State.Pid}}");
    let address = host.docker(&["port", "web", "80/tcp"]).good().out;
    assert_eq!(wait_for("the server", || fetch(&address)), "served\n");
    let short = begin(&host, "web", "sleep 1; exit 8", false);
    let until = "while [ ! -e /data/end ]; do echo x; sleep 0.02; done";
    let silent = begin(&host, "web", &format!("{until}; exit 7"), false);
    let heard = begin(&host, "web", &format!("{until}; exit 9"), true);

    host.kill();
    assert_eq!(fetch(&address).as_deref(), Some("served\n"), "while no daemon runs");
    wait_for("the end", || (!fs::exists(format!("/proc/{ends}")).unwrap()).then_some(()));
    for _ in 0..2 {
        host.up();
        assert_eq!(host.field("web", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
        assert_eq!(fetch(&address).as_deref(), Some("served\n"));
        host.kill();
    }
    host.up();
    assert_eq!(host.field("ends", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    assert_eq!(host.docker(&["logs", "ends"]).good().out, "bye");
    let exit_of = |exec: &str, code: u32| {
        let told = host.get(&format!("/exec/{exec}/json"));
        (told.contains("\"Running\":false") && told.contains(&format!("\"ExitCode\":{code}"))).then_some(())
    };
    wait_for("the code of an exec that ended meanwhile", || exit_of(&short, 8));
    for exec in [&silent, &heard] {
        let told = host.get(&format!("/exec/{exec}/json"));
        assert!(told.contains("\"Running\":true"), "it runs on: {told}");
    }
    assert_eq!(host.docker(&["exec", "web", "sh", "-c", "echo here; touch /data/end"]).good().out, "here");
    wait_for("the code of an exec", || exit_of(&silent, 7));
    wait_for("the code of an attached exec", || exit_of(&heard, 9));

    let mut attached = host.command(&["attach", "--sig-proxy=false", "talks"]);
    let mut attached = attached.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // The end of what a client says is the end of its session, as dockerd has it; what it said arrives. The command
    // itself waits for the exit code of the container.
    attached.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    wait_for("the echo", || (host.docker(&["logs", "talks"]).good().out == "hello").then_some(()));

    host.docker(&["stop", "-t", "0", "web", "talks"]).good();
    assert_eq!(attached.wait().unwrap().code(), Some(137), "the code of what was attached");
    let log = host.docker(&["logs", "web"]).good().out;
    let expected: Vec<String> = (0..log.lines().count()).map(|n| format!("tick {n}")).collect();
    assert!(expected.len() > 20);
    assert_eq!(log.lines().collect::<Vec<_>>(), expected, "the log has no gap");
    assert!(fetch(&address).is_none(), "a container that is stopped has no port");
    host.docker(&["rm", "web", "ends", "talks"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

/// The shim of Tare's beside the foreign one of a container.
fn holder_of(id: &str) -> Option<rustix::process::Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_holder = |name: &str| {
        let line = fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
        let arguments: Vec<_> = line.split(|byte| *byte == 0).collect();
        arguments.first().is_some_and(|program| program.ends_with(b"containerd-shim-tare-v2"))
            && arguments.contains(&id.as_bytes())
    };
    let found =
        processes.filter_map(|entry| entry.file_name().into_string().ok()).find(|name| is_holder(name));
    rustix::process::Pid::from_raw(found?.parse().ok()?)
}

fn kill_holder(id: &str) {
    let holder = wait_for("the holder", || holder_of(id));
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).unwrap();
    wait_for("its end", || (holder_of(id) != Some(holder)).then_some(()));
}

#[test]
fn a_shim_that_held_streams_and_ports_for_gos_is_replaced() {
    if !is_here() {
        return;
    }
    let Some(mut host) = Host::start() else { return };
    let image = host.image.clone();
    let script = "echo served > /data/name; httpd -p 80 -h /data; \
                  i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.02; done";
    let run = ["run", "-d", "--runtime", SHIM];
    let web = ["--name", "web", "-p", "127.0.0.1:0:80", &image, "sh", "-c", script];
    let web = host.docker(&[&run[..], &web].concat()).good().out;
    let shell = ["-it", "--name", "shell", "--network", "none", &image, "sh"];
    let shell = host.docker(&[&run[..], &shell].concat()).good().out;
    let address = host.docker(&["port", "web", "80/tcp"]).good().out;
    assert_eq!(wait_for("the server", || fetch(&address)), "served\n");
    let until = "while [ ! -e /data/end ]; do echo x; sleep 0.02; done; exit 9";
    let exec = begin(&host, "web", until, true);
    let ticks = |host: &Host| host.docker(&["logs", "web"]).good().out.lines().count();

    for round in 0..3 {
        let before = ticks(&host);
        if round == 2 {
            // While no daemon runs nobody can take the place; the next one does.
            host.kill();
        }
        kill_holder(&web);
        kill_holder(&shell);
        if round == 2 {
            host.up();
        }
        wait_for("the log to go on", || (ticks(&host) > before + 10).then_some(()));
        wait_for("the port", || (fetch(&address).as_deref() == Some("served\n")).then_some(()));
    }
    assert_eq!(host.field("web", "{{.State.Status}} {{.RestartCount}}"), "running 0");
    assert_eq!(host.field("shell", "{{.State.Status}}"), "running", "its terminal is open");
    assert_eq!(host.docker(&["exec", "web", "sh", "-c", "echo here; touch /data/end"]).good().out, "here");
    wait_for("the code of an exec whose client was cut off", || {
        let told = host.get(&format!("/exec/{exec}/json"));
        told.contains("\"ExitCode\":9").then_some(())
    });
    let terminal = format!("docker -H unix://{} attach shell", host.path("state/docker.sock").display());
    let mut attached = std::process::Command::new("script")
        .args(["-qec", &terminal, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut typed = attached.stdin.take().unwrap();
    typed.write_all(b"echo $((6*7))\n").unwrap();
    wait_for("the answer", || host.docker(&["logs", "shell"]).good().out.contains("42").then_some(()));
    typed.write_all(b"exit 3\n").unwrap();
    wait_for("the exit", || (host.field("shell", "{{.State.ExitCode}}") == "3").then_some(()));
    drop(typed);
    attached.wait().unwrap();
    assert!(host.log().contains("has died; another one reads on"));

    host.docker(&["stop", "-t", "0", "web"]).good();
    let log = host.docker(&["logs", "web"]).good().out;
    let expected: Vec<String> = (0..log.lines().count()).map(|n| format!("tick {n}")).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), expected, "the log has no gap");
    host.docker(&["rm", "web", "shell"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
    wait_for("the end of the holders", || (holder_of(&web).or(holder_of(&shell)).is_none()).then_some(()));
}
