//! `roomcast serve`: the service, from the configuration to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recorder_core::fault::Fault;
use recorder_core::ids::SessionId;
use recorder_core::secret::Secret;
use recorder_core::stage::ConsentRule;

use super::look::{look, rendition};
use super::operate::Desk;
use super::session::{self, Listening};
use super::{Failure, targets};
use crate::command::amqp::{BrokerSettings, Orders};
use crate::conference::opentalk::controller::Controller;
use crate::config::{self, CONTROLLER, CallIn, Config, ConfigError, Consent, PROGRAMME};
use crate::identity::{Identity, Provider, ProviderSettings};
use crate::service::admission;
use crate::service::board::Board;
use crate::service::courier::OpenTalkCourier;
use crate::service::host::{Host, HostSettings, Left, Terms};
use crate::service::job::OpenTalkEntrance;
use crate::service::keeping::Keeping;
use crate::service::order::{Room, SessionOrder};
use crate::service::process::allow_many_descriptors;
use crate::service::takeover;
use crate::storage::controller_upload::HandOver;
use crate::storage::disk::SystemDisk;
use crate::storage::inventory::sweep;
use crate::storage::outbox::UploadTarget;
use crate::storage::recover::unfinished;
use crate::trust::Trust;

/// Checks the configuration and runs the service until it is told to stop.
pub(super) fn serve(config: &Config, config_file: Option<PathBuf>) -> Result<(), Failure> {
    let checked = Checked::of(config)?;
    allow_many_descriptors();
    let mut listening = Listening::start()?;
    // It was checked when the configuration was read.
    let listen = config.http.listen.parse().ok();
    let desk = Desk::open(listen, config.serve.slots as usize, config, &listening)?;
    let (host, received, left) = {
        let _inside = listening.enter();
        let Checked { provider, broker, controller, keeping, settings } = checked;
        let (orders, received) = Orders::start(broker);
        let identity = Identity::start(provider);
        let keeping = keeping(OpenTalkCourier { identity: identity.clone(), controller }, desk.board.clone());
        // Before any slot is told: a room that was ours is ours again before it is commanded anew.
        let left = go_on_with_what_is_left(&orders, &keeping, config)?;
        let worker = session::own_arguments(config_file.as_deref(), "worker");
        let settings = settings(identity, keeping, worker, desk.board.clone());
        (Host::new(settings, orders), received, left)
    };
    listening.run(async |stops| host.run(received, left, stops).await);
    Ok(())
}

/// Everything that can be wrong without the network.
struct Checked {
    provider: Provider,
    broker: BrokerSettings,
    controller: Controller,
    keeping: Box<dyn FnOnce(OpenTalkCourier, Board) -> Keeping>,
    settings: Box<dyn FnOnce(Identity, Keeping, Vec<String>, Board) -> HostSettings>,
}

impl Checked {
    fn of(config: &Config) -> Result<Self, Failure> {
        if config.monitor != config::Monitor::default() {
            return Err(Failure::operator(
                "serve has no programme monitor, which is for record and rehearse: take [monitor] out of its configuration",
            ));
        }
        let missing = |what: &str, field: &str| {
            let variable = format!("ROOMCAST_{}", field.replace('.', "__")).to_uppercase();
            Failure::operator(format_args!("serve needs {what}: write {field} into the configuration, or set {variable}"))
        };
        let issuer = config.keycloak.issuer.clone().ok_or_else(|| missing("the identity provider", "keycloak.issuer"))?;
        let address = config.controller.url.clone().ok_or_else(|| missing("the OpenTalk controller", "controller.url"))?;
        let broker = config.rabbitmq.url.clone().ok_or_else(|| missing("the message broker", "rabbitmq.url"))?;
        let secret = |secret: Result<Option<Secret>, ConfigError>, what, field| {
            secret.map_err(Failure::operator)?.ok_or_else(|| missing(what, field))
        };
        let client_secret = secret(config.keycloak.secret(), "the secret of its client", "keycloak.client_secret")?;
        let password = secret(config.rabbitmq.secret(), "the password of the message broker", "rabbitmq.password")?;
        let trust = |section: &str, file: Option<&Path>| {
            Trust::load(file).map_err(|error| Failure::operator(format_args!("{section}.ca_file: {error}")))
        };
        let provider = Provider::new(ProviderSettings {
            issuer,
            token_endpoint: config.keycloak.token_endpoint.clone(),
            client_id: config.keycloak.client_id.clone(),
            client_secret,
            trust: trust("keycloak", config.keycloak.ca_file.as_deref())?,
        });
        let broker = BrokerSettings {
            url: broker,
            user: config.rabbitmq.user.clone(),
            password,
            queue: config.rabbitmq.queue.clone(),
            trust: trust("rabbitmq", config.rabbitmq.ca_file.as_deref())?,
            heartbeat: BrokerSettings::HEARTBEAT,
        };
        let controller_trust = trust("controller", config.controller.ca_file.as_deref())?;
        let controller = Controller::at(&address, controller_trust)
            .map_err(|error| Failure::operator(format_args!("controller.url: {error}")))?;
        trust("livekit", config.livekit.ca_file.as_deref())?;
        let keeping = Box::new(keeping(config)?);
        let plan = plan(config, address)?;
        let config = config.clone();
        let of_host = controller.clone();
        let settings = Box::new(move |identity, keeping: Keeping, worker, board: Board| HostSettings {
            slots: config.serve.slots,
            limits: config.admission.limits(bytes_per_s(&config)),
            measured: admission::start(keeping.spool.clone(), board.clone()),
            drain_timeout: config.serve.drain_timeout.duration(),
            plan: Box::new(plan),
            terms: terms(&config),
            identity,
            controller: of_host,
            keeping,
            worker,
            board,
        });
        Ok(Self { provider, broker, controller, keeping, settings })
    }
}

fn terms(config: &Config) -> Terms {
    let serve = &config.serve;
    Terms {
        consent: match serve.consent {
            Consent::NotAsked => ConsentRule::NotAsked,
            Consent::Asked => ConsentRule::Asked { call_in_included: serve.call_in_without_consent == CallIn::Include },
        },
        signaling_grace: serve.signaling_grace.duration(),
        reconnect_grace: serve.reconnect_grace.duration(),
        delivery_grace: serve.delivery_grace.duration(),
    }
}

/// What a recording grows by.
fn bytes_per_s(config: &Config) -> u64 {
    u64::from(config.programme.video_kbps() + config.programme.sound_kbps) * 1000 / 8
}

/// The Orders, which differ in their names and their beginning. `controller` is its address.
fn plan(config: &Config, controller: String) -> Result<impl Fn(SessionId, u64) -> SessionOrder + Send + use<>, Failure> {
    let look = look(config, true)?;
    let rendition = rendition(config.rendition(PROGRAMME).map_err(Failure::operator)?, config)?;
    let config = config.clone();
    let entrance = OpenTalkEntrance {
        controller,
        ca_file: config.controller.ca_file.clone(),
        livekit_ca_file: config.livekit.ca_file.clone(),
        display_name: config.serve.display_name.clone(),
    };
    Ok(move |session, epoch_ns| SessionOrder {
        course: session::course(&config, session, epoch_ns, look.clone(), vec![rendition.clone()]),
        room: Room::OpenTalk(entrance.clone()),
        duration: None,
        recordings: Vec::new(),
        lives: Vec::new(),
        books: config.books.serve,
        commanded: None,
    })
}

/// Where recordings go.
fn keeping(config: &Config) -> Result<impl FnOnce(OpenTalkCourier, Board) -> Keeping + use<>, Failure> {
    let mut objects: Vec<UploadTarget> = Vec::new();
    let mut file = None;
    for place in config.serve.recordings.iter().filter(|place| *place != CONTROLLER) {
        match place.strip_prefix("s3://") {
            Some(rest) => objects.push(targets::object(rest, objects.len() + 1)?),
            None => file = Some(place.clone()),
        }
    }
    if !objects.is_empty() {
        // Told now, not after a meeting.
        targets::stores(config, &objects)?;
    }
    let spool = config.spool.folder();
    std::fs::create_dir_all(&spool)
        .map_err(|error| Failure::operator(format_args!("cannot make the folder {}: {error}", spool.display())))?;
    let of_stores = config.clone();
    let stores = move |objects: &[UploadTarget]| targets::stores(&of_stores, objects).map_err(|failure| failed(&failure));
    let (to_controller, rate, keep) = (config.serve.is_to_controller(), config.controller.upload_rate(), config.spool.kept());
    Ok(move |courier, board| {
        let hand_over = HandOver { courier: Arc::new(courier), disk: Arc::new(SystemDisk), rate };
        Keeping { spool, file, objects, stores: Arc::new(stores), to_controller, hand_over, keep, board }
    })
}

fn failed(failure: &Failure) -> Fault {
    use recorder_core::fault::{Blame, Retry, Scope};
    Fault { scope: Scope::Target, blame: Blame::Operator, retry: Retry::Never, sentence: failure.sentence.clone() }
}

/// Goes on with Sessions that earlier processes have left, and stores what they have recorded. What somebody else has is theirs.
fn go_on_with_what_is_left(orders: &Orders, keeping: &Keeping, config: &Config) -> Result<Left, Failure> {
    let error = |error: crate::storage::StorageError| Failure::from(error.to_fault());
    sweep(&SystemDisk, &keeping.spool, keeping.keep).map_err(error)?;
    let folders = unfinished(&keeping.spool).map_err(error)?;
    let begun = takeover::begin(orders, keeping, config.serve.takeover_grace.duration(), folders);
    let (count, settled) = begun.map_err(Failure::operator)?;
    Ok(Left { count, settled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programme_monitor_is_refused_and_not_passed_over() {
        let mut config = Config::default();
        let refused = |config: &Config| Checked::of(config).err().unwrap().sentence;
        assert!(refused(&config).starts_with("serve needs the identity provider"), "{}", refused(&config));
        config.monitor.address = Some(([127, 0, 0, 1], 8088).into());
        assert!(refused(&config).starts_with("serve has no programme monitor"), "{}", refused(&config));
    }
}
