//! How results are shown: columns, human numbers, Go templates, terminals.

pub(crate) mod human;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod terminal;
