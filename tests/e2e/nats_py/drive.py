"""Drives the service from outside with nats-py: arguments are the service's and the broker's address.

What it does is what any other program at the broker could do: listen to rockets, read a rocket's record, send a message.
"""

import asyncio
import base64
import hashlib
import json
import sys
import urllib.request
import uuid

import nats

PATIENCE = 30


def message(channel, number, message_type, payload):
    metadata = {
        "channel": channel,
        "messageNumber": number,
        "messageTime": f"2022-02-02T19:39:{number:02}.5+01:00",
        "messageType": message_type,
    }
    return json.dumps({"metadata": metadata, "message": payload}).encode()


def message_id(channel, number, body):
    digest = hashlib.sha256(channel.encode() + body).digest()[:16]
    return f"{number}-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def ask(url, body=None):
    # No proxy: the service is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers={"Request-Id": "from-python"})
    with opener.open(request, timeout=PATIENCE) as answer:
        envelope = json.load(answer)
        assert answer.headers["Request-Id"] == envelope["request_id"] == "from-python", envelope
        return envelope["data"]


async def eventually(what, look):
    for _ in range(PATIENCE * 50):
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


async def drive(service, broker):
    connection = await nats.connect(broker)
    jetstream = connection.jetstream()
    listening = await connection.subscribe("rockets.*")
    await connection.flush()
    channel = str(uuid.uuid4())

    # What is posted is heard, as it was sent.
    launch = message(channel, 1, "RocketLaunched", {"type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS"})
    posted = await asyncio.to_thread(ask, f"{service}/messages", launch)
    assert posted["status"] == "ingested", posted
    heard = await listening.next_msg(timeout=PATIENCE)
    assert heard.subject == f"rockets.{channel}", heard.subject
    assert heard.data == launch, heard.data
    assert heard.headers["Nats-Msg-Id"] == message_id(channel, 1, launch), heard.headers
    assert heard.headers["Rockets-Request-Id"] == "from-python", heard.headers

    # It lies in the stream under its partition, and its event id is its place there.
    stored = await jetstream.get_msg("ROCKETS", seq=posted["event_id"])
    assert stored.data == launch and stored.subject.startswith("rockets.") and stored.subject.endswith(f".{channel}")

    # The record of the rocket is in the bucket.
    bucket = await jetstream.key_value("rockets")

    async def record(number):
        try:
            value = json.loads((await bucket.get(channel)).value)
        except nats.js.errors.KeyNotFoundError:
            return None
        return value if value["lastMessageNumber"] == number else None

    launched = await eventually("the record of the launch", lambda: record(1))
    rocket = launched["rocket"]
    assert (rocket["type"], rocket["speed"], rocket["status"]) == ("Falcon-9", 500, "active"), launched

    # Who knows NATS may send without HTTP.
    faster = message(channel, 2, "RocketSpeedIncreased", {"by": 3000})
    ack = await jetstream.publish(f"rockets.{channel}", faster, headers={"Nats-Msg-Id": message_id(channel, 2, faster)})
    assert ack.stream == "ROCKETS" and ack.seq > posted["event_id"], ack
    changed = await eventually("the record of the change", lambda: record(2))
    assert changed["rocket"]["speed"] == 3500, changed
    repeated = await asyncio.to_thread(ask, f"{service}/messages", faster)
    assert repeated == {"status": "duplicate", "event_id": ack.seq}, repeated

    async def shown():
        rocket = await asyncio.to_thread(ask, f"{service}/rockets/{channel}")
        return rocket if rocket["lastMessageNumber"] == 2 else None

    rocket = await eventually("the rocket over HTTP", shown)
    assert rocket["currentSpeed"] == 3500, rocket
    await connection.close()
    print("all seen")


asyncio.run(drive(*sys.argv[1:]))
