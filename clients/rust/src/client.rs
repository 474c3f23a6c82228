//! The client: knows where partitions are, and keeps one link per port.
//!
//! Owns: the links and their tasks, the session, the topology. Lives as long as any handle made from it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use corelane_wire::{ConsumerId, Lane, PartitionId, Request, SessionId, Timestamp};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::answer::{Answer, Caller};
use crate::attachment::{Attachment, lock};
use crate::builder::ClientConfig;
use crate::clock::Clock;
use crate::consumer::ConsumerBuilder;
use crate::error::Error;
use crate::holder::Holder;
use crate::link::{self, CallFailure, Link, Target};
use crate::producer::ProducerBuilder;
use crate::protocol::{Backoff, Protocol, Random, SettleCore, SettleTarget};
use crate::reader::ReaderBuilder;
use crate::topology::Topology;

/// A connection to a broker; cheap to clone, closed with its last clone.
///
/// It must be made inside a tokio runtime, which has to live as long as it does.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<ClientInner>,
}

#[derive(Debug)]
pub(crate) struct ClientInner {
    config: ClientConfig,
    target: Target,
    clock: Clock,
    runtime: Handle,
    random: Mutex<Random>,
    session: Mutex<SessionId>,
    topology: Mutex<Option<Arc<Topology>>>,
    links: Mutex<Links>,
    consumer_next: AtomicU32,
    /// Holders of dequeued messages, so that acks of one subscription travel together.
    holders: Mutex<BTreeMap<SettleTarget, Weak<Holder>>>,
}

#[derive(Debug, Default)]
struct Links {
    open: BTreeMap<Option<u16>, OpenLink>,
    is_closed: bool,
}

#[derive(Debug)]
struct OpenLink {
    link: Arc<Link>,
    task: JoinHandle<()>,
}

/// Which link a call goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route<'a> {
    /// Anybody.
    Any,
    /// The owner of a queue.
    Queue(&'a str, Lane),
    /// The owner of a partition.
    Partition(PartitionId),
}

impl Client {
    /// Connects to the broker at `address` ("host:port") with the usual settings.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`](crate::ClientBuilder::connect); it tries for five seconds.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use corelane_client::{Client, Message, Outcome};
    ///
    /// let client = Client::connect("127.0.0.1:7400").await?;
    /// let producer = client.producer("orders").build()?;
    /// match producer.enqueue(&Message::new("first order")).await {
    ///     Outcome::Confirmed(receipt) => println!("message {}", receipt.offset),
    ///     Outcome::Rejected(error) => println!("not enqueued: {error}; {}", error.hint()),
    ///     Outcome::Unknown(reason) => println!("perhaps enqueued: {reason}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(address: &str) -> Result<Self, Error> {
        crate::builder::ClientBuilder::default()
            .connect(address)
            .await
    }

    /// Settings for a connection.
    pub fn builder() -> crate::builder::ClientBuilder {
        crate::builder::ClientBuilder::default()
    }

    pub(crate) async fn connect_with(config: ClientConfig, target: Target) -> Result<Self, Error> {
        let client = Self {
            inner: Arc::new(ClientInner {
                config,
                target,
                clock: Clock::start(),
                runtime: Handle::current(),
                random: Mutex::new(Random::new(seed())),
                session: Mutex::new(SessionId::NONE),
                topology: Mutex::new(None),
                links: Mutex::new(Links::default()),
                consumer_next: AtomicU32::new(1),
                holders: Mutex::new(BTreeMap::new()),
            }),
        };
        let link = client.inner.link(None)?;
        let patience = client.inner.config.wait_for_broker;
        let deadline = client.inner.clock.now().add(patience);
        loop {
            let mut changed = std::pin::pin!(link.changed.notified());
            changed.as_mut().enable();
            if link.is_up() {
                return Ok(client);
            }
            let is_late = client.inner.clock.now() >= deadline;
            match link.last_error() {
                Some(error) if is_late || error.is_final() => return Err(error),
                // The first attempt has its time, however short the patience; it ends by its own timeouts.
                None if is_late => changed.await,
                _ => {
                    let instant = client.inner.clock.instant(deadline);
                    // Being late is found out by the next look at the clock.
                    drop(tokio::time::timeout_at(instant, changed).await);
                }
            }
        }
    }

    /// A producer for `queue`, which is made on first use. Nothing is sent and no name checked before `build`.
    pub fn producer(&self, queue: &str) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), queue)
    }

    /// A consumer of `queue`, which is made on first use. Nothing is sent and no name checked before `subscribe`.
    pub fn consumer(&self, queue: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), queue)
    }

    /// A reader of a subscription with the contract [`Contract::Reader`](crate::Contract::Reader). Nothing is sent and no
    /// name checked before `subscribe`.
    pub fn reader(&self, queue: &str, subscription: &str) -> ReaderBuilder {
        ReaderBuilder::new(self, queue, subscription)
    }

    /// The calls of an administrator: queues, peek, places of partitions.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// Waits for a sign of life, and says how long it took.
    ///
    /// # Errors
    /// [`Error::Deadline`] if there was none within `call_timeout`, [`Error::Closed`] after [`Client::close`].
    pub async fn ping(&self) -> Result<Duration, Error> {
        let before = self.now();
        let Answer::Pong = self.ask(Route::Any, &Request::Ping).await? else {
            return Err(Error::unexpected());
        };
        Ok(self.now().since(before))
    }

    /// The session that all connections of this client share; its leases live five seconds longer than its last
    /// connection.
    pub fn session(&self) -> SessionId {
        *lock(&self.inner.session)
    }

    /// Ends everything that was made from this client, and closes its connections.
    ///
    /// Acks, nacks and extends that were asked for before are sent, and consumers give back what nobody took; for the
    /// broker's answers to these it waits up to a second. Streams end, calls end with [`Error::Closed`], and messages
    /// that a producer has in flight end as [`Outcome::Unknown`](crate::Outcome::Unknown): close producers first, to
    /// know how they ended. Messages in the user's hands come to somebody else five seconds later.
    pub async fn close(self) {
        for task in self.inner.close() {
            // A task that panicked has nothing left to close.
            drop(task.await);
        }
    }

    /// Sends a request until it is answered or `timeout` has passed.
    ///
    /// Only for requests that can be repeated: after a broken connection it is made anew and sent again.
    pub(crate) async fn call<'r>(
        &self,
        route: Route<'_>,
        request: impl Fn() -> Request<'r>,
        timeout: Duration,
        holder: Option<&Arc<Holder>>,
    ) -> Result<Answer, Error> {
        let clock = self.inner.clock;
        let deadline = clock.now().add(timeout);
        let mut backoff = self.inner.backoff();
        let mut last: Option<String> = None;
        loop {
            let link = self.inner.link(self.inner.port(route))?;
            let caller = |reply| Caller {
                reply: Some(reply),
                holder: holder.map(|holder| (self.clone(), Arc::clone(holder))),
            };
            match link.call(&request, deadline, clock, caller).await {
                Ok(answer) => return Ok(answer),
                Err(CallFailure::Refused { code, text }) if code.is_retry() => {
                    last = Some(format!("{}: {text}", code.name()));
                }
                Err(CallFailure::Refused { code, text }) => {
                    return Err(Error::Refused { code, text });
                }
                Err(CallFailure::Deadline { last: reason }) => {
                    let last = reason.map(|reason| reason.to_string()).or(last);
                    return Err(Error::Deadline {
                        after: timeout,
                        last,
                    });
                }
                Err(CallFailure::Lost(error)) => last = Some(error.to_string()),
                Err(CallFailure::Closed) => {}
            }
            let next = clock.now().add(backoff.pause()).min(deadline);
            tokio::time::sleep_until(clock.instant(next)).await;
            if next >= deadline {
                return Err(Error::Deadline {
                    after: timeout,
                    last,
                });
            }
        }
    }

    /// A call within the usual time.
    pub(crate) async fn ask(
        &self,
        route: Route<'_>,
        request: &Request<'_>,
    ) -> Result<Answer, Error> {
        self.call(route, || *request, self.call_timeout(), None)
            .await
    }

    /// The holder of dequeued messages of a subscription.
    pub(crate) fn holder(&self, target: SettleTarget) -> Result<Arc<Holder>, Error> {
        let mut holders = lock(&self.inner.holders);
        holders.retain(|_, holder| holder.strong_count() > 0);
        let known = holders.get(&target).and_then(Weak::upgrade);
        if let Some(holder) = known.filter(|holder| !holder.is_detached()) {
            return Ok(holder);
        }
        let holder = Arc::new(Holder::of_dequeued(SettleCore::new(
            target.clone(),
            self.seed(),
        )));
        holders.insert(target, Arc::downgrade(&holder));
        drop(holders);
        let attachment: Arc<dyn Attachment> = Arc::<Holder>::clone(&holder);
        self.attach(&attachment)?;
        Ok(holder)
    }

    pub(crate) fn attach(&self, attachment: &Arc<dyn Attachment>) -> Result<(), Error> {
        if self.inner.attach(attachment) {
            Ok(())
        } else {
            Err(Error::Closed)
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.inner.config.call_timeout
    }

    /// How long the broker may be silent before it is asked for a sign of life.
    pub(crate) fn silence_max(&self) -> Duration {
        self.inner.config.protocol.ping_after
    }

    pub(crate) fn seed(&self) -> u128 {
        lock(&self.inner.random).u128()
    }

    pub(crate) fn next_consumer(&self) -> ConsumerId {
        ConsumerId(self.inner.consumer_next.fetch_add(1, Ordering::Relaxed))
    }

    /// The error for something that took longer than `after`; `refusal` is what the broker said last, if it did.
    pub(crate) fn deadline(&self, after: Duration, refusal: Option<String>) -> Error {
        let open = &lock(&self.inner.links).open;
        let links: Vec<_> = open.values().map(|open| Arc::clone(&open.link)).collect();
        let last = links.iter().find_map(|link| link.last_error());
        Error::Deadline {
            after,
            last: last.map(|error| error.to_string()).or(refusal),
        }
    }
}

impl ClientInner {
    pub(crate) const fn config(&self) -> &ClientConfig {
        &self.config
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn topology(&self) -> Option<Arc<Topology>> {
        lock(&self.topology).clone()
    }

    pub(crate) fn set_topology(&self, topology: Topology) {
        *lock(&self.topology) = Some(Arc::new(topology));
    }

    /// Pauses for reconnecting and repeating.
    pub(crate) fn backoff(&self) -> Backoff {
        let seed = lock(&self.random).u128();
        Backoff::new(
            self.config.pause_min,
            self.config.pause_max,
            Random::new(seed),
        )
    }

    /// The start of a new connection: its greeting resumes the session.
    pub(crate) fn hello(&self, now: Timestamp) -> Protocol {
        let session = *lock(&self.session);
        Protocol::new(self.config.protocol.clone(), now, session)
    }

    pub(crate) fn on_session(&self, session: SessionId, resumed: bool) {
        let mut current = lock(&self.session);
        if *current != SessionId::NONE && !resumed {
            // Also said by a shard that has not heard of the session yet, so it proves nothing.
            tracing::debug!(%session, "session was new to the broker");
        }
        *current = session;
    }

    pub(crate) fn port_of(&self, queue: &str, lane: Lane) -> Option<u16> {
        self.port(Route::Queue(queue, lane))
    }

    /// Hangs `attachment` on the link of its partition; false if the client is closed.
    pub(crate) fn attach(self: &Arc<Self>, attachment: &Arc<dyn Attachment>) -> bool {
        let (queue, lane) = attachment.queue();
        // A link may end between being found and being used; a new one takes its place then.
        for _ in 0..ATTACH_ATTEMPTS {
            let Ok(link) = self.link(self.port_of(queue, lane)) else {
                break;
            };
            if link.attach(attachment) {
                return true;
            }
        }
        attachment.on_closed();
        false
    }

    /// Whether a link without calls and attachments leads to a port where no shard is any more.
    pub(crate) fn is_superfluous(&self, link: &Link) -> bool {
        let (Some(port), Some(topology)) = (link.port, self.topology()) else {
            return false;
        };
        !topology.ports().contains(&port)
    }

    fn port(&self, route: Route<'_>) -> Option<u16> {
        let topology = self.topology()?;
        let partition = match route {
            Route::Any => return None,
            Route::Partition(partition) => partition,
            Route::Queue(queue, lane) => {
                topology.partition(&self.config.protocol.tenant, queue, lane)?
            }
        };
        topology.port(partition)
    }

    /// The link to a port, opened on demand.
    fn link(self: &Arc<Self>, port: Option<u16>) -> Result<Arc<Link>, Error> {
        let mut links = lock(&self.links);
        if links.is_closed {
            return Err(Error::Closed);
        }
        if let Some(open) = links.open.get(&port)
            && !open.link.is_closing()
        {
            return Ok(Arc::clone(&open.link));
        }
        let link = Arc::new(Link::new(port));
        let task = self
            .runtime
            .spawn(link::run(Arc::clone(&link), Arc::downgrade(self)));
        let open = OpenLink {
            link: Arc::clone(&link),
            task,
        };
        links.open.insert(port, open);
        Ok(link)
    }

    /// Asks every link to end; returns their tasks.
    fn close(&self) -> Vec<JoinHandle<()>> {
        let mut links = lock(&self.links);
        links.is_closed = true;
        let open = std::mem::take(&mut links.open);
        drop(links);
        open.into_values()
            .map(|open| {
                open.link.close();
                open.task
            })
            .collect()
    }
}

impl Drop for ClientInner {
    fn drop(&mut self) {
        // Tasks see that the client is gone; this only wakes them. No link's state may be locked here, since the
        // last handle can be dropped by a link's own task.
        for open in std::mem::take(&mut lock(&self.links).open).into_values() {
            open.link.wake.notify_one();
        }
    }
}

/// Refuses a bad name before anything is sent.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    corelane_wire::check_name(name).map_err(|error| Error::Name {
        name: name.to_owned(),
        error,
    })
}

/// Refuses a bad name of a subscription before anything is sent; an empty one stands for the default one.
pub(crate) fn check_subscription_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Ok(());
    }
    corelane_wire::check_subscription_name(name).map_err(|error| Error::Name {
        name: name.to_owned(),
        error,
    })
}

/// Refuses a bad count before anything is sent.
pub(crate) fn check_count(what: &'static str, value: u32, max: u32) -> Result<(), Error> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::OutOfRange {
        what,
        value: u64::from(value),
        min: 1,
        max: u64::from(max),
    })
}

/// Randomness of the operating system, through the one door that the standard library has to it.
fn seed() -> u128 {
    let draw = || u128::from(RandomState::new().build_hasher().finish());
    (draw() << 64) | draw()
}

/// How often a link that ends is replaced before attaching gives up.
const ATTACH_ATTEMPTS: usize = 8;
