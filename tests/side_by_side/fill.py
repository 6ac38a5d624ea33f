"""Makes the tables, writes the patients, and fills the queue.

    fill.py PEOPLE

Jobs come on standard input, one a line. Whoever runs this counts the queue afterwards.
"""

import json
import sys

import psycopg

from reminders import DATABASE, app, remind

TABLES = """
CREATE SCHEMA celery;
CREATE TABLE celery.patients (
    id text PRIMARY KEY,
    given text NOT NULL,
    family text NOT NULL,
    phone text NOT NULL,
    language text NOT NULL,
    zone text NOT NULL,
    opted_out boolean NOT NULL DEFAULT false
);
CREATE TABLE celery.messages (
    id uuid PRIMARY KEY,
    source text NOT NULL,
    job_id text NOT NULL,
    content_hash bytea NOT NULL,
    patient_id text NOT NULL,
    template text NOT NULL,
    status text NOT NULL,
    seq integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source, job_id)
) WITH (fillfactor = 70);
CREATE TABLE celery.attempts (
    id uuid PRIMARY KEY,
    message_id uuid NOT NULL,
    number smallint NOT NULL,
    provider text NOT NULL,
    status text NOT NULL,
    reference text,
    begun_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
) WITH (fillfactor = 70);
"""


def main(people):
    with psycopg.connect(DATABASE, autocommit=True) as database:
        database.execute(TABLES)
        patients = "COPY celery.patients (id, given, family, phone, language, zone) FROM STDIN"
        with database.cursor() as cursor, cursor.copy(patients) as copy:
            for n in range(people):
                copy.write_row((f"P{n}", "Ana", "López", f"+1312{5550000 + n:07}", "en", "America/Chicago"))
        database.execute("VACUUM ANALYZE celery.patients")
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
        with app.amqp.Producer(connection) as producer:
            for line in sys.stdin:
                remind.apply_async((json.loads(line),), producer=producer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
