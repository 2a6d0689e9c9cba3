//! `run`, `create`, `start` and `attach`.

use crate::args::{AttachArgs, CreateArgs, RunArgs, StartArgs};
use crate::command::images;
use crate::command::session::{self, End, Session};
use crate::failure::{Failure, Manual};
use crate::request::create;
use crate::wire::client::{Client, Hijacked, flag, with_query};
use hyper::Method;
use serde_json::Value;
use std::io::IsTerminal;

/// The streams that a run takes: stdin, stdout, stderr.
fn streams(args: &CreateArgs, detach: bool) -> Result<[bool; 3], Failure> {
    if detach {
        return match args.attach.is_empty() {
            true => Ok([false; 3]),
            false => Err(Failure::new("conflicting options: cannot specify both --attach and --detach")),
        };
    }
    if args.attach.is_empty() {
        return Ok([args.interactive, true, true]);
    }
    let mut chosen = [false; 3];
    for name in &args.attach {
        match name.to_lowercase().as_str() {
            "stdin" => chosen[0] = true,
            "stdout" => chosen[1] = true,
            "stderr" => chosen[2] = true,
            _ => {
                return Err(Failure::flag(
                    name,
                    "-a, --attach",
                    "valid streams are STDIN, STDOUT and STDERR",
                ));
            }
        }
    }
    Ok(chosen)
}

/// `run`
pub(crate) async fn run(client: &Client, args: &RunArgs) -> Result<(), Failure> {
    let create_args = &args.create;
    let attach = streams(create_args, args.detach)?;
    let keys = session::parse_detach_keys(args.detach_keys.as_deref())?;
    if create_args.tty && attach[0] && !std::io::stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let with_run_code = |failure: Failure| match failure.code {
        1 => {
            let code = start_code(&failure.message);
            failure.with_code(code)
        }
        _ => failure,
    };
    if create_args.rm && !matches!(create_args.restart.as_deref(), None | Some("no")) {
        let conflict = "conflicting options: cannot specify both --restart and --rm";
        return Err(of_run(Failure::usage(conflict)));
    }
    let prefix = of_run;
    let id = create_container(client, create_args, attach).await.map_err(with_run_code).map_err(prefix)?;
    if args.detach {
        // Told before the end: whoever removes it needs the name also when it did not start.
        let started = start_container(client, &id).await;
        println!("{id}");
        return started.map_err(prefix);
    }
    let code = attached(client, &id, create_args, attach, keys, args.sig_proxy).await?;
    if code == 0 { Ok(()) } else { Err(Failure::exit(code)) }
}

/// A failure before the program ran, as `run` shows it. What is wrong with a flag speaks for itself.
fn of_run(failure: Failure) -> Failure {
    if failure.manual == Manual::Usage {
        return failure;
    }
    Failure { message: format!("tare: {}", failure.message), manual: Manual::Help, ..failure }
}

async fn attached(
    client: &Client,
    id: &str,
    args: &CreateArgs,
    attach: [bool; 3],
    keys: Vec<u8>,
    sig_proxy: bool,
) -> Result<u8, Failure> {
    let condition = if args.rm { "removed" } else { "next-exit" };
    // Asked before the start: output and an exit that come at once are not missed.
    let (stream, waiting) =
        tokio::try_join!(attach_stream(client, id, attach, false), wait_for(client, id, condition))?;
    if let Err(failure) = start_container(client, id).await {
        if args.rm {
            // The container never ran; the daemon removes it itself, and this makes sure.
            let _ignored =
                client.delete(&with_query(&format!("/containers/{id}"), &[("force", flag(true))])).await;
        }
        return Err(of_run(failure));
    }
    let session = Session { tty: args.tty, stdin: attach[0], detach_keys: keys };
    let resize_path = format!("/containers/{id}/resize");
    let side = async {
        tokio::join!(
            async {
                if args.tty {
                    let _ended = session::follow_size(client, &resize_path).await;
                }
            },
            async {
                if sig_proxy && !args.tty {
                    let _ended = session::forward_signals(client, id).await;
                }
            }
        );
        std::future::pending::<()>().await;
    };
    let main = async {
        if session.run(stream).await? == End::Detached {
            return Ok(0);
        }
        exit_code(waiting).await
    };
    tokio::select! {
        result = main => result,
        () = side => Ok(0),
    }
}

/// Starts a container; the exit code of a failure is docker's: 127 for no such program, 126 for one that cannot run.
async fn start_container(client: &Client, id: &str) -> Result<(), Failure> {
    client.post(&format!("/containers/{id}/start"), None).await.map(|_| ()).map_err(|failure| {
        let code = start_code(&failure.message);
        failure.with_code(code)
    })
}

/// The exit code that docker's command reads out of the daemon's words.
fn start_code(text: &str) -> u8 {
    let says = |reasons: &[&str]| reasons.iter().any(|reason| text.contains(reason));
    if says(&["executable file not found", "no such file or directory", "system cannot find the file"]) {
        127
    } else if says(&["permission denied", "not a directory", "is a directory"]) {
        126
    } else {
        125
    }
}

async fn attach_stream(
    client: &Client,
    id: &str,
    attach: [bool; 3],
    logs: bool,
) -> Result<Hijacked, Failure> {
    let path = with_query(
        &format!("/containers/{id}/attach"),
        &[
            ("stream", flag(true)),
            ("stdin", flag(attach[0])),
            ("stdout", flag(attach[1])),
            ("stderr", flag(attach[2])),
            ("logs", flag(logs)),
        ],
    );
    client.hijack(&path, None).await
}

async fn wait_for(
    client: &Client,
    id: &str,
    condition: &str,
) -> Result<crate::wire::client::Chunks, Failure> {
    let path = with_query(&format!("/containers/{id}/wait"), &[("condition", Some(condition.to_owned()))]);
    client.stream(Method::POST, &path, &[]).await
}

async fn exit_code(mut waiting: crate::wire::client::Chunks) -> Result<u8, Failure> {
    let Some(answer) = waiting.next_json().await? else {
        return Err(Failure::new("the daemon went away while the container was running").with_code(125));
    };
    if let Some(message) = answer["Error"]["Message"].as_str().filter(|text| !text.is_empty()) {
        eprintln!("Error waiting for container: {message}");
        return Ok(125);
    }
    Ok(answer["StatusCode"].as_i64().map_or(125, |code| (code & 0xff) as u8))
}

/// `create`
pub(crate) async fn create(client: &Client, args: &CreateArgs) -> Result<(), Failure> {
    let created = create_container(client, args, [args.interactive, true, true]).await;
    let id = created.map_err(|failure| match failure.code {
        125 if failure.manual == Manual::None => of_run(failure),
        _ => failure,
    })?;
    println!("{id}");
    Ok(())
}

async fn create_container(client: &Client, args: &CreateArgs, attach: [bool; 3]) -> Result<String, Failure> {
    if let Some(file) = &args.cidfile
        && std::path::Path::new(file).exists()
    {
        return Err(Failure::new(format!(
            "container ID file found, make sure the other container isn't running or delete {file}"
        )));
    }
    if !matches!(args.pull.as_str(), "always" | "missing" | "never") {
        return Err(Failure::usage(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            args.pull
        )));
    }
    let body = create::body(args, attach)?;
    let path =
        with_query("/containers/create", &[("name", args.name.clone()), ("platform", args.platform.clone())]);
    if args.pull == "always" {
        images::pull_for_run(client, args).await?;
    }
    let answer = match client.post(&path, Some(&body)).await {
        Err(failure) if failure.is_not_found() && args.pull == "missing" && is_missing_image(&failure) => {
            eprintln!("Unable to find image '{}' locally", shown(args.image()));
            images::pull_for_run(client, args).await?;
            client.post(&path, Some(&body)).await?
        }
        other => other?,
    };
    for warning in answer["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("WARNING: {warning}");
    }
    let id = answer["Id"].as_str().unwrap_or_default().to_owned();
    if let Some(file) = &args.cidfile {
        std::fs::write(file, &id).map_err(|error| Failure::new(format!("write {file}: {error}")))?;
    }
    Ok(id)
}

fn is_missing_image(failure: &Failure) -> bool {
    failure.message.to_lowercase().contains("no such image")
}

fn shown(image: &str) -> String {
    tare_types::Reference::parse_familiar(image).map_or_else(|_| image.to_owned(), |r| r.familiar())
}

/// `start`
pub(crate) async fn start(client: &Client, args: &StartArgs) -> Result<(), Failure> {
    if !args.attach && !args.interactive {
        let mut failed: Vec<&str> = Vec::new();
        for name in &args.names {
            match client.post(&format!("/containers/{name}/start"), None).await {
                Ok(_) => println!("{name}"),
                Err(failure) => {
                    eprintln!("{failure}");
                    failed.push(name);
                }
            }
        }
        return match failed.as_slice() {
            [] => Ok(()),
            failed => {
                let names = failed.join(", ");
                Err(Failure::new(format!("Error: failed to start containers: {names}")))
            }
        };
    }
    let [name] = args.names.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let info = client.get(&format!("/containers/{name}/json")).await?;
    let tty = info["Config"]["Tty"].as_bool().unwrap_or(false);
    let stdin = args.interactive && info["Config"]["OpenStdin"].as_bool().unwrap_or(false);
    let id = info["Id"].as_str().unwrap_or(name).to_owned();
    let stream = attach_stream(client, &id, [stdin, true, true], false).await?;
    let removed = info["HostConfig"]["AutoRemove"].as_bool().unwrap_or(false);
    let waiting = wait_for(client, &id, if removed { "removed" } else { "next-exit" }).await?;
    start_container(client, &id).await?;
    let keys = session::parse_detach_keys(args.detach_keys.as_deref())?;
    finish(client, &id, Session { tty, stdin, detach_keys: keys }, stream, args.sig_proxy, waiting).await
}

/// `attach`
pub(crate) async fn attach(client: &Client, args: &AttachArgs) -> Result<(), Failure> {
    let info = client.get(&format!("/containers/{}/json", args.name)).await?;
    if !info["State"]["Running"].as_bool().unwrap_or(false) {
        return Err(Failure::new("You cannot attach to a stopped container, start it first"));
    }
    if info["State"]["Paused"].as_bool().unwrap_or(false) {
        return Err(Failure::new("You cannot attach to a paused container, unpause it first"));
    }
    let tty = info["Config"]["Tty"].as_bool().unwrap_or(false);
    let stdin = !args.no_stdin && info["Config"]["OpenStdin"].as_bool().unwrap_or(false);
    let id = info["Id"].as_str().unwrap_or(&args.name).to_owned();
    let waiting = wait_for(client, &id, "not-running").await?;
    let stream = attach_stream(client, &id, [stdin, true, true], false).await?;
    let keys = session::parse_detach_keys(args.detach_keys.as_deref())?;
    finish(client, &id, Session { tty, stdin, detach_keys: keys }, stream, args.sig_proxy, waiting).await
}

async fn finish(
    client: &Client,
    id: &str,
    session: Session,
    stream: Hijacked,
    sig_proxy: bool,
    waiting: crate::wire::client::Chunks,
) -> Result<(), Failure> {
    let resize_path = format!("/containers/{id}/resize");
    let tty = session.tty;
    let side = async {
        if tty {
            let _ended = session::follow_size(client, &resize_path).await;
        } else if sig_proxy {
            let _ended = session::forward_signals(client, id).await;
        }
        std::future::pending::<()>().await;
    };
    let main = async {
        if session.run(stream).await? == End::Detached {
            eprintln!("read escape sequence");
            return Ok(0);
        }
        exit_code(waiting).await
    };
    let code = tokio::select! {
        result = main => result?,
        () = side => 0,
    };
    if code == 0 { Ok(()) } else { Err(Failure::exit(code)) }
}
