//! Archives that were made to do harm: refused with a reason, or harmless, and nothing outside of the root changes.

use crate::support::{apply_options, directory, python};
use std::{fs, io::Write};
use tare_store::{Applied, ApplyOptions, Limits, Result, layer};
use tare_types::ErrorKind;

/// Runs Python with `t` an open archive and helpers; returns its bytes.
fn archive(script: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        r#"
import tarfile, io, sys, struct
out = open(sys.argv[1], 'wb')
def head(name=b'x', size=0, type=b'0', link=b'', mode=b'0000644', uid=b'0000000', raw_size=None, mtime=b'00000000000'):
    h = bytearray(512); h[0:len(name)] = name; h[100:107] = mode; h[108:108+len(uid)] = uid; h[116:123] = b'0000000'
    s = raw_size if raw_size is not None else b'%011o' % size
    h[124:124+len(s)] = s; h[136:136+len(mtime)] = mtime; h[156:157] = type; h[157:157+len(link)] = link; h[257:265] = b'ustar\x0000'
    h[148:156] = b' ' * 8; h[148:155] = b'%06o\0' % sum(h); return bytes(h)
def pad(b): return b + b'\0' * (-len(b) % 512)
def rec(k, v):
    n = len(k) + len(v) + 3; l = n + len(str(n))
    if len(str(l)) != len(str(n)): l = n + len(str(l))
    return str(l).encode() + b' ' + k + b'=' + v + b'\n'
def pax(*records): b = b''.join(records); return head(b'PaxHeaders/x', len(b), b'x') + pad(b)
def entry(name, data=b'', **k): return head(name, len(data), **k) + pad(data)
end = b'\0' * 1024
{script}
out.close()
"#
    );
    python(&script, &[file.path().to_str().unwrap()]);
    fs::read(file.path()).unwrap()
}

struct Cage {
    top: tempfile::TempDir,
}

impl Cage {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("root")).unwrap();
        fs::create_dir(top.path().join("outside")).unwrap();
        fs::write(top.path().join("outside/secret"), "secret").unwrap();
        Self { top }
    }

    fn root(&self) -> std::path::PathBuf {
        self.top.path().join("root")
    }

    fn apply(&self, bytes: &[u8], limits: Limits) -> Result<Applied> {
        let options = ApplyOptions { limits, ..apply_options() };
        let outcome = layer::apply(bytes, directory(&self.root()), options);
        let outside: Vec<_> = fs::read_dir(self.top.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1, "something was made outside");
        assert_eq!(fs::read(self.top.path().join("outside/secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(self.top.path()).unwrap().count(), 2);
        outcome
    }
}

#[track_caller]
fn refused(script: &str, reason: &str) {
    let error = Cage::new().apply(&archive(script), Limits::default()).unwrap_err();
    assert!(error.to_string().contains(reason), "wanted {reason:?}, got: {error}");
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../evil", "a/../../evil", "/../evil", "a/..", ".."] {
        let script = format!("out.write(entry(b'{name}', b'x') + end)");
        let error = Cage::new().apply(&archive(&script), Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("leads out of the layer"), "{error}");
    }
    for link in ["../outside/secret", "a/../../outside/secret"] {
        let script = format!("out.write(head(b'evil', 0, b'1', b'{link}') + end)");
        let error = Cage::new().apply(&archive(&script), Limits::default()).unwrap_err();
        assert!(error.to_string().contains("leads out of the layer"), "{error}");
    }
    let error = Cage::new()
        .apply(
            &archive("out.write(pax(rec(b'path', b'../evil')) + entry(b'good', b'x') + end)"),
            Limits::default(),
        )
        .unwrap_err();
    assert!(error.to_string().contains("leads out of the layer"), "{error}");
}

#[test]
fn symlinks_never_lead_out() {
    // Each writes through a link that points out; everything must land below the root.
    let scripts = [
        "out.write(head(b'l', 0, b'2', b'../outside') + entry(b'l/evil', b'x') + end)",
        "out.write(head(b'l', 0, b'2', b'/../../../../outside') + entry(b'l/evil', b'x') + end)",
        "out.write(head(b'l', 0, b'2', b'..') + head(b'l/m', 0, b'2', b'..') + entry(b'l/m/outside/evil', b'x') + end)",
        "out.write(head(b'l', 0, b'2', b'../outside/secret') + entry(b'l', b'overwritten') + end)",
        "out.write(head(b'l', 0, b'2', b'../outside') + head(b'l', 0, b'5', mode=b'0000777') + end)",
        "out.write(head(b'l', 0, b'2', b'../outside') + entry(b'l/.wh.secret') + end)",
        "out.write(head(b'l', 0, b'2', b'../outside') + entry(b'l/.wh..wh..opq') + end)",
        "out.write(head(b'l', 0, b'2', b'../outside/secret') + head(b'h', 0, b'1', b'l') + entry(b'h', b'y') + end)",
        "out.write(head(b'd', 0, b'5') + entry(b'd/f', b'1') + head(b'd', 0, b'2', b'../outside') + entry(b'd/evil', b'2') + end)",
        "out.write(head(b'l', 0, b'2', b'/proc/self/root/tmp') + entry(b'l/evil', b'x') + end)",
        "out.write(head(b'l', 0, b'2', b'l') + entry(b'l/evil', b'x') + end)",
    ];
    for script in scripts {
        let cage = Cage::new();
        // Refusing is as good as containing; `apply` checks that nothing outside has changed.
        if let Err(error) = cage.apply(&archive(script), Limits::default()) {
            assert!(error.object().contains("entry") || !error.object().is_empty(), "{error}");
        }
    }
}

#[test]
fn an_absolute_symlink_is_followed_inside_of_the_root() {
    let cage = Cage::new();
    let script =
        "out.write(head(b'real', 0, b'5') + head(b'l', 0, b'2', b'/real') + entry(b'l/f', b'x') + end)";
    cage.apply(&archive(script), Limits::default()).unwrap();
    assert_eq!(fs::read(cage.root().join("real/f")).unwrap(), b"x");
}

#[test]
fn hard_links_take_the_link_itself() {
    let cage = Cage::new();
    let outside = cage.top.path().join("outside/secret");
    let script = format!(
        "out.write(head(b'l', 0, b'2', b'{}') + head(b'h', 0, b'1', b'l') + end)",
        outside.to_str().unwrap()
    );
    cage.apply(&archive(&script), Limits::default()).unwrap();
    assert!(fs::symlink_metadata(cage.root().join("h")).unwrap().is_symlink());
    refused("out.write(head(b'h', 0, b'1', b'h') + end)", "hard link to a directory or to itself");
    refused("out.write(head(b'h', 0, b'1', b'/') + end)", "hard link to a directory or to itself");
}

#[test]
fn malformed_headers_are_refused() {
    refused("out.write(b'\\x01' * 512)", "checksum");
    refused("h = bytearray(entry(b'a')); h[0] = 98; out.write(h + end)", "checksum is wrong");
    refused("out.write(head(b'a', raw_size=b'\\xff' * 12) + end)", "size is negative");
    refused("out.write(head(b'a', raw_size=b'\\x80' + b'\\xff' * 11) + end)", "size is not a number");
    refused("out.write(head(b'a', raw_size=b'0000000009z') + end)", "size is not a number");
    refused("out.write(head(b'a', type=b'V') + end)", "type 'V' is not supported");
    refused(
        "out.write(head(b'a', uid=b'\\x80\\0\\0\\1\\0\\0\\0\\0') + end)",
        "owner 4294967296 is out of range",
    );
    refused("out.write(entry(b'a') + b'\\0' * 512 + entry(b'b') + end)", "follows a zero block");
    refused("out.write(entry(b'.wh.') + end)", "deletion mark without a name");
    refused("out.write(entry(b'd/.wh...') + end)", "deletion mark without a name");
    refused("out.write(head(b's', 0, b'2', b'') + end)", "symlink without a target");
    refused(
        "out.write(entry(b'n' * 100 + b'') [:0] + pax(rec(b'path', b'n' * 300)) + entry(b'x') + end)",
        "longer than 255",
    );
    refused(
        "out.write(pax(rec(b'path', b'/'.join([b'n' * 200] * 30))) + entry(b'x') + end)",
        "longer than 4095",
    );
}

#[test]
fn pax_records_are_strict() {
    refused("out.write(pax(b'99 path=x\\n') + entry(b'a') + end)", "PAX records are malformed");
    refused("out.write(pax(b'+9 a=bc\\n') + entry(b'a') + end)", "PAX records are malformed");
    refused("out.write(pax(b'10 path=xyz') + entry(b'a') + end)", "PAX records are malformed");
    refused("out.write(pax(rec(b'size', b'-1')) + entry(b'a') + end)", "PAX record size");
    refused("out.write(pax(rec(b'size', b'1e9')) + entry(b'a') + end)", "PAX record size");
    refused("out.write(pax(rec(b'size', b'99999999999999999999')) + entry(b'a') + end)", "PAX record size");
    refused("out.write(pax(rec(b'path', b'a\\0b')) + entry(b'a') + end)", "holds a NUL");
    refused("out.write(pax(rec(b'uid', b'4294967295')) + entry(b'a') + end)", "out of range");
    refused("out.write(head(b'x', 1 << 30, b'x') + end)", "too long");
    refused(
        "out.write(pax(rec(b'GNU.sparse.major', b'2'), rec(b'GNU.sparse.minor', b'0')) + entry(b'a') + end)",
        "not supported",
    );
}

/// The size of the PAX record counts, not that of the header: reading it otherwise lets a file hide others.
#[test]
fn pax_size_rules_over_the_header() {
    let cage = Cage::new();
    let script = "inner = entry(b'smuggled', b'x'); out.write(pax(rec(b'size', str(len(inner)).encode())) + head(b'a', 0) + inner + entry(b'b') + end)";
    let applied = cage.apply(&archive(script), Limits::default()).unwrap();
    assert_eq!(applied.entries, 2);
    assert!(!cage.root().join("smuggled").exists());
    assert!(cage.root().join("b").exists());
}

#[test]
fn cut_off_archives_are_refused() {
    let whole = archive("out.write(entry(b'a', b'x' * 3000) + entry(b'b') + end)");
    for length in [1, 511, 513, 2000, 3500, 4000] {
        let error = Cage::new().apply(&whole[..length], Limits::default()).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{length}: {error}");
    }
    Cage::new().apply(&whole[..whole.len() - 1024], Limits::default()).unwrap();
    let error = Cage::new().apply(&gzip(&whole)[..60], Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    let mut damaged = gzip(&archive("import os\nout.write(entry(b'a', os.urandom(100000)) + end)"));
    damaged[5000] ^= 0xff;
    let error = Cage::new().apply(&damaged, Limits::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::InvalidArgument), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_meet_a_limit() {
    // 10 GB sparse in a few hundred bytes, against a limit: nothing is written for it.
    let sparse = "m = pad(b'1\\n9999999999\\n1\\n')\nbody = m + b'x'\nout.write(pax(rec(b'GNU.sparse.major', b'1'), rec(b'GNU.sparse.minor', b'0'), rec(b'GNU.sparse.name', b'bomb'), rec(b'GNU.sparse.realsize', b'10000000000')) + head(b'b', len(body)) + pad(body) + end)";
    let limits = Limits { max_bytes: 1 << 30, ..Limits::default() };
    let cage = Cage::new();
    let error = cage.apply(&archive(sparse), limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("max_bytes"), "{error}");
    assert!(fs::read_dir(cage.root()).unwrap().next().is_none());
    let error = Cage::new().apply(&archive(sparse), Limits::default()).unwrap_err();
    assert!(error.to_string().contains("max_ratio"), "{error}");

    let zeros = gzip(&archive("out.write(entry(b'z', b'\\0' * 30000000) + end)"));
    let limits = Limits { max_ratio: 100, ratio_floor: 1 << 20, ..Limits::default() };
    let error = Cage::new().apply(&zeros, limits).unwrap_err();
    assert!(error.to_string().contains("max_ratio"), "{error}");

    let many = archive("out.write(b''.join(entry(b'f%d' % i) for i in range(2000)) + end)");
    let limits = Limits { max_entries: 1000, ..Limits::default() };
    let error = Cage::new().apply(&many, limits).unwrap_err();
    assert!(error.to_string().contains("max_entries"), "{error}");
}

#[test]
fn sparse_maps_are_checked() {
    let sparse = |map: &str, real: &str, data: &str| {
        format!(
            "m = pad(b'{map}')\nbody = m + {data}\nout.write(pax(rec(b'GNU.sparse.major', b'1'), rec(b'GNU.sparse.minor', b'0'), rec(b'GNU.sparse.name', b's'), rec(b'GNU.sparse.realsize', b'{real}')) + head(b'b', len(body)) + pad(body) + end)"
        )
    };
    refused(&sparse("1\\n5\\n10\\n", "12", "b'x' * 10"), "overlaps or goes beyond");
    refused(&sparse("2\\n5\\n10\\n7\\n1\\n", "100", "b'x' * 11"), "overlaps or goes beyond");
    refused(&sparse("1\\n0\\n10\\n", "100", "b'x' * 9"), "does not fit its data");
    refused(&sparse("x\\n", "100", "b''"), "sparse map is malformed");
    refused(&sparse("99999999\\n", "100", "b''"), "sparse map");
    refused(&sparse("1\\n9223372036854775807\\n9223372036854775807\\n", "100", "b''"), "sparse map");
}

/// Every truncation and many single-byte changes: an error or an extraction, never a panic or an escape.
#[test]
fn damaged_bytes_never_escape() {
    let whole = archive(
        "out.write(pax(rec(b'path', b'dir/long'), rec(b'mtime', b'1.5')) + entry(b'x', b'abc') + head(b'dir/l', 0, b'2', b'../../outside') + head(b'h', 0, b'1', b'dir/long') + entry(b'dir/.wh.q') + end)",
    );
    let mut state = 12345_u32;
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = (state >> 3) as u8;
            // Make the checksum of the damaged header right again, so that what is behind it gets tested.
            let block = at / 512 * 512;
            bytes[block + 148..block + 156].fill(b' ');
            let sum: u32 = bytes[block..block + 512].iter().map(|&byte| u32::from(byte)).sum();
            bytes[block + 148..block + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        drop(Cage::new().apply(&bytes, Limits { max_bytes: 1 << 20, ..Limits::default() }));
    }
}
