//! The escapes of this field, tried.
