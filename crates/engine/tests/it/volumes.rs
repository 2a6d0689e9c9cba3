//! Volumes and `docker cp` of containers that do not run: no shim is needed.

use crate::images::{Fixture, namespace};
use bytes::Bytes;
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
};
use tare_engine::{
    archive::PutOptions,
    containers::RemoveOptions,
    request::{CreateContainer, MountRequest, MountSource},
    volumes::CreateVolume,
};
use tare_testkit::{
    alone::alone,
    fake_registry::FakeRegistry,
    image::{Tar, build},
};
use tare_types::ErrorKind;
use tokio::sync::mpsc;

/// An image with something to copy up, and with a link that leads out.
async fn served() -> (FakeRegistry, String) {
    let tar = Tar::new()
        .directory("data/", 0o750)
        .directory("data/sub/", 0o700)
        .file("data/sub/file", 0o640, b"seed")
        .directory("etc/", 0o755)
        .file("etc/word", 0o644, b"word")
        .symlink("out", "../../../../../../../../tmp")
        .finish();
    let registry = FakeRegistry::start().await.unwrap();
    registry.put_image("app", "v1", &build(&[tar], &["true"]));
    let name = format!("{}/app:v1", registry.host());
    (registry, name)
}

fn volume(name: Option<&str>, target: &str) -> MountRequest {
    let source = MountSource::Volume {
        name: name.map(str::to_owned),
        driver: String::new(),
        driver_options: Default::default(),
        labels: Default::default(),
        no_copy: false,
        subpath: String::new(),
    };
    MountRequest { source, target: target.into(), read_only: false, propagation: None }
}

async fn create(fixture: &Fixture, image: &str, name: &str, mounts: Vec<MountRequest>) -> String {
    let request =
        CreateContainer { name: Some(name.into()), mounts, ..CreateContainer::new(namespace(), image) };
    fixture.engine.containers().create(request).await.unwrap().id.to_string()
}

fn data(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.directory.path().join("root/volumes").join(name).join("_data")
}

#[test]
fn a_volume_is_made_once_filled_once_and_removed_unused() {
    alone(async {
        let (_registry, image) = served().await;
        let fixture = Fixture::new().await;
        fixture.pull(&image).await.unwrap();
        let volumes = fixture.engine.volumes();
        let request = CreateVolume {
            name: Some("v1".into()),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            ..CreateVolume::default()
        };
        let made = volumes.create(request.clone()).await.unwrap();
        assert_eq!((made.driver.as_str(), made.anonymous), ("local", false));
        assert_eq!(made.mountpoint, data(&fixture, "v1"));
        assert_eq!(
            volumes.create(CreateVolume { labels: Default::default(), ..request }).await.unwrap(),
            made
        );

        let id = create(&fixture, &image, "cc", vec![volume(Some("v1"), "/data")]).await;
        let root = fs::metadata(data(&fixture, "v1")).unwrap();
        assert_eq!(root.mode() & 0o7777, 0o750, "the mount point's mode comes along");
        let file = data(&fixture, "v1").join("sub/file");
        assert_eq!(
            (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().mode() & 0o777),
            (b"seed".to_vec(), 0o640)
        );

        let error = volumes.remove("v1", true).await.unwrap_err();
        assert_eq!((error.kind(), error.detail()), (ErrorKind::FailedPrecondition, id.as_str()));
        fs::remove_dir_all(data(&fixture, "v1").join("sub")).unwrap();
        fs::write(data(&fixture, "v1").join("own"), "x").unwrap();
        create(&fixture, &image, "dd", vec![volume(Some("v1"), "/data")]).await;
        assert!(!data(&fixture, "v1").join("sub").exists(), "what is not empty is not filled");

        // It holds the engine.
        drop(volumes);
        let fixture = fixture.reopen().await;
        let volumes = fixture.engine.volumes();
        assert_eq!(volumes.list().await.unwrap(), [made]);
        for name in ["cc", "dd"] {
            let options = RemoveOptions { force: true, volumes: true };
            fixture.engine.containers().remove(&namespace(), name, options).await.unwrap();
        }
        volumes.get("v1").await.unwrap();
        volumes.remove("v1", false).await.unwrap();
        assert_eq!(volumes.remove("v1", false).await.unwrap_err().kind(), ErrorKind::NotFound);
        volumes.remove("v1", true).await.unwrap();
        assert_eq!(fs::read_dir(fixture.directory.path().join("root/volumes")).unwrap().count(), 0);
    });
}

#[test]
fn anonymous_volumes_go_with_what_was_not_made() {
    alone(async {
        let (_registry, image) = served().await;
        let fixture = Fixture::new().await;
        fixture.pull(&image).await.unwrap();
        let missing = MountRequest {
            source: MountSource::Bind { path: "/nonexistent/x".into(), create: false, non_recursive: false },
            target: "/y".into(),
            read_only: false,
            propagation: None,
        };
        let request = CreateContainer {
            mounts: vec![volume(None, "/x"), volume(Some("named"), "/z"), missing],
            ..CreateContainer::new(namespace(), image.as_str())
        };
        fixture.engine.containers().create(request).await.unwrap_err();
        let names = async || -> Vec<String> {
            fixture.engine.volumes().list().await.unwrap().into_iter().map(|volume| volume.name).collect()
        };
        for _ in 0..500 {
            if names().await == ["named"] {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(names().await, ["named"]);
        create(&fixture, &image, "cc", vec![volume(None, "/x")]).await;
        let volumes = fixture.engine.volumes();
        assert_eq!(
            volumes.prune(false, |_| true).await.unwrap().0,
            Vec::<String>::new(),
            "in use, and named"
        );
        assert_eq!(volumes.prune(true, |_| true).await.unwrap().0, ["named"]);
        fixture
            .engine
            .containers()
            .remove(&namespace(), "cc", RemoveOptions { force: true, volumes: false })
            .await
            .unwrap();
        fs::write(data(&fixture, &names().await[0]).join("file"), "12345").unwrap();
        let (pruned, bytes) = volumes.prune(false, |_| true).await.unwrap();
        assert!(pruned.len() == 1 && pruned[0].len() == 64 && bytes == 5, "{pruned:?} {bytes}");
    });
}

async fn read_all(mut chunks: mpsc::Receiver<std::io::Result<Bytes>>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}

async fn send_all(bytes: Vec<u8>) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(bytes.len() / 1000 + 1);
    for chunk in bytes.chunks(1000) {
        sender.send(Ok(Bytes::copy_from_slice(chunk))).await.unwrap();
    }
    receiver
}

fn names(archive: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), archive).unwrap();
    let listed = std::process::Command::new("tar").arg("-tf").arg(file.path()).output().unwrap();
    assert!(listed.status.success());
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn files_go_in_and_out_of_a_container_that_does_not_run() {
    alone(async {
        let (_registry, image) = served().await;
        let fixture = Fixture::new().await;
        fixture.pull(&image).await.unwrap();
        create(&fixture, &image, "cc", vec![volume(Some("v1"), "/deep/er")]).await;
        let archive = fixture.engine.archive();
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();

        let stat = archive.stat(&namespace(), "cc", "/etc/word").await.unwrap();
        assert_eq!((stat.name.as_str(), stat.size, stat.mode), ("word", 4, 0o100_644));
        let (_, chunks) = archive.get(&namespace(), "cc", "/data").await.unwrap();
        assert_eq!(names(&read_all(chunks).await), ["data/", "data/sub/", "data/sub/file"]);
        let (_, chunks) = archive.get(&namespace(), "cc", "/data/.").await.unwrap();
        assert_eq!(names(&read_all(chunks).await), ["./", "./sub/", "./sub/file"]);
        for path in ["/absent", "/etc/word/x", "/../../absent"] {
            let error = archive.stat(&namespace(), "cc", path).await.unwrap_err();
            assert_eq!((error.kind(), error.what()), (ErrorKind::NotFound, "path"), "{path}");
            assert_eq!(archive.get(&namespace(), "cc", path).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(archive.stat(&namespace(), "x", "/").await.unwrap_err().what(), "container");

        let tar = Tar::new().directory("new/", 0o755).file("new/file", 0o600, b"x").finish();
        let put = async |path: &str, tar: &[u8], options: PutOptions| {
            archive.put(&namespace(), "cc", path, options, send_all(tar.to_vec()).await).await
        };
        put("/deep/er", &tar, PutOptions::default()).await.unwrap();
        assert_eq!(fs::read(data(&fixture, "v1").join("new/file")).unwrap(), b"x", "into the volume");
        put("/etc", &tar, PutOptions::default()).await.unwrap();
        assert_eq!(archive.stat(&namespace(), "cc", "/etc/new/file").await.unwrap().size, 1);
        assert_eq!(
            put("/etc/word", &tar, PutOptions::default()).await.unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        assert_eq!(
            put("/absent", &tar, PutOptions::default()).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );

        let over = Tar::new().file("new", 0o644, b"file over directory").finish();
        let keep = PutOptions { no_overwrite_dir_non_dir: true, ..PutOptions::default() };
        let error = put("/etc", &over, keep).await.unwrap_err();
        assert!(error.to_string().contains("cannot overwrite directory"), "{error}");
        put("/etc", &over, PutOptions::default()).await.unwrap();
        assert_eq!(archive.stat(&namespace(), "cc", "/etc/new").await.unwrap().size, 19);
        let after = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
        assert_eq!(before, after, "nothing is mounted on the host");
    });
}

/// CVE-2018-15664 and its kin: links of the container that lead out of it, in the image, in the archive, in a volume.
#[test]
fn copying_never_leaves_the_container() {
    alone(async {
        let (_registry, image) = served().await;
        let fixture = Fixture::new().await;
        fixture.pull(&image).await.unwrap();
        create(&fixture, &image, "cc", vec![volume(Some("v1"), "/vol")]).await;
        let outside = tempfile::tempdir_in("/tmp").unwrap();
        fs::write(outside.path().join("secret"), "host").unwrap();
        let name = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
        symlink("/", data(&fixture, "v1").join("root")).unwrap();
        symlink(outside.path(), data(&fixture, "v1").join("abs")).unwrap();
        let archive = fixture.engine.archive();
        for path in
            [format!("/out/{name}/secret"), format!("/vol/root/tmp/{name}/secret"), "/vol/abs/secret".into()]
        {
            let error = archive.stat(&namespace(), "cc", &path).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{path}");
        }
        let tar = Tar::new()
            .symlink("escape", outside.path().to_str().unwrap())
            .file("escape/evil", 0o644, b"x")
            .file(&format!("out/{name}/evil"), 0o644, b"x")
            .finish();
        let put = async |tar: Vec<u8>| {
            archive.put(&namespace(), "cc", "/", PutOptions::default(), send_all(tar).await).await
        };
        // Contained or refused; outside nothing changes.
        drop(put(tar).await);
        let dots = Tar::new().file(&format!("../../../../tmp/{name}/evil"), 0o644, b"x").finish();
        let error = put(dots).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"host");
    });
}
