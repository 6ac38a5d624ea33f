//! The limit: a pipeline that knows nothing of patients. Batches are written to one table, sent, marked and acknowledged,
//! some at once. No key is looked for, nothing is rendered, decided, paced or told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use sqlx::Executor as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::proof::drain::phone;
use crate::proof::rig::Rig;

/// How it works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Jobs of one batch.
    pub(super) batch: usize,
    /// Batches under way at once.
    pub(super) at_once: usize,
}

/// Requests of one batch under way at once.
const REQUESTS: usize = 64;

/// The pipeline, running in this process.
pub(super) struct Bare {
    stop: CancellationToken,
    pipeline: JoinHandle<()>,
}

impl Bare {
    /// Starts it on the queue of jobs.
    pub(super) async fn start(rig: &Rig, shape: Shape) -> Self {
        let connection = Connection::connect(&rig.amqp, ConnectionProperties::default()).await.unwrap();
        let account = &rig.simulator.config().twilio;
        let sid = account.account_sid.clone();
        let sink = Sink {
            url: format!("{}/2010-04-01/Accounts/{sid}/Messages.json", rig.simulator.twilio_url()),
            token: account.auth_token.expose().to_owned(),
            sid,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            sql: PgPoolOptions::new().max_connections(32).connect(&rig.database_url()).await.unwrap(),
        };
        let queue = format!("{}.jobs", rig.prefix.as_str());
        let stop = CancellationToken::new();
        let pipeline = tokio::spawn(run(connection, queue, shape, Arc::new(sink), stop.clone()));
        Self { stop, pipeline }
    }

    /// Ends it once what is under way is acknowledged.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.pipeline).await.unwrap();
    }
}

/// Its table.
pub(super) async fn create(rig: &Rig) {
    let tables = "CREATE SCHEMA bare; \
        CREATE TABLE bare.jobs (id text PRIMARY KEY, body bytea NOT NULL, reference text) WITH (fillfactor = 70)";
    rig.sql.execute(tables).await.unwrap();
}

struct Sink {
    client: reqwest::Client,
    url: String,
    sid: String,
    token: String,
    sql: PgPool,
}

async fn run(connection: Connection, queue: String, shape: Shape, sink: Arc<Sink>, stop: CancellationToken) {
    let channel = connection.create_channel().await.unwrap();
    let prefetch = u16::try_from(shape.batch * (shape.at_once + 2)).unwrap();
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.unwrap();
    let consumer = channel
        .basic_consume(queue.into(), "bare".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let mut batches = consumer.ready_chunks(shape.batch);
    let mut under_way: VecDeque<(u64, JoinHandle<()>)> = VecDeque::new();
    loop {
        tokio::select! {
            // In order, so that one acknowledgement covers all before it.
            () = oldest(&mut under_way), if !under_way.is_empty() => acknowledge(&channel, &mut under_way).await,
            Some(batch) = batches.next(), if under_way.len() < shape.at_once => {
                let batch: Vec<Delivery> = batch.into_iter().map(Result::unwrap).collect();
                let last = batch.last().map_or(0, |delivery| delivery.delivery_tag);
                under_way.push_back((last, tokio::spawn(carry(sink.clone(), batch))));
            }
            () = stop.cancelled(), if under_way.is_empty() => break,
        }
    }
    // The channel first: what it acknowledged last is taken before it answers. A connection that is closed over it may
    // lose that, and the broker would deliver it again.
    channel.close(200, "done".into()).await.unwrap();
    let _ = connection.close(200, "done".into()).await;
}

async fn oldest(under_way: &mut VecDeque<(u64, JoinHandle<()>)>) {
    if let Some((_, batch)) = under_way.front_mut() {
        batch.await.unwrap();
    }
}

async fn acknowledge(channel: &Channel, under_way: &mut VecDeque<(u64, JoinHandle<()>)>) {
    if let Some((last, _)) = under_way.pop_front() {
        channel.basic_ack(last, BasicAckOptions { multiple: true }).await.unwrap();
    }
}

async fn carry(sink: Arc<Sink>, batch: Vec<Delivery>) {
    let bodies: Vec<Vec<u8>> = batch.into_iter().map(|delivery| delivery.data).collect();
    let ids: Vec<String> = bodies.iter().map(|body| id(body)).collect();
    sqlx::query("INSERT INTO bare.jobs (id, body) SELECT * FROM UNNEST($1::text[], $2::bytea[])")
        .bind(&ids)
        .bind(&bodies)
        .execute(&sink.sql)
        .await
        .unwrap();
    let sends = ids.clone().into_iter().map(|id| {
        let sink = sink.clone();
        async move { send(&sink, &id).await }
    });
    let references: Vec<String> = futures_util::stream::iter(sends).buffered(REQUESTS).collect().await;
    sqlx::query(
        "UPDATE bare.jobs SET reference = sent.reference \
        FROM UNNEST($1::text[], $2::text[]) AS sent (id, reference) WHERE jobs.id = sent.id",
    )
    .bind(&ids)
    .bind(&references)
    .execute(&sink.sql)
    .await
    .unwrap();
}

fn id(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_slice::<Named>(body).unwrap().id
}

/// The reference that the sink gives.
async fn send(sink: &Sink, id: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Taken {
        sid: String,
    }
    let callback = format!("http://127.0.0.1:9/webhooks/sms?send_key={id}");
    let n: usize = id.trim_start_matches('j').parse().unwrap();
    let form = [
        ("To", phone(n % 5_000)),
        ("From", "+13125550100".to_owned()),
        (
            "Body",
            "Lakeside Health: Reminder: your visit is Mon, Dec 1, 3:30 PM. Reply STOP to opt out.".to_owned(),
        ),
        ("StatusCallback", callback),
    ];
    let request = sink.client.post(&sink.url).basic_auth(&sink.sid, Some(&sink.token)).form(&form);
    let answer = request.timeout(Duration::from_secs(15)).send().await.unwrap().error_for_status().unwrap();
    let taken: Taken = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    taken.sid
}
