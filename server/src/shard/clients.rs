//! Connections as the loop sees them: accepted, greeted, received from, sent to, ended.

use corelane_core::ConnectionId;
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    Correlation, Epoch, ErrorCode, Frame, Hello, HelloAnswer, Request, Response, SessionId, kind,
};
use std::time::Duration;

use super::state::{Action, State};
use super::tokens::Work;
use crate::connection::{
    Connection, OUT_BYTES_HIGH, OUT_BYTES_LOW, OUT_BYTES_MAX, Phase, UNANSWERED_MAX, Wish,
};
use crate::driver::{Data, Done, Errno, Listener, Op};
use crate::mail::Mail;

/// A listener that failed (too many open files, say) rests for so long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

impl State {
    /// Arms the listeners whose time has come, once all partitions of this shard serve.
    pub(super) fn accept(&mut self) {
        let mut serving = self.partitions.iter().filter_map(|hosted| hosted.serving());
        if self.idle_listeners.is_empty() || !serving.all(|it| it.poisoned || it.is_started()) {
            return;
        }
        let now = self.now;
        let mut listeners = std::mem::take(&mut self.idle_listeners);
        listeners.retain(|(listener, at)| {
            if *at > now {
                return true;
            }
            let op = Op::Accept {
                listener: *listener,
            };
            let token = self.submit(Work::Accept(*listener), op);
            self.accepts.push((*listener, token));
            false
        });
        self.idle_listeners = listeners;
    }

    /// A connection was accepted, or accepting ended.
    pub(super) fn on_accept(&mut self, listener: Listener, done: &Done) {
        if let Data::Socket(socket) = done.data {
            let is_full = self.outlets.connections.count() >= self.config.connections_max;
            if is_full || self.stopping.is_some() {
                self.counters.connections_refused_total += 1;
                self.submit(Work::Refuse, Op::Close { socket });
            } else {
                self.counters.connections_accepted_total += 1;
                let connection = Connection::new(self.now, socket);
                self.outlets.connections.insert(connection);
            }
        }
        if done.more {
            return;
        }
        self.accepts.retain(|(of, _)| *of != listener);
        if self.stopping.is_none() {
            let mut again = self.now;
            if let Err(errno) = done.result {
                tracing::warn!(%errno, "a listener failed; it rests for 100 ms");
                again = again.add(ACCEPT_AGAIN);
            }
            self.idle_listeners.push((listener, again));
        }
    }

    /// Bytes arrived.
    pub(super) fn on_received(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.counters.bytes_received_total += bytes.len() as u64;
        let Some(connection) = self.outlets.connections.get_mut(id) else {
            return;
        };
        if !connection.is_heard() {
            return;
        }
        // The decoder is taken out so that a frame that borrows from it can be served.
        let mut decoder = connection.take_decoder();
        let mut chunk = bytes;
        let mut framed = 0;
        loop {
            match decoder.next(&mut chunk) {
                Ok(Some(frame)) => {
                    framed += frame.bytes.len();
                    self.on_frame(id, &frame);
                }
                Ok(None) => break,
                Err(error) => {
                    self.fault(id, error.code(), &error.to_string());
                    break;
                }
            }
            match self.outlets.connections.get(id).map(Connection::phase) {
                Some(Phase::Open) => decoder.frame_bytes_max = FRAME_BYTES_MAX,
                Some(Phase::Greeting) => {}
                Some(Phase::Ending | Phase::Cutting | Phase::Closing) | None => break,
            }
        }
        if let Some(connection) = self.outlets.connections.get_mut(id) {
            connection.return_decoder(decoder);
            connection.received(self.now, bytes.len(), framed);
        }
        self.outlets.connections.note_deadline(id);
        // It may have to stop reading now.
        self.outlets.connections.changed(id);
    }

    /// A completion of a receive that may be its last.
    pub(super) fn on_recv_end(
        &mut self,
        id: ConnectionId,
        result: Result<usize, Errno>,
        more: bool,
    ) {
        if more {
            return;
        }
        if let Some(connection) = self.outlets.connections.get_mut(id) {
            connection.recv_ended();
            self.outlets.connections.changed(id);
        }
        match result {
            Ok(0) => self.end(id),
            // The stream ended because buffers ran out, or because it was cancelled: it is armed
            // again when the connection is settled, if it is to be read at all.
            Ok(_) | Err(Errno::NO_BUFFERS | Errno::CANCELED) => {}
            Err(_) => self.cut(id),
        }
    }

    /// A send ended.
    pub(super) fn on_sent(&mut self, id: ConnectionId, result: Result<usize, Errno>, data: Data) {
        let buffer = match data {
            Data::Sent(buffer) => buffer,
            Data::None
            | Data::Socket(_)
            | Data::Received(_)
            | Data::Block(_)
            | Data::File(_)
            | Data::Chunk(_)
            | Data::Checkpoint(_)
            | Data::Scrub(_) => Vec::new(),
        };
        if let Some(connection) = self.outlets.connections.get_mut(id) {
            let is_whole = result == Ok(buffer.len());
            self.counters.bytes_sent_total += *result.as_ref().unwrap_or(&0) as u64;
            connection.send_ended(buffer);
            self.outlets.connections.changed(id);
            if !is_whole {
                self.cut(id);
            }
        }
    }

    /// A greeting, a frame or an ending took too long.
    pub(super) fn on_late(&mut self, id: ConnectionId) {
        match self.outlets.connections.get(id).map(Connection::phase) {
            Some(Phase::Greeting) => self.fault(id, ErrorCode::HelloRequired, "no greeting in 3 s"),
            Some(Phase::Open) => {
                let text = "a frame was begun 60 s ago and is not whole";
                self.fault(id, ErrorCode::Malformed, text);
            }
            Some(Phase::Ending) => self.cut(id),
            Some(Phase::Cutting | Phase::Closing) | None => {}
        }
    }

    /// The first frame of a connection.
    pub(super) fn on_greeting(&mut self, id: ConnectionId, frame: &Frame<'_>) {
        match Request::decode(frame) {
            Ok(Request::Hello(hello)) => match refusal(&hello) {
                None => self.greet(id, frame.correlation, &hello),
                Some((code, text)) => {
                    self.say_error(id, frame.correlation, code, &text);
                    self.end(id);
                }
            },
            Err(error) if frame.kind == kind::HELLO => {
                self.fault(id, error.code(), &error.to_string());
            }
            Ok(_) | Err(_) => {
                let text = format!("the first frame has kind 0x{:02x}, not HELLO", frame.kind);
                self.fault(id, ErrorCode::HelloRequired, &text);
            }
        }
    }

    fn greet(&mut self, id: ConnectionId, correlation: Correlation, hello: &Hello<'_>) {
        let session = if hello.session == SessionId::NONE {
            (self.draw_session)()
        } else {
            hello.session
        };
        let answer = HelloAnswer {
            version: VERSION,
            features: 0,
            session,
            resumed: hello.session != SessionId::NONE && self.sessions.knows(session),
            node: self.topology.node,
            server_name: self.config.server_name.clone(),
            frame_bytes_max: u32::try_from(FRAME_BYTES_MAX).expect("it is below 2 MiB"),
            in_flight_max: u32::try_from(UNANSWERED_MAX).expect("it is 1,024"),
        };
        let Some(connection) = self.outlets.connections.get_mut(id) else {
            return;
        };
        connection.greet(session);
        let epoch = self.epoch;
        self.outlets.push(id, |out| {
            Response::Hello(answer).encode(correlation, epoch, out);
        });
        self.mail_all(Mail::SessionOpened { session });
        self.on_session_opened(session);
    }

    /// Answers a request of this connection itself, not a partition's.
    pub(super) fn say(
        &mut self,
        id: ConnectionId,
        correlation: Correlation,
        answer: &Response<'_>,
    ) {
        let epoch = self.epoch;
        self.outlets
            .push(id, |out| answer.encode(correlation, epoch, out));
    }

    /// Refuses a request before any partition saw it.
    pub(super) fn say_error(
        &mut self,
        id: ConnectionId,
        correlation: Correlation,
        code: ErrorCode,
        text: &str,
    ) {
        self.counters.requests_refused_total += 1;
        let text = String::from(text);
        self.say(id, correlation, &Response::Error { code, text });
    }

    /// Says why, then ends the connection.
    pub(super) fn fault(&mut self, id: ConnectionId, code: ErrorCode, text: &str) {
        let is_heard = self
            .outlets
            .connections
            .get(id)
            .is_some_and(Connection::is_heard);
        if is_heard {
            self.counters.connections_faulted_total += u64::from(code != ErrorCode::ShuttingDown);
            let text = String::from(text);
            self.outlets.push(id, |out| {
                Response::Fault { code, text }.encode(Correlation(0), Epoch(0), out);
            });
            self.end(id);
        }
    }

    /// Ends a connection once what is in its out-buffer has left.
    pub(super) fn end(&mut self, id: ConnectionId) {
        let now = self.now;
        self.leave(id, |connection| connection.end(now));
        self.outlets.connections.note_deadline(id);
    }

    /// Ends a connection without waiting for anything that could take long.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        self.leave(id, Connection::cut);
    }

    /// Moves a connection out of its serving phases; if it was greeted, everybody learns of it.
    fn leave(&mut self, id: ConnectionId, by: impl FnOnce(&mut Connection)) {
        let Some(connection) = self.outlets.connections.get_mut(id) else {
            return;
        };
        let was_open = connection.is_open();
        let session = connection.session;
        by(connection);
        self.outlets.connections.changed(id);
        if was_open {
            self.mail_all(Mail::Disconnected { connection: id });
            self.mail_all(Mail::SessionClosed { session });
            self.on_disconnected(id);
            self.on_session_closed(session);
        }
    }

    /// Does what the connections that changed in this turn need.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(id) = self.outlets.abandoned.pop() {
                let text = "the disk failed; the outcome of requests in flight is unknown";
                self.fault(id, ErrorCode::Poisoned, text);
            }
            let Some(id) = self.outlets.connections.next_changed() else {
                return;
            };
            self.settle_one(id);
        }
    }

    fn settle_one(&mut self, id: ConnectionId) {
        let Some(connection) = self.outlets.connections.get_mut(id) else {
            return;
        };
        let out_bytes = connection.out_bytes();
        if out_bytes > OUT_BYTES_MAX {
            self.counters.connections_faulted_total += 1;
            self.cut(id);
            return;
        }
        let writable = if connection.writable {
            out_bytes <= OUT_BYTES_HIGH
        } else {
            out_bytes <= OUT_BYTES_LOW
        };
        connection.writable = writable;
        let next = if writable {
            connection.room.give()
        } else {
            None
        };
        match next {
            Some(shard) if shard == self.outlets.shard => self.on_room(id),
            Some(shard) => {
                let batch = self.outlets.mail.to(shard);
                batch.push(Mail::Room { connection: id });
            }
            None => {}
        }
        self.fulfil(id);
        self.outlets.connections.note_deadline(id);
    }

    fn fulfil(&mut self, id: ConnectionId) {
        let now = self.now;
        let Self {
            outlets,
            tokens,
            actions,
            ..
        } = self;
        let Some(connection) = outlets.connections.get_mut(id) else {
            return;
        };
        let socket = connection.socket;
        loop {
            let action = match connection.wish() {
                Wish::Nothing => return,
                Wish::Recv => {
                    let token = tokens.issue(Work::Recv(id));
                    connection.recv_armed(now, token);
                    Action::Submit(token, Op::Recv { socket })
                }
                Wish::Cancel(token) => Action::Cancel(token),
                Wish::Send(buffer) => {
                    let token = tokens.issue(Work::Send(id));
                    connection.send_started(token, buffer.len());
                    Action::Submit(token, Op::Send { socket, buffer })
                }
                Wish::Close => {
                    connection.closing();
                    let token = tokens.issue(Work::Close(id));
                    Action::Submit(token, Op::Close { socket })
                }
            };
            actions.push_back(action);
        }
    }
}

/// Why a greeting is refused, if it is.
fn refusal(hello: &Hello<'_>) -> Option<(ErrorCode, String)> {
    if hello.version_min > VERSION || hello.version_max < VERSION {
        let text = format!(
            "versions {} to {} are offered, {VERSION} is spoken",
            hello.version_min, hello.version_max
        );
        return Some((ErrorCode::UnsupportedVersion, text));
    }
    if !hello.token.is_empty() {
        // A client that shows a token believes that others are kept out.
        let text = String::from("a token was sent, and this version checks none");
        return Some((ErrorCode::NotSupported, text));
    }
    if !hello.tenant.is_empty() && hello.tenant != corelane_wire::names::DEFAULT_TENANT {
        let text = format!("tenant {} is unknown", hello.tenant);
        return Some((ErrorCode::TenantUnknown, text));
    }
    None
}

const VERSION: u8 = corelane_wire::frame::VERSION;
