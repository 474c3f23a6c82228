//! Where the descriptors of the standard library become glommio's, and back.
#![expect(
    unsafe_code,
    reason = "glommio takes and shows descriptors as plain numbers"
)]

use std::net::TcpListener as StdListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::{BufferedFile, DmaFile};
use glommio::net::{TcpListener, TcpStream};

/// A listener of the executor that runs.
pub(super) fn listener(listener: StdListener) -> TcpListener {
    // SAFETY: the descriptor is that of a listening socket, and nothing else owns it any more.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

/// A file of the executor that runs, read as what it is.
pub(super) fn file(fd: OwnedFd) -> BufferedFile {
    // SAFETY: nothing else owns the descriptor any more.
    unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) }
}

/// The descriptor of a stream.
pub(super) fn of_stream(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns it and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// The descriptor of a file.
pub(super) fn of_file(file: &DmaFile) -> BorrowedFd<'_> {
    // SAFETY: the file owns it and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) }
}
