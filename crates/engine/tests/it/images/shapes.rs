//! Images of unusual shape: many layers, empty ones, the same one twice, an index in an index.

use super::*;
use tare_testkit::image::{Blob, TestImage};
use tare_types::{Descriptor, Platform, image::media};

async fn pulled(image: &TestImage) -> (Fixture, tare_engine::Result<Image>) {
    let registry = FakeRegistry::start().await.unwrap();
    registry.put_image("app", "v1", image);
    let fixture = Fixture::new().await;
    let pulled = fixture.pull(&format!("{}/app:v1", registry.host())).await;
    (fixture, pulled)
}

#[test]
fn as_many_layers_as_overlayfs_stacks() {
    alone(async {
        let layer = |n: usize| Tar::new().file(&format!("f{n}"), 0o644, n.to_string().as_bytes()).finish();
        let layers: Vec<_> = (0..127).map(layer).collect();
        let (fixture, image) = pulled(&build(&layers, &["true"])).await;
        let image = image.unwrap();
        assert_eq!(image.config.rootfs.diff_ids.len(), 127);
        for index in [0, 63, 126] {
            let file = fixture.file(&image, index, &format!("f{index}")).unwrap();
            assert_eq!(file, index.to_string().as_bytes());
        }
    });
}

#[test]
fn an_empty_layer_and_the_same_one_twice() {
    alone(async {
        let (empty, same) = (Tar::new().finish(), Tar::new().file("a", 0o644, b"same").finish());
        let made = build(&[same.clone(), empty.clone(), same.clone(), empty, same], &["true"]);
        let (fixture, image) = pulled(&made).await;
        let image = image.unwrap();
        for index in [0, 2, 4] {
            assert_eq!(fixture.file(&image, index, "a").unwrap(), b"same");
        }
        assert!(fixture.file(&image, 1, "a").is_none());
        let snapshots = {
            use tare_store::Tables as _;
            let tx = fixture.engine.stores().metadata.read().unwrap();
            tx.snapshots(&namespace(), "overlayfs").unwrap().len()
        };
        assert_eq!(snapshots, 5, "equal layers on different parents are different snapshots");
    });
}

/// A document that lists others.
fn index(manifests: &[(&Blob, Option<Platform>)]) -> Blob {
    let entry = |(blob, platform): &(&Blob, Option<Platform>)| Descriptor {
        platform: platform.clone(),
        ..blob.descriptor.clone()
    };
    let entries: Vec<_> = manifests.iter().map(entry).collect();
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    Blob::new(media::OCI_INDEX, serde_json::to_vec(&text).unwrap())
}

#[test]
fn an_index_with_strangers_and_one_within_another() {
    alone(async {
        let registry = FakeRegistry::start().await.unwrap();
        let image = sample("inner");
        registry.put_image("app", "image", &image);
        let stranger = Platform { os: "plan9".into(), architecture: "mips".into(), ..Platform::host() };
        let unknown = Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::host() };
        // What an attestation looks like: it is for no platform and nobody fetches it.
        let attestation = Blob::new(media::OCI_MANIFEST, b"{\"attestation\":true}".to_vec());
        let inner = index(&[
            (&attestation, Some(unknown)),
            (&Blob::new(media::OCI_MANIFEST, b"{\"plan9\":1}".to_vec()), Some(stranger)),
            (&image.manifest, Some(Platform::host())),
        ]);
        let outer = index(&[(&inner, None)]);
        for (tag, blob) in [("inner", &inner), ("outer", &outer)] {
            registry.put_manifest("app", tag, media::OCI_INDEX, blob.bytes.clone());
        }
        for tag in ["inner", "outer"] {
            let fixture = Fixture::new().await;
            let got = fixture.pull(&format!("{}/app:{tag}", registry.host())).await;
            let got = got.unwrap_or_else(|error| panic!("{tag}: {error}"));
            assert_eq!(got.id, image.config.descriptor.digest, "{tag}");
            assert_eq!(fixture.file(&got, 0, "etc/word").unwrap(), b"inner");
        }
        let strangers = registry.seen_at(attestation.descriptor.digest.as_str());
        assert!(strangers.is_empty(), "what is for no platform is not fetched");
    });
}
