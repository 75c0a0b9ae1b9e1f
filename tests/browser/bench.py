"""What the page costs with 100,000 rockets: time to first paint, memory of the tab, frames a second while messages arrive.

    bench.py ROCKETS_PROGRAM [MESSAGES_A_SECOND [SECONDS]]

Starts a service with a store of its own, launches 100,000 rockets, and then sends messages of 100,000 more while it looks.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from service import Service, eventually

CHROMIUM = "/usr/bin/chromium"
ROCKETS = 100_000
FRAMES = """
(seconds) => new Promise((resolve) => {
  const frames = [];
  const long = [];
  new PerformanceObserver((list) => long.push(...list.getEntries().map((it) => it.duration))).observe({ type: "longtask" });
  const end = performance.now() + seconds * 1000;
  let last = performance.now();
  const next = (now) => {
    frames.push(now - last);
    last = now;
    if (now < end) requestAnimationFrame(next);
    else resolve({ frames: frames.slice(1), long });
  };
  requestAnimationFrame(next);
})
"""


def renderer_megabytes():
    """What the largest renderer holds in memory that it shares with nobody."""
    sizes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"--type=renderer" in command:
                lines = (process / "smaps_rollup").read_text().splitlines()
                sizes.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024)
        except OSError:
            continue
    return max(sizes, default=0)


@contextlib.contextmanager
def running(program):
    """A service on a free port, in a folder that goes at the end."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = {"ROCKETS_HTTP__ADDR": f"127.0.0.1:{port}", "ROCKETS_BROKER__PORT": "0", "ROCKETS_BROKER__DATA_DIR": folder, "ROCKETS_BROKER__SYNC": "2m"}
        log = Path(folder, "log").open("w")
        up = subprocess.Popen([program, "up"], env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            service = Service(f"http://127.0.0.1:{port}", program)
            eventually("the service", lambda: is_up(service))
            yield service
        finally:
            up.terminate()
            up.wait(30)


def is_up(service):
    try:
        return service.get("readyz")
    except OSError:
        return None


def main(program, rate="20000", seconds="20"):
    with running(program) as service:
        everywhere = ["--rockets", str(ROCKETS), "--keep-alive", "--concurrency-level", "64"]
        service.launch(*everywhere, "--max-messages", str(ROCKETS)).wait(600)
        load = service.launch(*everywhere, "--seed", "2", "--max-messages", "100000000", "--rate", rate)
        try:
            look(service.url, int(seconds))
        finally:
            load.terminate()
            load.wait(30)


def look(url, seconds):
    rockets = ROCKETS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        empty = renderer_megabytes()
        begun = time.monotonic()
        page.goto(url)
        paint = page.evaluate("() => new Promise((resolve) => new PerformanceObserver((list) => list.getEntries().forEach((it) => it.name === 'first-contentful-paint' && resolve(it.startTime))).observe({ type: 'paint', buffered: true }))")
        page.locator("#fleet tbody tr").first.wait_for()
        rows = time.monotonic() - begun
        page.wait_for_function("(least) => Number(document.querySelector('.list-count').textContent.replace(/[^0-9]/g, '')) >= least", arg=rockets, timeout=120_000)
        complete = time.monotonic() - begun
        print(f"first paint {paint:.0f} ms; first rows {rows:.2f} s; all {rockets} rockets {complete:.2f} s")
        for name, state in [("by id", ""), ("by speed", "#sort=-speed"), ("filtered and by speed", "#sort=-speed&status=active&q=a")]:
            page.evaluate("(hash) => { location.hash = hash; }", state)
            page.wait_for_timeout(2_000)
            before = page.locator("#fleet tbody").inner_text()
            measured = page.evaluate(FRAMES, seconds)
            moved = page.locator("#fleet tbody").inner_text() != before
            frames, long = measured["frames"], measured["long"]
            slowest = sorted(frames)[int(len(frames) * 0.99)]
            print(f"{name}: {1000 / statistics.mean(frames):.0f} frames/s, 99th of a hundred {slowest:.0f} ms; "
                  f"{len(long) / seconds:.1f} long tasks/s, longest {max(long, default=0):.0f} ms; changes seen: {moved}")
        page.evaluate("() => { location.hash = ''; }")
        page.wait_for_timeout(1_000)
        typed = page.evaluate("""async () => {
          const field = document.querySelector("#search");
          const begun = performance.now();
          field.value = "falcon";
          field.dispatchEvent(new Event("input"));
          await new Promise((resolve) => { const look = () => (location.hash.includes("q=") ? requestAnimationFrame(resolve) : requestAnimationFrame(look)); look(); });
          return performance.now() - begun;
        }""")
        nodes = page.locator("#fleet tbody tr").count()
        print(f"search {typed:.0f} ms; {nodes} rows in the document; memory of the tab {renderer_megabytes() - empty:.0f} MB over an empty one ({renderer_megabytes():.0f} MB)")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
