//! What every driver does to a TCP connection, whoever watches it.

use std::time::Duration;

use rustix::fd::AsFd;
use rustix::net::{RecvFlags, Shutdown, sockopt};

/// Sets the options of a connection that was just accepted.
///
/// Answers are gathered per turn already; the kernel must not hold them back for more. A peer that
/// vanished without a word is noticed by keep-alive, one that takes no bytes by the user timeout,
/// which also ends keep-alive's patience. None can fail on a connected TCP socket, and a
/// connection works without them.
pub(super) fn prepare(fd: impl AsFd) {
    let fd = fd.as_fd();
    let prepared = sockopt::set_tcp_nodelay(fd, true)
        .and_then(|()| sockopt::set_socket_keepalive(fd, true))
        .and_then(|()| sockopt::set_tcp_keepidle(fd, KEEPALIVE_IDLE))
        .and_then(|()| sockopt::set_tcp_user_timeout(fd, TAKE_NOTHING_MS_MAX));
    if let Err(error) = prepared {
        tracing::debug!(%error, "cannot set options of a connection");
    }
}

/// Tells why accepting pauses; once per driver.
pub(super) fn warn_of_no_descriptor() {
    tracing::warn!(
        "no file descriptor is left for connections, and accepting pauses; raise LimitNOFILE= of \
         the systemd unit, or --ulimit nofile= of the container; see `ls /proc/PID/fd | wc -l`"
    );
}

/// Closes a socket. What the peer had sent and nobody read is thrown away first, up to a bound,
/// because closing over unread bytes sends a reset, and a reset takes the last frame (often a
/// fault that says why) out of the peer's hands.
pub(super) fn close(fd: impl AsFd, scratch: &mut [u8]) {
    if rustix::net::shutdown(&fd, Shutdown::Write).is_err() {
        return;
    }
    for _ in 0..DRAIN_READS_MAX {
        match rustix::net::recv(&fd, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((count, _)) if count > 0 => (),
            Ok(_) | Err(_) => break,
        }
    }
    drop(fd);
}

/// Idle time after which the kernel asks a silent peer whether it lives.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
/// How long a peer may take none of the bytes sent to it before the kernel ends the connection.
const TAKE_NOTHING_MS_MAX: u32 = 60_000;
/// Reads at most when a socket is closed.
const DRAIN_READS_MAX: u32 = 32;
