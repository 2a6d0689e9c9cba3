//! Attach: the streams of a process whose stdio the shim owns, as one bidirectional ttrpc stream.

use std::sync::Arc;
use std::time::Duration;
use tare_api::status::Status;
use tare_api::tare::shim::v1 as wire;
use tare_api::tare::shim::v1::attach_end::Reason;
use tare_api::tare::shim::v1::attach_request::Message as Request;
use tare_api::tare::shim::v1::attach_response::Message as Response;
use tare_api::ttrpc::{Stream, StreamReceiver, StreamSender};
use tare_types::ErrorKind;
use tare_types::logline::Stream as Output;

use crate::diagnostics::wire_time;
use crate::process::{Exited, Process};
use crate::shim::Shim;
use crate::stdio::hub::{Attachment, Hub};

/// After the end of the output the exit is waited for this long, so that the last message can carry it.
const EXIT_AFTER_OUTPUT: Duration = Duration::from_millis(100);
/// After the exit the output is waited for this long: something else may hold it open.
const OUTPUT_AFTER_EXIT: Duration = Duration::from_secs(2);

/// Serves one client.
pub(super) async fn serve(shim: &Arc<Shim>, mut stream: Stream) -> Result<(), Status> {
    let first: Option<wire::AttachRequest> = stream.receiver.next().await?;
    let Some(Request::Open(open)) = first.and_then(|first| first.message) else {
        return Err(Status::new(ErrorKind::InvalidArgument, "attach: the first message must be open"));
    };
    if let Some(hub) = shim.held.hub(&open.id, &open.exec_id) {
        let attachment = hub.attach(open.stdin, open.stdout, open.stderr);
        return carry(Client { process: None, hub, wants_stdin: open.stdin }, attachment, 0, stream).await;
    }
    shim.until_made(&open.id).await;
    let container = shim.container(&open.id)?;
    let process = container.process(&open.exec_id)?;
    let foreign = || {
        let message =
            format!("attach: the streams of {:?} are not the shim's (stdio is not \"tare:\")", open.id);
        Status::new(ErrorKind::FailedPrecondition, message)
    };
    let hub = Arc::clone(process.hub.as_ref().ok_or_else(foreign)?);
    let attachment = hub.attach(open.stdin, open.stdout, open.stderr);
    let pid = if open.start {
        let (shim, exec_id) = (Arc::clone(shim), open.exec_id);
        super::to_its_end(async move { shim.start(&container, &exec_id).await }).await?
    } else {
        drop(container);
        process.pid().max(0) as u32
    };
    carry(Client { process: Some(process), hub, wants_stdin: open.stdin }, attachment, pid, stream).await
}

async fn carry(client: Client, attachment: Attachment, pid: u32, stream: Stream) -> Result<(), Status> {
    let Stream { sender, receiver } = stream;
    send(&sender, Response::Opened(wire::AttachOpened { pid })).await?;
    // Both directions run at once: a client that does not read must not keep its own input from being read. The input
    // has its own task, since this call ends with the client's connection: what came before that is the process's. The
    // task ends after the last message that came, at the latest with the process, which breaks its stdin.
    let input = Input {
        process: client.process.clone(),
        hub: Arc::clone(&client.hub),
        wants_stdin: client.wants_stdin,
    };
    tokio::spawn(input.take(receiver));
    client.output(attachment, &sender).await
}

struct Client {
    /// `None`: another shim runs it, and knows its exit.
    process: Option<Arc<Process>>,
    hub: Arc<Hub>,
    wants_stdin: bool,
}

impl Client {
    /// Sends output until its end, then how it ended.
    async fn output(&self, mut attachment: Attachment, sender: &StreamSender) -> Result<(), Status> {
        let exited = async {
            match &self.process {
                Some(process) => process.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(exited);
        let mut exit: Option<(Exited, tokio::time::Instant)> = None;
        loop {
            let give_up = exit.map(|(_, at)| at + OUTPUT_AFTER_EXIT);
            tokio::select! {
                biased;
                chunk = attachment.next() => match chunk {
                    Some((Output::Stdout, bytes)) => send(sender, Response::Stdout(bytes)).await?,
                    Some((Output::Stderr, bytes)) => send(sender, Response::Stderr(bytes)).await?,
                    None => break,
                },
                ended = &mut exited, if exit.is_none() => exit = Some((ended, tokio::time::Instant::now())),
                () = sleep_until(give_up) => break,
            }
        }
        if exit.is_none() && self.process.is_some() {
            let late = tokio::time::timeout(EXIT_AFTER_OUTPUT, &mut exited).await;
            exit = late.ok().map(|exited| (exited, tokio::time::Instant::now()));
        }
        let cut_off = exit.is_none() && attachment.was_cut_off();
        let reason = if cut_off { Reason::CutOff } else { Reason::EndOfOutput };
        let end = wire::AttachEnd {
            reason: reason as i32,
            exited: exit.is_some(),
            exit_status: exit.map_or(0, |(exited, _)| exited.status),
            exited_at: exit.map(|(exited, _)| wire_time(exited.at)),
        };
        send(sender, Response::End(end)).await
    }
}

/// What a client sends to a process.
struct Input {
    process: Option<Arc<Process>>,
    hub: Arc<Hub>,
    wants_stdin: bool,
}

impl Input {
    /// Takes messages until the client sends no more or its connection ends.
    async fn take(self, mut receiver: StreamReceiver) {
        while let Ok(Some(request)) = receiver.next::<wire::AttachRequest>().await {
            match request.message {
                Some(Request::Stdin(bytes)) if self.wants_stdin => self.hub.write_stdin(&bytes).await,
                Some(Request::CloseStdin(())) if self.wants_stdin => self.hub.close_stdin(),
                Some(Request::Resize(size)) => {
                    // A process without a terminal has no size: nothing to do.
                    if let Some(process) = &self.process {
                        process.resize(size).unwrap_or_default();
                    }
                }
                Some(Request::Open(_) | Request::Stdin(_) | Request::CloseStdin(())) | None => {}
            }
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn send(sender: &StreamSender, message: Response) -> Result<(), Status> {
    sender.send(&wire::AttachResponse { message: Some(message) }).await
}
