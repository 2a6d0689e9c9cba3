//! What a registry can do wrong, and what is left then.

use super::*;
use http::Method;
use tare_testkit::{
    fake_registry::Act,
    image::{Blob, assemble, gzip},
};
use tare_types::{DiffId, Digest, ErrorKind, image::media};

#[track_caller]
fn blob_path(blob: &Blob) -> String {
    format!("/blobs/{}", blob.descriptor.digest)
}

#[test]
fn wrong_bytes_leave_nothing() {
    alone(async {
        for act in [Act::Corrupt, Act::Answer { status: 200, headers: vec![], body: "x".repeat(64) }] {
            let (registry, made, name) = served("corrupt").await;
            registry.script(Method::GET, &blob_path(&made.layers[0]), 99, act.clone());
            let fixture = Fixture::new().await;
            let error = fixture.pull(&name).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(made.layers[0].descriptor.digest.as_str()), "{act:?}: {text}");
            fixture.assert_nothing_left();
        }
    });
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_refused() {
    alone(async {
        let registry = FakeRegistry::start().await.unwrap();
        let tar = Tar::new().file("a", 0o644, b"1").finish();
        let lie = vec![DiffId(Digest::of_bytes(b"other"))];
        let made = assemble(vec![Blob::new(media::OCI_LAYER_GZIP, gzip(&tar, 1))], lie, &["true"]);
        registry.put_image("app", "v1", &made);
        let fixture = Fixture::new().await;
        let error = fixture.pull(&format!("{}/app:v1", registry.host())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
        assert!(error.to_string().contains("diff id"), "{error}");
        fixture.assert_nothing_left();
    });
}

#[test]
fn hostile_layers_are_refused() {
    alone(async {
        for tar in [
            Tar::new().file("../../escape", 0o644, b"x").finish(),
            Tar::new().symlink("dir", "/tmp").file("dir/escape", 0o644, b"x").finish()[..700].to_vec(),
        ] {
            let registry = FakeRegistry::start().await.unwrap();
            registry.put_image("app", "v1", &build(&[tar], &["true"]));
            let fixture = Fixture::new().await;
            fixture.pull(&format!("{}/app:v1", registry.host())).await.unwrap_err();
            fixture.assert_nothing_left();
        }
    });
}

#[test]
fn the_next_pull_goes_on_from_the_stored_byte() {
    alone(async {
        let (registry, _, name) = served("resume").await;
        let noise: Vec<u8> =
            (0_u32..400_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let made = build(&[Tar::new().file("big", 0o644, &noise).finish()], &["true"]);
        registry.put_image("app", "v1", &made);
        let fixture = Fixture::new().await;
        // The registry breaks in the middle and is gone for every further attempt.
        let path = blob_path(&made.layers[0]);
        registry.script(Method::GET, &path, 1, Act::ResetAfter(800_000));
        let gone = Act::Answer { status: 404, headers: vec![], body: String::new() };
        registry.script(Method::GET, &path, 1, gone);
        let error = fixture.pull(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        fixture.assert_nothing_left();
        let fixture = fixture.reopen().await;
        let image = fixture.pull(&name).await.unwrap();
        let asked = registry.seen_at(&path);
        let range = asked.last().unwrap().header("range").to_string();
        let start: u64 = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        assert!(start > 0 && start <= 800_000, "{range}");
        assert_eq!(fixture.file(&image, 0, "big").unwrap(), noise);
    });
}

#[test]
fn one_bad_layer_stops_the_others() {
    alone(async {
        let (registry, made, name) = served("stop").await;
        registry.script(Method::GET, &blob_path(&made.layers[0]), 99, Act::StallAfter(10));
        let gone = Act::Answer { status: 404, headers: vec![], body: String::new() };
        registry.script(Method::GET, &blob_path(&made.layers[1]), 99, gone);
        let fixture = Fixture::new().await;
        let begun = std::time::Instant::now();
        let error = fixture.pull(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(begun.elapsed().as_secs() < 10, "the stalled layer was not waited for");
        fixture.assert_nothing_left();
    });
}

#[test]
fn unknown_images_and_bad_configs_say_what_is_wrong() {
    alone(async {
        let (registry, made, name) = served("bad").await;
        let fixture = Fixture::new().await;
        let error = fixture.pull(&format!("{}/none:v1", registry.host())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.to_string().contains(&registry.host()) && error.to_string().contains("none:v1"),
            "{error}"
        );
        registry.script(Method::GET, &blob_path(&made.config), 1, Act::Corrupt);
        assert_eq!(fixture.pull(&name).await.unwrap_err().kind(), ErrorKind::DataLoss);
        let broken = Blob::new(media::OCI_CONFIG, b"{\"rootfs\":7}".to_vec());
        registry.put_blob(broken.bytes.clone());
        let manifest = format!(
            "{{\"schemaVersion\":2,\"config\":{},\"layers\":[]}}",
            serde_json::to_string(&broken.descriptor).unwrap()
        );
        registry.put_manifest("app", "broken", media::OCI_MANIFEST, manifest);
        let error = fixture.pull(&format!("{}/app:broken", registry.host())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        fixture.assert_nothing_left();
    });
}
