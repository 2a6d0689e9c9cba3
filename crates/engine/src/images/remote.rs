//! What a registry has, without fetching it: the tags of a repository, and what a name stands for.

use super::{documents::registry_error, *};
use tare_registry::{Document, check_document};

/// What a registry says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// Type, digest and size of the document.
    pub descriptor: Descriptor,
    /// The platforms it is for, those of attestations left out.
    pub platforms: Vec<Platform>,
}

impl Images {
    async fn remote_repository(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<tare_registry::Repository> {
        let client = self.engine.image_state().client.clone();
        let known = credentials::for_registry(reference.domain(), credentials);
        let reference = reference.clone();
        blocking("read registry configuration", move || {
            let opened = client.repository(&reference, &known);
            opened.map_err(|error| registry_error("look up", &reference.familiar(), error))
        })
        .await
    }

    /// The tags that the repository of a reference has in its registry.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn remote_tags(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>> {
        let repository = self.remote_repository(reference, credentials).await?;
        repository
            .tags()
            .await
            .map_err(|error| registry_error("list tags of", &reference.familiar_name(), error))
    }

    /// What a name stands for in its registry, and for which platforms.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn inspect_remote(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<RemoteImage> {
        let name = reference.familiar();
        let failed = |error| registry_error("look up", &name, error);
        let repository = self.remote_repository(reference, credentials).await?;
        let resolved = repository.resolve(reference.object()).await.map_err(failed)?;
        let document = match &resolved.body {
            Some(bytes) => check_document(&resolved.descriptor.media_type, bytes).map_err(failed)?,
            None => repository.fetch_document(&resolved.descriptor).await.map_err(failed)?.1,
        };
        let platforms = match document {
            Document::Index(index) => {
                let all = index.manifests.into_iter().filter_map(|manifest| manifest.platform);
                all.filter(|platform| platform.os != "unknown").collect()
            }
            Document::Manifest(manifest) => {
                let bytes = fetch_config(&repository, &manifest.config, &name).await?;
                let config: std::result::Result<ImageConfig, _> = serde_json::from_slice(&bytes);
                // Of something that is no image there is nothing to say.
                config.map(|config| vec![config.platform]).unwrap_or_default()
            }
        };
        Ok(RemoteImage { descriptor: resolved.descriptor, platforms })
    }
}

async fn fetch_config(
    repository: &tare_registry::Repository,
    descriptor: &Descriptor,
    name: &str,
) -> Result<Vec<u8>> {
    if descriptor.size > super::documents::CONFIG_LIMIT {
        let detail = format!("its config has {} bytes", descriptor.size);
        return Err(Error::new(ErrorKind::ResourceExhausted, "look up", "image", name, detail));
    }
    let failed = |error| registry_error("look up", name, error);
    let mut stream = repository.fetch_blob(descriptor, 0).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
    }
    let found = Digest::of_bytes(&bytes);
    if descriptor.digest.algorithm() == "sha256" && found != descriptor.digest {
        let detail = format!("wrong digest: the config has {found}, expected {}", descriptor.digest);
        return Err(Error::new(ErrorKind::DataLoss, "look up", "image", name, detail));
    }
    Ok(bytes)
}
