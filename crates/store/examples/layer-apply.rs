//! Times the application of one layer: `layer-apply LAYER DIRECTORY [--pipeline ROOT] [--sync]`.
//!
//! `DIRECTORY` must be empty. With `--pipeline` the layer also goes through an ingest below ROOT, as in a pull.
//! Compare with `tar -xf LAYER -C DIRECTORY`, and count system calls with `strace -f -c`.

use std::{fs::File, io::Read, os::fd::OwnedFd, path::Path, sync::Arc, time::Instant};
use tare_store::{
    ApplyOptions, ContentStore, IngestOptions, LayerApplier, LayerPipeline, Limits, Metadata,
    MetadataOptions, WhiteoutFormat,
};
use tare_types::{Descriptor, Namespace, Timestamp, image::media};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, layer, directory, rest @ ..] = arguments.as_slice() else {
        return Err("usage: layer-apply LAYER DIRECTORY [--pipeline ROOT] [--sync]".into());
    };
    let options =
        ApplyOptions { whiteouts: WhiteoutFormat::Overlay { userxattr: false }, limits: Limits::default() };
    std::fs::create_dir_all(directory)?;
    let root: OwnedFd = File::open(directory)?.into();
    let mut file = File::open(layer)?;
    let begin = Instant::now();
    let applied = match rest.iter().position(|argument| argument == "--pipeline") {
        Some(at) => pipeline(&mut file, LayerApplier::new(root, options)?, Path::new(&rest[at + 1]))?,
        None => tare_store::layer::apply(&mut file, root, options)?,
    };
    if rest.iter().any(|argument| argument == "--sync") {
        rustix::fs::syncfs(File::open(directory)?)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let megabytes = applied.size as f64 / 1e6;
    #[expect(clippy::print_stdout, reason = "the result of the program")]
    {
        println!("{seconds:.3} s, {megabytes:.1} MB, {} entries, {}", applied.entries, applied.diff_id);
    }
    Ok(())
}

fn pipeline(
    file: &mut File,
    applier: LayerApplier,
    root: &Path,
) -> Result<tare_store::Applied, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(root)?;
    let metadata = Arc::new(Metadata::open(root, MetadataOptions::default())?);
    let content = Arc::new(ContentStore::open(&root.join("content"), metadata)?);
    let namespace = Namespace::default_namespace();
    let now = Timestamp::default();
    let options = IngestOptions { reference: "layer", expected: None, total: 0, lease: None, now };
    let ingest = content.ingest(&namespace, &options)?;
    let mut pipeline = LayerPipeline::new(ingest, applier)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        pipeline.write(&buffer[..count])?;
    }
    // The digest is what the bytes are: there is no registry here that promises one.
    let digest = pipeline.digest();
    let descriptor = Descriptor::new(media::OCI_LAYER_GZIP, digest, pipeline.offset());
    Ok(pipeline.finish(&descriptor)?.1)
}
