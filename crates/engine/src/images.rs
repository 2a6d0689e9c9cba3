//! Images: pull, list, inspect, tag, remove, push, and what a container needs of one.
//!
//! Image references as people give them: a familiar name, a full reference, the config digest (Docker's image
//! id) or a prefix of it.

mod commit;
mod compose;
mod credentials;
mod documents;
mod finish;
mod gc;
mod journal;
mod labels;
mod layers;
mod load;
mod locks;
mod lookup;
mod plan;
mod pull;
mod push;
mod remote;
mod remove;
mod save;
mod state;
mod unpack;

pub use commit::{CommitRequest, ImportRequest};
pub use load::Loaded;
pub(crate) use load::remove_scratch;
pub use remote::RemoteImage;

pub(crate) use finish::sync_later;
pub(crate) use gc::run_schedule;
pub(crate) use plan::remove_leftovers;
pub(crate) use state::ImageState;

use crate::{Engine, Error, Result, clock::now, stores::blocking};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tare_store::{Snapshotter, Tables as _};
use tare_types::{
    ChainId, ContainerId, Descriptor, Digest, ErrorKind, Namespace, Platform, Reference, SnapshotKey,
    Timestamp,
    image::{ImageConfig, Manifest},
};
use tokio::sync::mpsc;

/// Prefix of the names that keep untagged images; what follows is the digest of their target.
const UNTAGGED: &str = "tare-untagged@";

/// The verbs of images.
#[derive(Debug, Clone)]
pub struct Images {
    engine: Engine,
}

/// Who asks a registry. Debug output hides the secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name, or empty.
    pub username: String,
    /// Password, or empty.
    pub password: String,
    /// OAuth2 refresh token, or empty.
    pub identity_token: String,
    /// Bearer token, or empty.
    pub registry_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, …)", self.username)
    }
}

/// What to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Tenant.
    pub namespace: Namespace,
    /// Full reference.
    pub reference: Reference,
    /// Platform; `None` is this host's.
    pub platform: Option<Platform>,
    /// Credentials for the reference's registry.
    pub credentials: Option<Credentials>,
    /// Snapshotter to unpack into; `None` is the configured one.
    pub snapshotter: Option<String>,
}

/// One step of a pull or push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What it is about: the digest of a blob, or empty for the whole.
    pub digest: Option<Digest>,
    /// What happens.
    pub step: ProgressStep,
}

/// What happens in a [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressStep {
    /// The reference was resolved to this digest.
    Resolved(Digest),
    /// A layer waits for its turn.
    Waiting,
    /// Bytes fetched of a total.
    Downloading {
        /// So far.
        current: u64,
        /// In all.
        total: u64,
    },
    /// All bytes are there and checked.
    DownloadComplete,
    /// Bytes unpacked of a total.
    Extracting {
        /// So far, compressed.
        current: u64,
        /// In all.
        total: u64,
    },
    /// The layer is a snapshot.
    PullComplete,
    /// The blob was there.
    AlreadyExists,
    /// Bytes sent of a total.
    Pushing {
        /// So far.
        current: u64,
        /// In all.
        total: u64,
    },
    /// The registry has it.
    Pushed,
}

/// Where steps are reported; bounded, and a full one drops byte counts, never other steps.
pub type ProgressSender = mpsc::Sender<Progress>;

/// An image: one manifest for one platform, and the names that point to it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Config digest: Docker's image id.
    pub id: Digest,
    /// Names that point to it, full references without digests.
    pub names: Vec<Reference>,
    /// `name@digest` pairs under which registries know it.
    pub repo_digests: Vec<Reference>,
    /// What the names point to: index or manifest.
    pub target: Descriptor,
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// The config.
    pub config: Arc<ImageConfig>,
    /// Name of the top snapshot; the digest of nothing for an image without layers ([`Image::top_snapshot`]).
    pub chain_id: ChainId,
    /// Bytes unpacked, 0 when unknown.
    pub size: u64,
    /// When the first name was stored.
    pub stored_at: Timestamp,
    /// Labels of the image record.
    pub labels: BTreeMap<String, String>,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// The name is gone.
    Untagged(String),
    /// The image is gone.
    Deleted(Digest),
}

impl Image {
    /// The committed snapshot to stand on; `None` for an image without layers.
    pub fn top_snapshot(&self) -> Option<SnapshotKey> {
        let chain = (!self.config.rootfs.diff_ids.is_empty()).then(|| self.chain_id.to_string())?;
        Some(SnapshotKey::new(chain).expect("invariant: a digest is a legal key"))
    }
}

/// The name under which a reference is stored: a digest says more than a tag, which is then dropped (as Docker has it).
pub(crate) fn stored_name(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()).to_string(),
        None => reference.to_string(),
    }
}

/// Whether a row only keeps an untagged image.
fn is_hidden(name: &str) -> bool {
    name.starts_with(UNTAGGED)
}

impl Images {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn snapshotter(&self, name: Option<&str>) -> Result<Arc<dyn Snapshotter>> {
        let name = name.unwrap_or(&self.engine.config().snapshotter);
        self.engine.stores().snapshotter(name).cloned()
    }

    /// Fetches what is absent, unpacks it, and stores the name; pulls of the same blob share its transfer.
    ///
    /// The work goes on when the caller goes away. A failure leaves at most the bytes that came, for the next pull.
    ///
    /// # Errors
    /// What the registry says; `DataLoss` for wrong bytes; `ResourceExhausted` for limits and a full disk.
    pub async fn pull(&self, request: PullRequest, progress: Option<ProgressSender>) -> Result<Image> {
        pull::pull(self, request, progress).await
    }

    /// Unpacks a present image where it is not: one that a client of containerd's door fetched only.
    ///
    /// # Errors
    /// `NotFound` when layers are missing; `DataLoss` for a wrong diff id; as [`Images::pull`].
    pub async fn ensure_unpacked(
        &self,
        namespace: &Namespace,
        image: &Image,
        snapshotter: Option<&str>,
    ) -> Result<()> {
        unpack::ensure(self, namespace, image, snapshotter).await
    }

    /// Sends an image to its registry.
    ///
    /// # Errors
    /// `NotFound`; what the registry says.
    pub async fn push(
        &self,
        namespace: &Namespace,
        reference: &Reference,
        credentials: Option<Credentials>,
        progress: Option<ProgressSender>,
    ) -> Result<Descriptor> {
        push::push(self, namespace, reference, credentials, progress).await
    }

    /// Checks credentials with a registry (`docker login`); gives an identity token if the registry makes one.
    ///
    /// # Errors
    /// `Unauthenticated`; `Unavailable`.
    pub async fn login(&self, registry: &str, credentials: Credentials) -> Result<Option<String>> {
        let fault = |error: tare_registry::Error| {
            Error::new(error.kind(), "log in to", "registry", registry, "").with_source(error)
        };
        let credential = credentials::credential(&credentials).ok_or_else(|| {
            let detail = "no user name or token was given";
            Error::new(ErrorKind::Unauthenticated, "log in to", "registry", registry, detail)
        })?;
        let login = self.engine.image_state().client.login(registry, credential).await.map_err(fault)?;
        Ok(login.identity_token.map(tare_registry::Secret::into_text))
    }

    /// The image a reference means: a name first, then an id or a unique prefix of one.
    ///
    /// # Errors
    /// `NotFound` with `what() == "image"`; `InvalidArgument` for a prefix of several.
    pub async fn get(&self, namespace: &Namespace, reference: &str) -> Result<Image> {
        let (engine, namespace, reference) = (self.engine.clone(), namespace.clone(), reference.to_string());
        blocking("get image", move || {
            let tx = engine.stores().metadata.read()?;
            let all = lookup::named(&engine, &namespace, &tx)?;
            lookup::view(&engine, &namespace, &tx, &lookup::find(&all, &reference)?)
        })
        .await
    }

    /// All images, newest first. Untagged ones included.
    ///
    /// # Errors
    /// `DataLoss` when the database cannot be read.
    pub async fn list(&self, namespace: &Namespace) -> Result<Vec<Image>> {
        let (engine, namespace) = (self.engine.clone(), namespace.clone());
        blocking("list images", move || {
            let tx = engine.stores().metadata.read()?;
            let all = lookup::named(&engine, &namespace, &tx)?;
            let mut groups: BTreeMap<&Digest, Vec<&lookup::Named>> = BTreeMap::new();
            for named in &all {
                groups.entry(&named.loaded.id).or_default().push(named);
            }
            let views = groups.values().map(|group| lookup::view(&engine, &namespace, &tx, group));
            let mut images = views.collect::<Result<Vec<Image>>>()?;
            images.sort_by(|a, b| b.config.created.cmp(&a.config.created).then_with(|| a.id.cmp(&b.id)));
            Ok(images)
        })
        .await
    }

    /// Gives an image a further name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag(&self, namespace: &Namespace, source: &str, target: &Reference) -> Result<()> {
        let image = self.get(namespace, source).await?;
        let (engine, namespace, target) = (self.engine.clone(), namespace.clone(), target.clone());
        blocking("tag image", move || {
            let (name, now) = (stored_name(&target), now());
            let put = |tx: &_| finish::put_name(tx, &namespace, &name, &image.target, now);
            let changed = engine.stores().metadata.update(put)?;
            if let Some(body) = changed {
                engine.events().publish(&namespace, now, body, Arc::default());
            }
            let attributes = BTreeMap::from([("name".to_string(), target.familiar())]);
            let body = crate::events::Body::Action {
                kind: "image",
                action: "tag".to_string(),
                id: image.id.to_string(),
            };
            engine.events().publish(&namespace, now, body, Arc::new(attributes));
            Ok(())
        })
        .await
    }

    /// Removes a name, and the image with the last one. What nothing needs any more is gone when it returns.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when a container or a further name is in the way (the detail is Docker's
    /// sentence behind `conflict: `) and not `force`.
    pub async fn remove(&self, namespace: &Namespace, reference: &str, force: bool) -> Result<Vec<Removed>> {
        let running = self.running_containers(namespace).await;
        let (engine, tenant, name) = (self.engine.clone(), namespace.clone(), reference.to_string());
        let removed =
            blocking("remove image", move || remove::remove(&engine, &tenant, &name, force, &running))
                .await?;
        self.engine.collect_garbage().await?;
        Ok(removed)
    }

    /// Removes what no container uses: untagged images, or with `all` tagged ones too. Gives what went and the bytes.
    ///
    /// # Errors
    /// The first removal that failed.
    pub async fn prune(&self, namespace: &Namespace, all: bool) -> Result<(Vec<Removed>, u64)> {
        let running = self.running_containers(namespace).await;
        let (engine, tenant) = (self.engine.clone(), namespace.clone());
        let pruned = blocking("prune images", move || remove::prune(&engine, &tenant, all, &running)).await?;
        self.engine.collect_garbage().await?;
        Ok(pruned)
    }

    async fn running_containers(&self, namespace: &Namespace) -> BTreeSet<ContainerId> {
        let views = self.engine.containers().list(namespace).await;
        let running = views.into_iter().filter(|view| view.state.status.is_running());
        running.map(|view| view.record.id.clone()).collect()
    }
}
