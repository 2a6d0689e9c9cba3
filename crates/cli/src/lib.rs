//! tare, the command line for people.
