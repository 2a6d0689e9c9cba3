//! The good case.

use super::*;
use tare_store::Tables as _;
use tare_testkit::image::Blob;
use tare_types::{Digest, Platform, image::media};

#[test]
fn an_image_comes_with_its_snapshots_and_labels() {
    alone(async {
        let (registry, made, name) = served("hello").await;
        let fixture = Fixture::new().await;
        let (sender, receiver) = mpsc::channel(64);
        let watching = tokio::spawn(steps(receiver));
        let image = fixture.engine.images().pull(request(&name), Some(sender)).await.unwrap();
        assert_eq!(image.id, made.config.descriptor.digest);
        assert_eq!(image.names, [Reference::parse(&name).unwrap()]);
        let digest_name = format!("{}/app@{}", registry.host(), made.manifest.descriptor.digest);
        assert_eq!(image.repo_digests, [Reference::parse(&digest_name).unwrap()]);
        assert_eq!(image.config.config.cmd, ["true"]);
        assert!(image.size > 100_000, "{}", image.size);
        assert_eq!(fixture.file(&image, 0, "etc/word").unwrap(), b"hello");
        assert_eq!(fixture.file(&image, 1, "etc/new").unwrap(), b"hello");

        let watched = watching.await.unwrap();
        assert_eq!(count(&watched, &ProgressStep::Waiting), 2);
        assert_eq!(count(&watched, &ProgressStep::DownloadComplete), 2);
        assert_eq!(count(&watched, &ProgressStep::PullComplete), 2);
        assert_eq!(watched[0].step, ProgressStep::Resolved(made.manifest.descriptor.digest.clone()));

        let tx = fixture.engine.stores().metadata.read().unwrap();
        let labels = |digest: &Digest| tx.content(&namespace(), digest).unwrap().unwrap().labels;
        let source = format!("containerd.io/distribution.source.{}", registry.host());
        let manifest = labels(&made.manifest.descriptor.digest);
        assert_eq!(
            manifest["containerd.io/gc.ref.content.config"],
            made.config.descriptor.digest.to_string()
        );
        assert_eq!(
            manifest["containerd.io/gc.ref.content.l.1"],
            made.layers[1].descriptor.digest.to_string()
        );
        assert_eq!(manifest[&source], "app");
        let config = labels(&made.config.descriptor.digest);
        assert_eq!(config["containerd.io/gc.ref.snapshot.overlayfs"], image.chain_id.to_string());
        let layer = labels(&made.layers[0].descriptor.digest);
        assert_eq!(layer["containerd.io/uncompressed"], made.diff_ids[0].to_string());
        assert_eq!(layer[&source], "app");
        let snapshots = tx.snapshots(&namespace(), "overlayfs").unwrap();
        assert_eq!(snapshots.len(), 2);
        assert!(snapshots.iter().all(|row| row.info.kind == tare_store::snapshot::Kind::Committed));
        assert_eq!(tx.leases(&namespace()).unwrap().len(), 0);
    });
}

/// The marks of layers whose files are not synced yet.
fn unsynced(fixture: &Fixture) -> usize {
    let tx = fixture.engine.stores().metadata.read().unwrap();
    tx.snapshots(&namespace(), "overlayfs").unwrap().iter().filter(|row| row.unsynced.is_some()).count()
}

#[test]
fn layers_are_synced_after_the_answer_and_made_again_when_a_power_cut_takes_them() {
    alone(async {
        let (registry, _made, name) = served("synced").await;
        let fixture = Fixture::new().await;
        let image = fixture.pull(&name).await.unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while unsynced(&fixture) > 0 {
            assert!(std::time::Instant::now() < deadline, "the marks stay");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // What opening the store after a power cut does: rows and files of the layers go, top first.
        let snapshotter = fixture.engine.stores().snapshotter("overlayfs").unwrap().clone();
        let below = tare_types::ChainId::next(None, &image.config.rootfs.diff_ids[0]);
        for chain in [&image.chain_id, &below] {
            let key = SnapshotKey::new(chain.to_string()).unwrap();
            snapshotter.remove(&namespace(), &key).unwrap();
        }
        drop((registry, snapshotter));
        let fixture = fixture.reopen().await;
        let image = fixture.engine.images().get(&namespace(), &name).await.unwrap();
        fixture.engine.images().ensure_unpacked(&namespace(), &image, None).await.unwrap();
        assert_eq!(fixture.file(&image, 0, "etc/word").unwrap(), b"synced");
        assert_eq!(fixture.file(&image, 1, "etc/new").unwrap(), b"synced");
    });
}

#[test]
fn what_is_there_is_not_fetched_again() {
    alone(async {
        let (registry, made, name) = served("again").await;
        let fixture = Fixture::new().await;
        let before = fixture.engine.stores().metadata.durable_commits();
        fixture.pull(&name).await.unwrap();
        let commits = fixture.engine.stores().metadata.durable_commits() - before;
        assert!(commits <= 2, "{commits} durable commits");
        let fetched = registry.seen_at("/blobs/").len();
        let (sender, receiver) = mpsc::channel(64);
        let watching = tokio::spawn(steps(receiver));
        fixture.engine.images().pull(request(&name), Some(sender)).await.unwrap();
        assert_eq!(registry.seen_at("/blobs/").len(), fetched);
        assert_eq!(count(&watching.await.unwrap(), &ProgressStep::AlreadyExists), 2);
        // Another image on the same base: only the difference.
        let upper = Tar::new().file("other", 0o644, b"1").finish();
        let mut layers = vec![made.layers[0].clone()];
        layers.push(Blob::new(media::OCI_LAYER_GZIP, tare_testkit::image::gzip(&upper, 1)));
        let diff_ids = vec![made.diff_ids[0].clone(), tare_types::DiffId(Digest::of_bytes(&upper))];
        registry.put_image("app", "v2", &tare_testkit::image::assemble(layers, diff_ids, &["true"]));
        fixture.pull(&format!("{}/app:v2", registry.host())).await.unwrap();
        assert_eq!(registry.seen_at("/blobs/").len(), fetched + 2, "config and one layer");
    });
}

#[test]
fn pulls_of_one_image_share_one_transfer() {
    alone(async {
        let (registry, _, name) = served("shared").await;
        let fixture = Fixture::new().await;
        let other = format!("{}/app:v1-too", registry.host());
        registry.put_image("app", "v1-too", &sample("shared"));
        let (a, b, c) = tokio::join!(fixture.pull(&name), fixture.pull(&name), fixture.pull(&other));
        let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
        assert!(a.id == b.id && b.id == c.id);
        let mut targets: Vec<String> = registry
            .seen_at("/blobs/")
            .iter()
            .map(|seen| seen.target.clone())
            .filter(|t| !t.contains("config"))
            .collect();
        targets.sort();
        let layers: Vec<&String> = targets
            .iter()
            .filter(|t| a.manifest.layers.iter().any(|l| t.ends_with(l.digest.hex())))
            .collect();
        assert_eq!(layers.len(), 2, "each layer once: {targets:?}");
        assert_eq!(fixture.engine.images().get(&namespace(), &name).await.unwrap().names.len(), 2);
    });
}

#[test]
fn a_client_that_goes_away_does_not_stop_the_pull() {
    alone(async {
        let (_registry, _, name) = served("dropped").await;
        let fixture = Fixture::new().await;
        let images = fixture.engine.images();
        let pulling = images.pull(request(&name), None);
        // Polled once: the task is on its way; then the client is gone.
        assert!(tokio::time::timeout(std::time::Duration::ZERO, pulling).await.is_err());
        let begun = std::time::Instant::now();
        while images.get(&namespace(), &name).await.is_err() {
            assert!(begun.elapsed().as_secs() < 10, "the pull went on");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    alone(async {
        let (registry, made, _) = served("platform").await;
        let mut ours = made.manifest.descriptor.clone();
        ours.platform = Some(Platform::host());
        let mut foreign = tare_types::Descriptor::new(media::OCI_MANIFEST, Digest::of_bytes(b"none"), 4);
        foreign.platform = Some(Platform::parse("linux/riscv64").unwrap());
        let index = tare_types::image::Index {
            schema_version: 2,
            media_type: media::OCI_INDEX.into(),
            manifests: vec![foreign, ours],
            annotations: Default::default(),
        };
        registry.put_manifest("app", "multi", media::OCI_INDEX, serde_json::to_vec(&index).unwrap());
        let fixture = Fixture::new().await;
        let name = format!("{}/app:multi", registry.host());
        let image = fixture.pull(&name).await.unwrap();
        assert_eq!(image.target.media_type, media::OCI_INDEX);
        assert_eq!(image.manifest_digest, made.manifest.descriptor.digest);
        let tx = fixture.engine.stores().metadata.read().unwrap();
        let labels = tx.content(&namespace(), &image.target.digest).unwrap().unwrap().labels;
        assert_eq!(labels["containerd.io/gc.ref.content.m.1"], made.manifest.descriptor.digest.to_string());
        let mut wanted = request(&name);
        wanted.platform = Some(Platform::parse("linux/s390x").unwrap());
        let error = fixture.engine.images().pull(wanted, None).await.unwrap_err();
        assert_eq!(error.kind(), tare_types::ErrorKind::NotFound);
        assert!(error.to_string().contains("no matching manifest for linux/s390x"), "{error}");
    });
}

#[test]
fn content_without_snapshots_is_unpacked_on_demand() {
    alone(async {
        let (_registry, _, name) = served("later").await;
        let fixture = Fixture::new().await;
        let image = fixture.pull(&name).await.unwrap();
        // Into another snapshotter, as for an image that a client of the content service fetched only.
        fixture.engine.images().ensure_unpacked(&namespace(), &image, Some("native")).await.unwrap();
        let tx = fixture.engine.stores().metadata.read().unwrap();
        assert_eq!(tx.snapshots(&namespace(), "native").unwrap().len(), 2);
        let labels = tx.content(&namespace(), &image.id).unwrap().unwrap().labels;
        assert!(labels.contains_key("containerd.io/gc.ref.snapshot.native"));
        assert!(labels.contains_key("containerd.io/gc.ref.snapshot.overlayfs"));
    });
}
