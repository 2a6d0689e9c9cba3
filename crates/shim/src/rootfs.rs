//! The root file system of a container: the mounts of the create request, made at `<bundle>/rootfs`.
//!
//! Mounts are made detached and attached once, with their flags set before anybody sees them. Overlay gets its
//! lower directories one by one (`lowerdir+`, Linux 6.5), so that neither a page nor 256 bytes limit them; older
//! kernels get the one long option through mount(2).

use rustix::mount::{MountAttrFlags, MountFlags};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use tare_api::containerd::types::Mount;
use tare_api::status::Status;
use tare_sys::Errno;
use tare_sys::mount::{self, MountAttr};
use tare_types::ErrorKind;

/// Makes the mounts in order; what was made is undone when one fails.
///
/// # Errors
/// `InvalidArgument` for a target outside the rootfs or a source that is not there, else the kernel's answer.
pub(crate) fn mount_all(bundle: &Path, mounts: &[Mount]) -> Result<(), Status> {
    if mounts.is_empty() {
        return Ok(());
    }
    let rootfs = bundle.join("rootfs");
    DirBuilder::new().recursive(true).mode(0o711).create(&rootfs).map_err(|error| {
        Status::new(ErrorKind::Internal, format!("make directory {}: {error}", rootfs.display()))
    })?;
    for one in mounts {
        if let Err(error) = mount_one(&rootfs, one) {
            // The first error is the one to report.
            unmount(bundle).unwrap_or_default();
            let kind = match error.errno() {
                Errno::NOENT | Errno::INVAL | Errno::NOTDIR => ErrorKind::InvalidArgument,
                Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
                _ => ErrorKind::Internal,
            };
            let what = format!("mount {} of type {} at {}", one.source, one.r#type, rootfs.display());
            return Err(Status::new(kind, format!("{what}: {error}")));
        }
    }
    Ok(())
}

/// Takes away whatever is mounted at `<bundle>/rootfs`; nothing there is no error.
///
/// # Errors
/// The kernel's answer.
pub(crate) fn unmount(bundle: &Path) -> Result<(), String> {
    let rootfs = bundle.join("rootfs");
    loop {
        match mount::detach(&rootfs.to_string_lossy()) {
            Ok(()) => {}
            Err(error) if matches!(error.errno(), Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn mount_one(rootfs: &Path, request: &Mount) -> tare_sys::Result<()> {
    let invalid = |object: &str| tare_sys::Error::new("mount", object, Errno::INVAL);
    if !request.target.trim_matches('/').is_empty() {
        // containerd mounts below the rootfs only for sandboxes that Tare does not offer.
        return Err(invalid(&request.target));
    }
    let options = Options::parse(&request.options);
    let target = tare_sys::file::open(
        &rootfs.to_string_lossy(),
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW,
        0,
    )?;
    let tree = match request.r#type.as_str() {
        "bind" | "rbind" | "none" | "" => bind(&request.source, &options)?,
        "overlay" => match overlay(&request.source, &options) {
            Err(error) if error.errno() == Errno::INVAL && error.object() == "lowerdir+" => {
                return legacy(rootfs, request, &options);
            }
            other => other?,
        },
        kind => mount::new_filesystem(kind, Some(&request.source), &options.pairs(), options.attributes)?,
    };
    mount::attach(tree, target.as_fd())
}

fn bind(source: &str, options: &Options<'_>) -> tare_sys::Result<OwnedFd> {
    let tree = mount::clone_tree(source, options.recursive)?;
    if !options.attributes.is_empty() {
        let attr = MountAttr { set: u64::from(options.attributes.bits()), ..MountAttr::default() };
        mount::set_attributes(&tree, options.recursive, &attr)?;
    }
    Ok(tree)
}

fn overlay(source: &str, options: &Options<'_>) -> tare_sys::Result<OwnedFd> {
    let lower = |option: &&str| option.strip_prefix("lowerdir=").map(str::to_owned);
    // One directory per option needs no escape: a colon is just a character.
    let lower: Vec<String> = options
        .data
        .iter()
        .filter_map(lower)
        .flat_map(|dirs| split_lower(&dirs).map(|dir| dir.replace("\\:", ":")).collect::<Vec<_>>())
        .collect();
    let mut pairs: Vec<_> = lower.iter().map(|dir| ("lowerdir+", Some(dir.as_str()))).collect();
    pairs.extend(options.pairs().into_iter().filter(|(key, _)| *key != "lowerdir"));
    mount::new_filesystem("overlay", Some(source), &pairs, options.attributes)
}

/// Directories are separated by colons; a colon in a name is escaped and comes with its backslash.
fn split_lower(dirs: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(dirs);
    std::iter::from_fn(move || {
        let text = rest?;
        let bytes = text.as_bytes();
        let end = (0..bytes.len()).find(|&at| bytes[at] == b':' && (at == 0 || bytes[at - 1] != b'\\'));
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// mount(2), for kernels whose overlay does not know `lowerdir+`.
fn legacy(rootfs: &Path, request: &Mount, options: &Options<'_>) -> tare_sys::Result<()> {
    use tare_sys::Context;
    let data = std::ffi::CString::new(options.data.join(","));
    let data = data.map_err(|_| tare_sys::Error::new("mount", "options", Errno::INVAL))?;
    rustix::mount::mount(&request.source, rootfs, "overlay", options.legacy_flags(), Some(data.as_c_str()))
        .on("mount", || "overlay")
}

/// Mount options, the flags of the mount apart from those of the file system.
#[derive(Debug)]
struct Options<'a> {
    recursive: bool,
    attributes: MountAttrFlags,
    data: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(options: &'a [String]) -> Self {
        let mut parsed = Self { recursive: false, attributes: MountAttrFlags::empty(), data: Vec::new() };
        for option in options {
            let (flag, on) = match option.as_str() {
                "rbind" => {
                    parsed.recursive = true;
                    continue;
                }
                "bind" | "rw" | "defaults" | "private" | "rprivate" | "slave" | "rslave" => continue,
                "ro" => (MountAttrFlags::MOUNT_ATTR_RDONLY, true),
                "nosuid" => (MountAttrFlags::MOUNT_ATTR_NOSUID, true),
                "suid" => (MountAttrFlags::MOUNT_ATTR_NOSUID, false),
                "nodev" => (MountAttrFlags::MOUNT_ATTR_NODEV, true),
                "dev" => (MountAttrFlags::MOUNT_ATTR_NODEV, false),
                "noexec" => (MountAttrFlags::MOUNT_ATTR_NOEXEC, true),
                "exec" => (MountAttrFlags::MOUNT_ATTR_NOEXEC, false),
                "noatime" => (MountAttrFlags::MOUNT_ATTR_NOATIME, true),
                "nodiratime" => (MountAttrFlags::MOUNT_ATTR_NODIRATIME, true),
                "relatime" => continue,
                data => {
                    parsed.data.push(data);
                    continue;
                }
            };
            parsed.attributes.set(flag, on);
        }
        parsed
    }

    fn pairs(&self) -> Vec<(&'a str, Option<&'a str>)> {
        let pair = |option: &&'a str| match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (*option, None),
        };
        self.data.iter().map(pair).collect()
    }

    fn legacy_flags(&self) -> MountFlags {
        let table = [
            (MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
            (MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
            (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
            (MountAttrFlags::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
            (MountAttrFlags::MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
        ];
        let set = table.iter().filter(|(attribute, _)| self.attributes.contains(*attribute));
        set.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let options: Vec<String> =
            ["rbind", "ro", "nodev", "index=off", "userxattr", "dev"].map(Into::into).into();
        let parsed = Options::parse(&options);
        assert!(parsed.recursive);
        assert_eq!(parsed.attributes, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert_eq!(parsed.pairs(), [("index", Some("off")), ("userxattr", None)]);
        assert_eq!(parsed.legacy_flags(), MountFlags::RDONLY);
    }

    #[test]
    fn lower_directories_are_split_at_plain_colons() {
        assert_eq!(split_lower("/a:/b\\:c:/d").collect::<Vec<_>>(), ["/a", "/b\\:c", "/d"]);
        assert_eq!(split_lower("/a").collect::<Vec<_>>(), ["/a"]);
    }
}
