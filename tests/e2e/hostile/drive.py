"""Bodies of chance and malice, posted as fast as they are answered. What is taken is JSON to other parsers too.

    drive.py URL COUNT SEED

Prints what was counted. Ends with an error at the first answer that is neither 200, 400 nor 413, and at the first body that is taken
and that Python does not read; those that are taken are read by `node` and `jq` too, where they are there.
"""

import http.client
import json
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from urllib.parse import urlsplit

TYPES = ["RocketLaunched", "RocketSpeedIncreased", "RocketSpeedDecreased", "RocketMissionChanged", "RocketExploded", "MessagesSkipped"]
CHANNELS = [str(uuid.UUID(int=number)) for number in range(40)]
SPLICES = [
    b"", b'"', b"{", b"}", b"[", b"null", b"-", b"-0", b"1.0", b"1e3", b"1e999", b"NaN", b"Infinity", b"9223372036854775808",
    b"\\u0000", b"\\ud800", b"\\udc00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\x00", b",", b":", b"//", b"'",
    b'"a":1,"a":2,', b'"channel":"x",', b"[" * 300, b"\xe2\x80\xae", b"\x1b[2J", b"\r\n",
]


def message(chance):
    payload = {
        "type": chance.choice(["Falcon-9", "\u202e\x1b[2J", "x" * 255, "\U0001f680" * 255]), "launchSpeed": chance.choice([1, 500, 2**63 - 1]),
        "mission": "<img src=x onerror=alert(1)>", "by": chance.choice([0, 7, 2**63 - 1]), "newMission": "\x00\x85\u2028", "reason": "]]>",
    }
    metadata = {
        "channel": chance.choice(CHANNELS), "messageNumber": chance.choice([1, 2, 3, chance.randrange(1, 50), 2**63 - 1]),
        "messageTime": chance.choice(["2022-02-02T19:39:05.86337+01:00", "0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z"]),
        "messageType": chance.choice(TYPES),
    }
    return {"metadata": metadata, "message": payload, "more": chance.choice([None, [], {"a": 1}, 1.5, "\ud7ff"])}


def body(chance):
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(0, 300))
    bytes_ = json.dumps(message(chance), ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(chance.choice([0, 1, 1, 1, 2, 5])):
        place = chance.randrange(len(bytes_) + 1)
        until = min(len(bytes_), place + chance.choice([0, 0, 1, 3, 20]))
        bytes_ = bytes_[:place] + chance.choice(SPLICES) + bytes_[until:]
    if chance.random() < 0.02:
        bytes_ = bytes_.decode("utf-8", "replace").encode("utf-16")
    return bytes_[: chance.randrange(1, len(bytes_) + 1)] if chance.random() < 0.05 else bytes_


def refuse(name):
    raise ValueError(f"{name} is no JSON")


def read_by_others(taken):
    """One JSON text a line: each parser has to find all of them."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(b"\n".join(b" ".join(text.splitlines()) for text in taken) + b"\n")
        file.flush()
        script = "const fs=require('fs');let n=0;for(const l of fs.readFileSync(process.argv[1]).toString('utf8').split('\\n'))if(l){JSON.parse(l);n++}console.log(n)"
        for name, command in [("node", ["node", "-e", script, file.name]), ("jq", ["jq", "-c", ".", file.name])]:
            if not shutil.which(name):
                print(f"SKIPPED {name}: it is not there", file=sys.stderr)
                continue
            output = subprocess.run(command, capture_output=True, check=True).stdout
            found = int(output) if name == "node" else len(output.split(b"\n")) - 1
            assert found == len(taken), f"{name} reads {found} of {len(taken)}"


def main(url, count, seed):
    chance, host = random.Random(seed), urlsplit(url)
    statuses, taken = Counter(), []
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
    for _ in range(count):
        sent = body(chance)
        connection.request("POST", "/messages", sent)
        answer = connection.getresponse()
        said = answer.read()
        statuses[answer.status] += 1
        assert answer.status in (200, 400, 413), f"{answer.status} {said!r} to {sent!r}"
        envelope = json.loads(said)
        assert ("data" in envelope) == (answer.status == 200) and envelope["request_id"], said
        if answer.status == 200:
            json.loads(sent.decode("utf-8"), parse_constant=refuse)
            taken.append(sent)
    read_by_others(taken)
    print(f"answered {dict(sorted(statuses.items()))}")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
