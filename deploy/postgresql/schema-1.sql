-- The archive, version 1 (docs/formats.md, "Archive"). archive-sink carries this out by itself; with --no-schema
-- somebody else does, and makes a table for each day, too.
CREATE SCHEMA IF NOT EXISTS logflow;

CREATE TABLE logflow.schema_version (
    version integer PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);

-- What is not ASCII by its nature is bytea: an id or a value may hold zero bytes and what is no UTF-8.
CREATE TABLE logflow.events (
    day date NOT NULL,
    event_id bytea NOT NULL,
    event_time timestamptz,
    received timestamptz,
    tenant text,
    topic text NOT NULL,
    partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    value bytea,
    PRIMARY KEY (event_id, day)
) PARTITION BY RANGE (day);

-- Where reading goes on, and who may write: a claim raises the epoch, and whoever holds an older one writes nothing.
CREATE TABLE logflow.offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    topic_id text,
    next_offset bigint NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- A value as JSON; NULL where it is none that PostgreSQL can hold.
CREATE FUNCTION logflow.json(value bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(value, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

-- For people: the id as text (bytes beyond ASCII as octal numbers), the value as JSON.
CREATE VIEW logflow.readable AS
SELECT day, encode(event_id, 'escape') AS event_id, event_time, received, tenant,
       topic, partition, kafka_offset, logflow.json(value) AS event
FROM logflow.events;

INSERT INTO logflow.schema_version (version) VALUES (1);
