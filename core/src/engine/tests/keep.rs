//! What queues keep and take.

use corelane_wire::{ErrorCode, QueueConfig, Request};

use super::node::*;
use crate::{Output, Reply};

/// What the queue is asked to be, or only asked for.
fn configure(node: &mut Node, config: Option<QueueConfig>) -> Reply {
    let request = Request::QueueConfigure { queue: "q", config };
    let mut outputs = node.request(alice(7), request);
    outputs.extend(node.durable());
    let mut replies = outputs.into_iter().filter_map(|output| match output {
        Output::Reply { reply, .. } => Some(reply),
        Output::Append { .. }
        | Output::Flush { .. }
        | Output::Deliver(_)
        | Output::Load { .. }
        | Output::Letter(_)
        | Output::Fetch { .. }
        | Output::Abandon { .. } => None,
    });
    replies.next_back().expect("it is answered")
}

fn configured(created: bool, config: QueueConfig) -> Reply {
    let config = Box::new(config);
    Reply::QueueConfigured { created, config }
}

#[test]
fn configuring_a_queue_makes_it_and_showing_does_not() {
    let mut node = Node::new();
    let Reply::Refused { code, .. } = configure(&mut node, None) else {
        panic!("there is no queue");
    };
    assert_eq!(code, ErrorCode::QueueNotFound);
    let plain = QueueConfig::PLAIN;
    assert_eq!(configure(&mut node, Some(plain)), configured(true, plain));
    assert_eq!(configure(&mut node, Some(plain)), configured(false, plain));
    assert_eq!(configure(&mut node, None), configured(false, plain));
}
