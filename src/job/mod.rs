//! What the core does for a user: one module per job, each a step machine over sources that the host opened.

pub mod machine;
