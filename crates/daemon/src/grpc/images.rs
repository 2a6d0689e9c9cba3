//! `containerd.services.images.v1.Images`.

use super::{Door, blocking, convert, scope};
use std::borrow::Cow;
use std::sync::Arc;
use tare_api::containerd::services::images::v1 as wire;
use tare_engine::events::Body;
use tare_store::filters::Fields;
use tare_store::metadata::ImageRow;
use tare_store::{Filters, Tables};
use tare_types::{Descriptor, Digest, ErrorKind};
use tonic::{Request, Response, Status};

fn to_wire(row: &ImageRow) -> wire::Image {
    wire::Image {
        name: row.name.clone(),
        labels: convert::labels(&row.labels),
        target: Some(convert::descriptor(&row.target)),
        created_at: convert::time(row.created_at),
        updated_at: convert::time(row.updated_at),
    }
}

/// The image of an update: its target counts only where the mask names it, and may be missing otherwise.
fn from_update(image: Option<wire::Image>, paths: &[String]) -> Result<ImageRow, Status> {
    let mut image = image.unwrap_or_default();
    let named = paths.is_empty() || paths.iter().any(|path| path == "target" || path.starts_with("target."));
    if !named {
        image.target = Some(convert::descriptor(&Descriptor::new("", Digest::of_bytes(b""), 0)));
    }
    from_wire(Some(image))
}

fn from_wire(image: Option<wire::Image>) -> Result<ImageRow, Status> {
    let image = image.unwrap_or_default();
    if image.name.is_empty() {
        return Err(convert::status(ErrorKind::InvalidArgument, "image name must not be empty"));
    }
    let now = convert::now();
    Ok(ImageRow {
        name: image.name,
        target: convert::from_descriptor(image.target)?,
        labels: convert::from_labels(image.labels),
        created_at: now,
        updated_at: now,
    })
}

fn missing(name: &str) -> Status {
    convert::status(ErrorKind::NotFound, &format!("image {name:?}"))
}

/// An image as filters see it.
struct Filtered<'a>(&'a ImageRow);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(Cow::Borrowed(&self.0.name)),
            ["target", "digest"] => Some(Cow::Borrowed(self.0.target.digest.as_str())),
            ["target", "mediatype"] => Some(Cow::Borrowed(&self.0.target.media_type)),
            ["labels", key @ ..] => {
                self.0.labels.get(&key.join(".")).map(|value| Cow::Borrowed(value.as_str()))
            }
            _ => None,
        }
    }
}

/// Applies a field mask: `target`, `labels`, `labels.<key>`, `annotations` parts of the target are part of it.
fn change(row: &mut ImageRow, asked: &ImageRow, paths: &[String]) -> tare_store::Result<()> {
    if paths.is_empty() {
        row.target = asked.target.clone();
        row.labels = asked.labels.clone();
        return Ok(());
    }
    let (target, labels): (Vec<String>, Vec<String>) =
        paths.iter().cloned().partition(|path| path == "target" || path.starts_with("target."));
    if !target.is_empty() {
        row.target = asked.target.clone();
    }
    if !labels.is_empty() {
        tare_store::labels::update(&mut row.labels, &asked.labels, &labels)?;
    }
    Ok(())
}

#[tonic::async_trait]
impl wire::images_server::Images for Door {
    async fn get(
        &self,
        request: Request<wire::GetImageRequest>,
    ) -> Result<Response<wire::GetImageResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let name = request.into_inner().name;
        let metadata = self.engine.stores().metadata.clone();
        let image = blocking(move || {
            let row = metadata.read().and_then(|tx| tx.image(&namespace, &name)).map_err(convert::store)?;
            row.map(|row| to_wire(&row)).ok_or_else(|| missing(&name))
        })
        .await?;
        Ok(Response::new(wire::GetImageResponse { image: Some(image) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListImagesRequest>,
    ) -> Result<Response<wire::ListImagesResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        let metadata = self.engine.stores().metadata.clone();
        let images = blocking(move || {
            let rows = metadata.read().and_then(|tx| tx.images(&namespace)).map_err(convert::store)?;
            Ok(rows.iter().filter(|row| filters.matches(&Filtered(row))).map(to_wire).collect())
        })
        .await?;
        Ok(Response::new(wire::ListImagesResponse { images }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateImageRequest>,
    ) -> Result<Response<wire::CreateImageResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let row = from_wire(request.into_inner().image)?;
        let (metadata, stored, place) =
            (self.engine.stores().metadata.clone(), row.clone(), namespace.clone());
        blocking(move || {
            let known = metadata
                .update(|tx| {
                    let known = tx.image(&place, &stored.name)?.is_some();
                    if !known {
                        tx.put_image(&place, &stored)?;
                    }
                    Ok(known)
                })
                .map_err(convert::store)?;
            match known {
                true => Err(convert::status(ErrorKind::AlreadyExists, &format!("image {:?}", stored.name))),
                false => Ok(()),
            }
        })
        .await?;
        self.publish_image(&namespace, Body::ImageCreated { name: row.name.clone() });
        Ok(Response::new(wire::CreateImageResponse { image: Some(to_wire(&row)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateImageRequest>,
    ) -> Result<Response<wire::UpdateImageResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let paths = convert::paths(request.update_mask);
        let asked = from_update(request.image, &paths)?;
        let (metadata, place) = (self.engine.stores().metadata.clone(), namespace.clone());
        let row = blocking(move || {
            let changed = metadata
                .update(|tx| {
                    let Some(mut row) = tx.image(&place, &asked.name)? else { return Ok(None) };
                    change(&mut row, &asked, &paths)?;
                    row.updated_at = asked.updated_at;
                    tx.put_image(&place, &row)?;
                    Ok(Some(row))
                })
                .map_err(convert::store)?;
            changed.ok_or_else(|| missing(&asked.name))
        })
        .await?;
        self.publish_image(&namespace, Body::ImageUpdated { name: row.name.clone() });
        Ok(Response::new(wire::UpdateImageResponse { image: Some(to_wire(&row)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteImageRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let asked = request.into_inner();
        let target = asked.target.map(|target| convert::digest(&target.digest)).transpose()?;
        let (stores, place, name) = (self.engine.stores().clone(), namespace.clone(), asked.name.clone());
        blocking(move || {
            let outcome = stores
                .metadata
                .update(|tx| {
                    let Some(row) = tx.image(&place, &name)? else { return Ok(None) };
                    if target.as_ref().is_some_and(|target| *target != row.target.digest) {
                        return Ok(Some(false));
                    }
                    tx.remove_image(&place, &name).map(Some)
                })
                .map_err(convert::store)?;
            match outcome {
                None => return Err(missing(&name)),
                Some(false) => {
                    let text = format!("image {name:?} has another target than the one to delete");
                    return Err(convert::status(ErrorKind::NotFound, &text));
                }
                Some(true) => {}
            }
            Ok(())
        })
        .await?;
        self.collect(asked.sync).await?;
        self.publish_image(&namespace, Body::ImageDeleted { name: asked.name });
        Ok(Response::new(()))
    }
}

impl Door {
    /// What the removed object kept goes: before the answer, or soon.
    pub(super) async fn collect(&self, sync: bool) -> Result<(), Status> {
        match sync {
            true => self.engine.collect_garbage().await.map(|_| ()).map_err(convert::engine),
            false => {
                self.engine.request_garbage_collection();
                Ok(())
            }
        }
    }

    fn publish_image(&self, namespace: &tare_types::Namespace, body: Body) {
        self.engine.events().publish(namespace, convert::now(), body, Arc::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_types::Timestamp;

    fn row(content: &[u8], label: &str) -> ImageRow {
        ImageRow {
            name: "n".into(),
            target: Descriptor::new("t", Digest::of_bytes(content), 1),
            labels: [("k".to_owned(), label.to_owned())].into(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }

    #[test]
    fn an_update_of_labels_needs_no_target() {
        let image = || Some(wire::Image { name: "n".into(), ..Default::default() });
        assert!(from_update(image(), &["labels.a".into()]).is_ok());
        assert!(from_update(image(), &["target".into()]).is_err());
        assert!(from_update(image(), &[]).is_err());
    }

    #[test]
    fn a_mask_changes_only_what_it_names() {
        let (mut image, asked) = (row(b"a", "old"), row(b"b", "new"));
        change(&mut image, &asked, &["labels.k".into()]).unwrap();
        assert_eq!(image, row(b"a", "new"));
        change(&mut image, &asked, &["target".into()]).unwrap();
        assert_eq!(image, row(b"b", "new"));
        assert!(change(&mut image, &asked, &["name".into()]).is_err());
    }
}
