//! What a profile says, checked: actions as the kernel returns them, conditions on arguments.

use super::arch::Arch;
use alloc::vec::Vec;
use tare_types::InvalidValue;
use tare_types::spec::{LinuxSeccompArg, LinuxSyscall};

/// `SECCOMP_RET_*` of `linux/seccomp.h`, with the data in the low 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action(pub(super) u32);

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

impl Action {
    pub(super) const KILL_THREAD: Self = Self(0);
    pub(super) const NOTIFY: Self = Self(0x7fc0_0000);
    pub(super) const ENOSYS: Self = Self(0x0005_0000 | ENOSYS);

    /// `SCMP_ACT_*` with the number that goes with ERRNO and TRACE, by default EPERM.
    pub(super) fn parse(name: &str, errno: Option<u32>) -> Result<Self, InvalidValue> {
        let data = errno.unwrap_or(EPERM);
        if data > 0xffff {
            return Err(invalid("seccomp errnoRet", name, "the number is above 65535"));
        }
        Ok(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KILL_THREAD,
            "SCMP_ACT_KILL_PROCESS" => Self(0x8000_0000),
            "SCMP_ACT_TRAP" => Self(0x0003_0000),
            "SCMP_ACT_ERRNO" => Self(0x0005_0000 | data),
            "SCMP_ACT_NOTIFY" => Self::NOTIFY,
            "SCMP_ACT_TRACE" => Self(0x7ff0_0000 | data),
            "SCMP_ACT_LOG" => Self(0x7ffc_0000),
            "SCMP_ACT_ALLOW" => Self(0x7fff_0000),
            _ => return Err(invalid("seccomp action", name, "it is not one of SCMP_ACT_*")),
        })
    }

    /// Whether a call that the profile does not know is let through (or shown to a tracer that decides).
    pub(super) fn lets_unknown_pass(self) -> bool {
        matches!(self.0 & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000)
    }
}

/// A comparison of one argument. The order is that of specificity, see [`order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u8,
    pub(super) operator: Operator,
    /// What is compared with; for [`Operator::MaskedEqual`] already cut to the mask.
    pub(super) value: u64,
    /// Which bits take part; all of them but for [`Operator::MaskedEqual`].
    pub(super) mask: u64,
}

/// `SCMP_CMP_*`, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

impl Condition {
    pub(super) fn parse(arg: &LinuxSeccompArg) -> Result<Self, InvalidValue> {
        let operator = match arg.op.as_str() {
            "SCMP_CMP_NE" => Operator::NotEqual,
            "SCMP_CMP_LT" => Operator::Less,
            "SCMP_CMP_LE" => Operator::LessOrEqual,
            "SCMP_CMP_EQ" => Operator::Equal,
            "SCMP_CMP_GE" => Operator::GreaterOrEqual,
            "SCMP_CMP_GT" => Operator::Greater,
            "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
            other => return Err(invalid("seccomp operator", other, "it is not one of SCMP_CMP_*")),
        };
        if arg.index > 5 {
            return Err(invalid("seccomp argument index", &arg.op, "a system call has arguments 0 to 5"));
        }
        Ok(if operator == Operator::MaskedEqual {
            Self { index: arg.index as u8, operator, value: arg.value_two & arg.value, mask: arg.value }
        } else {
            Self { index: arg.index as u8, operator, value: arg.value, mask: u64::MAX }
        })
    }

    /// The same comparison as the 32-bit conventions make it: of the low halves.
    pub(super) fn on(mut self, arch: Arch) -> Self {
        if !arch.compares_64_bits() {
            self.value &= 0xffff_ffff;
            self.mask &= 0xffff_ffff;
        }
        self
    }

    pub(super) fn equal(index: u8, value: u64) -> Self {
        Self { index, operator: Operator::Equal, value, mask: u64::MAX }
    }

    /// Smaller is tried first.
    fn rank(self) -> (core::cmp::Reverse<u8>, u8, u64) {
        let (class, value) = match self.operator {
            Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => (0, !self.value),
            Operator::Less | Operator::LessOrEqual => (1, self.value),
            Operator::Greater | Operator::GreaterOrEqual => (2, !self.value),
        };
        (core::cmp::Reverse(self.index), class, value)
    }
}

/// One way for a call to be decided: the action if all conditions hold. At most one condition per argument,
/// sorted by argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// In which order the rules of one call are tried, when several could hold with different actions: equality
/// before ranges, narrow ranges before wide ones, whatever the order of the profile. That is libseccomp's order.
pub(super) fn order(a: &Rule, b: &Rule) -> core::cmp::Ordering {
    let ranks = |rule: &Rule| rule.conditions.iter().map(|c| c.rank()).collect::<Vec<_>>();
    ranks(a).cmp(&ranks(b))
}

/// The alternatives that an entry of the profile stands for: none without conditions; one with all conditions;
/// or one per condition when two speak of the same argument, which is how runc reads such an entry.
pub(super) fn alternatives(entry: &LinuxSyscall) -> Result<Vec<Vec<Condition>>, InvalidValue> {
    let mut conditions = entry.args.iter().map(Condition::parse).collect::<Result<Vec<_>, _>>()?;
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    conditions.sort_by_key(|condition| condition.index);
    if conditions.windows(2).any(|pair| pair[0].index == pair[1].index) {
        return Ok(conditions.into_iter().map(|condition| alloc::vec![condition]).collect());
    }
    Ok(alloc::vec![conditions])
}

pub(super) fn invalid(what: &'static str, value: &str, reason: &'static str) -> InvalidValue {
    InvalidValue { what, value: value.chars().take(256).collect(), reason }
}
