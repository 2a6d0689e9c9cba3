//! Intel RDT: what is asked of resctrl.

use crate::{Error, Result};
use alloc::{format, string::String, vec::Vec};
use tare_types::spec::LinuxIntelRdt;

/// Shares of caches and memory bandwidth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RdtPlan {
    /// Directory of the class of service, `/` for the default one; the container's own without.
    pub(crate) class: Option<String>,
    /// Lines for `schemata`, in their order.
    pub(crate) lines: Vec<String>,
    pub(crate) monitoring: bool,
}

pub(super) fn plan(wanted: &LinuxIntelRdt) -> Result<RdtPlan> {
    let class = wanted.clos_id.as_str();
    let is_name = class == "/" || !(matches!(class, "." | "..") || class.contains(['/', '\0', '\n']));
    if !is_name {
        return Err(Error::invalid("linux.intelRdt.closID", format!("invalid intelRdt.ClosID {class:?}")));
    }
    if !(wanted.mem_bw_schema.is_empty() || wanted.mem_bw_schema.starts_with("MB:")) {
        let text = format!("{:?} does not start with MB:", wanted.mem_bw_schema);
        return Err(Error::invalid("linux.intelRdt.memBwSchema", text));
    }
    let both = [&wanted.l3_cache_schema, &wanted.mem_bw_schema];
    let lines: Vec<String> =
        both.into_iter().chain(&wanted.schemata).filter(|line| !line.is_empty()).cloned().collect();
    if let Some(line) = lines.iter().find(|line| line.contains('\n')) {
        return Err(Error::invalid("linux.intelRdt", format!("{line:?} is more than a line")));
    }
    Ok(RdtPlan {
        class: (!class.is_empty()).then(|| class.into()),
        lines,
        monitoring: wanted.enable_monitoring || wanted.enable_cmt || wanted.enable_mbm,
    })
}
