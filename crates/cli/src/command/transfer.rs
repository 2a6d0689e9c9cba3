//! `save`, `load`, `commit`, `import` and `export`: images and file systems as archives.

use crate::args::{CommitArgs, ExportArgs, ImportArgs, LoadArgs, SaveArgs};
use crate::failure::Failure;
use crate::wire::client::{Body, Chunks, Client, with_query};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Bytes read from a file at once.
const PIECE: usize = 256 << 10;

/// Writes a stream to a file, which appears whole or not at all, or to standard output.
async fn write_out(mut stream: Chunks, output: Option<&str>) -> Result<(), Failure> {
    let Some(output) = output else {
        let mut out = std::io::stdout();
        while let Some(bytes) = stream.next().await? {
            out.write_all(&bytes)?;
        }
        return Ok(out.flush()?);
    };
    let beside = PathBuf::from(format!("{output}.{}.part", std::process::id()));
    let written = async {
        let failed = |error: std::io::Error| Failure::new(format!("write {output}: {error}"));
        let mut file = File::create_new(&beside).map_err(failed)?;
        while let Some(bytes) = stream.next().await? {
            file.write_all(&bytes).map_err(failed)?;
        }
        std::fs::rename(&beside, output).map_err(failed)
    }
    .await;
    if written.is_err() {
        // It may never have been made; the first failure is the one to tell.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// What docker refuses of an output before it asks for anything.
fn check_output(verb: &str, output: Option<&str>) -> Result<(), Failure> {
    let Some(output) = output else {
        return match std::io::stdout().is_terminal() {
            true => Err(Failure::new(format!(
                "cowardly refusing to {verb} to a terminal. Use the -o flag or redirect"
            ))),
            false => Ok(()),
        };
    };
    let what = if verb == "export" { "container" } else { "image" };
    let failed = |why: &str| Err(Failure::new(format!("failed to {verb} {what}: {why}")));
    let path = Path::new(output);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let parent = parent.display();
        return failed(&format!("invalid output path: stat {parent}: no such file or directory"));
    }
    let Ok(meta) = path.metadata() else { return Ok(()) };
    let kind = meta.file_type();
    match () {
        () if kind.is_file() => Ok(()),
        () if kind.is_dir() => failed("cannot write to a directory"),
        () if kind.is_char_device() => failed("cannot write to a character device file"),
        () if kind.is_block_device() => failed("cannot write to a block device file"),
        () => failed("cannot write to a file that is not regular"),
    }
}

/// `{"os": …}` of `os[/arch[/variant]]`, as the API takes it.
fn platform(text: Option<&str>) -> Option<String> {
    let mut parts = text?.split('/');
    let names = ["os", "architecture", "variant"];
    let members = names.into_iter().filter_map(|name| Some((name.to_owned(), parts.next()?.into())));
    Some(serde_json::Value::Object(members.collect()).to_string())
}

/// `save`
pub(crate) async fn save(client: &Client, args: &SaveArgs) -> Result<(), Failure> {
    check_output("save", args.output.as_deref())?;
    let names = args.images.iter().map(|image| ("names", Some(image.clone())));
    let pairs: Vec<_> = names.chain([("platform", platform(args.platform.as_deref()))]).collect();
    let stream = client.stream(Method::GET, &with_query("/images/get", &pairs), &[]).await?;
    write_out(stream, args.output.as_deref()).await
}

/// `export`
pub(crate) async fn export(client: &Client, args: &ExportArgs) -> Result<(), Failure> {
    check_output("export", args.output.as_deref())?;
    let path = format!("/containers/{}/export", args.container);
    let stream = client.stream(Method::GET, &path, &[]).await?;
    write_out(stream, args.output.as_deref()).await
}

/// A file, or standard input, as the body of a request. Its errors end the body, and are told here when it was sent.
struct Source {
    body: Body,
    outcome: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn source(mut reader: impl Read + Send + 'static) -> Source {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(8);
    let outcome = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => Ok(Frame::data(Bytes::copy_from_slice(&buffer[..count]))),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // The body ends with an error too: half an archive must not look like one.
                    drop(sender.blocking_send(Err(std::io::Error::new(error.kind(), error.to_string()))));
                    return Err(error);
                }
            };
            if sender.blocking_send(piece).is_err() {
                return Ok(());
            }
        }
    });
    Source { body: StreamBody::new(super::copy::stream_of(receiver)).boxed(), outcome }
}

/// Posts a file, or standard input, and gives the daemon's answer.
async fn post(client: &Client, path: &str, file: Option<&str>) -> Result<Chunks, Failure> {
    let source = match file {
        None => source(std::io::stdin()),
        Some(file) => source(File::open(file).map_err(|error| {
            let words = error.to_string().to_lowercase();
            Failure::new(format!("open {file}: {}", words.split(" (os error").next().unwrap_or_default()))
        })?),
    };
    let answer = client.post_body(path, "application/x-tar", source.body).await;
    if source.outcome.is_finished()
        && let Ok(Err(error)) = source.outcome.await
    {
        return Err(Failure::new(format!("read the archive: {error}")));
    }
    answer
}

/// `load`
pub(crate) async fn load(client: &Client, args: &LoadArgs) -> Result<(), Failure> {
    if args.input.is_none() && std::io::stdin().is_terminal() {
        return Err(Failure::new("requested load from stdin, but stdin is empty"));
    }
    let quiet = args.quiet || !std::io::stdout().is_terminal();
    let pairs =
        [("quiet", Some(u8::from(quiet).to_string())), ("platform", platform(args.platform.as_deref()))];
    let mut answer = post(client, &with_query("/images/load", &pairs), args.input.as_deref()).await?;
    while let Some(message) = answer.next_json().await? {
        if let Some(error) = message["error"].as_str() {
            return Err(Failure::new(error));
        }
        if let Some(text) = message["stream"].as_str() {
            print!("{text}");
        }
    }
    Ok(())
}

/// `REPOSITORY[:TAG]` as the API takes it.
fn repository(name: Option<&str>) -> Result<(Option<String>, Option<String>), Failure> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok((None, None)) };
    let reference = super::images::parse(name)?;
    Ok((Some(reference.familiar_name()), reference.tag().map(str::to_owned)))
}

/// `import`
pub(crate) async fn import(client: &Client, args: &ImportArgs) -> Result<(), Failure> {
    let (repo, tag) = repository(args.reference.as_deref())?;
    let is_url = ["http://", "https://"].iter().any(|scheme| args.source.starts_with(scheme));
    let mut pairs = vec![
        ("fromSrc", Some(if is_url { args.source.clone() } else { "-".to_owned() })),
        ("repo", repo),
        ("tag", tag),
        ("message", args.message.clone()),
        ("platform", args.platform.clone()),
    ];
    pairs.extend(args.change.iter().map(|change| ("changes", Some(change.clone()))));
    let path = with_query("/images/create", &pairs);
    let mut answer = match args.source.as_str() {
        _ if is_url => client.stream(Method::POST, &path, &[]).await?,
        "-" => post(client, &path, None).await?,
        file => post(client, &path, Some(file)).await?,
    };
    while let Some(message) = answer.next_json().await? {
        if let Some(error) = message["error"].as_str() {
            return Err(Failure::new(error));
        }
        if let Some(status) = message["status"].as_str() {
            println!("{status}");
        }
    }
    Ok(())
}

/// `commit`
pub(crate) async fn commit(client: &Client, args: &CommitArgs) -> Result<(), Failure> {
    let (repo, tag) = repository(args.reference.as_deref())?;
    let mut pairs = vec![
        ("container", Some(args.container.clone())),
        ("repo", repo),
        ("tag", tag),
        ("comment", args.message.clone()),
        ("author", args.author.clone()),
        ("pause", Some(u8::from(args.pause).to_string())),
    ];
    pairs.extend(args.change.iter().map(|change| ("changes", Some(change.clone()))));
    let made = client.post(&with_query("/commit", &pairs), None).await?;
    println!("{}", made["Id"].as_str().unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_platforms_are_split() {
        let pair = |repo: &str, tag: Option<&str>| (Some(repo.to_owned()), tag.map(str::to_owned));
        assert_eq!(repository(Some("a/b:1")).unwrap(), pair("a/b", Some("1")));
        assert_eq!(repository(Some("localhost:5000/a")).unwrap().0.unwrap(), "localhost:5000/a");
        assert_eq!(repository(Some("")).unwrap(), (None, None));
        assert!(repository(Some("A:b")).is_err());
        let document = platform(Some("linux/arm64")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document, serde_json::json!({"os": "linux", "architecture": "arm64"}));
        assert_eq!(platform(None), None);
    }

    #[test]
    fn outputs_that_cannot_be_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/x").display().to_string();
        let message = check_output("save", Some(&path)).unwrap_err().message;
        assert!(message.starts_with("failed to save image: invalid output path: stat "), "{message}");
        let path = directory.path().display().to_string();
        let message = check_output("export", Some(&path)).unwrap_err().message;
        assert_eq!(message, "failed to export container: cannot write to a directory");
        let message = check_output("save", Some("/dev/null")).unwrap_err().message;
        assert_eq!(message, "failed to save image: cannot write to a character device file");
        assert!(check_output("save", Some(&format!("{path}/new"))).is_ok());
    }
}
