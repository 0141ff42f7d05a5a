"""An intake as one writes it by hand: POST /ingest hands each event to Kafka's client and answers 202 at once.

It answers before Kafka has the events, so a crash, or a broker that is away for longer than the client tries, loses
events that were answered 202; and what Kafka has not taken yet is kept in memory without a limit, since kafka-python 3
has none. Run by uvicorn; KAFKA and TOPIC are in the environment.
"""

import logging
import os
from contextlib import asynccontextmanager

import orjson
from fastapi import FastAPI, HTTPException, Request
from kafka import KafkaProducer

TOPIC = os.environ["TOPIC"]
# How long the end of the service waits for Kafka to take what was answered 202.
FLUSH_SECONDS = 20

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI):
    # Raises when no broker answers: then the service does not start.
    app.state.producer = KafkaProducer(
        bootstrap_servers=os.environ["KAFKA"].split(","),
        acks="all",
        compression_type="lz4",
        # The event loop hands over events faster than the client's thread sends them; a few milliseconds make batches
        # of them, and the thread competes with the loop for the interpreter, so fewer and larger ones are cheaper.
        linger_ms=5,
        batch_size=128 * 1024,
    )
    # The first `send` would block the event loop until the topic's partitions are known.
    app.state.producer.partitions_for(TOPIC)
    yield
    app.state.producer.close(timeout=FLUSH_SECONDS)


# No documentation pages: nothing of it serves a measurement.
app = FastAPI(lifespan=lifespan, openapi_url=None)


def lost(error: BaseException) -> None:
    # All that is left to do, the 202 is long gone.
    log.error("an event was lost: %s", error)


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


# The body is read and parsed here, not by FastAPI: its models would cost more than all else.
@app.post("/ingest", status_code=202)
async def ingest(request: Request) -> dict[str, int]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    events = body if isinstance(body, list) else [body]
    if not all(isinstance(event, dict) for event in events):
        raise HTTPException(422, "an event is a JSON object")
    producer: KafkaProducer = request.app.state.producer
    for event in events:
        producer.send(TOPIC, orjson.dumps(event)).add_errback(lost)
    return {"accepted": len(events)}
