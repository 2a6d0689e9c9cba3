//! The real docker command in front of the door.

use crate::fixture::Door;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// Runs docker to its end, within 30 seconds; `None`, and a line that says why, where it is not installed.
async fn docker(door: &Door, arguments: &[&str]) -> Option<(i32, String, String)> {
    let command = Command::new("timeout")
        .args(["-k", "1", "30", "docker", "-H", &format!("unix://{}", door.socket.display())])
        .args(arguments)
        .env("DOCKER_CONFIG", door.socket.with_file_name("docker-config"))
        .stdin(Stdio::null())
        .output();
    let Output { status, stdout, stderr } = command.await.ok()?;
    if status.code() == Some(127) && String::from_utf8_lossy(&stderr).contains("failed to run command") {
        tare_testkit::skip::skipped("needs the docker command");
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Some((status.code().unwrap_or(-1), text(&stdout), text(&stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_words_are_those_of_docker() {
    let Some(door) = Door::with_image().await else { return };
    let image = door.image.clone();
    let run = |words: &'static [&'static str]| {
        let mut arguments = vec!["run", "--rm", "--network", "none"];
        arguments.extend(words.iter().map(|word| if *word == "IMAGE" { image.as_str() } else { word }));
        arguments.into_iter().map(ToOwned::to_owned).collect::<Vec<String>>()
    };
    let table: &[(&[&str], i32, &str, &str)] = &[
        (&["IMAGE", "echo", "hello"], 0, "hello", ""),
        (&["IMAGE", "sh", "-c", "exit 42"], 42, "", ""),
        (&["IMAGE", "nonexistent"], 127, "", "executable file not found in $PATH"),
        (&["IMAGE", "/etc/passwd"], 126, "", "permission denied"),
        (&["--pull", "never", "nothing"], 125, "", "No such image: nothing:latest"),
        (&["--memory", "1m", "IMAGE"], 125, "", "Minimum memory limit allowed is 6MB"),
        (&["--cap-add", "FOO", "IMAGE"], 125, "", "invalid CapAdd: unknown capability: \"CAP_FOO\""),
        (
            &["-w", "x", "IMAGE"],
            125,
            "",
            "the working directory 'x' is invalid, it needs to be an absolute path",
        ),
        (&["-v", "/a:/b:xx", "IMAGE"], 125, "", "invalid mode: xx"),
        (
            &["--mount", "type=bind,src=/nothing,dst=/d", "IMAGE"],
            125,
            "",
            "invalid mount config for type \"bind\": bind source path does not exist: /nothing",
        ),
        (&["-e", "A=1", "--entrypoint", "sh", "IMAGE", "-c", "echo $A"], 0, "1", ""),
        (&["-u", "1:2", "IMAGE", "id"], 0, "uid=1 gid=2 groups=2", ""),
    ];
    for (words, code, out, err) in table {
        let arguments = run(words);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let Some(said) = docker(&door, &arguments).await else { return door.close().await };
        assert_eq!((said.0, said.1.as_str()), (*code, *out), "{words:?}: {}", said.2);
        assert!(said.2.contains(err), "{words:?}: {}", said.2);
    }
    assert_eq!(door.get("/containers/json?all=1").await.json().as_array().unwrap().len(), 0, "--rm removes");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_print_what_docker_prints() {
    let Some(door) = Door::with_image().await else { return };
    let image = door.image.clone();
    let table: &[(&[&str], i32, &str)] = &[
        (&["run", "-d", "--network", "none", "--name", "one", &image, "sleep", "1000"], 0, ""),
        (&["ps", "--format", "{{.Names}} {{.Command}} {{.State}}"], 0, "one \"sleep 1000\" running"),
        (&["exec", "one", "echo", "in"], 0, "in"),
        (&["exec", "one", "sh", "-c", "exit 7"], 7, ""),
        (&["exec", "one", "nonexistent"], 127, ""),
        (&["rename", "one", "two"], 0, ""),
        (&["pause", "two"], 0, "two"),
        (&["unpause", "two"], 0, "two"),
        (&["inspect", "-f", "{{.Name}} {{.State.Status}}", "two"], 0, "/two running"),
        (&["inspect", "nothing"], 1, "[]"),
        (&["cp", "two:/etc/passwd", "-"], 0, ""),
        (&["stop", "-t", "0", "two"], 0, "two"),
        (&["wait", "two"], 0, "137"),
        (&["rm", "two"], 0, "two"),
        (&["volume", "create", "vol"], 0, "vol"),
        (&["volume", "ls", "-q"], 0, "vol"),
        (&["volume", "rm", "vol"], 0, "vol"),
        (&["network", "ls", "--format", "{{.Name}}", "--filter", "driver=host"], 0, "host"),
        (&["info", "--format", "{{.Containers}} {{.Images}}"], 0, "0 1"),
        (&["system", "prune", "-f"], 0, "Total reclaimed space: 0B"),
    ];
    for (arguments, code, out) in table {
        let Some(said) = docker(&door, arguments).await else { return door.close().await };
        assert_eq!(said.0, *code, "{arguments:?}: {} {}", said.1, said.2);
        assert!(out.is_empty() || said.1 == *out, "{arguments:?}: {}", said.1);
    }
    door.close().await;
}
