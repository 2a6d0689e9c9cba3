//! nf_tables over nfnetlink: the messages of a transaction.
