//! `doctor`: what this host lacks, what Tare left behind, and `--repair`.

mod host;
mod leftovers;

use crate::args::DoctorArgs;
use crate::command::daemon::beside_us;
use crate::failure::Failure;
use crate::wire::client::Client;
use std::process::Command;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grade {
    /// As it should be.
    Good,
    /// Something works less well.
    Note,
    /// Containers will not run.
    Missing,
}

/// One line of the report.
#[derive(Debug)]
pub(crate) struct Finding {
    grade: Grade,
    what: String,
    detail: String,
}

impl Finding {
    fn new(grade: Grade, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { grade, what: what.into(), detail: detail.into() }
    }

    fn good_or(found: bool, grade: Grade, what: &str, yes: &str, no: &str) -> Self {
        Self::new(if found { Grade::Good } else { grade }, what, if found { yes } else { no })
    }
}

/// `doctor`
pub(crate) async fn run(client: &Client, args: &DoctorArgs) -> Result<(), Failure> {
    let daemon = client.clone().negotiate().await.is_ok();
    if args.repair {
        if daemon {
            return Err(Failure::new(format!(
                "a daemon runs at {}: it repairs at its own start",
                client.endpoint()
            ))
            .hint("stop it first, or restart it"));
        }
        let program = beside_us("tared");
        let status = Command::new(&program)
            .args(["repair", "--root"])
            .arg(&args.root)
            .arg("--state")
            .arg(&args.state)
            .status()
            .map_err(|error| Failure::new(format!("run {program} repair: {error}")))?;
        return if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("{program} repair ended with {status}")))
        };
    }
    println!("This host");
    let mut findings = host::check();
    findings.push(match daemon {
        true => Finding::new(Grade::Good, "daemon", format!("answers at {}", client.endpoint())),
        false => Finding::new(
            Grade::Note,
            "daemon",
            format!("none at {}; start it with `tared &`", client.endpoint()),
        ),
    });
    if daemon {
        findings.extend(of_daemon(client).await);
    }
    findings.iter().for_each(show);
    println!("\nWhat Tare left behind");
    let left = leftovers::find(&args.root, &args.state, daemon);
    if left.is_empty() {
        println!("  nothing");
    }
    left.iter().for_each(show);
    if !left.is_empty() && !daemon {
        println!("\n`tare doctor --repair` cleans it up.");
    }
    match findings.iter().any(|finding| finding.grade == Grade::Missing) {
        true => Err(Failure::exit(1)),
        false => Ok(()),
    }
}

/// What the daemon itself complains about: forwarding, firewalls of others.
async fn of_daemon(client: &Client) -> Vec<Finding> {
    let client = client.clone();
    if client.negotiate().await.is_err() {
        return Vec::new();
    }
    let info = client.get("/info").await.unwrap_or_default();
    let warnings: Vec<&str> =
        info["Warnings"].as_array().into_iter().flatten().filter_map(|warning| warning.as_str()).collect();
    let finding = |warning: &&str| {
        Finding::new(Grade::Note, "daemon", warning.trim_start_matches("WARNING: ").to_owned())
    };
    warnings.iter().map(finding).collect()
}

fn show(finding: &Finding) {
    let mark = match finding.grade {
        Grade::Good => "ok     ",
        Grade::Note => "note   ",
        Grade::Missing => "MISSING",
    };
    println!("  {mark} {}: {}", finding.what, finding.detail);
}
