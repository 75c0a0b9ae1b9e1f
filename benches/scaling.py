#!/usr/bin/env python3
"""What it takes to carry so many messages a second of so many rockets: nodes, disks, money.

A model, not a measurement: it multiplies what was measured on one machine (docs/scaling.md) and what is assumed, both of
which stand below. `python3 benches/scaling.py` prints the tables of docs/scaling.md;
`python3 benches/scaling.py core_month=30 replicas=5` prints them with other costs.

What it deliberately does not do: predict latency, or anything of a network between data centres.
"""

import math
import sys
from dataclasses import dataclass, fields, replace

DAY = 86_400


@dataclass(frozen=True)
class Costs:
    """Microseconds of one core for each message, bytes, and money."""

    # Measured (docs/scaling.md): processor time of each process, all of them on two cores.
    ingest_single: float = 100.0  # µs: a POST of its own, kept-alive connections
    ingest_batched: float = 27.0  # µs: a message in a batch of 500
    track: float = 52.0  # µs: read, applied, its record written, its outcome reported
    query: float = 10.0  # µs: one change taken into a view
    broker_leader: float = 85.0  # µs: log, record, outcome; stored, handed out, acknowledged
    # Measured: stored with a sync, in atomic batches of 500, on one stream with one disk.
    stream_synced: float = 20_000.0  # messages a second
    # Measured: a rocket with its log's subject and its record, in the broker's memory; in a view; on disk.
    broker_rocket_bytes: float = 1_300.0
    view_rocket_bytes: float = 1_024.0
    record_bytes: float = 400.0
    message_bytes: float = 450.0
    outcome_bytes: float = 60.0

    # Assumed.
    batched: float = 0.9  # share of the messages that come in batches
    broker_follower: float = 0.5  # of what the leader of a stream takes
    replicas: float = 3.0
    busy: float = 0.5  # how much of a node is used at that rate, so that one may fail and a rush may come
    kept_days: float = 1.0  # how long messages stay in the log (retention.messages)
    views: float = 2.0  # copies of what is known, so that one may fail
    node_cores: float = 16.0
    node_memory: float = 128e9
    node_disk: float = 3.8e12
    core_month: float = 25.0  # money for a core with 8 GB for a month
    disk_month: float = 80e-12  # money for a byte of local flash for a month


@dataclass(frozen=True)
class Load:
    rate: float
    rockets: float


def broker(costs: Costs, load: Load) -> dict[str, float]:
    """Streams and nodes of the broker: whichever of processor, memory, disk and syncing runs out first."""
    # Log, records and outcomes are three streams of a share, each with its own leader; the log has one sync a batch.
    shares = math.ceil(load.rate / (costs.stream_synced * costs.busy))
    followers = (costs.replicas - 1) * costs.broker_follower
    cores = load.rate * costs.broker_leader * (1 + followers) / 1e6
    memory = load.rockets * costs.broker_rocket_bytes * costs.replicas
    kept = load.rate * DAY * costs.kept_days * (costs.message_bytes + costs.outcome_bytes)
    disk = (kept + load.rockets * costs.record_bytes) * costs.replicas
    runs_out = {
        "processor": cores / costs.busy / costs.node_cores,
        "memory": memory / costs.busy / costs.node_memory,
        "disk": disk / costs.busy / costs.node_disk,
        "syncing": shares * costs.replicas / max(1.0, costs.node_cores / 4),
    }
    bound = max(runs_out, key=runs_out.get)
    nodes = max(costs.replicas, math.ceil(runs_out[bound]))
    return {"streams": shares, "nodes": nodes, "bound": bound, "disk": disk, "cores": cores}


def roles(costs: Costs, load: Load) -> dict[str, float]:
    """Nodes of ingest, trackers and views."""
    each = costs.ingest_batched * costs.batched + costs.ingest_single * (1 - costs.batched)

    def cores_of(micros: float) -> int:
        return math.ceil(load.rate * micros / 1e6 / costs.busy)

    shards = max(1, math.ceil(load.rockets * costs.view_rocket_bytes / (costs.node_memory * costs.busy)))
    view_cores = max(cores_of(costs.query), shards * costs.node_memory / 8e9 if shards > 1 else 1)
    return {
        "ingest": max(2, cores_of(each)),
        "track": max(2, cores_of(costs.track)),
        "views": shards * costs.views,
        "view_cores": math.ceil(view_cores * costs.views),
    }


def row(costs: Costs, load: Load) -> list[str]:
    at_broker, beside = broker(costs, load), roles(costs, load)
    cores = at_broker["nodes"] * costs.node_cores + beside["ingest"] + beside["track"] + beside["view_cores"]
    money = cores * costs.core_month + at_broker["nodes"] * costs.node_disk * costs.disk_month
    return [
        f"{load.rate:,.0f}",
        f"{load.rockets:,.0f}",
        f"{at_broker['streams']:,.0f}",
        f"{at_broker['nodes']:,.0f} ({at_broker['bound']})",
        f"{at_broker['disk'] / 1e12:,.1f} TB",
        f"{beside['ingest']:,.0f} / {beside['track']:,.0f}",
        f"{beside['views']:,.0f}",
        f"{cores:,.0f}",
        f"{round(money, -2):,.0f}",
    ]


HEADER = ["messages a second", "rockets", "shares", "broker nodes (bound)", "disk", "ingest / track cores", "views", "cores in all",
          "a month"]
LOADS = [Load(rate, rockets) for rockets in (1e6, 1e9) for rate in (1e4, 1e5, 1e6)]


def table(costs: Costs) -> str:
    lines = [HEADER, ["---:"] * len(HEADER), *(row(costs, load) for load in LOADS)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def changed(costs: Costs, words: list[str]) -> Costs:
    known = {field.name for field in fields(costs)}
    given = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    unknown = sorted(set(given) - known)
    if unknown:
        sys.exit(f"{', '.join(unknown)}: not a cost; there are {', '.join(sorted(known))}")
    try:
        return replace(costs, **{name: float(value) for name, value in given.items()})
    except ValueError as error:
        sys.exit(f"a cost must be a number: {error}")


if __name__ == "__main__":
    print(table(changed(Costs(), sys.argv[1:])))
