//! Files in and out of containers as tar streams.

use crate::body::{self, Handled};
use crate::door::Docker;
use crate::error::ApiError;
use crate::request::Request;
use crate::wire::container::PathStat as WireStat;
use base64::Engine as _;
use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tare_engine::archive::{PathStat, PutOptions};
use tare_types::ErrorKind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks read ahead of the unpacking.
const AHEAD: usize = 8;

/// `HEAD /containers/{name}/archive`.
pub(crate) async fn stat(door: &Docker, request: &Request, name: &str) -> Handled {
    let path = request.required("path")?;
    let found = door.engine().archive().stat(door.namespace(), name, path).await;
    let stat = found.map_err(|error| path_error(error, name, path))?;
    let mut reply = body::status(StatusCode::OK);
    reply.headers_mut().insert("X-Docker-Container-Path-Stat", stat_header(&stat)?);
    Ok(reply)
}

/// `GET /containers/{name}/archive`.
pub(crate) async fn get(door: &Docker, request: &Request, name: &str) -> Handled {
    let path = request.required("path")?;
    let found = door.engine().archive().get(door.namespace(), name, path).await;
    let (stat, chunks) = found.map_err(|error| path_error(error, name, path))?;
    let mut reply = body::stream("application/x-tar", ReceiverStream::new(chunks));
    reply.headers_mut().insert("X-Docker-Container-Path-Stat", stat_header(&stat)?);
    Ok(reply)
}

/// `PUT /containers/{name}/archive`.
pub(crate) async fn put(door: &Docker, request: Request, name: &str) -> Handled {
    let path = request.required("path")?.to_owned();
    let options = PutOptions {
        no_overwrite_dir_non_dir: request.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: request.query.flag("copyUIDGID"),
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    // The body is read in this task: a client that goes away ends the unpacking with an error, not with a gap.
    let archive = door.engine().archive();
    let unpack = archive.put(door.namespace(), name, &path, options, receiver);
    let ((), done) = tokio::join!(feed(request.body, sender), unpack);
    done.map_err(|error| path_error(error, name, &path))?;
    Ok(body::status(StatusCode::OK))
}

/// Hands a body on, with the error of a client that goes away in the middle of it.
pub(crate) async fn feed(mut body: Incoming, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    while let Some(frame) = body.frame().await {
        let chunk = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(bytes) => Ok(bytes),
                // Trailers are no part of the archive.
                Err(_) => continue,
            },
            Err(error) => Err(std::io::Error::other(error)),
        };
        let last = chunk.is_err();
        if last {
            // Who reads may have ended already.
            let _ = sender.send(chunk).await;
            return;
        }
        if sender.send(chunk).await.is_err() {
            return drain(body).await;
        }
    }
}

/// Reads a little more of a body that nobody wants: a client whose connection closes while it writes may never read
/// why. As much as dockerd reads.
async fn drain(mut body: Incoming) {
    const LIMIT: usize = 256 << 10;
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LIMIT {
            return;
        }
    }
}

fn path_error(error: tare_engine::Error, name: &str, path: &str) -> ApiError {
    match (error.kind(), error.what()) {
        (ErrorKind::NotFound, "container") => error.into(),
        (ErrorKind::NotFound, _) => {
            ApiError::not_found(format!("Could not find the file {path} in container {name}"))
        }
        (ErrorKind::PermissionDenied, "volume") => {
            ApiError::new(StatusCode::FORBIDDEN, "mounted volume is marked read-only")
        }
        (ErrorKind::PermissionDenied, _) => {
            tracing::debug!(%error, "an archive could not be written");
            ApiError::new(StatusCode::FORBIDDEN, "container rootfs is marked read-only")
        }
        _ => error.into(),
    }
}

fn stat_header(stat: &PathStat) -> Result<HeaderValue, ApiError> {
    let wire = WireStat {
        name: stat.name.clone(),
        size: i64::try_from(stat.size).unwrap_or(i64::MAX),
        mode: go_file_mode(stat.mode),
        mtime: stat.modified_at.to_string(),
        link_target: stat.link_target.clone(),
    };
    let json = serde_json::to_vec(&wire).map_err(|error| ApiError::internal(error.to_string()))?;
    let text = base64::engine::general_purpose::STANDARD.encode(json);
    HeaderValue::from_str(&text).map_err(|error| ApiError::internal(error.to_string()))
}

/// Go's `os.FileMode` of an `st_mode`: the permission bits, and the kinds in bits of its own.
fn go_file_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bit = |mask: u32, place: u32| if mode & mask != 0 { 1 << place } else { 0 };
    mode & 0o777 | kind | bit(0o4000, 23) | bit(0o2000, 22) | bit(0o1000, 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_file_mode(0o100_644), 0o644);
        assert_eq!(go_file_mode(0o040_755), 0x8000_0000 | 0o755);
        assert_eq!(go_file_mode(0o120_777), 0x0800_0000 | 0o777);
        assert_eq!(go_file_mode(0o041_777), 0x8010_0000 | 0o777);
        assert_eq!(go_file_mode(0o104_755), 0x0080_0000 | 0o755);
        assert_eq!(go_file_mode(0o020_666), 0x0420_0000 | 0o666);
    }
}
