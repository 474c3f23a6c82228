//! What a driver and the tasks of its executor share.
//!
//! Each of them borrows it for a moment, never across a wait and never while a task is spawned,
//! because glommio runs a new task at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker as TaskWaker};

use super::accept::Listening;
use super::files::OpenFile;
use super::streams::Connected;
use super::{Data, Done, DriverStats, Errno, GlommioOptions, Listener, Socket, Token};
use crate::driver::CommitMode;
use crate::driver::slots::Slots;

/// The state as tasks hold it.
pub(super) type Shared = Rc<RefCell<State>>;

/// A task that the next wait spawns.
pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(super) struct State {
    /// To be delivered by the present or the next `wait`.
    pub(super) ended: Vec<Done>,
    /// Something has happened that ends the present wait, or the next one.
    pub(super) is_nudged: bool,
    /// Wakes the wait that runs.
    pub(super) main: Option<TaskWaker>,
    /// Woken when the next wait begins (G2).
    pub(super) later: Vec<TaskWaker>,
    /// Spawned when the next wait begins.
    pub(super) tasks: Vec<Task>,
    /// Tasks that have not ended.
    pub(super) running: usize,
    /// Tasks end as soon as they can.
    pub(super) is_ending: bool,
    pub(super) listeners: Vec<Listening>,
    pub(super) sockets: Slots<Connected>,
    pub(super) sockets_max: usize,
    /// Receive buffers that are not lent, each of its full length.
    pub(super) buffers: Vec<Vec<u8>>,
    buffer_bytes: usize,
    /// Sockets whose readers found no buffer.
    pub(super) starved: VecDeque<Socket>,
    pub(super) files: Slots<OpenFile>,
    pub(super) commit_mode: CommitMode,
    /// Where to find what can be cancelled.
    pub(super) cancellable: BTreeMap<Token, Place>,
    pub(super) scratch: Vec<u8>,
    pub(super) stats: Arc<DriverStats>,
}

#[derive(Clone, Copy)]
pub(super) enum Place {
    Accept(Listener),
    Recv(Socket),
    Send(Socket),
}

impl State {
    pub(super) fn new(options: &GlommioOptions, stats: Arc<DriverStats>) -> Self {
        // Each by itself, and taken from the end, so that a quiet shard touches only a few.
        let buffer = |_| vec![0; options.recv_buffer_bytes];
        Self {
            ended: Vec::new(),
            is_nudged: false,
            main: None,
            later: Vec::new(),
            tasks: Vec::new(),
            running: 0,
            is_ending: false,
            listeners: Vec::new(),
            sockets: Slots::new(),
            sockets_max: options.sockets_max,
            buffers: (0..options.recv_buffers).map(buffer).collect(),
            buffer_bytes: options.recv_buffer_bytes,
            starved: VecDeque::new(),
            files: Slots::new(),
            commit_mode: options.commit_mode,
            cancellable: BTreeMap::new(),
            scratch: vec![0; 64 * 1024],
            stats,
        }
    }

    /// Ends the present wait, or the next one.
    pub(super) fn nudge(&mut self) {
        self.is_nudged = true;
        if let Some(main) = self.main.take() {
            main.wake();
        }
    }

    /// Delivers a completion.
    pub(super) fn deliver(&mut self, done: Done) {
        if !done.more {
            self.cancellable.remove(&done.token);
        }
        self.ended.push(done);
        self.nudge();
    }

    pub(super) fn end(&mut self, token: Token, result: Result<usize, Errno>, data: Data) {
        self.deliver(Done {
            token,
            result,
            more: false,
            data,
        });
    }

    /// Lets go of everything; whatever task is left finds nothing to do.
    pub(super) fn end_all(&mut self) {
        self.is_ending = true;
        for listening in &mut self.listeners {
            listening.end(&mut self.later);
        }
        for connected in self.sockets.drain() {
            connected.end(&mut self.later);
        }
        for file in self.files.drain() {
            self.tasks.extend(file.close());
        }
    }

    /// Takes a receive buffer back.
    pub(super) fn take_back(&mut self, mut buffer: Vec<u8>) {
        buffer.resize(self.buffer_bytes, 0);
        self.buffers.push(buffer);
    }
}

/// What a task waits for that is not the executor's: another part of the driver wakes it.
#[derive(Default)]
pub(super) struct Watcher {
    /// Whether the task is there.
    pub(super) is_running: bool,
    waker: Option<TaskWaker>,
}

impl Watcher {
    /// The task is about to wait.
    pub(super) fn wait(&mut self, context: &Context<'_>) {
        match &self.waker {
            Some(waker) if waker.will_wake(context.waker()) => (),
            Some(_) | None => self.waker = Some(context.waker().clone()),
        }
    }

    /// The task is about to end.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Has the task look again when the next wait begins.
    pub(super) fn poke(&mut self, later: &mut Vec<TaskWaker>) {
        later.extend(self.waker.take());
    }
}

/// Goes on when the next wait of the driver begins.
pub(super) async fn next_wait(shared: &Shared) {
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        shared.borrow_mut().later.push(waker);
        Poll::Pending
    })
    .await;
}
