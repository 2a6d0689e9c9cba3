//! `Content.Write`: a stream of STAT, WRITE and COMMIT on one ingest.
//!
//! Each message is answered in order. The ingest is held while the stream lives and kept for a resume when the
//! stream breaks; the client's own mistakes (offset, size, digest) leave it as it is.

use super::super::{blocking, convert};
use futures_util::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tare_api::containerd::services::content::v1::{WriteAction, WriteContentRequest, WriteContentResponse};
use tare_engine::Engine;
use tare_engine::events::Body;
use tare_store::{Ingest, IngestOptions};
use tare_types::{Digest, ErrorKind, LeaseId, Namespace};
use tonic::{Code, Status, Streaming};

/// How long the last of the waits for another writer is: a second in all.
const LONGEST_PAUSE: Duration = Duration::from_millis(512);

/// One write stream.
pub(super) struct Writer {
    engine: Engine,
    namespace: Namespace,
    lease: Option<LeaseId>,
    ingest: Option<Ingest>,
    expected: Option<Digest>,
    total: u64,
}

impl Writer {
    /// A stream before its first message.
    pub(super) fn new(engine: Engine, namespace: Namespace, lease: Option<LeaseId>) -> Self {
        Self { engine, namespace, lease, ingest: None, expected: None, total: 0 }
    }

    /// Answers every message until the client is done, a commit, or an error.
    pub(super) fn serve(
        self,
        messages: Streaming<WriteContentRequest>,
    ) -> BoxStream<'static, Result<WriteContentResponse, Status>> {
        stream::unfold(Some((self, messages)), |state| async move {
            let (mut writer, mut messages) = state?;
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return None,
                Err(status) => return Some((Err(status), None)),
            };
            let committing = message.action == i32::from(WriteAction::Commit);
            let answer = writer.answer(message).await;
            let go_on = answer.is_ok() && !committing;
            Some((answer, go_on.then_some((writer, messages))))
        })
        .boxed()
    }

    async fn answer(&mut self, message: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        let ingest = match self.ingest.take() {
            Some(ingest) => ingest,
            None => self.open(&message).await?,
        };
        self.learn(&message)?;
        match WriteAction::try_from(message.action) {
            Ok(WriteAction::Stat) => {
                let answer = response(&ingest, message.action, Some(ingest.digest()));
                self.ingest = Some(ingest);
                Ok(answer)
            }
            Ok(WriteAction::Write) => {
                let ingest = append(ingest, message.offset, message.data).await?;
                let answer = response(&ingest, message.action, None);
                self.ingest = Some(ingest);
                Ok(answer)
            }
            Ok(WriteAction::Commit) => {
                let ingest = append(ingest, message.offset, message.data).await?;
                self.commit(ingest, message.action, message.labels).await
            }
            Err(_) => Err(convert::status(
                ErrorKind::InvalidArgument,
                &format!("write action {} of content ref {:?}", message.action, message.r#ref),
            )),
        }
    }

    async fn open(&self, message: &WriteContentRequest) -> Result<Ingest, Status> {
        if message.r#ref.is_empty() {
            return Err(convert::status(
                ErrorKind::InvalidArgument,
                "the first message of a write must name its ref",
            ));
        }
        let expected = optional_digest(&message.expected)?;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.try_open(message, expected.clone()).await {
                // The stream of a writer that its client has closed may still be on its way out.
                Err(status) if status.code() == Code::Unavailable && pause < LONGEST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                other => return other,
            }
        }
    }

    async fn try_open(
        &self,
        message: &WriteContentRequest,
        expected: Option<Digest>,
    ) -> Result<Ingest, Status> {
        let (content, namespace, lease) =
            (self.engine.stores().content.clone(), self.namespace.clone(), self.lease.clone());
        let (reference, total) = (message.r#ref.clone(), u64::try_from(message.total).unwrap_or(0));
        blocking(move || {
            let options = IngestOptions {
                reference: &reference,
                expected: expected.as_ref(),
                total,
                lease: lease.as_ref(),
                now: convert::now(),
            };
            let mut ingest = content.ingest(&namespace, &options).map_err(convert::store)?;
            if ingest.status().offset == 0 {
                ingest.touch(convert::now()).map_err(convert::store)?;
            }
            Ok(ingest)
        })
        .await
    }

    /// Size and digest may come with any message and must not change.
    fn learn(&mut self, message: &WriteContentRequest) -> Result<(), Status> {
        let conflict = |what: &str| {
            convert::status(
                ErrorKind::InvalidArgument,
                &format!("{what} of a commit differs from the one named before"),
            )
        };
        if let Ok(total @ 1..) = u64::try_from(message.total) {
            if self.total != 0 && self.total != total {
                return Err(conflict("the size"));
            }
            self.total = total;
        }
        if let Some(expected) = optional_digest(&message.expected)? {
            if self.expected.as_ref().is_some_and(|known| *known != expected) {
                return Err(conflict("the digest"));
            }
            self.expected = Some(expected);
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        ingest: Ingest,
        action: i32,
        labels: std::collections::HashMap<String, String>,
    ) -> Result<WriteContentResponse, Status> {
        let mut answer = response(&ingest, action, None);
        let (total, expected) = (self.total, self.expected.clone());
        let size = ingest.status().offset;
        let digest = blocking(move || {
            let labels = convert::from_labels(labels);
            ingest.commit(total, expected.as_ref(), labels, convert::now()).map_err(convert::store)
        })
        .await?;
        answer.digest = digest.to_string();
        answer.total = convert::size(size);
        let body = Body::ContentCreated { digest: digest.to_string(), size };
        self.engine.events().publish(&self.namespace, convert::now(), body, Arc::default());
        Ok(answer)
    }
}

fn optional_digest(text: &str) -> Result<Option<Digest>, Status> {
    if text.is_empty() { Ok(None) } else { convert::digest(text).map(Some) }
}

/// Appends at the named offset; offset 0 of a started ingest begins anew.
async fn append(mut ingest: Ingest, offset: i64, data: Vec<u8>) -> Result<Ingest, Status> {
    let at = ingest.status().offset;
    let asked =
        u64::try_from(offset).map_err(|_| Status::out_of_range(format!("offset {offset} is negative")))?;
    if asked > 0 && asked != at {
        return Err(Status::out_of_range(format!(
            "write @{asked} must occur at current offset {at}: out of range"
        )));
    }
    if data.is_empty() && asked == at {
        return Ok(ingest);
    }
    blocking(move || {
        if asked == 0 && at > 0 {
            ingest.truncate().map_err(convert::store)?;
        }
        ingest.write(&data).map_err(convert::store)?;
        ingest.touch(convert::now()).map_err(convert::store)?;
        Ok(ingest)
    })
    .await
}

fn response(ingest: &Ingest, action: i32, digest: Option<Digest>) -> WriteContentResponse {
    let status = ingest.status();
    WriteContentResponse {
        action,
        started_at: convert::time(status.started_at),
        updated_at: convert::time(status.updated_at),
        offset: convert::size(status.offset),
        total: convert::size(status.total),
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}
