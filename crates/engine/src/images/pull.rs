//! The pull: name → documents → all layers at once → one durable commit.
//!
//! It runs in a task of its own: a client that goes away does not stop it, and a second one for the same thing
//! joins it. What fails leaves at most ingests, from which the next pull goes on.

use super::{
    documents::{Documents, Source, registry_error},
    finish,
    journal::Journal,
    layers::{LayerDone, LayerJob},
    plan::Plan,
    state::Running,
    *,
};
use tare_registry::Repository;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Begins a pull or joins the one that does the same, and waits for its end.
pub(super) async fn pull(
    images: &Images,
    request: PullRequest,
    progress: Option<ProgressSender>,
) -> Result<Image> {
    let running = join_or_begin(images, request);
    let mut outcome = running.outcome.clone();
    let done = async {
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            // The task was ended: the daemon stops.
            Err(_) => None,
        }
    };
    match running.journal.forward(progress, done).await {
        Some(Ok(image)) => Ok(Image::clone(&image)),
        Some(Err(error)) => Err(shared(&error)),
        None => {
            let name = running.request.reference.to_string();
            Err(Error::new(ErrorKind::Canceled, "pull", "image", name, "the daemon is stopping"))
        }
    }
}

/// One error for several waiters.
fn shared(error: &Error) -> Error {
    let mut detail = error.detail().to_string();
    if let Some(source) = std::error::Error::source(error) {
        if !detail.is_empty() {
            detail.push_str(": ");
        }
        detail.push_str(&source.to_string());
    }
    Error::new(error.kind(), error.operation(), error.what(), error.name(), detail)
}

fn join_or_begin(images: &Images, request: PullRequest) -> Running {
    let state = images.engine.image_state();
    let mut list = state.running();
    if let Some(running) = list.iter().find(|running| running.request == request) {
        return running.clone();
    }
    let (finished, outcome) = watch::channel(None);
    let running = Running { request: request.clone(), journal: Arc::new(Journal::new()), outcome };
    list.push(running.clone());
    drop(list);
    let (images, journal) = (images.clone(), running.journal.clone());
    let engine = images.engine.clone();
    engine.clone().spawn(async move {
        let pull = Pull { images: &images, request: &request, journal };
        let result = tokio::select! {
            result = pull.run() => result,
            () = engine.stopping().cancelled() => {
                let detail = "the daemon is stopping";
                Err(Error::new(ErrorKind::Canceled, "pull", "image", request.reference.familiar(), detail))
            }
        };
        // Out of the list first: whoever comes now begins anew and finds everything there.
        images.engine.image_state().running().retain(|running| running.request != request);
        finished.send_replace(Some(result.map(Arc::new).map_err(Arc::new)));
    });
    running
}

struct Pull<'a> {
    images: &'a Images,
    request: &'a PullRequest,
    journal: Arc<Journal>,
}

impl Pull<'_> {
    fn engine(&self) -> &Engine {
        &self.images.engine
    }

    fn name(&self) -> String {
        self.request.reference.familiar()
    }

    async fn run(&self) -> Result<Image> {
        let name = self.name();
        let snapshotter = self.images.snapshotter(self.request.snapshotter.as_deref())?;
        let repository = self.repository().await?;
        let failed = |error| registry_error("pull", &name, error);
        let resolved = repository.resolve(self.request.reference.object()).await.map_err(failed)?;
        self.journal.note(None, ProgressStep::Resolved(resolved.descriptor.digest.clone()));
        let source = Source {
            engine: self.engine(),
            namespace: &self.request.namespace,
            repository: &repository,
            name: name.clone(),
        };
        let platform = self.request.platform.as_ref();
        let documents = source.documents(resolved.descriptor, resolved.body, platform).await?;
        for layer in &documents.manifest.layers {
            self.journal.note(Some(&layer.digest), ProgressStep::Waiting);
        }
        let digests = documents.manifest.layers.iter().map(|layer| layer.digest.clone());
        let _locks = self.engine().image_state().locks.lock(&self.request.namespace, digests).await;
        self.unpack(&repository, documents, snapshotter).await?;
        let image = self.images.get(&self.request.namespace, &stored_name(&self.request.reference)).await?;
        self.tell(&image);
        Ok(image)
    }

    async fn repository(&self) -> Result<Repository> {
        let client = self.engine().image_state().client.clone();
        let (reference, name) = (self.request.reference.clone(), self.name());
        let credentials = credentials::for_registry(reference.domain(), self.request.credentials.as_ref());
        blocking("read registry configuration", move || {
            client.repository(&reference, &credentials).map_err(|e| registry_error("pull", &name, e))
        })
        .await
    }

    /// Fetches and unpacks what is missing and commits; on failure everything but resumable ingests is undone.
    async fn unpack(
        &self,
        repository: &Repository,
        documents: Documents,
        snapshotter: Arc<dyn tare_store::Snapshotter>,
    ) -> Result<()> {
        let engine = self.engine().clone();
        let namespace = self.request.namespace.clone();
        let (manifest, config) = (documents.manifest.clone(), documents.config.clone());
        let mut plan = blocking("plan pull", move || {
            let mut plan = Plan::new(&engine, &namespace, &snapshotter, &manifest, &config)?;
            match plan.prepare(&engine) {
                Ok(()) => Ok(plan),
                Err(error) => Err(undone(&plan, &engine, error)),
            }
        })
        .await?;
        let worked = if plan.snapshotter.can_rebase() {
            self.all_layers(repository, &plan).await
        } else {
            self.layer_by_layer(repository, &mut plan).await
        };
        let engine = self.engine().clone();
        let request = self.request.clone();
        let journal = self.journal.clone();
        blocking("commit image", move || {
            let finished = worked.and_then(|done| finish::commit(&engine, &request, &plan, documents, done));
            match finished {
                Ok(()) => {
                    for layer in plan.layers.iter().filter(|layer| layer.active.is_some()) {
                        journal.note(Some(&layer.descriptor.digest), ProgressStep::PullComplete);
                    }
                    Ok(())
                }
                Err(error) => Err(undone(&plan, &engine, error)),
            }
        })
        .await
    }

    fn job(&self, plan: &Plan, index: usize, stop: &CancellationToken) -> LayerJob {
        let layer = &plan.layers[index];
        LayerJob {
            namespace: self.request.namespace.clone(),
            descriptor: layer.descriptor.clone(),
            target: layer.active.clone().map(|key| (plan.snapshotter.clone(), key)),
            content: self.engine().stores().content.clone(),
            journal: self.journal.clone(),
            stop: stop.clone(),
            name: self.name(),
        }
    }

    /// All layers at once, as many as there are slots.
    async fn all_layers(&self, repository: &Repository, plan: &Plan) -> Result<Vec<LayerDone>> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for index in (0..plan.layers.len()).filter(|index| plan.same_below(*index).is_none()) {
            let job = self.job(plan, index, &stop);
            let (slots, repository) = (self.engine().image_state().slots.clone(), repository.clone());
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await.expect("invariant: the semaphore is never closed");
                if job.stop.is_cancelled() {
                    return (index, Ok(LayerDone::default()));
                }
                (index, job.run(&repository).await)
            });
        }
        let mut done: Vec<LayerDone> = plan.layers.iter().map(|_| LayerDone::default()).collect();
        let mut first_error = None;
        while let Some(joined) = tasks.join_next().await {
            let (index, result) = joined.map_err(|error| {
                stop.cancel();
                Error::new(ErrorKind::Internal, "pull", "image", self.name(), "a layer's task ended")
                    .with_source(error)
            })?;
            match result {
                Ok(layer) => done[index] = layer,
                Err(error) => {
                    // The others stop and keep their bytes; all are waited for, so that nothing writes any more.
                    stop.cancel();
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        for index in 0..plan.layers.len() {
            if let Some(below) = plan.same_below(index) {
                done = self.again(self.job(plan, index, &stop), index, below, done).await?;
            }
        }
        Ok(done)
    }

    /// Unpacks a layer whose blob came for one below it.
    async fn again(
        &self,
        job: LayerJob,
        index: usize,
        below: usize,
        mut done: Vec<LayerDone>,
    ) -> Result<Vec<LayerDone>> {
        blocking("unpack layer", move || {
            let applied = job.apply_again(done[below].sealed.as_ref())?;
            done[index] = LayerDone { sealed: None, applied };
            Ok(done)
        })
        .await
    }

    /// For a snapshotter whose directories hold their parent's content: one after another.
    async fn layer_by_layer(&self, repository: &Repository, plan: &mut Plan) -> Result<Vec<LayerDone>> {
        let stop = CancellationToken::new();
        let mut done = Vec::new();
        for index in 0..plan.layers.len() {
            if !plan.layers[index].unpacked {
                plan.prepare_on_parent(index)?;
            }
            let slots = self.engine().image_state().slots.clone();
            let _slot = slots.acquire_owned().await.expect("invariant: the semaphore is never closed");
            let job = self.job(plan, index, &stop);
            let mut layer = match plan.same_below(index) {
                Some(below) => {
                    done.push(LayerDone::default());
                    done = self.again(job, index, below, done).await?;
                    done.pop().expect("invariant: it was just put there")
                }
                None => job.run(repository).await?,
            };
            if let (Some(applied), Some(key)) = (layer.applied.take(), plan.layers[index].active.take()) {
                finish::commit_one(plan, index, &key, &applied)?;
                self.journal.note(Some(&plan.layers[index].descriptor.digest), ProgressStep::PullComplete);
            }
            done.push(layer);
        }
        Ok(done)
    }

    fn tell(&self, image: &Image) {
        let name = self.name();
        let attributes = BTreeMap::from([("name".to_string(), self.request.reference.familiar_name())]);
        let body = crate::events::Body::Action { kind: "image", action: "pull".to_string(), id: name };
        self.engine().events().publish(&self.request.namespace, now(), body, Arc::new(attributes));
        tracing::info!(image = %self.request.reference, id = %image.id, "pulled");
    }
}

/// The error after the undoing; what could not be undone is added to it.
pub(super) fn undone(plan: &Plan, engine: &Engine, error: Error) -> Error {
    match plan.undo(engine) {
        Ok(()) => error,
        Err(second) => {
            tracing::warn!(%second, "undoing the pull failed; garbage collection will do it");
            error
        }
    }
}
