"""The work of one reminder as a Celery application: the same broker, database, sink and job, done as well as Celery does it.

What it does for each job: the job key is taken once, the patient is read, who opted out is left alone, the text is
rendered, an attempt stands in the database before the wire is touched, the SMS is sent, its outcome is written, the
event is published and confirmed, and only then is the task acknowledged.

What was done so that it is fast: two statements and two commits a job, each one round trip and prepared once; a
database connection, a keep-alive HTTP connection and a publisher of its own for each process, opened at its start; the
template compiled once; no results, no events of Celery's own, no gossip. Quorum queues know no prefetch for a whole
channel; Celery sees by `x-queue-type` that it must ask for one by consumer.
"""

import base64
import hashlib
import json
import os
import urllib.parse
import uuid
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import amqp
import jinja2
import kombu
import psycopg
import urllib3
from celery import Celery
from celery.signals import worker_process_init

AMQP = os.environ["SIDE_AMQP"]
DATABASE = os.environ["SIDE_DATABASE"]
PREFIX = os.environ["SIDE_PREFIX"]
SINK = os.environ["SIDE_SINK"]
ACCOUNT = os.environ["SIDE_ACCOUNT"]
TOKEN = os.environ["SIDE_TOKEN"]

QUEUE = f"{PREFIX}.celery"
EVENTS = f"{PREFIX}.events"

app = Celery("reminders", broker=AMQP)
app.conf.update(
    task_queues=[
        kombu.Queue(
            QUEUE,
            kombu.Exchange(QUEUE, type="topic", durable=True),
            routing_key=QUEUE,
            durable=True,
            queue_arguments={"x-queue-type": "quorum"},
        )
    ],
    task_default_queue=QUEUE,
    task_default_exchange=QUEUE,
    task_default_exchange_type="topic",
    task_default_routing_key=QUEUE,
    worker_detect_quorum_queues=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=32,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    task_send_sent_event=False,
    task_serializer="json",
    accept_content=["json"],
    enable_utc=True,
)

TEXT = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined).from_string(
    "{{ site }}: Reminder: your visit is {{ when }}{% if practitioner %} with {{ practitioner }}{% endif %}. "
    "To change it, call {{ phone }}. Reply STOP to opt out."
)

# The job key is taken, the message stands, and its attempt too, before anything is sent: one statement, one commit.
BEGIN = """
WITH patient AS (
    SELECT id, phone, language, zone, opted_out FROM celery.patients WHERE id = %(patient)s
), taken AS (
    INSERT INTO celery.messages (id, source, job_id, content_hash, patient_id, template, status)
    SELECT %(message)s, %(source)s, %(job)s, %(hash)s, %(patient)s, %(template)s,
           CASE WHEN patient.opted_out THEN 'suppressed' ELSE 'sending' END
    FROM patient
    ON CONFLICT (source, job_id) DO NOTHING
    RETURNING id, status
), begun AS (
    INSERT INTO celery.attempts (id, message_id, number, provider, status)
    SELECT %(attempt)s, id, 1, 'sms', 'sending' FROM taken WHERE status = 'sending'
)
SELECT taken.status, patient.phone, patient.language, patient.zone FROM taken, patient
"""

SETTLE = """
WITH attempt AS (
    UPDATE celery.attempts SET status = %(status)s, reference = %(reference)s, ended_at = now() WHERE id = %(attempt)s
)
UPDATE celery.messages SET status = %(status)s, seq = seq + 1, updated_at = now() WHERE id = %(message)s RETURNING seq
"""

# A task that comes again: what was begun and not settled may or may not have been sent.
AGAIN = """
UPDATE celery.messages
SET status = CASE WHEN status = 'sending' THEN 'unknown' ELSE status END, seq = seq + 1, updated_at = now()
WHERE source = %(source)s AND job_id = %(job)s RETURNING id, status, seq
"""


class Process:
    """What one process of the pool keeps open."""

    def __init__(self):
        self.database = psycopg.connect(DATABASE, autocommit=True, prepare_threshold=0)
        sink = urllib.parse.urlsplit(SINK)
        self.http = urllib3.HTTPConnectionPool(sink.hostname, sink.port, maxsize=1, retries=False, timeout=15)
        self.path = f"{sink.path.rstrip('/')}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        secret = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        self.headers = {"authorization": f"Basic {secret}", "content-type": "application/x-www-form-urlencoded"}
        self.broker = kombu.Connection(AMQP, transport_options={"confirm_publish": True})
        self.events = self.broker.default_channel

    def one(self, statement, values):
        return self.database.execute(statement, values).fetchone()

    def send(self, message, to, text):
        """What became of it, and the provider's reference."""
        form = {
            "To": to,
            "From": "+13125550100",
            "Body": text,
            "StatusCallback": f"http://127.0.0.1:9/webhooks/sms?send_key={message.hex}-0",
        }
        try:
            answer = self.http.request("POST", self.path, body=urllib.parse.urlencode(form), headers=self.headers)
        except urllib3.exceptions.HTTPError:
            return "unknown", None
        if answer.status == 201:
            return "sent", answer.json()["sid"]
        return ("unknown" if answer.status >= 500 else "failed"), None

    def tell(self, job, message, status, seq):
        """Returns once the broker has confirmed the event."""
        event = {
            "id": uuid.uuid4().hex,
            "type": f"message.{status}",
            "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "seq": seq,
            "message_id": str(message),
            "job_id": job["id"],
            "source": job["source"],
            "patient_id": job["patient_id"],
            "channel": "sms",
            "provider": "sms",
            "status": status,
            "attempt": 1,
        }
        body = amqp.Message(json.dumps(event), content_type="application/json", delivery_mode=2)
        self.events.basic_publish(body, exchange=EVENTS, routing_key=f"message.{status}.{job['source']}")


process = None


@worker_process_init.connect
def opened(**_):
    global process
    process = Process()


@app.task(name="remind", acks_late=True, ignore_result=True)
def remind(job):
    message, attempt = uuid.uuid4(), uuid.uuid4()
    content = hashlib.sha256(json.dumps(job, sort_keys=True, separators=(",", ":")).encode()).digest()
    begun = process.one(
        BEGIN,
        {
            "message": message,
            "attempt": attempt,
            "source": job["source"],
            "job": job["id"],
            "hash": content,
            "patient": job["patient_id"],
            "template": job["template"],
        },
    )
    if begun is None:
        message, status, seq = process.one(AGAIN, {"source": job["source"], "job": job["id"]})
        return process.tell(job, message, status, seq)
    status, phone, _language, zone = begun
    if status == "suppressed":
        return process.tell(job, message, status, 1)
    starts = datetime.fromisoformat(job["data"]["starts_at"]).astimezone(ZoneInfo(zone))
    text = TEXT.render(
        site="Lakeside Health",
        when=starts.strftime("%a, %b %-d, %-I:%M %p"),
        practitioner=job["data"].get("practitioner"),
        phone="(312) 555-0100",
    )
    status, reference = process.send(message, phone, text)
    values = {"status": status, "reference": reference, "attempt": attempt, "message": message}
    (seq,) = process.one(SETTLE, values)
    process.tell(job, message, status, seq)
