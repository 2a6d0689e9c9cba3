//! `exec`.

use crate::args::ExecArgs;
use crate::command::session::{self, End, Session};
use crate::failure::Failure;
use crate::request::environment;
use crate::view::terminal;
use crate::wire::client::Client;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// `exec`
pub(crate) async fn run(client: &Client, args: &ExecArgs) -> Result<(), Failure> {
    let [container, command @ ..] = args.container_and_command.as_slice() else {
        return Err(Failure::usage("requires at least 2 arguments"));
    };
    if command.is_empty() {
        return Err(Failure::new(
            "tare: 'tare exec' requires at least 2 arguments\n\nUsage:  tare exec [OPTIONS] CONTAINER COMMAND [ARG...]\n\nSee 'tare exec --help' for more information",
        ));
    }
    if container.starts_with('-') {
        return Err(Failure::usage(format!("unknown flag: {container}")));
    }
    if args.tty && args.interactive && !std::io::stdin().is_terminal() && !args.detach {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let id = create(client, args, container, command).await?;
    if args.detach {
        client.post(&format!("/exec/{id}/start"), Some(&json!({"Detach": true, "Tty": args.tty}))).await?;
        return Ok(());
    }
    let mut body = json!({"Detach": false, "Tty": args.tty});
    if let Some((rows, columns)) = terminal::size().filter(|_| args.tty) {
        body["ConsoleSize"] = json!([rows, columns]);
    }
    let stream = client.hijack(&format!("/exec/{id}/start"), Some(&body)).await?;
    let keys = session::parse_detach_keys(args.detach_keys.as_deref())?;
    let session = Session { tty: args.tty, stdin: args.interactive, detach_keys: keys };
    let resize_path = format!("/exec/{id}/resize");
    let side = async {
        if args.tty {
            let _ended = session::follow_size(client, &resize_path).await;
        } else {
            client.connect_ahead().await;
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = session.run(stream) => end?,
        () = side => End::Detached,
    };
    if end == End::Detached {
        return Ok(());
    }
    let info = client.get(&format!("/exec/{id}/json")).await?;
    match info["ExitCode"].as_i64() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::exit((code & 0xff) as u8)),
        None => Err(Failure::new(format!("exec {id}: the daemon does not say how it ended"))),
    }
}

async fn create(
    client: &Client,
    args: &ExecArgs,
    container: &str,
    command: &[String],
) -> Result<String, Failure> {
    let mut body = json!({
        "User": args.user.clone().unwrap_or_default(),
        "Privileged": args.privileged,
        "Tty": args.tty,
        "AttachStdin": args.interactive && !args.detach,
        "AttachStdout": !args.detach,
        "AttachStderr": !args.detach,
        "Detach": args.detach,
        "Env": environment(&args.env_file, &args.env)?,
        "WorkingDir": args.workdir.clone().unwrap_or_default(),
        "Cmd": command,
    });
    if let Some(keys) = &args.detach_keys {
        body["DetachKeys"] = Value::from(keys.as_str());
    }
    if let Some((rows, columns)) = terminal::size().filter(|_| args.tty) {
        body["ConsoleSize"] = json!([rows, columns]);
    }
    let answer = client.post(&format!("/containers/{container}/exec"), Some(&body)).await?;
    answer["Id"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("the daemon's answer to exec has no Id"))
}
