//! Images: pull, list, inspect, tag, remove, push, and what a container needs of one.
//!
//! Image references as people give them: a familiar name, a full reference, the config digest (Docker's image
//! id) or a prefix of it.

use crate::{Engine, Error, Result};
use std::{collections::BTreeMap, sync::Arc};
use tare_types::{
    ChainId, Descriptor, Digest, Namespace, Platform, Reference, Timestamp,
    image::{ImageConfig, Manifest},
};
use tokio::sync::mpsc;

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
#[derive(Debug, Clone)]
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
    /// Name of the top snapshot.
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

impl Images {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Fetches what is absent, unpacks it, and stores the name; pulls of the same blob share its transfer.
    ///
    /// # Errors
    /// What the registry says; `DataLoss` for wrong bytes; `ResourceExhausted` for limits and a full disk.
    pub async fn pull(&self, _request: PullRequest, _progress: Option<ProgressSender>) -> Result<Image> {
        let _ = &self.engine;
        Err(Error::unimplemented("pull", "image"))
    }

    /// Sends an image to its registry.
    ///
    /// # Errors
    /// `NotFound`; what the registry says.
    pub async fn push(
        &self,
        _namespace: &Namespace,
        _reference: &Reference,
        _credentials: Option<Credentials>,
        _progress: Option<ProgressSender>,
    ) -> Result<Descriptor> {
        Err(Error::unimplemented("push", "image"))
    }

    /// Checks credentials with a registry (`docker login`); gives an identity token if the registry makes one.
    ///
    /// # Errors
    /// `Unauthenticated`; `Unavailable`.
    pub async fn login(&self, _registry: &str, _credentials: Credentials) -> Result<Option<String>> {
        Err(Error::unimplemented("log in to", "registry"))
    }

    /// The image a reference means: a name first, then an id or a unique prefix of one.
    ///
    /// # Errors
    /// `NotFound` with `what() == "image"`; `InvalidArgument` for a prefix of several.
    pub async fn get(&self, _namespace: &Namespace, reference: &str) -> Result<Image> {
        Err(Error::not_found("get", "image", reference))
    }

    /// All images, newest first. Untagged ones included.
    ///
    /// # Errors
    /// `DataLoss` when the database cannot be read.
    pub async fn list(&self, _namespace: &Namespace) -> Result<Vec<Image>> {
        Err(Error::unimplemented("list", "images"))
    }

    /// Gives an image a further name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag(&self, _namespace: &Namespace, _source: &str, _target: &Reference) -> Result<()> {
        Err(Error::unimplemented("tag", "image"))
    }

    /// Removes a name, and the image with the last one.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when a container uses it (detail: its id) and not `force`.
    pub async fn remove(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _force: bool,
    ) -> Result<Vec<Removed>> {
        Err(Error::unimplemented("remove", "image"))
    }

    /// Removes what no container uses: untagged images, or with `all` tagged ones too. Gives what went and the bytes.
    ///
    /// # Errors
    /// The first removal that failed.
    pub async fn prune(&self, _namespace: &Namespace, _all: bool) -> Result<(Vec<Removed>, u64)> {
        Err(Error::unimplemented("prune", "images"))
    }
}
