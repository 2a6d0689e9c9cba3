//! Sending images.

use super::*;
use tare_types::ErrorKind;

#[test]
fn an_image_is_sent_whole_and_comes_back() {
    alone(async {
        let (_registry, made, name) = served("push").await;
        let target = FakeRegistry::start().await.unwrap();
        let fixture = Fixture::new().await;
        fixture.pull(&name).await.unwrap();
        let images = fixture.engine.images();
        let copy = Reference::parse_familiar(&format!("{}/copy:v2", target.host())).unwrap();
        images.tag(&namespace(), &name, &copy).await.unwrap();
        let (sender, receiver) = mpsc::channel(64);
        let watching = tokio::spawn(steps(receiver));
        let sent = images.push(&namespace(), &copy, None, Some(sender)).await.unwrap();
        assert_eq!(sent.digest, made.manifest.descriptor.digest);
        assert_eq!(count(&watching.await.unwrap(), &ProgressStep::Pushed), 3, "two layers and the config");
        assert_eq!(target.manifest("copy", "v2").unwrap().1, made.manifest.bytes);
        assert_eq!(target.blob(&made.layers[0].descriptor.digest).unwrap(), made.layers[0].bytes);
        // Known to be there from now on.
        let image = images.get(&namespace(), &copy.familiar()).await.unwrap();
        assert!(image.repo_digests.iter().any(|name| name.domain() == target.host()));
        let (sender, receiver) = mpsc::channel(64);
        let watching = tokio::spawn(steps(receiver));
        images.push(&namespace(), &copy, None, Some(sender)).await.unwrap();
        assert_eq!(count(&watching.await.unwrap(), &ProgressStep::AlreadyExists), 3);
        Fixture::new().await.pull(&copy.familiar()).await.unwrap();
    });
}

#[test]
fn an_absent_image_is_not_found() {
    alone(async {
        let fixture = Fixture::new().await;
        let reference = Reference::parse_familiar("localhost:1/none").unwrap();
        let error = fixture.engine.images().push(&namespace(), &reference, None, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}
