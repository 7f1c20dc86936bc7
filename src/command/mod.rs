//! Who may give an Order: the command line, and a controller through a message broker.

pub mod amqp;
pub mod cli;
