//! Networks: the built-in bridge, host, none, port mapping.
