//! What the examples of the manual run against.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use corelane::Embedded;

/// Runs an example against a broker of its own, whose address it is given.
///
/// # Panics
/// If the example fails, so that its test does.
pub fn with_broker(example: impl AsyncFnOnce(&str) -> Result<(), Box<dyn Error>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran: Result<(), Box<dyn Error>> = runtime.expect("a runtime can be made").block_on(async {
        let folder = tempfile::tempdir()?;
        let broker = Embedded::builder(folder.path().join("data"))
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .start()?;
        let address = broker.address().ok_or("the broker does not listen")?;
        example(&address.to_string()).await?;
        broker.stop().await?;
        Ok(())
    });
    ran.expect("the example succeeds");
}
