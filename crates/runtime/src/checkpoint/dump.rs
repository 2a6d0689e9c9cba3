//! The dump of a container.

use super::{
    CheckpointOptions, DESCRIPTORS, Directories, external,
    message::Message,
    rpc::{self, Response, option},
    swrk::{Setup, Swrk},
};
use crate::{Container, During, Error, Result, plan::Plan};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{fd::AsFd, fs::OFlags};
use tare_types::{ErrorKind, spec::ContainerStatus};

const OPERATION: &str = "checkpoint";

pub(crate) fn checkpoint(container: &Container, options: &CheckpointOptions<'_>) -> Result<()> {
    let status = container.status()?;
    if matches!(status, ContainerStatus::Created | ContainerStatus::Stopped) {
        let text = format!("Container cannot be checkpointed in {status} state");
        return Err(Error::new(ErrorKind::FailedPrecondition, "", text, ""));
    }
    let mut plan = Plan::new(options.spec, container.bundle())?;
    plan.set_caller(crate::runtime::caller())?;
    external::check(&plan)?;
    tare_sys::file::make_dir_all(options.image.images, 0o700).during(OPERATION)?;
    let directories = Directories::open(&options.image, "dump.log", OPERATION)?;
    let request = request(container, options, &plan, &directories)?;
    let null = tare_sys::file::open("/dev/null", OFlags::RDWR, 0).during(OPERATION)?;
    let mut swrk = Swrk::start(&Setup {
        criu: &options.image.criu,
        operation: OPERATION,
        log: &directories.log,
        streams: Some([null.as_fd(); 3]),
        passed: &[],
        entrance: None,
        root: None,
    })?;
    let done = dump(&mut swrk, options, &request);
    drop(swrk);
    if done.is_err() && status == ContainerStatus::Running && container.cgroup().is_frozen().unwrap_or(false)
    {
        // CRIU thaws what it froze, unless it was killed. The failure is what the caller must see.
        let _ = container.cgroup().thaw();
    }
    done
}

fn dump(swrk: &mut Swrk, options: &CheckpointOptions<'_>, request: &Message) -> Result<()> {
    swrk.version()?;
    let (tracks, is_lazy) =
        if options.pre_dump || options.image.lazy_pages { swrk.features()? } else { (true, true) };
    let missing = match (options.pre_dump && !tracks, options.image.lazy_pages && !is_lazy) {
        (true, _) => Some("MemTrack"),
        (_, true) => Some("LazyPages"),
        _ => None,
    };
    if let Some(missing) = missing {
        let text = format!("criu is missing features: [{missing}]");
        return Err(Error::new(ErrorKind::Unimplemented, OPERATION, text, ""));
    }
    swrk.job(request, |notice, _| tell(options, notice))?;
    let ended = swrk.finish()?;
    // After a pre-dump it waits for another one; that none comes is a failure to it.
    if ended.exit_status() != Some(0) && !options.pre_dump {
        return Err(swrk.error(format!("{ended:?}")));
    }
    Ok(())
}

fn tell(options: &CheckpointOptions<'_>, notice: &Response) -> Result<()> {
    match options.status {
        Some(status) if notice.script == "status-ready" => {
            tare_sys::file::write_fd(status, &[0]).map_err(|errno| {
                Error::system("tell that pages are served", tare_sys::Error::new("write", "status-fd", errno))
            })
        }
        _ => Ok(()),
    }
}

fn request(
    container: &Container,
    options: &CheckpointOptions<'_>,
    plan: &Plan,
    directories: &Directories,
) -> Result<Message> {
    let pid = container.pid();
    let mut message = directories.options(&options.image, options.spec);
    message.number(option::PID, pid);
    message.text(option::ROOT, container.rootfs());
    message.flag(option::LEAVE_RUNNING, options.leave_running);
    message.flag(option::TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight);
    message.flag(option::LINK_REMAP, options.link_remap);
    let freezer = container.cgroup().directory("freezer");
    if let Some(freezer) = freezer {
        message.text(option::FREEZE_CGROUP, freezer);
    }
    if let Some(parent) = options.parent {
        message.text(option::PARENT_IMG, parent);
        message.flag(option::TRACK_MEM, true);
    }
    if let Some((address, port)) = options.page_server {
        message.nested(option::PAGE_SERVER, |server| {
            server.text(1, address);
            server.number(2, i32::from(port));
        });
    }
    external::name_namespaces(&mut message, plan, pid)?;
    let nulls = external::null_devices(&container.processes()?, pid)?;
    for name in &nulls {
        message.text(option::EXTERNAL, name);
    }
    if options.pre_dump {
        return Ok(rpc::request(rpc::PRE_DUMP, Some(&message), false));
    }
    external::name_for_dump(&mut message, plan, container.cgroup(), pid)?;
    store_descriptors(pid, nulls, directories)?;
    Ok(rpc::request(rpc::DUMP, Some(&message), false))
}

/// What the standard streams are: a restore gives pipes of these names the streams that it has. After the three come the
/// null devices from outside, which runc does not look at.
fn store_descriptors(pid: i32, nulls: Vec<String>, directories: &Directories) -> Result<()> {
    let name = |number: i32| {
        let link = format!("/proc/{pid}/fd/{number}");
        let name = rustix::fs::readlink(link.as_str(), Vec::new());
        // One that is closed has no name.
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let names: Vec<String> = (0..3).map(name).chain(nulls).collect();
    let text = serde_json::to_vec(&names)
        .map_err(|error| Error::new(ErrorKind::Internal, OPERATION, DESCRIPTORS, error.to_string()))?;
    tare_sys::file::replace_at(&directories.images, DESCRIPTORS, &text, 0o600).during(OPERATION)
}
