//! One attached client: messages of the shim's Attach stream ⇄ chunks.

use super::{Shim, client::failed, convert};
use crate::{
    Error, Result,
    attach::{AttachOptions, AttachOutput, AttachStdin, Attachment, Chunk, Input, Stream},
    key::Key,
    tasks::ProcessExit,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tare_api::{
    tare::shim::v1::{
        AttachEnd, AttachOpen, AttachRequest, AttachResponse, attach_end::Reason, attach_request,
        attach_response,
    },
    ttrpc::{StreamReceiver, StreamSender},
};
use tare_types::{ContainerId, ErrorKind, ExecId};
use tokio::sync::mpsc;

/// After the end of the output the exit is waited for this long.
const EXIT_AFTER_OUTPUT: Duration = Duration::from_millis(500);
/// Chunks that wait for a client; the shim's bounded buffer comes behind them.
const CHUNKS: usize = 16;

/// The engine's ends of an attachment; the client's ends are an [`Attachment`].
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) output: mpsc::Sender<Result<Chunk>>,
    input: Option<mpsc::Receiver<Input>>,
}

/// An attachment and the engine's ends of it.
pub(crate) fn pair(options: AttachOptions, tty: bool, stdin: bool) -> (Attachment, Ends) {
    let (output, chunks) = mpsc::channel(CHUNKS);
    let (stdin, input) = if stdin && options.stdin {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        (Some(AttachStdin { input: sender }), Some(receiver))
    } else {
        (None, None)
    };
    (Attachment { tty, stdin, output: AttachOutput { chunks } }, Ends { output, input })
}

/// An attachment that the shim has accepted; [`Open::carry`] moves the bytes.
pub(crate) struct Open {
    sender: StreamSender,
    receiver: StreamReceiver,
    /// The process, 0 when it is not started.
    pub(crate) pid: u32,
    key: Key,
    /// Set where another shim runs the process: it must be told of the end of stdin, and knows the exit.
    foreign: Option<Foreign>,
}

/// A process of a foreign shim.
#[derive(Clone)]
struct Foreign {
    shim: Arc<Shim>,
    id: ContainerId,
    exec: Option<ExecId>,
}

/// How long the input of a client that left is handed on.
const INPUT_AFTER_LEAVING: std::time::Duration = std::time::Duration::from_secs(5);

impl Foreign {
    async fn close_stdin(&self) {
        // The process may have ended.
        self.shim.close_io(&self.id, self.exec.as_ref()).await.unwrap_or_default();
    }

    /// The exit, if it comes soon: the output has ended.
    async fn exit(&self) -> Option<ProcessExit> {
        let waiting = self.shim.wait(&self.id, self.exec.as_ref());
        tokio::time::timeout(EXIT_AFTER_OUTPUT, waiting).await.ok()?.ok()
    }
}

impl Open {
    /// Attaches to a process; with `start` the shim starts it then.
    pub(crate) async fn new(
        shim: &Arc<Shim>,
        id: &ContainerId,
        exec: Option<&ExecId>,
        options: AttachOptions,
        start: bool,
        deadline: std::time::Duration,
    ) -> Result<Self> {
        let stream = shim.open_attach().await?;
        let (sender, mut receiver) = (stream.sender, stream.receiver);
        let open = AttachOpen {
            id: id.to_string(),
            exec_id: exec.map(ToString::to_string).unwrap_or_default(),
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            start: start && shim.native,
        };
        let gone = |status| failed(if start { "start" } else { "attach to" }, &shim.key, status);
        sender
            .send(&AttachRequest { message: Some(attach_request::Message::Open(open)) })
            .await
            .map_err(gone)?;
        let answer =
            tokio::time::timeout(deadline, receiver.next::<AttachResponse>()).await.map_err(|_| {
                let detail = format!("the shim did not answer within {deadline:?}");
                Error::new(ErrorKind::DeadlineExceeded, "attach to", "task", id.as_str(), detail)
            })?;
        match answer.map_err(gone)?.and_then(|answer| answer.message) {
            Some(attach_response::Message::Opened(opened)) => {
                let foreign = || Foreign { shim: shim.clone(), id: id.clone(), exec: exec.cloned() };
                let foreign = (!shim.native).then(foreign);
                let pid = match start && !shim.native {
                    true => shim.start(id, exec).await?,
                    false => opened.pid,
                };
                Ok(Self { sender, receiver, pid, key: shim.key.clone(), foreign })
            }
            _ => Err(Error::new(
                ErrorKind::Internal,
                "attach to",
                "task",
                id.as_str(),
                "the shim did not open",
            )),
        }
    }

    /// Moves bytes until the output ends or the client leaves. `exited` is called with the exit if the shim tells it,
    /// before the client learns the end of the output.
    pub(crate) async fn carry(self, ends: Ends, exited: impl FnOnce(ProcessExit) + Send) {
        let Ends { output, input } = ends;
        let (sender, mut receiver, key, foreign) = (self.sender, self.receiver, self.key, self.foreign);
        let feeding = feed(sender.clone(), input, foreign.clone());
        tokio::pin!(feeding);
        let mut fed = false;
        let reading = async {
            loop {
                let message = match receiver.next::<AttachResponse>().await {
                    Ok(Some(answer)) => answer.message,
                    Ok(None) => return None,
                    Err(status) => {
                        // A client that left needs no error.
                        output.send(Err(failed("attach to", &key, status))).await.unwrap_or_default();
                        return None;
                    }
                };
                let chunk = match message {
                    Some(attach_response::Message::Stdout(bytes)) => (Stream::Stdout, bytes),
                    Some(attach_response::Message::Stderr(bytes)) => (Stream::Stderr, bytes),
                    Some(attach_response::Message::End(end)) => return Some(end),
                    Some(attach_response::Message::Opened(_)) | None => continue,
                };
                let chunk = Chunk { stream: chunk.0, bytes: Bytes::from(chunk.1) };
                if !chunk.bytes.is_empty() && output.send(Ok(chunk)).await.is_err() {
                    return None;
                }
            }
        };
        tokio::pin!(reading);
        let end = loop {
            tokio::select! {
                end = &mut reading => break end,
                () = output.closed() => break None,
                // Stdin may end long before the output.
                () = &mut feeding, if !fed => fed = true,
            }
        };
        if !fed && output.is_closed() {
            // What a client said before it left is the process's; one that does not read keeps nobody.
            tokio::time::timeout(INPUT_AFTER_LEAVING, feeding).await.unwrap_or_default();
        }
        finish(end, &key, &output, foreign, exited).await;
        // Fails when the shim has ended the stream already.
        sender.close().await.unwrap_or_default();
    }
}

async fn finish(
    end: Option<AttachEnd>,
    key: &Key,
    output: &mpsc::Sender<Result<Chunk>>,
    foreign: Option<Foreign>,
    exited: impl FnOnce(ProcessExit) + Send,
) {
    let Some(end) = end else { return };
    if end.reason() == Reason::CutOff {
        let detail = "the client read too slowly and was cut off";
        let error = Error::new(ErrorKind::ResourceExhausted, "attach to", "task", key.id.as_str(), detail);
        output.send(Err(error)).await.unwrap_or_default();
    }
    if end.exited {
        exited(convert::exit(0, end.exit_status, end.exited_at));
    } else if let Some(foreign) = foreign
        && let Some(exit) = foreign.exit().await
    {
        exited(exit);
    }
}

/// Sends what the client types, until it has said all.
async fn feed(sender: StreamSender, input: Option<mpsc::Receiver<Input>>, foreign: Option<Foreign>) {
    let Some(mut input) = input else { return };
    while let Some(item) = input.recv().await {
        let (message, last) = match item {
            Input::Bytes(bytes) => (attach_request::Message::Stdin(bytes.to_vec()), false),
            Input::Close => (attach_request::Message::CloseStdin(()), true),
        };
        // The process may have ended: its output ends next, which says it.
        let sent = sender.send(&AttachRequest { message: Some(message) }).await;
        if let Some(foreign) = foreign.as_ref().filter(|_| last) {
            foreign.close_stdin().await;
        }
        if sent.is_err() || last {
            return;
        }
    }
}
