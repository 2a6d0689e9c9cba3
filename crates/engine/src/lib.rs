//! The core: pull, images, containers, tasks, exec, events, shims.
