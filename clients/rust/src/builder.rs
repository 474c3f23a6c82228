//! Settings of a client.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::link::Target;
use crate::protocol::ProtocolConfig;
use crate::transport::Connect;

/// Settings of a client, checked by use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClientConfig {
    pub(crate) protocol: ProtocolConfig,
    pub(crate) connect_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) wait_for_broker: Duration,
    pub(crate) pause_min: Duration,
    pub(crate) pause_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            protocol: ProtocolConfig::default(),
            connect_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(10),
            wait_for_broker: Duration::from_secs(5),
            pause_min: Duration::from_millis(50),
            pause_max: Duration::from_secs(2),
        }
    }
}

/// Makes a [`Client`].
///
/// ```no_run
/// # async fn example() -> Result<(), corelane_client::Error> {
/// use std::time::Duration;
///
/// let client = corelane_client::Client::builder()
///     .name("billing")
///     .call_timeout(Duration::from_secs(3))
///     .connect("127.0.0.1:7400")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `connect`"]
pub struct ClientBuilder {
    config: ClientConfig,
}

impl ClientBuilder {
    /// What the client calls itself in the broker's logs; up to 256 bytes, the rest is cut.
    pub fn name(mut self, name: &str) -> Self {
        let mut end = name.len().min(corelane_wire::limits::PEER_NAME_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name[..end].clone_into(&mut self.config.protocol.client_name);
        self
    }

    /// Whose queues; the default tenant unless named.
    pub fn tenant(mut self, tenant: &str) -> Self {
        tenant.clone_into(&mut self.config.protocol.tenant);
        self
    }

    /// Proof of who the client is; up to 1,024 bytes.
    pub fn token(mut self, token: &[u8]) -> Self {
        token.clone_into(&mut self.config.protocol.token);
        self
    }

    /// How long each call may take, over all its attempts; 10 s unless changed.
    pub const fn call_timeout(mut self, timeout: Duration) -> Self {
        self.config.call_timeout = timeout;
        self
    }

    /// How long one attempt to open a connection may take; 2 s unless changed.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long [`ClientBuilder::connect`] tries again while no broker answers; 5 s unless changed, zero for one
    /// attempt only.
    pub const fn wait_for_broker(mut self, patience: Duration) -> Self {
        self.config.wait_for_broker = patience;
        self
    }

    /// Pauses between attempts double from `least` to `greatest`, with jitter; 50 ms to 2 s unless changed.
    pub const fn pauses(mut self, least: Duration, greatest: Duration) -> Self {
        self.config.pause_min = least;
        self.config.pause_max = greatest;
        self
    }

    /// After `after` without a byte from the broker it is asked for a sign of life, and given up without one for
    /// `timeout`; 5 s each unless changed. As often it is asked about a consumer that gets nothing.
    pub const fn signs_of_life(mut self, after: Duration, timeout: Duration) -> Self {
        self.config.protocol.ping_after = after;
        self.config.protocol.ping_timeout = timeout;
        self
    }

    /// Connects to the broker at `address` ("host:port").
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no broker answers in time. At once: [`Error::Protocol`] if it refuses the greeting,
    /// or if what answers there does not speak the protocol; [`Error::Address`], [`Error::Name`] or
    /// [`Error::OutOfRange`] for a bad address, tenant or token.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self, address: &str) -> Result<Client, Error> {
        let port = address.rsplit_once(':').map(|(_, port)| port.parse());
        if !matches!(port, Some(Ok(1_u16..))) {
            let address = address.to_owned();
            return Err(Error::Address { address });
        }
        self.connect_to(Target::Address(address.to_owned())).await
    }

    /// Connects through `connect` in place of an address, for instance to a broker in the same program.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect_through(self, connect: Arc<dyn Connect>) -> Result<Client, Error> {
        self.connect_to(Target::Through(connect)).await
    }

    async fn connect_to(self, target: Target) -> Result<Client, Error> {
        let tenant = &self.config.protocol.tenant;
        if !tenant.is_empty() {
            crate::client::check_name(tenant)?;
        }
        let token_bytes = self.config.protocol.token.len();
        let token_bytes_max = corelane_wire::limits::TOKEN_BYTES_MAX;
        if token_bytes > token_bytes_max {
            return Err(Error::OutOfRange {
                what: "length of the token",
                value: token_bytes as u64,
                min: 0,
                max: token_bytes_max as u64,
            });
        }
        Client::connect_with(self.config, target).await
    }
}
