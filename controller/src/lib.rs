//! Plans backups and restores from KubeStash resources and hands the work to agents.
//!
//! Each kind is a module of three steps: `observe` (reads), `plan` (pure: what was seen and the time in, actions out) and
//! the shared `apply` in [`context`]. State is in the objects: this process may die at any moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub mod action;
pub mod admission;
pub mod api;
pub mod backup_blueprint;
pub mod backup_session;
pub mod backup_storage;
pub mod cache;
pub mod caches;
pub mod catalog;
pub mod clock;
pub mod context;
pub mod dispatch;
pub mod events;
pub mod finalizer;
pub mod first_use;
pub mod function;
pub mod health;
pub mod history;
pub mod holder;
pub mod hooks;
pub mod invoker;
pub mod lag;
pub mod leadership;
pub mod made;
pub mod manifests;
pub mod metrics;
pub mod neighbour;
pub mod object;
pub mod read_back;
pub mod repository;
pub mod restore_session;
pub mod runs;
pub mod schedule;
pub mod snapshot;
pub mod spread;
pub mod target;
pub mod tls;
pub mod token;
pub mod verification;
pub mod wake;
pub mod work;
pub mod workqueue;

use clock::{SharedClock, SystemClock};
use context::Context;
use dispatch::Dispatcher;
use dispatch::assign::Preparer;
use dispatch::authenticate::Authenticator;
use dispatch::server::AgentService;
use dispatch::table::Limits;
use function::Functions;
use holder::pod::Image;
use leadership::{Candidate, Leadership};
use object::{Key, Kind};
use repository::maintenance::Pace;
use workqueue::WorkQueue;

/// Objects that are reconciled beside each other; each step waits for the API server most of its time. An API server that is busy does
/// not answer more of them when it is asked more at once: each waits longer instead, and more have begun when it stands still for a moment.
const WORKERS: usize = 8;
/// Pause after a conflict.
const CONFLICT_PAUSE: Duration = Duration::from_millis(25);
/// Certificates are looked at this often.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Between tries of the first certificates, doubled each time.
const CERTIFICATES_RETRY_FIRST: Duration = Duration::from_millis(250);
const CERTIFICATES_RETRY_LAST: Duration = Duration::from_secs(16);
/// Lists that take longer are told of.
const LISTED_PATIENCE: Duration = Duration::from_secs(15);
/// The webhook configurations, which may be applied at any time, are looked at this often.
const WEBHOOKS_INTERVAL: Duration = Duration::from_secs(60);

/// What a controller needs to know.
pub struct Config {
    /// The API server.
    pub client: kube::Client,
    /// Where agents dial.
    pub listener: TcpListener,
    /// Where the kubelet asks; none to serve no health.
    pub health_listener: Option<TcpListener>,
    /// Where the API server asks about objects; none to serve no webhooks.
    pub webhook_listener: Option<TcpListener>,
    /// Namespace of the controller, of its Lease and certificates, and of the agents.
    pub namespace: String,
    /// This replica, in the election.
    pub identity: String,
    /// Names beside those of its Service that agents may dial it by.
    pub server_names: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// A task without progress for so long is given up by its agent.
    pub stall_timeout: Duration,
    /// Zone of schedules that name none.
    pub time_zone: TimeZone,
    /// How often space is freed, and how patiently what is deleted waits for its backend.
    pub pace: Pace,
    /// What the pods are made of that hold claims which no other mounts; none to make no such pods.
    pub holder_image: Option<Image>,
    /// Whether Functions that name an image run as pods.
    pub functions: bool,
    /// Whether hooks run commands in pods.
    pub hooks_exec: bool,
    /// The time.
    pub clock: SharedClock,
}

impl Config {
    /// The defaults, for `client`, listening on `listener`.
    pub fn new(client: kube::Client, listener: TcpListener, namespace: &str, identity: &str) -> Self {
        Self {
            client,
            listener,
            health_listener: None,
            webhook_listener: None,
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            server_names: Vec::new(),
            limits: Limits::default(),
            stall_timeout: Duration::from_secs(600),
            time_zone: TimeZone::UTC,
            pace: Pace::default(),
            holder_image: None,
            functions: true,
            hooks_exec: true,
            clock: Arc::new(SystemClock),
        }
    }

    /// The names in the server's certificate.
    fn names(&self) -> Vec<String> {
        let service = "holdfast-controller";
        let namespace = &self.namespace;
        let mut names = vec![
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("holdfast-webhook.{namespace}.svc"),
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
        ];
        names.extend(self.server_names.iter().cloned());
        names.extend(
            self.listener
                .local_addr()
                .iter()
                .map(SocketAddr::ip)
                .filter(|ip| !ip.is_unspecified())
                .map(|ip| ip.to_string()),
        );
        names.sort();
        names.dedup();
        names
    }
}

/// Why a controller could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The server for agents.
    #[error("the server for agents ended: {0}")]
    Server(#[from] tonic::transport::Error),
    /// The server for health.
    #[error("the health server ended: {0}")]
    Health(#[source] std::io::Error),
    /// The server for webhooks.
    #[error("the webhook server ended: {0}")]
    Webhook(#[source] std::io::Error),
}

/// Runs a controller until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    // Whatever ends this future, dropping it included, ends all that it has begun.
    let shutdown = shutdown.child_token();
    let _guard = shutdown.clone().drop_guard();
    let names = config.names();
    let (told, neighbour) = tokio::sync::watch::channel(neighbour::Neighbour::Unknown);
    let (candidate, leadership) =
        Candidate::new(config.client.clone(), &config.namespace, config.identity.clone(), Arc::clone(&config.clock), neighbour);
    let queue = WorkQueue::default();
    let dispatcher = Dispatcher::new(
        Arc::clone(&config.clock),
        leadership.clone(),
        config.limits.clone(),
        queue.clone(),
        shutdown.clone(),
    );
    let caches = Arc::new(caches::Caches::default());
    let stall_ms = u64::try_from(config.stall_timeout.as_millis()).unwrap_or(u64::MAX);
    let preparer = Arc::new(Preparer::new(config.client.clone(), Arc::clone(&caches), stall_ms));
    let (events, publish) = events::Events::new(config.client.clone(), &config.identity);
    let look_out = neighbour::look_out(config.client.clone(), events.clone(), told);
    let context = Arc::new(Context::new(
        config.client.clone(),
        Arc::clone(&caches),
        dispatcher.clone(),
        queue.clone(),
        events,
        Arc::clone(&config.clock),
        config.time_zone.clone(),
        config.pace,
        Functions::new(config.client.clone(), queue.clone(), config.functions, shutdown.clone()),
        config.hooks_exec,
    ));

    let leaf = Arc::new(tls::leaf::CurrentLeaf::default());
    let store = tls::store::AuthorityStore::new(config.client.clone(), &config.namespace);
    let serves_webhooks = config.webhook_listener.is_some();
    let certificates = Certificates { store, leaf, names, client: config.client.clone(), serves_webhooks };
    let bundle_pem = certificates.begin(&config.clock).await?;
    let tls_config = Arc::new(tls::leaf::server_config(Arc::clone(&certificates.leaf), &["h2"])?);
    let webhook_tls = Arc::new(tls::leaf::server_config(Arc::clone(&certificates.leaf), &["h2", "http/1.1"])?);
    let authenticator = Authenticator::new(config.client.clone(), &config.namespace);
    let service = AgentService::new(dispatcher.clone(), Arc::clone(&preparer), authenticator);

    let synced = Arc::new(AtomicBool::new(false));
    let mut beside = JoinSet::new();
    beside.spawn(publish);
    beside.spawn(look_out);
    let election = tokio::spawn(candidate.run(shutdown.clone()));
    let _watches = caches.watch(&config.client, {
        let context = Arc::clone(&context);
        move |seen| wake::wake(&context, &seen)
    });
    beside.spawn(certificates.keep(Arc::clone(&config.clock), bundle_pem));
    beside.spawn({
        let (caches, synced) = (Arc::clone(&caches), Arc::clone(&synced));
        async move {
            caches.synced().await;
            synced.store(true, Ordering::Relaxed);
        }
    });
    beside.spawn(lead(Arc::clone(&context), preparer, leadership.clone(), config.holder_image.clone(), shutdown.clone()));
    let metrics = metrics::Metrics::new(config.client.clone(), Arc::clone(&caches), leadership.clone(), dispatcher.clone());
    let health = health::Health { synced, leadership, dispatcher, queue };
    let health_listener = config.health_listener;
    let serve_health = async {
        match health_listener {
            Some(listener) => health::serve(listener, health, shutdown.clone()).await,
            None => {
                shutdown.cancelled().await;
                Ok(())
            }
        }
    };
    let webhook_listener = config.webhook_listener;
    let serve_webhooks = async {
        match webhook_listener {
            Some(listener) => {
                let judge = admission::judge::Judge::new(config.client.clone(), Arc::clone(&caches));
                // What is merely not listed yet would look absent.
                caches.synced().await;
                admission::serve(listener, webhook_tls, judge, metrics.router(), shutdown.clone()).await
            }
            None => {
                shutdown.cancelled().await;
                Ok(())
            }
        }
    };
    let served: Result<(), RunError> = tokio::select! {
        served = service.serve(config.listener, tls_config, shutdown.clone()) => served.map_err(RunError::from),
        served = serve_health => served.map_err(RunError::Health),
        served = serve_webhooks => served.map_err(RunError::Webhook),
    };
    shutdown.cancel();
    // The Lease is given back, so that a successor need not wait for it to lapse.
    if tokio::time::timeout(Duration::from_secs(5), election).await.is_err() {
        tracing::warn!("the election's Lease was not given back in time");
    }
    served
}

/// What is renewed together: the authority, the server's certificate, and what the API server knows of them.
struct Certificates {
    store: tls::store::AuthorityStore,
    leaf: Arc<tls::leaf::CurrentLeaf>,
    names: Vec<String>,
    client: kube::Client,
    serves_webhooks: bool,
}

impl Certificates {
    /// The first ones. An API server that is busy, or begins itself, is asked again: a kubelet waits longer from start to start.
    async fn begin(&self, clock: &SharedClock) -> Result<String, tls::TlsError> {
        let mut delay = CERTIFICATES_RETRY_FIRST;
        loop {
            match self.renew(clock.now()).await {
                Err(error) if delay <= CERTIFICATES_RETRY_LAST => {
                    tracing::warn!(%error, "there are no certificates yet");
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                other => return other,
            }
        }
    }

    /// Renews what is due; the certificates that callers trust, as PEM.
    async fn renew(&self, now: jiff::Timestamp) -> Result<String, tls::TlsError> {
        let authorities = self.store.load(now).await?;
        let signer = authorities.signer(now).ok_or(tls::TlsError::Pem("Secret holdfast-ca"))?;
        self.leaf.renew(signer, &self.names, now)?;
        let bundle_pem = authorities.bundle_pem();
        self.publish(&bundle_pem).await;
        Ok(bundle_pem)
    }

    async fn publish(&self, bundle_pem: &str) {
        if self.serves_webhooks
            && let Err(error) = admission::registration::publish(&self.client, bundle_pem).await
        {
            // Agents can work meanwhile; the API server turns changes away until it can trust us.
            tracing::error!(%error, "the certificate authority could not be written into the webhook configurations");
        }
    }

    async fn keep(self, clock: SharedClock, mut bundle_pem: String) {
        let mut renewals = tokio::time::interval(CERTIFICATES_INTERVAL);
        let mut publications = tokio::time::interval(WEBHOOKS_INTERVAL);
        // Both tick at once first, and both were just done.
        renewals.tick().await;
        publications.tick().await;
        loop {
            tokio::select! {
                _ = publications.tick() => self.publish(&bundle_pem).await,
                _ = renewals.tick() => match self.renew(clock.now()).await {
                    Ok(renewed) => bundle_pem = renewed,
                    Err(error) => tracing::error!(%error, "certificates could not be renewed; the present ones serve on"),
                },
            }
        }
    }
}

/// Leads whenever this replica is elected, and stops as soon as it no longer is.
async fn lead(context: Arc<Context>, preparer: Arc<Preparer>, leadership: Leadership, holder_image: Option<Image>, shutdown: CancellationToken) {
    let mut changes = leadership.changes();
    loop {
        context.let_go().await;
        let epoch = *changes.borrow_and_update();
        let stop = shutdown.child_token();
        let mut work = JoinSet::new();
        if epoch == 0 {
            context.dispatcher.follow();
        } else {
            context.dispatcher.lead(epoch);
            work.spawn(work_as_leader(Arc::clone(&context), Arc::clone(&preparer), holder_image.clone(), stop.clone()));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => {}
        }
        stop.cancel();
        // What it had begun must have stopped: it begins something for objects until then.
        while work.join_next().await.is_some() {}
        if shutdown.is_cancelled() {
            context.dispatcher.follow();
            return;
        }
    }
}

/// Plans are made from complete caches only: what is merely not listed yet would look deleted.
async fn listed(caches: &caches::Caches) {
    while tokio::time::timeout(LISTED_PATIENCE, caches.synced()).await.is_err() {
        tracing::warn!(kinds = ?caches, "not every kind is listed yet, and nothing is done before");
    }
}

async fn work_as_leader(context: Arc<Context>, preparer: Arc<Preparer>, holder_image: Option<Image>, stop: CancellationToken) {
    if stop.run_until_cancelled(listed(&context.caches)).await.is_none() {
        return;
    }
    tracing::info!("every kind is listed; work begins");
    context.queue.open();
    wake::wake_all(&context);
    for kind in Kind::ALL {
        context.dispatcher.owners(kind).into_iter().for_each(|key| context.queue.add(key));
    }
    let mut work = JoinSet::new();
    let dispatcher = context.dispatcher.clone();
    work.spawn({
        let stop = stop.clone();
        async move { dispatcher.pump(preparer, stop).await }
    });
    if let Some(image) = holder_image {
        let context = Arc::clone(&context);
        work.spawn(async move { holder::keeper::keep(context.client.clone(), Arc::clone(&context.caches), &context.holders, image).await });
    }
    work.spawn({
        let context = Arc::clone(&context);
        async move { function::keeper::keep(context.client.clone(), Arc::clone(&context.caches), &context.functions).await }
    });
    for _ in 0..WORKERS {
        work.spawn(worker(Arc::clone(&context), stop.clone()));
    }
    stop.cancelled().await;
    work.shutdown().await;
}

async fn worker(context: Arc<Context>, stop: CancellationToken) {
    loop {
        let key = tokio::select! {
            () = stop.cancelled() => return,
            key = context.queue.next() => key,
        };
        // Dropping a pass half-way (the leadership ended) must still free its object for whoever leads next.
        let pass = Pass { context: &context, key: Some(key) };
        pass.run().await;
    }
}

/// One look at one object.
struct Pass<'a> {
    context: &'a Context,
    key: Option<Key>,
}

impl Pass<'_> {
    async fn run(mut self) {
        let Some(key) = self.key.clone() else { return };
        let result = reconcile(self.context, &key).await;
        let succeeded = match result {
            Ok(()) => true,
            // Ordinary: the cache is a moment behind. Its next event wakes the object, too.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                tracing::debug!(object = %key, "changed by somebody else meanwhile; looked at again");
                self.context.queue.add_after(key.clone(), CONFLICT_PAUSE);
                true
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => true,
            // Its namespace is going, and it with it: nothing is to be created there any more.
            Err(kube::Error::Api(status))
                if status.is_forbidden() && status.message.contains("is being terminated") =>
            {
                tracing::debug!(object = %key, "its namespace is being deleted");
                true
            }
            Err(error) => {
                tracing::warn!(object = %key, %error, "could not be reconciled; tried again");
                false
            }
        };
        self.context.queue.done(&key, succeeded);
        self.key = None;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.context.queue.done(&key, false);
        }
    }
}

async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    match key.kind {
        Kind::BackupStorage => backup_storage::reconcile(context, key).await,
        Kind::Repository => repository::reconcile(context, key).await,
        Kind::BackupConfiguration | Kind::BackupBatch => invoker::reconcile(context, key).await,
        Kind::BackupSession => backup_session::reconcile(context, key).await,
        Kind::Snapshot => snapshot::reconcile(context, key).await,
        Kind::RestoreSession => restore_session::reconcile(context, key).await,
        Kind::BackupBlueprint => backup_blueprint::reconcile(context, key).await,
        Kind::BackupVerificationSession => verification::reconcile(context, key).await,
    }
}
