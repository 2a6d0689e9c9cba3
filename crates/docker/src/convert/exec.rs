//! Further processes.

use crate::error::ApiError;
use crate::wire::exec::{ExecCreate, ExecInspect, ProcessConfig};
use tare_engine::exec::{ExecRequest, ExecView};

/// Height and width, if both fit a terminal.
pub(crate) fn console_size(size: Option<[u32; 2]>) -> Option<(u16, u16)> {
    let [height, width] = size?;
    let size = (u16::try_from(height).ok()?, u16::try_from(width).ok()?);
    (size != (0, 0)).then_some(size)
}

/// The engine's request.
pub(crate) fn to_request(wire: ExecCreate) -> Result<ExecRequest, ApiError> {
    if wire.cmd.is_empty() {
        return Err(ApiError::bad_parameter("No exec command specified"));
    }
    crate::detach::parse_keys(&wire.detach_keys)?;
    Ok(ExecRequest {
        argv: wire.cmd.0.unwrap_or_default(),
        env: wire.env.unwrap_or_default(),
        user: wire.user,
        cwd: wire.working_dir,
        tty: wire.tty,
        stdin: wire.attach_stdin,
        stdout: wire.attach_stdout,
        stderr: wire.attach_stderr,
        privileged: wire.privileged,
        detach_keys: wire.detach_keys,
        console_size: console_size(wire.console_size),
    })
}

/// The state of an exec as `GET /exec/{id}/json` shows it.
pub(crate) fn to_inspect(view: &ExecView) -> ExecInspect {
    let request = &view.request;
    let (entrypoint, arguments) = request
        .argv
        .split_first()
        .map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
    ExecInspect {
        id: view.id.to_string(),
        running: view.running,
        exit_code: view.exit_code.map(i64::from),
        process_config: ProcessConfig {
            tty: request.tty,
            entrypoint,
            arguments,
            privileged: Some(request.privileged),
            user: request.user.clone(),
        },
        open_stdin: request.stdin,
        open_stderr: request.stderr,
        open_stdout: request.stdout,
        can_remove: view.exit_code.is_some(),
        container_id: view.container.to_string(),
        detach_keys: request.detach_keys.clone(),
        pid: view.pid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_program_is_refused() {
        let error = to_request(ExecCreate::default()).unwrap_err();
        assert_eq!(error.message(), "No exec command specified");
    }

    #[test]
    fn terminals_have_a_size_or_none() {
        assert_eq!(console_size(Some([24, 80])), Some((24, 80)));
        assert_eq!(console_size(Some([0, 0])), None);
        assert_eq!(console_size(Some([1, 70_000])), None);
    }
}
