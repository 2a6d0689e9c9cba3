//! Further processes in a container.

use super::StrSlice;

wire! {
    /// Body of `POST /containers/{id}/exec`.
    pub(crate) struct ExecCreate {
        user: String,
        privileged: bool,
        tty: bool,
        /// Height, width.
        #[serde(skip_serializing_if = "Option::is_none")]
        console_size: Option<[u32; 2]>,
        attach_stdin: bool,
        attach_stderr: bool,
        attach_stdout: bool,
        // Go's decoder takes either case, and the Python client relies on it.
        #[serde(alias = "detachKeys")]
        detach_keys: String,
        env: Option<Vec<String>>,
        working_dir: String,
        cmd: StrSlice,
        detach: bool,
    }

    /// Body of `POST /exec/{id}/start`.
    pub(crate) struct ExecStart {
        detach: bool,
        tty: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        console_size: Option<[u32; 2]>,
    }

    /// Answer of `GET /exec/{id}/json`.
    pub(crate) struct ExecInspect {
        #[serde(rename = "ID")]
        id: String,
        running: bool,
        /// `null` until the process has ended.
        exit_code: Option<i64>,
        process_config: ProcessConfig,
        open_stdin: bool,
        open_stderr: bool,
        open_stdout: bool,
        can_remove: bool,
        #[serde(rename = "ContainerID")]
        container_id: String,
        detach_keys: String,
        pid: u32,
    }

    /// The process of an exec; named in lower case, unlike all else.
    pub(crate) struct ProcessConfig ["lowercase"] {
        tty: bool,
        entrypoint: String,
        arguments: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        privileged: Option<bool>,
        #[serde(skip_serializing_if = "super::is_zero")]
        user: String,
    }
}
