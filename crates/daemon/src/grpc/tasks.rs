//! `containerd.services.tasks.v1.Tasks`.

use super::{Door, convert, scope};
use std::borrow::Cow;
use tare_api::containerd::services::tasks::v1 as wire;
use tare_api::containerd::types::Metric;
use tare_api::containerd::v1::types as task;
use tare_engine::tasks::{CreateTask, ExecTask, Process, ProcessExit, ProcessStatus, Stdio};
use tare_store::Filters;
use tare_store::filters::Fields;
use tare_types::{ContainerId, ErrorKind, ExecId};
use tonic::{Request, Response, Status};

fn container(text: &str) -> Result<ContainerId, Status> {
    ContainerId::new(text).map_err(convert::invalid)
}

fn exec(text: &str) -> Result<Option<ExecId>, Status> {
    if text.is_empty() { Ok(None) } else { ExecId::new(text).map(Some).map_err(convert::invalid) }
}

fn status(status: ProcessStatus) -> task::Status {
    match status {
        ProcessStatus::Unknown => task::Status::Unknown,
        ProcessStatus::Created => task::Status::Created,
        ProcessStatus::Running => task::Status::Running,
        ProcessStatus::Stopped => task::Status::Stopped,
        ProcessStatus::Paused => task::Status::Paused,
        ProcessStatus::Pausing => task::Status::Pausing,
    }
}

fn process(process: &Process) -> task::Process {
    task::Process {
        container_id: process.container.to_string(),
        // containerd repeats the container's id for the first process.
        id: process.exec.as_ref().map_or(process.container.to_string(), ToString::to_string),
        pid: process.pid,
        status: status(process.status).into(),
        stdin: process.stdio.stdin.clone(),
        stdout: process.stdio.stdout.clone(),
        stderr: process.stdio.stderr.clone(),
        terminal: process.stdio.terminal,
        exit_status: process.exit_status,
        exited_at: convert::maybe_time(process.exited_at),
    }
}

fn deleted(id: String, exit: ProcessExit) -> wire::DeleteResponse {
    wire::DeleteResponse {
        id,
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: convert::maybe_time(exit.exited_at),
    }
}

/// A task as the filters of `Metrics` see it.
struct Filtered<'a>(&'a Process);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(self.0.container.as_str())),
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl wire::tasks_server::Tasks for Door {
    async fn create(
        &self,
        request: Request<wire::CreateTaskRequest>,
    ) -> Result<Response<wire::CreateTaskResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        if request.checkpoint.is_some() {
            return Err(convert::status(ErrorKind::Unimplemented, "create a task from a checkpoint"));
        }
        let id = container(&request.container_id)?;
        let create = CreateTask {
            stdio: Stdio {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
            rootfs: convert::from_mounts(request.rootfs),
            options: request.options.map(convert::from_any),
            runtime_path: request.runtime_path,
        };
        let pid = self
            .engine
            .tasks()
            .create(&namespace, &id, create)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::CreateTaskResponse { container_id: id.to_string(), pid }))
    }

    async fn start(
        &self,
        request: Request<wire::StartRequest>,
    ) -> Result<Response<wire::StartResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        let pid = self
            .engine
            .tasks()
            .start(&namespace, &id, exec.as_ref())
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::StartResponse { pid }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteTaskRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = container(&request.get_ref().container_id)?;
        let exit = self
            .engine
            .tasks()
            .delete(&namespace, &id, None)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(deleted(id.to_string(), exit)))
    }

    async fn delete_process(
        &self,
        request: Request<wire::DeleteProcessRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        let exit = self
            .engine
            .tasks()
            .delete(&namespace, &id, exec.as_ref())
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(deleted(request.exec_id, exit)))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        let found = self
            .engine
            .tasks()
            .get(&namespace, &id, exec.as_ref())
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::GetResponse { process: Some(process(&found)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<wire::ListTasksResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let tasks =
            self.engine.tasks().list(&namespace).await.map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::ListTasksResponse { tasks: tasks.iter().map(process).collect() }))
    }

    async fn kill(&self, request: Request<wire::KillRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        let tasks = self.engine.tasks();
        tasks
            .kill(&namespace, &id, exec.as_ref(), request.signal, request.all)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }

    async fn exec(&self, request: Request<wire::ExecProcessRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let id = container(&request.container_id)?;
        let exec = exec(&request.exec_id)?
            .ok_or_else(|| convert::status(ErrorKind::InvalidArgument, "exec id cannot be empty"))?;
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let spec = request.spec.map(convert::from_any).unwrap_or_default();
        let task = ExecTask { exec, stdio, spec };
        self.engine
            .tasks()
            .exec(&namespace, &id, task)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }

    async fn resize_pty(&self, request: Request<wire::ResizePtyRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        let tasks = self.engine.tasks();
        let resized = tasks.resize_pty(&namespace, &id, exec.as_ref(), request.width, request.height).await;
        resized.map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }

    async fn close_io(&self, request: Request<wire::CloseIoRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        if request.stdin {
            self.engine
                .tasks()
                .close_io(&namespace, &id, exec.as_ref())
                .await
                .map_err(|error| convert::task(&namespace, error))?;
        }
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<wire::PauseTaskRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = container(&request.get_ref().container_id)?;
        self.engine.tasks().pause(&namespace, &id).await.map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }

    async fn resume(&self, request: Request<wire::ResumeTaskRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = container(&request.get_ref().container_id)?;
        self.engine
            .tasks()
            .resume(&namespace, &id)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }

    async fn list_pids(
        &self,
        request: Request<wire::ListPidsRequest>,
    ) -> Result<Response<wire::ListPidsResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = container(&request.get_ref().container_id)?;
        let entries = self
            .engine
            .tasks()
            .pids(&namespace, &id)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        let processes =
            entries.iter().map(|e| task::ProcessInfo { pid: e.pid, info: e.info.as_ref().map(convert::any) });
        Ok(Response::new(wire::ListPidsResponse { processes: processes.collect() }))
    }

    async fn checkpoint(
        &self,
        _request: Request<wire::CheckpointTaskRequest>,
    ) -> Result<Response<wire::CheckpointTaskResponse>, Status> {
        Err(convert::status(ErrorKind::Unimplemented, "checkpoint of a task"))
    }

    async fn update(&self, request: Request<wire::UpdateTaskRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let id = container(&request.container_id)?;
        let resources = request.resources.map(convert::from_any).unwrap_or_default();
        let annotations = convert::from_labels(request.annotations);
        self.engine
            .tasks()
            .update(&namespace, &id, resources, annotations)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }

    async fn metrics(
        &self,
        request: Request<wire::MetricsRequest>,
    ) -> Result<Response<wire::MetricsResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        let tasks = self.engine.tasks();
        let mut metrics = Vec::new();
        for found in tasks.list(&namespace).await.map_err(|error| convert::task(&namespace, error))? {
            let alive = matches!(
                found.status,
                ProcessStatus::Running | ProcessStatus::Paused | ProcessStatus::Created
            );
            if !alive || !filters.matches(&Filtered(&found)) {
                continue;
            }
            // One that has just ended is left out, as containerd does.
            if let Ok(metric) = tasks.metrics(&namespace, &found.container).await {
                metrics.push(Metric {
                    timestamp: convert::time(metric.time),
                    id: metric.container.to_string(),
                    data: Some(convert::any(&metric.data)),
                });
            }
        }
        Ok(Response::new(wire::MetricsResponse { metrics }))
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<wire::WaitResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (id, exec) = (container(&request.container_id)?, exec(&request.exec_id)?);
        let tasks = self.engine.tasks();
        let exit = tokio::select! {
            biased;
            exit = tasks.wait(&namespace, &id, exec.as_ref()) => exit.map_err(|error| convert::task(&namespace, error))?,
            // A client that waits must not keep the daemon from ending; it asks the next one again.
            () = self.stop.cancelled() => return Err(Status::unavailable("the daemon is stopping")),
        };
        Ok(Response::new(wire::WaitResponse {
            exit_status: exit.status,
            exited_at: convert::maybe_time(exit.exited_at),
        }))
    }
}
