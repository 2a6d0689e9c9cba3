//! A full disk below a whole running daemon: every refusal says so, nothing stays, and work goes on when there is room.

use crate::host::{Host, Said, wait_for};
use std::fs;
use tare_testkit::{
    disk::SmallDisk,
    image::{Blob, Tar, TestImage, assemble, gzip},
};
use tare_types::{DiffId, Digest, image::media};

/// An image of one layer that no compression makes smaller.
fn noise(bytes: usize) -> TestImage {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = Vec::with_capacity(bytes);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    let tar = Tar::new().file("noise", 0o644, &noise).finish();
    let diff_id = DiffId(Digest::of_bytes(&tar));
    assemble(vec![Blob::new(media::OCI_LAYER_GZIP, gzip(&tar, 0))], vec![diff_id], &["true"])
}

#[track_caller]
fn assert_told(said: &Said, place: &str) {
    let text = said.err.to_lowercase();
    assert!(said.code != 0 && text.contains("no space left on device") && text.contains(place), "{said:?}");
}

#[test]
fn a_full_disk_is_told_leaves_nothing_and_heals() {
    let Some(disk) = SmallDisk::new(48) else { return };
    let Some(host) = Host::start_on(Some(disk.path())) else { return };
    let counting = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done";
    host.run(&["-d", "--name", "writer"], &["sh", "-c", counting]).good();
    host.run(&["-d", "--name", "keeper"], &["sleep", "1000"]).good();
    host.run(&["-d", "--name", "goes"], &["sleep", "1000"]).good();
    let before = disk.used();

    // An image that does not fit.
    host.registry.put_image("big", "latest", &noise(40 << 20));
    let big = host.image.replace("busybox", "big");
    assert_told(&host.docker(&["pull", "-q", &big]), "layer sha256:");
    wait_for("the bytes of the failed pull to go", || (disk.used() < before + (1 << 20)).then_some(()));
    assert!(!host.docker(&["images"]).good().out.contains("/big"));

    // Not a byte is left.
    disk.fill();
    let said = host.run(&["--name", "refused"], &["true"]);
    assert_told(&said, "/root/");
    assert_eq!(said.code, 125);
    assert_told(&host.docker(&["pull", "-q", &big]), "/root/");
    assert!(!host.docker(&["ps", "-a", "--format", "{{.Names}}"]).good().out.contains("refused"));
    // What needs no room works: looking, exec, signals. What a program writes is refused to itself.
    assert_eq!(host.docker(&["exec", "keeper", "echo", "here"]).good().out, "here");
    let said = host.docker(&["exec", "keeper", "sh", "-c", "head -c 1000000 /bin/busybox > /full"]);
    assert!(said.code == 1 && !said.err.is_empty(), "{said:?}");
    host.docker(&["logs", "--tail", "1", "writer"]).good();
    assert_eq!(host.field("writer", "{{.State.Status}}"), "running", "its log is full, it runs on");
    let told = |what: &[&str]| {
        let log = host.log();
        log.lines().any(|line| what.iter().all(|part| line.contains(part))).then_some(())
    };
    wait_for("the loss to be told", || told(&["write log file", "-json.log", "No space left on device"]));
    // Who wants room must be able to remove.
    host.docker(&["rm", "-f", "goes"]).good();

    disk.free();
    let last = || host.docker(&["logs", "--tail", "1", "writer"]).good().out;
    let seen = last();
    wait_for("the log to go on", || (last() != seen).then_some(()));
    wait_for("the end of the loss to be told", || told(&["is written again", "writes of output were lost"]));
    let log = host.docker(&["logs", "writer"]).good().out;
    let numbers: Vec<u64> =
        log.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers[0] == 0, "whole lines in their order");
    assert_eq!(host.run(&["--rm", "--name", "refused"], &["echo", "again"]).good().out, "again");
    host.registry.put_image("small", "latest", &noise(1 << 20));
    host.docker(&["pull", "-q", &host.image.replace("busybox", "small")]).good();
    host.docker(&["rm", "-f", "writer", "keeper"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
    let snapshots = fs::read_dir(host.path("root/io.containerd.snapshotter.v1.overlayfs/snapshots")).unwrap();
    assert_eq!(snapshots.count(), 2, "one for each layer that is there");
    let ingests = fs::read_dir(host.path("root/io.containerd.content.v1.content/ingest"));
    assert_eq!(ingests.map_or(0, Iterator::count), 0);
}
