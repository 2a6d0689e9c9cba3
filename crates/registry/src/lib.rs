//! Resolve, authenticate, fetch and push images.
