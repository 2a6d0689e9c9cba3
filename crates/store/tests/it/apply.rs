//! Honest archives: what other programs wrote must come out as they themselves unpack it.

use crate::support::{
    NOW, Store, apply_options, directory, ingest_options, labels, listing, ns, python, run, set_xattr, xattr,
};
use std::{fs, io::Write, os::unix::fs::MetadataExt, path::Path};
use tare_store::{Applied, LayerApplier, LayerPipeline, Result, Tables, WhiteoutFormat, layer};
use tare_types::{Descriptor, Digest, image::media};

fn apply(archive: &Path, target: &Path) -> Result<Applied> {
    fs::create_dir_all(target).unwrap();
    layer::apply(fs::File::open(archive).unwrap(), directory(target), apply_options())
}

/// A tree with everything an archive can hold.
const TREE: &str = r#"
set -e; umask 022; cd "$1"
mkdir -p usr/bin usr/lib/deep/er var/empty "with space" && chmod 1777 var/empty
printf hello > usr/bin/tool; chmod 4755 usr/bin/tool
printf '' > usr/lib/empty; head -c 70000 /dev/urandom > usr/lib/random
ln usr/lib/random usr/lib/random.link; ln -s ../bin/tool usr/lib/rel; ln -s /etc/passwd usr/lib/abs
mkfifo var/fifo; mknod var/null c 1 3; mknod var/loop b 7 0; chmod 600 var/null
printf x > "with space/ünï"; chown 1234:4321 "with space/ünï"
long=$(printf 'd%.0s' $(seq 90)); mkdir -p $long/$long/$long; printf deep > $long/$long/$long/$long
ln -s $long/$long/$long/$long/$long target-is-long
chown -h 5:6 usr/lib/rel; chmod 2755 usr/lib/deep; chmod 0 usr/lib/empty
truncate -s 5M sparse; printf mid | dd of=sparse bs=1 seek=1000000 conv=notrunc 2>/dev/null
printf end | dd of=sparse bs=1 seek=4000000 conv=notrunc 2>/dev/null
touch -d '2001-02-03 04:05:06.789' usr/lib/random; touch -h -d '1999-01-01' usr/lib/abs
touch -d '2010-10-10' usr/lib/deep usr
"#;

#[test]
fn gnu_tar_formats_come_out_as_tar_unpacks_them() {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("tree");
    fs::create_dir(&tree).unwrap();
    run("sh", &["-c", TREE, "sh", tree.to_str().unwrap()]);
    set_xattr(&tree.join("usr/bin/tool"), "user.note", b"kept");
    let formats: &[&[&str]] = &[
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--xattrs"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=gnu", "--gzip"],
        &["--format=posix", "--zstd", "--sparse"],
    ];
    for (at, format) in formats.iter().enumerate() {
        let archive = root.path().join(format!("{at}.tar"));
        let mut arguments = vec!["-C", tree.to_str().unwrap(), "-cf", archive.to_str().unwrap()];
        arguments.extend_from_slice(format);
        arguments.push(".");
        run("tar", &arguments);
        let (ours, theirs) =
            (root.path().join(format!("{at}.ours")), root.path().join(format!("{at}.tar-x")));
        fs::create_dir(&theirs).unwrap();
        run("tar", &["-C", theirs.to_str().unwrap(), "--xattrs", "-xpf", archive.to_str().unwrap()]);
        let applied = apply(&archive, &ours).unwrap();
        assert_eq!(listing(&ours), listing(&theirs), "{format:?}");
        run(
            "diff",
            &[
                "-r",
                "--no-dereference",
                "-x",
                "null",
                "-x",
                "loop",
                "-x",
                "fifo",
                ours.to_str().unwrap(),
                theirs.to_str().unwrap(),
            ],
        );
        if format.contains(&"--xattrs") {
            assert_eq!(xattr(&ours.join("usr/bin/tool"), "user.note").unwrap(), b"kept");
        }
        if format.contains(&"--sparse") {
            assert!(
                fs::metadata(ours.join("sparse")).unwrap().blocks() < 1000,
                "holes stay holes: {format:?}"
            );
        }
        let plain = run(
            "sh",
            &[
                "-c",
                "f=$1; case $(head -c 4 $f | od -An -tx1 | tr -d ' ') in 1f8b*) gzip -dc $f;; 28b5*) zstd -qdc $f;; *) cat $f;; esac | sha256sum | cut -d' ' -f1",
                "sh",
                archive.to_str().unwrap(),
            ],
        );
        assert_eq!(applied.diff_id.0.hex(), plain.trim());
        let inodes = run(
            "sh",
            &[
                "-c",
                "find \"$1\" -mindepth 1 -printf '%i\\n' | sort -u | wc -l",
                "sh",
                ours.to_str().unwrap(),
            ],
        );
        assert_eq!(applied.usage.inodes.to_string(), inodes.trim());
    }
}

#[test]
fn python_archives_with_pax_values_come_out() {
    let root = tempfile::tempdir().unwrap();
    let archive = root.path().join("pax.tar");
    python(
        r#"
import tarfile, io, sys
t = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT)
def add(name, **k):
    data = k.pop('data', b''); i = tarfile.TarInfo(name); i.size = len(data)
    for key, value in k.items(): setattr(i, key, value)
    t.addfile(i, io.BytesIO(data))
add('big-ids', uid=3000000000, gid=2999999999, data=b'ids')
add('fraction', mtime=1234567890.25, data=b'f')
add('early', mtime=-5, data=b'e')
add('n' * 255, data=b'long name')
add('file', data=b'1'); add('file', data=b'second wins')
add('dir', type=tarfile.DIRTYPE, mode=0o755); add('dir', type=tarfile.DIRTYPE, mode=0o700)
add('no/parent/entries/x', data=b'implicit')
add('/absolute', data=b'below the root')
add('xattr', data=b'x', pax_headers={'SCHILY.xattr.user.a': 'b', 'SCHILY.xattr.trusted.overlay.opaque': 'y', 'LIBARCHIVE.xattr.user.c%25': 'ZA'})
t.close()
"#,
        &[archive.to_str().unwrap()],
    );
    let target = root.path().join("out");
    apply(&archive, &target).unwrap();
    let meta = |name: &str| fs::symlink_metadata(target.join(name)).unwrap();
    assert_eq!((meta("big-ids").uid(), meta("big-ids").gid()), (3_000_000_000, 2_999_999_999));
    assert_eq!((meta("fraction").mtime(), meta("fraction").mtime_nsec()), (1_234_567_890, 250_000_000));
    assert_eq!(meta("early").mtime(), 0, "as in containerd, nothing is older than 1970");
    assert_eq!(fs::read(target.join("n".repeat(255))).unwrap(), b"long name");
    assert_eq!(fs::read(target.join("file")).unwrap(), b"second wins");
    assert_eq!(meta("dir").mode() & 0o7777, 0o700);
    assert_eq!(meta("no/parent").mode() & 0o7777, 0o755);
    assert_eq!(fs::read(target.join("absolute")).unwrap(), b"below the root");
    let value = |name| xattr(&target.join("xattr"), name);
    assert_eq!((value("user.a").unwrap(), value("user.c%").unwrap()), (b"b".to_vec(), b"d".to_vec()));
    assert_eq!(value("trusted.overlay.opaque"), None, "overlayfs's own are never taken from an archive");
}

/// The same bytes in pieces of any size give the same tree.
#[test]
fn pieces_of_any_size_are_the_same() {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("tree");
    fs::create_dir(&tree).unwrap();
    run("sh", &["-c", TREE, "sh", tree.to_str().unwrap()]);
    let archive = root.path().join("a.tar.gz");
    run(
        "tar",
        &["-C", tree.to_str().unwrap(), "--format=posix", "-S", "-czf", archive.to_str().unwrap(), "."],
    );
    let bytes = fs::read(&archive).unwrap();
    let mut seen = Vec::new();
    for size in [1, 7, 511, 512, 513, 65_536, bytes.len()] {
        let target = root.path().join(format!("out{size}"));
        fs::create_dir(&target).unwrap();
        let mut applier = LayerApplier::new(directory(&target), apply_options()).unwrap();
        bytes.chunks(size).for_each(|piece| applier.write(piece).unwrap());
        let applied = applier.finish().unwrap();
        seen.push((applied.diff_id.clone(), applied.size, applied.entries, listing(&target)));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

fn tar_of(entries: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "import tarfile, io, sys\nt = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT)\n\
         def f(n, d=b'', **k):\n    i = tarfile.TarInfo(n); i.size = len(d)\n    \
         for a, b in k.items(): setattr(i, a, b)\n    t.addfile(i, io.BytesIO(d))\n\
         def d(n, **k): f(n, type=tarfile.DIRTYPE, **k)\n\
         def s(n, l): f(n, type=tarfile.SYMTYPE, linkname=l)\n\
         def h(n, l): f(n, type=tarfile.LNKTYPE, linkname=l)\n{entries}\nt.close()\n"
    );
    python(&script, &[file.path().to_str().unwrap()]);
    fs::read(file.path()).unwrap()
}

#[test]
fn deletions_become_overlay_marks() {
    let root = tempfile::tempdir().unwrap();
    let bytes = tar_of(
        "d('d', mode=0o755)\nf('d/.wh.gone')\nf('d/.wh..wh..opq')\nf('.wh.top')\nf('.wh..wh.plnk/x', b'x')\n\
         f('.wh.again')\nd('again', mode=0o755)\nf('new', b'1')\nf('.wh.new')",
    );
    layer::apply(&*bytes, directory(root.path()), apply_options()).unwrap();
    let device = |name: &str| {
        let meta = fs::symlink_metadata(root.path().join(name)).unwrap();
        (meta.mode() & 0o170_000 == 0o020_000).then(|| meta.rdev())
    };
    assert_eq!((device("d/gone"), device("top")), (Some(0), Some(0)));
    let opaque = |name: &str| xattr(&root.path().join(name), "trusted.overlay.opaque").unwrap();
    assert_eq!(opaque("d"), b"y");
    assert_eq!(opaque("again"), b"y", "deleted and made anew: nothing of below shines through");
    assert_eq!(fs::read(root.path().join("new")).unwrap(), b"1", "a deletion is for lower layers only");
    assert!(!root.path().join(".wh..wh.plnk").exists());
}

#[test]
fn deletions_in_place_spare_what_the_layer_made() {
    let root = tempfile::tempdir().unwrap();
    for path in ["d/old", "d/sub/x", "gone/y", "kept"] {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), "old").unwrap();
    }
    let bytes =
        tar_of("d('d', mode=0o755)\nf('d/new', b'1')\nf('d/.wh..wh..opq')\nf('.wh.gone')\nf('.wh.absent')");
    let options = tare_store::ApplyOptions { whiteouts: WhiteoutFormat::Remove, ..apply_options() };
    layer::apply(&*bytes, directory(root.path()), options).unwrap();
    let left = run(
        "sh",
        &["-c", "cd \"$1\" && find . -mindepth 1 | sort | tr '\\n' ' '", "sh", root.path().to_str().unwrap()],
    );
    assert_eq!(left, "./d ./d/new ./kept ");
}

/// Layers are applied each for itself; what needs the layers below is completed when they are there.
#[test]
fn settle_completes_directories_and_hard_links_from_below() {
    let root = tempfile::tempdir().unwrap();
    let (lower, upper) = (root.path().join("lower"), root.path().join("upper"));
    fs::create_dir_all(&lower).unwrap();
    fs::create_dir_all(&upper).unwrap();
    let base = tar_of("d('opt', mode=0o1770, uid=7, gid=8, mtime=1000)\nf('opt/tool', b'tool', mode=0o4755)");
    layer::apply(&*base, directory(&lower), apply_options()).unwrap();
    let top = tar_of("f('opt/new', b'n')\nh('opt/alias', 'opt/tool')");
    let mut applied = layer::apply(&*top, directory(&upper), apply_options()).unwrap();
    assert!(!upper.join("opt/alias").exists());
    applied.settle(&directory(&upper), &[directory(&lower)]).unwrap();
    let opt = fs::metadata(upper.join("opt")).unwrap();
    assert_eq!((opt.mode() & 0o7777, opt.uid(), opt.gid(), opt.mtime()), (0o1770, 7, 8, 1000));
    let (alias, tool) =
        (fs::metadata(upper.join("opt/alias")).unwrap(), fs::metadata(upper.join("opt/tool")).unwrap());
    assert_eq!(alias.ino(), tool.ino());
    assert_eq!(alias.mode() & 0o7777, 0o4755);
    assert_eq!(fs::read(upper.join("opt/alias")).unwrap(), b"tool");

    // Hidden below: the target was deleted by a layer between.
    let (middle, third) = (root.path().join("middle"), root.path().join("third"));
    fs::create_dir_all(&middle).unwrap();
    fs::create_dir_all(&third).unwrap();
    layer::apply(&*tar_of("f('opt/.wh.tool')"), directory(&middle), apply_options()).unwrap();
    let mut applied = layer::apply(&*top, directory(&third), apply_options()).unwrap();
    let error = applied.settle(&directory(&third), &[directory(&middle), directory(&lower)]).unwrap_err();
    assert!(error.to_string().contains("hard link does not exist"), "{error}");
}

#[test]
fn several_gzip_members_and_padding_are_one_stream() {
    let root = tempfile::tempdir().unwrap();
    let bytes = tar_of("f('a', b'x' * 100000)\nf('b', b'y')");
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut stream: Vec<u8> = bytes.chunks(3000).flat_map(gzip).collect();
    stream.extend([0; 700]);
    let applied = layer::apply(&*stream, directory(root.path()), apply_options()).unwrap();
    assert_eq!(applied.diff_id.0, Digest::of_bytes(&bytes));
    stream.push(1);
    let again = tempfile::tempdir().unwrap();
    let error = layer::apply(&*stream, directory(again.path()), apply_options()).unwrap_err();
    assert!(error.to_string().contains("garbage"), "{error}");
}

#[test]
fn pipeline_stores_and_applies_in_one_pass_and_resumes() {
    let store = Store::new();
    let namespace = ns("default");
    let bytes = {
        let plain = tar_of("import os\nfor i in range(40): f('f%d' % i, os.urandom(30000))");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let digest = Digest::of_bytes(&bytes);
    let descriptor = Descriptor::new(media::OCI_LAYER_GZIP, digest.clone(), bytes.len() as u64);
    let start = |name: &str| {
        let target = store.path(name);
        fs::create_dir(&target).unwrap();
        let options = tare_store::IngestOptions { expected: Some(&digest), ..ingest_options("layer") };
        let ingest = store.content.ingest(&namespace, &options).unwrap();
        let applier = LayerApplier::new(directory(&target), apply_options()).unwrap();
        LayerPipeline::new(ingest, applier).unwrap()
    };
    let mut pipeline = start("first");
    pipeline.write(&bytes[..500_000]).unwrap();
    drop(pipeline);
    let mut pipeline = start("second");
    assert_eq!(pipeline.offset(), 500_000, "goes on from the stored byte");
    bytes[500_000..].chunks(10_000).for_each(|piece| pipeline.write(piece).unwrap());
    let (sealed, applied) = pipeline.finish(&descriptor).unwrap();
    assert_eq!(applied.entries, 40);
    assert_eq!(fs::metadata(store.path("second/f39")).unwrap().len(), 30_000);
    let mut blobs = [sealed];
    store.content.publish(&mut blobs).unwrap();
    store.metadata.update(|tx| blobs[0].record(tx, &labels(&[]), NOW)).unwrap();
    assert_eq!(store.content.reader(&namespace, &digest).unwrap().read_all(1 << 30).unwrap(), bytes);
    assert!(store.metadata.read().unwrap().content(&namespace, &digest).unwrap().is_some());
    assert!(store.content.statuses(&namespace, &tare_store::Filters::all()).unwrap().is_empty());
}

#[test]
fn a_damaged_layer_is_refused_by_its_digest_first() {
    let store = Store::new();
    let bytes = tar_of("f('a', b'x' * 100000)");
    let descriptor = Descriptor::new(media::OCI_LAYER, Digest::of_bytes(b"other"), bytes.len() as u64);
    let target = store.path("x");
    fs::create_dir(&target).unwrap();
    let ingest = store.content.ingest(&ns("default"), &ingest_options("layer")).unwrap();
    let applier = LayerApplier::new(directory(&target), apply_options()).unwrap();
    let mut pipeline = LayerPipeline::new(ingest, applier).unwrap();
    pipeline.write(&bytes[..90_000]).unwrap();
    let error = pipeline.finish(&descriptor).unwrap_err();
    assert!(error.to_string().contains("unexpected commit size 90000"), "{error}");
}
