use super::files::OpenFile;
use super::*;
use crate::driver::tests::{Sizes, Tested};

impl Tested for Glommio {
    fn start(sizes: &Sizes, volumes: &Volumes) -> Result<Self, String> {
        let options = GlommioOptions {
            recv_buffers: sizes.recv_buffers,
            recv_buffer_bytes: sizes.recv_buffer_bytes,
            commit_mode: sizes.commit_mode,
            sockets_max: sizes.sockets_max,
            ..GlommioOptions::default()
        };
        Self::new(&options, volumes, Clock::start()).map_err(|error| error.to_string())
    }

    fn listen(&mut self, listener: TcpListener) -> Listener {
        self.add_listener(listener).unwrap()
    }

    fn introduce(drivers: &mut [&mut Self]) {
        let wakers: Vec<_> = drivers.iter().map(|driver| driver.waker()).collect();
        for driver in drivers {
            driver.set_peers(wakers.clone());
        }
    }

    fn waker(&self) -> Waker {
        self.waker()
    }

    fn stats(&self) -> Arc<DriverStats> {
        self.stats()
    }

    fn adopt(&mut self, file: std::fs::File) -> File {
        let mut state = self.home.shared().borrow_mut();
        let Data::File(file) = state.number(Token(0), OpenFile::Plain(Arc::new(file))).data else {
            panic!("no file");
        };
        file
    }
}
