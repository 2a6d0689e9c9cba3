//! Verbs that are one call per container.

use crate::args::{KillArgs, PortArgs, RenameArgs, RmArgs, StopArgs, TopArgs, UpdateArgs};
use crate::command::for_each;
use crate::failure::Failure;
use crate::request::create;
use crate::view::human::parse_size;
use crate::view::table::Table;
use crate::wire::client::{Client, flag, with_query};
use serde_json::{Value, json};

/// `pause`, `unpause`
pub(crate) async fn each(client: &Client, names: &[String], verb: &str) -> Result<(), Failure> {
    for_each(names, |name| async move {
        client.post(&format!("/containers/{name}/{verb}"), None).await.map(|_| name)
    })
    .await
}

/// `stop`, `restart`
pub(crate) async fn stop(client: &Client, args: &StopArgs, verb: &str) -> Result<(), Failure> {
    for_each(&args.names, |name| async move {
        let query = [("t", args.timeout.map(|t| t.to_string())), ("signal", args.signal.clone())];
        client.post(&with_query(&format!("/containers/{name}/{verb}"), &query), None).await.map(|_| name)
    })
    .await
}

/// `kill`
pub(crate) async fn kill(client: &Client, args: &KillArgs) -> Result<(), Failure> {
    for_each(&args.names, |name| async move {
        let signal = args.signal.clone().unwrap_or_else(|| "KILL".to_owned());
        let path = with_query(&format!("/containers/{name}/kill"), &[("signal", Some(signal))]);
        client.post(&path, None).await.map(|_| name)
    })
    .await
}

/// `wait`
pub(crate) async fn wait(client: &Client, names: &[String]) -> Result<(), Failure> {
    for_each(names, |name| async move {
        let answer = client.post(&format!("/containers/{name}/wait"), None).await?;
        Ok(answer["StatusCode"].as_i64().unwrap_or(-1).to_string())
    })
    .await
}

/// `rm`
pub(crate) async fn remove(client: &Client, args: &RmArgs) -> Result<(), Failure> {
    for_each(&args.names, |name| async move {
        if name.trim_matches('/').is_empty() {
            return Err(Failure::new("container name cannot be empty"));
        }
        let query = [("force", flag(args.force)), ("v", flag(args.volumes)), ("link", flag(args.link))];
        match client.delete(&with_query(&format!("/containers/{name}"), &query)).await {
            Err(failure) if failure.is_not_found() && args.force => {
                eprintln!("{failure}");
                Ok(String::new())
            }
            other => other.map(|_| name),
        }
    })
    .await
}

/// `rename`
pub(crate) async fn rename(client: &Client, args: &RenameArgs) -> Result<(), Failure> {
    if args.name.is_empty() || args.new_name.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    let path =
        with_query(&format!("/containers/{}/rename", args.name), &[("name", Some(args.new_name.clone()))]);
    client.post(&path, None).await.map(|_| ()).map_err(|failure| {
        let message = format!("{failure}\nError: failed to rename container named {}", args.name);
        Failure { message, ..failure }
    })
}

/// `top`
pub(crate) async fn top(client: &Client, args: &TopArgs) -> Result<(), Failure> {
    let [name, options @ ..] = args.container_and_options.as_slice() else {
        return Err(Failure::usage("requires at least 1 argument"));
    };
    let options = (!options.is_empty()).then(|| options.join(" "));
    let answer = client.get(&with_query(&format!("/containers/{name}/top"), &[("ps_args", options)])).await?;
    let cells = |row: &Value| {
        row.as_array()
            .into_iter()
            .flatten()
            .map(|c| c.as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let mut table = Table::with_header(cells(&answer["Titles"]));
    for row in answer["Processes"].as_array().into_iter().flatten() {
        table.row(cells(row));
    }
    print!("{}", table.render_wide(20));
    Ok(())
}

/// `port`
pub(crate) async fn port(client: &Client, args: &PortArgs) -> Result<(), Failure> {
    if let Some(port) = &args.port {
        let number = port.split('/').next().unwrap_or(port);
        if number.parse::<u16>().is_err() {
            return Err(Failure::new(format!(
                "Error: invalid port ({number}): strconv.ParseUint: parsing \"{number}\": invalid syntax"
            )));
        }
    }
    let info = client.get(&format!("/containers/{}/json", args.name)).await?;
    let wanted =
        args.port.as_ref().map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") });
    let mut lines = Vec::new();
    for (private, bindings) in info["NetworkSettings"]["Ports"].as_object().into_iter().flatten() {
        if wanted.as_ref().is_some_and(|wanted| wanted != private) {
            continue;
        }
        for binding in bindings.as_array().into_iter().flatten() {
            let address = binding["HostIp"].as_str().unwrap_or_default();
            let port = binding["HostPort"].as_str().unwrap_or_default();
            let public = if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            };
            lines.push(match wanted {
                Some(_) => public,
                None => format!("{private} -> {public}"),
            });
        }
    }
    if let (Some(wanted), true) = (&args.port, lines.is_empty()) {
        return Err(Failure::new(format!("Error: No public port '{wanted}' published for {}", args.name)));
    }
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// `diff`
pub(crate) async fn diff(client: &Client, name: &str) -> Result<(), Failure> {
    let answer = client.get(&format!("/containers/{name}/changes")).await?;
    for change in answer.as_array().into_iter().flatten() {
        let kind = match change["Kind"].as_i64() {
            Some(0) => 'C',
            Some(1) => 'A',
            _ => 'D',
        };
        println!("{kind} {}", change["Path"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// `update`
pub(crate) async fn update(client: &Client, args: &UpdateArgs) -> Result<(), Failure> {
    let mut body = json!({});
    let size = |text: &str| match text {
        "-1" => Ok(-1),
        text => parse_size(text).ok_or_else(|| Failure::usage(format!("invalid size: '{text}'"))),
    };
    for (name, value) in [
        ("Memory", &args.memory),
        ("MemorySwap", &args.memory_swap),
        ("MemoryReservation", &args.memory_reservation),
    ] {
        if let Some(text) = value {
            body[name] = Value::from(size(text)?);
        }
    }
    for (name, value) in [
        ("CpuShares", args.cpu_shares),
        ("CpuPeriod", args.cpu_period),
        ("CpuQuota", args.cpu_quota),
        ("PidsLimit", args.pids_limit),
    ] {
        if let Some(number) = value {
            body[name] = Value::from(number);
        }
    }
    for (name, value) in [("CpusetCpus", &args.cpuset_cpus), ("CpusetMems", &args.cpuset_mems)] {
        if let Some(text) = value {
            body[name] = Value::from(text.as_str());
        }
    }
    if let Some(cpus) = &args.cpus {
        body["NanoCpus"] = Value::from(create::nano_cpus(cpus)?);
    }
    if let Some(policy) = &args.restart {
        body["RestartPolicy"] = create::restart_policy(policy)?;
    }
    if body.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    for_each(&args.names, |name| {
        let body = &body;
        async move {
            let answer = client.post(&format!("/containers/{name}/update"), Some(body)).await?;
            for warning in answer["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                eprintln!("{warning}");
            }
            Ok(name)
        }
    })
    .await
}
