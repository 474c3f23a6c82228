use super::*;
use crate::driver::tests::{Sizes, Tested};

impl Tested for Uring {
    fn start(sizes: &Sizes, directory: &Directory) -> Result<Self, String> {
        let options = UringOptions {
            recv_buffers: sizes.recv_buffers,
            recv_buffer_bytes: sizes.recv_buffer_bytes,
            commit_mode: sizes.commit_mode,
            sockets_max: sizes.sockets_max,
            ..UringOptions::default()
        };
        Self::new(&options, directory, Clock::start()).map_err(|error| error.to_string())
    }

    fn listen(&mut self, listener: TcpListener) -> Listener {
        self.add_listener(listener).unwrap()
    }

    fn introduce(drivers: &mut [&mut Self]) {
        let peers: Vec<_> = drivers
            .iter()
            .map(|driver| driver.peer().unwrap())
            .collect();
        for driver in drivers {
            driver.set_peers(peers.clone());
        }
    }

    fn waker(&self) -> Waker {
        self.waker()
    }

    fn stats(&self) -> Arc<DriverStats> {
        self.stats()
    }

    fn adopt(&mut self, file: std::fs::File) -> File {
        let Data::File(file) = self.number(Token(0), file).data else {
            panic!("no file");
        };
        file
    }
}
