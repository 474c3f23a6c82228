//! Each test arranges, takes one step and compares the whole list of outputs.

mod broadcast;
mod chunks;
mod contracts;
mod deliver;
mod enqueue;
mod ephemeral;
mod gate;
mod keep;
mod keys;
mod model;
mod node;
mod outbox;
mod queues;
mod random;
mod readers;
mod relocate;
mod retention;
mod room;
mod schedule;
mod sessions;
mod settle;
mod subscriptions;
mod time;
mod ttl;
mod withhold;
