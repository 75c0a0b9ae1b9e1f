"""What the browser test says to the service past the page: messages, questions, and the load generator beside it."""

import json
import subprocess
import time
import urllib.error
import urllib.request
import uuid

TIME = "2026-02-02T19:39:05.86337+01:00"


class Service:
    def __init__(self, url, program):
        self.url = url
        self._program = program

    def get(self, path):
        """The data of an answer, or nothing where it is a 404."""
        try:
            with urllib.request.urlopen(f"{self.url}/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def post(self, channel, number, kind, message):
        metadata = {"channel": channel, "messageNumber": number, "messageTime": TIME, "messageType": kind}
        body = json.dumps({"metadata": metadata, "message": message}).encode()
        request = urllib.request.Request(f"{self.url}/messages", data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["data"]["event_id"]

    def launch(self, *options):
        """The load generator; the caller ends it."""
        command = [self._program, "launch", f"{self.url}/messages", *options]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def until(self, what, path, is_so):
        """Waits until an answer is as it should be."""
        return eventually(what, lambda: (data := self.get(path)) is not None and is_so(data) and data)


class Rocket:
    """A rocket of the test's own, whose every number is known."""

    def __init__(self, service, name, mission="TESTING"):
        self.id = str(uuid.uuid4())
        self._service = service
        self.name = name
        self.say(1, "RocketLaunched", type=name, launchSpeed=500, mission=mission)

    def say(self, number, kind, **message):
        return self._service.post(self.id, number, kind, message)

    def faster(self, number, by):
        return self.say(number, "RocketSpeedIncreased", by=by)

    def until(self, number):
        return self._service.until(f"{self.name} at {number}", f"rockets/{self.id}", lambda it: it["lastMessageNumber"] == number)

    @property
    def now(self):
        return self._service.get(f"rockets/{self.id}")


def eventually(what, look, patience=30):
    """Asks until the answer is something, and gives it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")
