//! Look-up, tags, removal.

use super::*;
use tare_engine::images::Removed;
use tare_store::Tables as _;
use tare_types::ErrorKind;

fn reference(name: &str) -> Reference {
    Reference::parse_familiar(name).unwrap()
}

#[test]
fn an_image_is_found_by_all_its_names() {
    alone(async {
        let (registry, made, name) = served("names").await;
        let fixture = Fixture::new().await;
        fixture.pull(&name).await.unwrap();
        let images = fixture.engine.images();
        images.tag(&namespace(), &name, &reference("mine:1")).await.unwrap();
        let id = made.config.descriptor.digest.clone();
        let by_digest = format!("{}/app@{}", registry.host(), made.manifest.descriptor.digest);
        for text in [name.as_str(), "mine:1", "docker.io/library/mine:1", id.as_str(), id.short(), &by_digest]
        {
            assert_eq!(images.get(&namespace(), text).await.unwrap().id, id, "{text}");
        }
        for text in ["mine", "other", "zz", "0000000000000000"] {
            let error = images.get(&namespace(), text).await.unwrap_err();
            assert_eq!((error.kind(), error.what()), (ErrorKind::NotFound, "image"), "{text}");
        }
        let list = images.list(&namespace()).await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].names.len(), 2);
        assert_eq!(list[0].repo_digests.len(), 1, "a tag of one's own is in no registry");
        let other = Namespace::new("other").unwrap();
        assert_eq!(images.list(&other).await.unwrap().len(), 0);
    });
}

#[test]
fn the_image_goes_with_its_last_name() {
    alone(async {
        let (registry, made, name) = served("remove").await;
        let fixture = Fixture::new().await;
        fixture.pull(&name).await.unwrap();
        let images = fixture.engine.images();
        images.tag(&namespace(), &name, &reference("mine:1")).await.unwrap();
        let removed = images.remove(&namespace(), "mine:1", false).await.unwrap();
        assert_eq!(removed, [Removed::Untagged("mine:1".into())]);
        let removed = images.remove(&namespace(), &name, false).await.unwrap();
        let by_digest = format!("{}/app@{}", registry.host(), made.manifest.descriptor.digest);
        let id = made.config.descriptor.digest.clone();
        assert_eq!(removed, [Removed::Untagged(name), Removed::Untagged(by_digest), Removed::Deleted(id)]);
        fixture.assert_nothing_left();
    });
}

#[test]
fn an_id_with_several_repositories_needs_force() {
    alone(async {
        let (_registry, made, name) = served("force").await;
        let fixture = Fixture::new().await;
        fixture.pull(&name).await.unwrap();
        let images = fixture.engine.images();
        images.tag(&namespace(), &name, &reference("mine:1")).await.unwrap();
        let id = made.config.descriptor.digest.clone();
        let error = images.remove(&namespace(), id.short(), false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.detail().contains("image is referenced in multiple repositories"), "{error}");
        let removed = images.remove(&namespace(), id.short(), true).await.unwrap();
        assert!(removed.contains(&Removed::Deleted(id)), "{removed:?}");
        fixture.assert_nothing_left();
    });
}

#[test]
fn a_name_that_moves_leaves_an_untagged_image() {
    alone(async {
        let (registry, _, name) = served("old").await;
        let fixture = Fixture::new().await;
        let old = fixture.pull(&name).await.unwrap();
        registry.put_image("app", "v1", &sample("new"));
        let new = fixture.pull(&name).await.unwrap();
        assert_ne!(old.id, new.id);
        let images = fixture.engine.images();
        let list = images.list(&namespace()).await.unwrap();
        assert_eq!(list.len(), 2);
        let untagged = list.iter().find(|image| image.id == old.id).unwrap();
        assert!(untagged.names.is_empty());
        assert_eq!(images.get(&namespace(), old.id.short()).await.unwrap().id, old.id);
        let (removed, bytes) = images.prune(&namespace(), false).await.unwrap();
        assert_eq!(removed, [Removed::Deleted(old.id)]);
        assert!(bytes > 0);
        assert_eq!(images.list(&namespace()).await.unwrap().len(), 1);
        let (removed, _) = images.prune(&namespace(), true).await.unwrap();
        assert!(removed.contains(&Removed::Deleted(new.id)));
        fixture.assert_nothing_left();
    });
}

#[test]
fn a_container_holds_its_image() {
    alone(async {
        let (_registry, made, name) = served("used").await;
        let fixture = Fixture::new().await;
        let image = fixture.pull(&name).await.unwrap();
        let row = tare_store::metadata::ContainerRow {
            id: tare_types::ContainerId::new("0123456789abcdef").unwrap(),
            labels: Default::default(),
            snapshotter: String::new(),
            snapshot_key: None,
            image: image.names[0].to_string(),
            created_at: Default::default(),
            updated_at: Default::default(),
            record: Vec::new(),
        };
        let metadata = &fixture.engine.stores().metadata;
        metadata.update(|tx| tx.put_container(&namespace(), &row)).unwrap();
        let images = fixture.engine.images();
        let error = images.remove(&namespace(), &name, false).await.unwrap_err();
        let id = made.config.descriptor.digest.short();
        let sentence = format!(
            "unable to remove repository reference {name:?} (must force) - container 0123456789ab is using its referenced image {id}"
        );
        assert_eq!(error.detail(), sentence);
        let error = images.remove(&namespace(), id, false).await.unwrap_err();
        assert!(error.detail().contains("image is being used by stopped container 0123456789ab"), "{error}");
        assert!(images.prune(&namespace(), true).await.unwrap().0.is_empty());
        images.remove(&namespace(), &name, true).await.unwrap();
        assert!(images.get(&namespace(), &name).await.is_err());
        assert!(metadata.read().unwrap().container(&namespace(), &row.id).unwrap().is_some());
    });
}

#[test]
fn what_nothing_keeps_is_collected_on_request() {
    alone(async {
        let fixture = Fixture::new().await;
        let stores = fixture.engine.stores();
        let digest = tare_types::Digest::of_bytes(b"nobody's");
        let now = tare_types::Timestamp::new(1, 0);
        let options =
            tare_store::IngestOptions { reference: "x", expected: None, total: 0, lease: None, now };
        let mut ingest = stores.content.ingest(&namespace(), &options).unwrap();
        ingest.write(b"nobody's").unwrap();
        ingest.commit(0, Some(&digest), Default::default(), now).unwrap();
        fixture.engine.request_garbage_collection();
        let begun = std::time::Instant::now();
        while stores.content.stat(&namespace(), &digest).is_ok() {
            assert!(begun.elapsed().as_secs() < 10, "it is collected");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
}
