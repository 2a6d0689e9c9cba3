//! The connection against peers that answer, that lie, that are silent.

use super::super::wire::tests::{answer, error, message, removed};
use super::*;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread::JoinHandle,
};

/// A bus whose other end is this function.
fn with(limit: u64, peer: impl FnOnce(UnixStream) + Send + 'static) -> (Bus, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = std::thread::spawn(move || peer(theirs));
    (Bus::new(ours.into(), "/test/socket", limit), peer)
}

/// Reads one call and gives its serial number.
fn serial(stream: &mut UnixStream) -> u32 {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).unwrap();
    let length = wire::length(&head).unwrap();
    stream.read_exact(&mut std::vec![0; length - HEAD]).unwrap();
    u32::from_le_bytes(*head[8..].first_chunk().unwrap())
}

fn start(bus: &mut Bus) -> Result<String> {
    let answer = bus.call("StartTransientUnit", "", "x.scope", Writer::default())?;
    bus.wait_for_job(&answer, "x.scope")
}

#[test]
fn a_job_is_waited_for() {
    let (mut bus, peer) = with(5000, |mut stream| {
        let serial = serial(&mut stream);
        let parts = [
            removed("/j/4", "other.scope", "done"),
            answer(serial, "o", "/j/5"),
            removed("/j/6", "other.scope", "failed"),
            removed("/j/5", "x.scope", "done"),
        ];
        // In pieces that have nothing to do with the messages.
        for piece in parts.concat().chunks(7) {
            stream.write_all(piece).unwrap();
        }
    });
    assert_eq!(start(&mut bus).unwrap(), "done");
    peer.join().unwrap();
}

#[test]
fn the_end_of_a_job_may_come_before_the_answer() {
    let (mut bus, peer) = with(5000, |mut stream| {
        let serial = serial(&mut stream);
        stream.write_all(&removed("/j/5", "x.scope", "failed")).unwrap();
        stream.write_all(&answer(serial, "o", "/j/5")).unwrap();
    });
    assert_eq!(start(&mut bus).unwrap(), "failed");
    peer.join().unwrap();
}

#[test]
fn refusals_have_kind_and_text() {
    for (name, kind) in [
        ("org.freedesktop.systemd1.UnitExists", ErrorKind::AlreadyExists),
        ("org.freedesktop.systemd1.NoSuchUnit", ErrorKind::NotFound),
        ("org.freedesktop.DBus.Error.AccessDenied", ErrorKind::PermissionDenied),
        ("org.freedesktop.DBus.Error.InvalidArgs", ErrorKind::InvalidArgument),
        ("strange", ErrorKind::Internal),
    ] {
        let (mut bus, peer) = with(5000, move |mut stream| {
            let serial = serial(&mut stream);
            stream.write_all(&error(serial, name, "because")).unwrap();
        });
        let refused = start(&mut bus).unwrap_err();
        assert_eq!(refused.kind(), kind);
        let text = refused.to_string();
        assert!(text.contains("StartTransientUnit x.scope: because") && text.contains(name), "{text}");
        peer.join().unwrap();
    }
}

#[test]
fn silence_and_hanging_up_have_an_end_and_a_name() {
    let (mut bus, peer) = with(50, |mut stream| {
        let _ = serial(&mut stream);
        // Until the other side gives up.
        let _ = stream.read(&mut [0]);
    });
    let late = start(&mut bus).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
    assert!(late.to_string().contains("for StartTransientUnit x.scope"), "{late}");
    drop(bus);
    peer.join().unwrap();
    let (mut bus, peer) = with(5000, |mut stream| {
        let serial = serial(&mut stream);
        stream.write_all(&answer(serial, "o", "/j/5")).unwrap();
    });
    let closed = start(&mut bus).unwrap_err().to_string();
    assert!(closed.contains("closed while waiting for the job of x.scope (/j/5)"), "{closed}");
    peer.join().unwrap();
}

/// A peer that never stops to send ends with the deadline, too.
#[test]
fn a_flood_of_signals_has_an_end() {
    let (mut bus, peer) = with(100, |mut stream| {
        let signal = removed("/j/1", "other.scope", "done");
        while stream.write_all(&signal).is_ok() {}
    });
    assert_eq!(start(&mut bus).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert!(bus.ends.len() <= MOST_ENDS);
    drop(bus);
    peer.join().unwrap();
}

#[test]
fn garbage_is_refused() {
    for bytes in [b"HTTP/1.1 400 Bad Request\r\n".to_vec(), message(9, &[], b""), answer(1, "u", "x")] {
        let (mut bus, peer) = with(5000, move |mut stream| {
            let _ = serial(&mut stream);
            stream.write_all(&bytes).unwrap();
        });
        assert!(start(&mut bus).is_err());
        peer.join().unwrap();
    }
}

#[test]
fn both_forms_of_the_authentication() {
    for (lines, good) in [
        ("DATA\r\nOK 0123\r\n", true),
        ("OK 0123\r\nOK 0123\r\n", true),
        ("REJECTED EXTERNAL\r\nERROR\r\n", false),
        ("DATA\r\nREJECTED\r\n", false),
        ("DATA\r\n", false),
        (&"x".repeat(2000), false),
    ] {
        let lines = String::from(lines);
        let (mut bus, peer) = with(5000, move |mut stream| {
            let mut said = [0; 29];
            stream.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
            stream.write_all(lines.as_bytes()).unwrap();
        });
        assert_eq!(bus.authenticate().is_ok(), good);
        drop(bus);
        peer.join().unwrap();
    }
}

#[test]
fn versions() {
    for (text, number) in [("252.38-1~deb12u1", 252), ("v245.4-1.fc32", 245), ("239", 239)] {
        let (mut bus, peer) = with(5000, move |mut stream| {
            let serial = serial(&mut stream);
            stream.write_all(&answer(serial, "v", text)).unwrap();
        });
        assert_eq!(bus.version().unwrap(), number);
        peer.join().unwrap();
    }
}

#[test]
fn addresses() {
    for (address, name) in [
        ("unix:path=/run/user/1/bus", Some("/run/user/1/bus")),
        ("unix:path=/a%20b,guid=00", Some("/a b")),
        ("unix:guid=00,abstract=/tmp/dbus-x", Some("@/tmp/dbus-x")),
        ("unix:path=/a%2", None),
        ("unix:tmpdir=/tmp", None),
        ("tcp:host=localhost,port=1", None),
    ] {
        assert_eq!(socket_name(address).as_deref(), name, "{address}");
    }
}

#[test]
fn a_missing_bus_is_named() {
    let addresses = ["unix:path=/nowhere/systemd/private", "unix:path=/nowhere/bus"].map(String::from);
    let error = Bus::connect(&addresses).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let text = error.to_string();
    assert_eq!(
        text,
        "systemd cgroup driver: connect /nowhere/systemd/private: no such file or directory; \
         connect /nowhere/bus: no such file or directory"
    );
}
