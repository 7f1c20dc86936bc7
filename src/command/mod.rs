//! Who may give an Order: the command line.

pub mod cli;
