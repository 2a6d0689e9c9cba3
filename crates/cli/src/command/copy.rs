//! `cp`: archives between a container and this side. What comes out of a container is hostile: nothing of it is
//! written outside of the destination.

use crate::args::CpArgs;
use crate::failure::Failure;
use crate::wire::client::{Body, Client, with_query};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// One side of a copy.
enum Side {
    Local(String),
    Container(String, String),
}

fn side(text: &str) -> Side {
    // `./a:b` and `/a:b` are local paths, as docker reads them.
    if text.starts_with('/') || text.starts_with('.') || text == "-" {
        return Side::Local(text.to_owned());
    }
    match text.split_once(':') {
        Some((container, path)) => Side::Container(container.to_owned(), path.to_owned()),
        None => Side::Local(text.to_owned()),
    }
}

/// `cp`
pub(crate) async fn run(client: &Client, args: &CpArgs) -> Result<(), Failure> {
    match (side(&args.source), side(&args.destination)) {
        (Side::Container(container, path), Side::Local(local)) => {
            download(client, &container, &path, &local, args.follow_link).await
        }
        (Side::Local(local), Side::Container(container, path)) => {
            upload(client, &local, &container, &path, args.archive, args.follow_link).await
        }
        (Side::Container(..), Side::Container(..)) => {
            Err(Failure::new("copying between containers is not supported"))
        }
        (Side::Local(_), Side::Local(_)) => Err(Failure::new("must specify at least one container source")),
    }
}

/// The `X-Docker-Container-Path-Stat` header.
async fn stat(client: &Client, container: &str, path: &str) -> Result<Value, Failure> {
    let url = with_query(&format!("/containers/{container}/archive"), &[("path", Some(path.to_owned()))]);
    let headers = client.head(&url).await?;
    let header = headers
        .get("x-docker-container-path-stat")
        .ok_or_else(|| Failure::new("the daemon's answer has no path stat"))?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(header.as_bytes())
        .map_err(|error| Failure::new(format!("path stat: {error}")))?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Go's `os.ModeDir` and `os.ModeSymlink` bits.
const GO_MODE_DIRECTORY: u64 = 1 << 31;
const GO_MODE_SYMLINK: u64 = 1 << 27;

async fn download(
    client: &Client,
    container: &str,
    path: &str,
    local: &str,
    follow: bool,
) -> Result<(), Failure> {
    let mut path = path.to_owned();
    if follow {
        let info = stat(client, container, &path).await?;
        let target = info["linkTarget"].as_str().unwrap_or_default();
        if info["mode"].as_u64().unwrap_or(0) & GO_MODE_SYMLINK != 0 && !target.is_empty() {
            path = target.to_owned();
        }
    }
    let url = with_query(&format!("/containers/{container}/archive"), &[("path", Some(path.clone()))]);
    let mut stream = client.stream(Method::GET, &url, &[]).await?;
    if local == "-" {
        let mut out = std::io::stdout();
        while let Some(bytes) = stream.next().await? {
            out.write_all(&bytes)?;
        }
        return Ok(());
    }
    let (sender, receiver) = mpsc::channel::<Bytes>(16);
    let target = destination(local, &path)?;
    let writer = tokio::task::spawn_blocking(move || unpack(ChannelReader::new(receiver), &target));
    while let Some(bytes) = stream.next().await? {
        if sender.send(bytes).await.is_err() {
            break;
        }
    }
    drop(sender);
    writer.await.map_err(|error| Failure::new(format!("unpack: {error}")))?
}

/// Directory and new name of the copy: `cp c:/a/b DIR` makes DIR/b, `cp c:/a/b NEW` makes NEW.
#[derive(Debug)]
struct Destination {
    directory: PathBuf,
    /// Replaces the first component of every name; `None` keeps it.
    rename: Option<String>,
    /// The first component is dropped: `cp c:/a/. DIR`.
    contents: bool,
}

fn destination(local: &str, source: &str) -> Result<Destination, Failure> {
    let path = Path::new(local);
    let contents = source.ends_with("/.") || source == ".";
    if path.is_dir() {
        return Ok(Destination { directory: path.to_path_buf(), rename: None, contents });
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Failure::new(format!(
            "invalid output path: directory \"{}\" does not exist",
            parent.display()
        )));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Destination { directory: parent.to_path_buf(), rename: name, contents: false })
}

impl Destination {
    /// Where below the directory a name of the archive goes; `None` for the archive's root itself.
    fn place(&self, name: &Path) -> Result<Option<PathBuf>, Failure> {
        let mut parts = name.components();
        let first = parts.next();
        let rest = parts.as_path();
        let relative = match (&self.rename, self.contents) {
            (Some(new), _) => joined(Path::new(new), rest),
            (None, true) => rest.to_path_buf(),
            (None, false) => {
                first.map_or_else(PathBuf::new, |first| joined(Path::new(first.as_os_str()), rest))
            }
        };
        if relative.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            let name = name.display();
            return Err(Failure::new(format!("the archive names a path outside of itself: {name}")));
        }
        Ok(Some(relative).filter(|relative| !relative.as_os_str().is_empty()))
    }
}

fn unpack(reader: impl Read, destination: &Destination) -> Result<(), Failure> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_overwrite(true);
    let failed = |error: std::io::Error| Failure::new(format!("unpack: {error}"));
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        let Some(relative) = destination.place(&name)? else { continue };
        if let Some(parent) = relative.parent() {
            refuse_links(&destination.directory, parent)?;
        }
        let target = destination.directory.join(&relative);
        if target.symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink()) {
            std::fs::remove_file(&target).map_err(failed)?;
        }
        let done = if entry.header().entry_type().is_hard_link() {
            link(destination, &entry.link_name().map_err(failed)?.unwrap_or_default(), &target)?
        } else {
            entry.unpack(&target).map(drop)
        };
        done.map_err(|error| Failure::new(format!("unpack {}: {error}", target.display())))?;
    }
    Ok(())
}

/// Makes a hard link to what an earlier entry made; its name in the archive is as much the container's word as any.
fn link(destination: &Destination, name: &Path, target: &Path) -> Result<std::io::Result<()>, Failure> {
    let Some(earlier) = destination.place(name)? else {
        return Err(Failure::new(format!("the archive links {} to its own root", target.display())));
    };
    refuse_links(&destination.directory, earlier.parent().unwrap_or(Path::new("")))?;
    if target.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
        std::fs::remove_file(target)?;
    }
    Ok(std::fs::hard_link(destination.directory.join(earlier), target))
}

/// `join` without the slash that an empty rest would leave at the end.
fn joined(first: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { first.to_path_buf() } else { first.join(rest) }
}

/// A link that an earlier entry made must not lead a later one out of the directory.
fn refuse_links(directory: &Path, parent: &Path) -> Result<(), Failure> {
    let mut path = directory.to_path_buf();
    for part in parent.components() {
        path.push(part);
        if path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink()) {
            return Err(Failure::new(format!("the archive leads through the link {}", path.display())));
        }
    }
    Ok(())
}

/// A blocking reader of what an async task sends.
struct ChannelReader {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl ChannelReader {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self { receiver, current: Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

async fn upload(
    client: &Client,
    local: &str,
    container: &str,
    path: &str,
    archive: bool,
    follow: bool,
) -> Result<(), Failure> {
    let existing = match stat(client, container, path).await {
        Ok(info) => Some(info["mode"].as_u64().unwrap_or(0) & GO_MODE_DIRECTORY != 0),
        Err(failure) if failure.is_not_found() && !failure.message.contains("No such container") => None,
        Err(failure) => return Err(failure),
    };
    if local == "-" {
        if existing != Some(true) {
            return Err(Failure::new(format!("destination \"{container}:{path}\" must be a directory")));
        }
        return put(client, container, path, archive, move |writer| {
            std::io::copy(&mut std::io::stdin().lock(), writer).map(|_| ())
        })
        .await;
    }
    let source = PathBuf::from(local);
    let meta = if follow { source.metadata() } else { source.symlink_metadata() }
        .map_err(|error| Failure::new(format!("stat {local}: {error}")))?;
    let (directory, name) = match existing {
        Some(true) => {
            let contents = local.ends_with("/.") || local == ".";
            let name = if contents { None } else { Some(base_name(&source)?) };
            (path.to_owned(), name)
        }
        Some(false) if meta.is_dir() => {
            return Err(Failure::new("cannot copy directory"));
        }
        _ if path.ends_with('/') && !meta.is_dir() => {
            return Err(Failure::new("no such directory"));
        }
        _ => {
            let trimmed = path.trim_end_matches('/');
            let (directory, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
            (if directory.is_empty() { "/".to_owned() } else { directory.to_owned() }, Some(name.to_owned()))
        }
    };
    put(client, container, &directory, archive, move |writer| pack(writer, &source, name.as_deref(), follow))
        .await
}

fn base_name(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)?;
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| Failure::new(format!("{} has no name", path.display())))
}

fn pack(writer: &mut dyn Write, source: &Path, name: Option<&str>, follow: bool) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(writer);
    builder.follow_symlinks(follow);
    let meta = if follow { source.metadata()? } else { source.symlink_metadata()? };
    if meta.is_dir() {
        builder.append_dir_all(name.unwrap_or("."), source)?;
    } else {
        builder.append_path_with_name(source, name.unwrap_or("file"))?;
    }
    builder.into_inner()?.flush()
}

async fn put(
    client: &Client,
    container: &str,
    directory: &str,
    archive: bool,
    produce: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(16);
    let producer = tokio::task::spawn_blocking(move || {
        let mut writer = ChannelWriter { sender };
        produce(&mut writer)
    });
    let body: Body = StreamBody::new(stream_of(receiver)).boxed();
    let url = with_query(
        &format!("/containers/{container}/archive"),
        &[
            ("path", Some(directory.to_owned())),
            ("noOverwriteDirNonDir", Some("true".to_owned())),
            ("copyUIDGID", archive.then(|| "true".to_owned())),
        ],
    );
    let sent = client.upload(&url, "application/x-tar", body).await;
    let produced = producer.await.map_err(|error| Failure::new(format!("pack: {error}")))?;
    sent?;
    produced.map_err(|error| Failure::new(format!("pack: {error}")))
}

pub(crate) fn stream_of<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
) -> impl futures_util::Stream<Item = T> + Send + Sync {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

struct ChannelWriter {
    sender: mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>,
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let frame = Frame::data(Bytes::copy_from_slice(bytes));
        self.sender.blocking_send(Ok(frame)).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
