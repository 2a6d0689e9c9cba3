use super::*;
use crate::{Endpoint, address::MacAddress};
use tare_types::{ContainerId, Namespace, port::Protocol};

fn record(id: &str, ip: [u8; 4]) -> Record {
    let sandbox = Sandbox {
        container: ContainerKey {
            namespace: Namespace::default_namespace(),
            id: ContainerId::new(id).unwrap(),
        },
        name: id.to_owned(),
        network: "n".repeat(64),
        path: Some("/run/tare/network/netns/000001".into()),
        endpoint: Some(Endpoint {
            id: "e".repeat(64),
            interface: "v00000000000001".to_owned(),
            ip: ip.into(),
            prefix: 16,
            gateway: Some([172, 17, 0, 1].into()),
            mac: MacAddress::from_ip(ip.into()),
        }),
        more: Vec::new(),
        ports: Vec::new(),
    };
    Record { sandbox, releasing: false }
}

fn port() -> PublishedPort {
    PublishedPort { protocol: Protocol::Tcp, host_ip: None, host_port: 8080, container_port: 80 }
}

#[test]
fn checksum_is_the_usual_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn what_was_written_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, records) = Journal::open(directory.path(), "boot").unwrap();
    assert!(records.is_empty());
    let (a, b) = (record("a", [172, 17, 0, 2]), record("b", [172, 17, 0, 3]));
    journal.attach(1, &a).unwrap();
    journal.attach(2, &b).unwrap();
    journal.publish(2, &[port()]).unwrap();
    journal.release(1).unwrap();
    drop(journal);

    let (mut journal, records) = Journal::open(directory.path(), "boot").unwrap();
    assert_eq!(records[&1], Record { releasing: true, ..a });
    assert_eq!(records[&2].sandbox.ports, [port()]);
    let remaining = Records::from([(2, records[&2].clone())]);
    journal.released(&[1], &remaining).unwrap();
    drop(journal);
    assert_eq!(Journal::open(directory.path(), "boot").unwrap().1, remaining);
}

#[test]
fn another_boot_voids_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path(), "first").unwrap();
    journal.attach(1, &record("a", [10, 0, 0, 2])).unwrap();
    drop(journal);
    assert!(Journal::open(directory.path(), "second").unwrap().1.is_empty());
    assert!(Journal::open(directory.path(), "second").unwrap().1.is_empty());
}

#[test]
fn a_torn_end_at_any_byte_loses_only_the_last_entry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (mut journal, _) = Journal::open(directory.path(), "boot").unwrap();
    journal.attach(1, &record("a", [10, 0, 0, 2])).unwrap();
    let before = std::fs::read(&path).unwrap().len();
    journal.attach(2, &record("b", [10, 0, 0, 3])).unwrap();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for length in before..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (mut journal, records) = Journal::open(directory.path(), "boot").unwrap();
        assert_eq!(records.keys().copied().collect::<Vec<_>>(), [1], "cut at {length}");
        journal.attach(3, &record("c", [10, 0, 0, 4])).unwrap();
        drop(journal);
        let records = Journal::open(directory.path(), "boot").unwrap().1;
        assert_eq!(records.keys().copied().collect::<Vec<_>>(), [1, 3], "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_ends_the_reading() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (mut journal, _) = Journal::open(directory.path(), "boot").unwrap();
    journal.attach(1, &record("a", [10, 0, 0, 2])).unwrap();
    journal.attach(2, &record("b", [10, 0, 0, 3])).unwrap();
    drop(journal);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Journal::open(directory.path(), "boot").unwrap().1.len(), 1);
}

#[test]
fn an_unknown_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let bytes = line(&Entry::Journal { version: 2, boot: "boot".to_owned() });
    std::fs::write(&path, &bytes).unwrap();
    let error = Journal::open(directory.path(), "boot").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_long_life_does_not_grow_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path(), "boot").unwrap();
    let keep = Records::from([(7, record("keep", [10, 0, 0, 2]))]);
    journal.attach(7, &keep[&7]).unwrap();
    for number in 100..1100 {
        journal.attach(number, &record("x", [10, 0, 0, 3])).unwrap();
        journal.release(number).unwrap();
        journal.released(&[number], &keep).unwrap();
    }
    drop(journal);
    let length = std::fs::metadata(directory.path().join("journal")).unwrap().len();
    assert!(length < 400_000, "{length}");
    assert_eq!(Journal::open(directory.path(), "boot").unwrap().1, keep);
}
