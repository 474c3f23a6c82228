//! Each test arranges, takes one step and compares the whole list of outputs.

mod chunks;
mod contracts;
mod deliver;
mod enqueue;
mod gate;
mod model;
mod node;
mod queues;
mod random;
mod relocate;
mod schedule;
mod sessions;
mod settle;
mod subscriptions;
mod time;
mod withhold;
