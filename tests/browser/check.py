"""The page in a real browser, used as people use it, while the load generator runs.

    check.py SERVICE_URL ROCKETS_PROGRAM SCREENSHOTS_FOLDER [SEED]

The seed is the load generator's: at a service that has seen one before, its messages are duplicates. Prints `all seen` at the end. Any console error, any request to another host and any finding of axe is a failure.
"""

import re
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from proxy import Wire
from service import Rocket, Service, eventually

CHROMIUM = "/usr/bin/chromium"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
# More than a double holds, and text that would be an element if it were taken as one.
LARGE = 9_007_199_254_740_993
MARKUP = '<img src=x onerror="window.broken=1">'


class Look:
    """One browser at one service, and all that is noticed on the way."""

    def __init__(self, browser, wire, service, screenshots):
        self.wire, self.service, self.screenshots = wire, service, screenshots
        self.noticed = []
        self.is_cut = False
        self.context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.noticed.append(f"page error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message):
        # A browser reports a refused connection by itself, and that is what was done to it.
        is_expected = self.is_cut and "net::ERR_" in message.text
        if message.type in ("error", "warning") and not is_expected:
            self.noticed.append(f"console {message.type}: {message.text}")

    def _request(self, request):
        if urlsplit(request.url).netloc != urlsplit(self.wire.url).netloc:
            self.noticed.append(f"a request to another host: {request.url}")

    def open(self, state=""):
        self.page.goto("about:blank")
        self.page.goto(f"{self.wire.url}/{state}")
        expect(self.page.locator("#connection")).to_have_attribute("data-state", "live")

    def all_is_well(self):
        assert not self.noticed, "\n".join(self.noticed)

    def axe(self, name):
        """A picture of the view as it is in either theme, and no finding of axe in it."""
        # Pictures first: while axe looks, nothing is painted.
        self._in_each_theme(lambda theme: self.picture(f"{name}-{theme}"))
        self._in_each_theme(lambda theme: self._find_nothing(f"{name}, {theme}"))

    def _in_each_theme(self, act):
        for theme in ("dark", "light"):
            self.page.emulate_media(color_scheme=theme)
            self.page.wait_for_timeout(400)
            act(theme)

    def _find_nothing(self, where):
        results = Axe().run(self.page, options=RULES).response
        assert results["passes"], "axe has looked at nothing"
        for it in results["violations"]:
            node = it["nodes"][0]
            raise AssertionError(f"{where}: {it['id']}: {it['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}")

    def picture(self, name):
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    def rows(self, view="#fleet"):
        return self.page.locator(f"{view} tbody tr")

    def column(self, key, view="#fleet"):
        return self.page.locator(f'{view} td[data-column="{key}"]').all_inner_texts()


def some_trouble(service):
    """An explosion, a dead letter and a gap, so that there is one of each to be seen."""
    exploded = Rocket(service, "Falcon-9", mission="ARTEMIS")
    exploded.faster(2, 7_000)
    exploded.say(3, "RocketExploded", reason="PRESSURE_VESSEL_FAILURE")
    twice = Rocket(service, "Starship", mission="GEMINI")
    twice.faster(2, 12_000)
    twice.say(3, "RocketLaunched", type="Starship", launchSpeed=1, mission="GEMINI")
    behind = Rocket(service, "Ariane-6", mission="JUNO")
    behind.faster(2, 9_000)
    behind.faster(4, 100)


def the_fleet_moves(look):
    look.open("#sort=type")
    expect(look.rows()).not_to_have_count(0)
    look.page.evaluate("window.loadedOnce = true")
    before = look.column("number")
    eventually("numbers that change", lambda: look.column("number") != before)
    before = look.page.locator("#readouts").inner_text()
    eventually("readouts that change", lambda: look.page.locator("#readouts").inner_text() != before)
    assert look.page.locator("table").first.get_attribute("aria-label") == "Rockets"
    # Rates are known from the second pulse on; by then the picture has some seconds to show.
    eventually("rates that are known", lambda: "–" not in look.page.locator("#readouts").inner_text())
    look.axe("fleet")


def it_sorts(look):
    def speeds():
        return [int(text.replace(",", "")) for text in look.column("speed")]

    look.open()
    look.page.get_by_role("button", name="Speed", exact=True).click()
    expect(look.page.get_by_role("columnheader", name="Speed")).to_have_attribute("aria-sort", "descending")
    # A row is sorted at most once a second, so between two reads the order may lag behind the numbers.
    eventually("speeds that fall", lambda: (them := speeds()) and them == sorted(them, reverse=True))
    look.page.get_by_role("button", name="Type", exact=True).click()
    eventually("types in order", lambda: (them := look.column("type")) and them == sorted(them))
    look.page.get_by_role("button", name="Type", exact=True).click()
    eventually("types the other way", lambda: (them := look.column("type")) == sorted(them, reverse=True))
    assert "sort=-type" in look.page.url
    look.page.reload()
    eventually("the same order after a reload", lambda: (them := look.column("type")) and them == sorted(them, reverse=True))


def rows_stay_under_the_pointer(look):
    look.open("#sort=-number")
    look.rows().nth(2).hover()
    before, numbers = look.column("id"), look.column("number")
    expect(look.page.get_by_text("order held")).to_be_visible()
    eventually("numbers that change", lambda: look.column("number") != numbers)
    # Three times as long as until they would be sorted again.
    look.page.wait_for_timeout(3_000)
    assert look.column("id") == before, "rows have moved under the pointer"
    look.page.mouse.move(640, 20)
    expect(look.page.get_by_text("order held")).to_be_hidden()


def it_filters(look, rocket):
    look.open()
    look.page.get_by_label("Status", exact=True).select_option("exploded")
    eventually("exploded ones only", lambda: set(look.column("status")) == {"exploded"})
    look.page.get_by_label("Status", exact=True).select_option("active")
    eventually("active ones only", lambda: set(look.column("status")) == {"active"})
    look.page.get_by_label("Type", exact=True).select_option(rocket.name)
    expect(look.rows()).to_have_count(1)
    expect(look.page.locator(".list-count").first).to_contain_text(re.compile(r"^1 of \d+ rockets$"))
    look.page.get_by_role("button", name="Clear").click()
    look.page.keyboard.press("/")
    look.page.keyboard.type(rocket.id[:13])
    expect(look.rows()).to_have_count(1)
    look.page.get_by_label("Mission", exact=True).select_option(MARKUP)
    expect(look.page.get_by_text("No rocket is like that")).to_be_visible()
    look.page.get_by_role("button", name="Clear").click()
    assert look.page.url.endswith("/"), look.page.url


def it_has_keys(look):
    page = look.page
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    look.axe("help")
    page.keyboard.press("Escape")
    page.locator("body").click(position={"x": 700, "y": 20})
    page.keyboard.press("ArrowDown")
    expect(look.rows().first).to_be_focused()
    page.keyboard.press("j")
    expect(look.rows().nth(1)).to_be_focused()
    page.keyboard.press("End")
    eventually("the last row in focus", lambda: page.evaluate("document.activeElement.ariaRowIndex") == page.locator("#fleet table").get_attribute("aria-rowcount"))
    page.keyboard.press("Home")
    expect(look.rows().first).to_be_focused()
    first = look.rows().first.get_attribute("data-id")
    page.keyboard.press("Enter")
    eventually("the rocket in the address", lambda: f"rocket={first}" in page.url)
    page.keyboard.press("Escape")
    eventually("no rocket in the address", lambda: first not in page.url)


def a_rocket_opens(look, rocket):
    page = look.page
    look.open(f"#q={rocket.id}")
    expect(look.rows()).to_have_count(1)
    expect(look.page.locator('#fleet td[data-column="mission"]')).to_have_text(MARKUP)
    expect(look.page.locator('#fleet td[data-column="speed"]')).to_have_text(f"{LARGE:,}")
    page.locator('#fleet td[data-column="type"]').click()
    eventually("the full id in the address", lambda: rocket.id in page.url)
    expect(page.locator("#rocket h2")).to_contain_text(rocket.name)
    expect(look.rows("#rocket")).to_have_count(4)
    assert look.column("number", "#rocket") == ["4", "3", "2", "1"]
    assert look.column("effect", "#rocket")[0] == f"+{LARGE - 620:,} → {LARGE:,}"
    drawn = "(canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((it) => it > 0)"
    assert page.locator("#rocket canvas").evaluate(drawn), "the chart is empty"
    assert not page.evaluate("window.broken"), "text became an element"
    rocket.faster(5, 1)
    expect(look.rows("#rocket")).to_have_count(5)
    look.axe("rocket")


def it_travels_in_time(look, rocket):
    page = look.page
    speed = page.locator("#rocket .facts dd").first
    page.locator("#rocket h2").focus()
    page.keyboard.press("ArrowLeft")
    eventually("number 4", lambda: "at=4&" in page.url + "&")
    expect(speed).to_have_text(f"{LARGE:,}")
    slider = page.get_by_role("slider")
    slider.fill("2")
    eventually("number 2", lambda: "at=2&" in page.url + "&")
    expect(speed).to_have_text("620")
    slider.press("ArrowLeft")
    expect(speed).to_have_text("500")
    expect(page.get_by_text("As it was after message 1")).to_be_visible()
    look.axe("rocket-then")
    page.reload()
    expect(speed).to_have_text("500")
    page.locator("#rocket tbody tr").nth(1).click()
    eventually("the number of a row", lambda: "at=4&" in page.url + "&")
    page.get_by_role("button", name="Live", exact=True).click()
    expect(speed).to_have_text(f"{LARGE + 1:,}")


def a_gap_is_skipped(look, rocket):
    page = look.page
    rocket.faster(7, 10)
    rocket.faster(8, 10)
    expect(page.get_by_text("Waits for number 6: 2 later messages")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    row = page.locator(f'#view-gaps tr[data-id="{rocket.id}"]')
    expect(row).to_contain_text(rocket.name)
    look.axe("gaps")
    row.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Skip")
    expect(confirm).to_be_disabled()
    dialog.get_by_label("Reason").fill("radio lost")
    expect(confirm).to_be_enabled()
    expect(dialog.locator(".effect")).to_contain_text("What this does")
    assert rocket.now["lastMessageNumber"] == 5, "asking did something"
    look.axe("skip")
    confirm.click()
    expect(dialog.locator(".effect")).to_contain_text("processed")
    dialog.get_by_role("button", name="Close").click()
    rocket.until(8)
    expect(row).to_have_count(0)
    look.open(f"#rocket={rocket.id}")
    expect(page.locator('#rocket td[data-column="outcome"] [data-status="skipped"]')).to_have_count(1)


def a_dead_letter_is_mended(look, rocket):
    page = look.page
    rocket.say(9, "RocketLaunched", type="Again", launchSpeed=1, mission="AGAIN")
    rocket.until(9)
    page.keyboard.press("d")
    page.get_by_label("Only of this channel").fill(rocket.id)
    expect(look.rows("#view-dead-letters")).to_have_count(1)
    look.axe("dead-letters")
    look.rows("#view-dead-letters").first.click()
    expect(page.locator("#view-dead-letters pre")).to_contain_text('"launchSpeed": 1')
    look.axe("dead-letter")
    replayed(look, "Replay…", "Replay", "failed")
    expect(page.locator('#view-dead-letters td[data-column="attempts"]')).to_have_text("2")
    look.rows("#view-dead-letters").first.click()
    page.get_by_role("button", name="Correct…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Message type").select_option("RocketSpeedIncreased")
    expect(dialog.locator(".effect")).to_contain_text("message.by: must be an integer from 0")
    dialog.get_by_label("message.by").fill("100")
    expect(dialog.locator(".difference")).to_contain_text("RocketLaunched → RocketSpeedIncreased")
    expect(dialog.get_by_role("button", name="Replay as corrected")).to_be_enabled()
    look.axe("correct")
    dialog.get_by_role("button", name="Replay as corrected").click()
    expect(dialog.locator(".effect")).to_contain_text("processed")
    dialog.get_by_role("button", name="Close").click()
    expect(look.rows("#view-dead-letters")).to_have_count(0)
    eventually("the correction", lambda: rocket.now["currentSpeed"] == LARGE + 1 + 20 + 100)


def replayed(look, opens, confirms, outcome):
    page = look.page
    page.get_by_role("button", name=opens).click()
    dialog = page.get_by_role("dialog")
    button = dialog.get_by_role("button", name=confirms, exact=True)
    expect(button).to_be_enabled()
    expect(dialog.locator(".effect")).to_contain_text("What this does")
    button.click()
    expect(dialog.locator(".effect")).to_contain_text(outcome)
    dialog.get_by_role("button", name="Close").click()


def many_are_replayed(look, rocket):
    page = look.page
    for number in range(10, 16):
        rocket.say(number, "RocketLaunched", type="Again", launchSpeed=number, mission="AGAIN")
    rocket.until(15)
    expect(look.rows("#view-dead-letters")).to_have_count(6)
    page.get_by_role("button", name="Replay all of these…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".effect")).to_contain_text("6 dead letters will be stored again")
    dialog.get_by_role("button", name="Replay 6").click()
    expect(dialog.locator(".effect")).to_contain_text("6 of 6 replayed.")
    look.axe("replay-many")
    dialog.get_by_role("button", name="Close").click()
    eventually("six with a second attempt", lambda: look.column("attempts", "#view-dead-letters") == ["2"] * 6)
    look.rows("#view-dead-letters").first.click()
    replayed(look, "Drop…", "Drop it", "dropped")
    expect(look.rows("#view-dead-letters")).to_have_count(5)


def the_server_is_lost_and_found(look, rocket):
    page = look.page
    look.open(f"#rocket={rocket.id}")
    speed = page.locator("#rocket .facts dd").first
    before = speed.inner_text()
    page.evaluate("window.loadedOnce = true")
    look.is_cut = True
    look.wire.cut()
    expect(page.locator("#connection-text")).to_contain_text("reconnecting")
    expect(page.locator("body")).to_have_attribute("data-connection", "stale")
    rocket.faster(16, 1_000)
    rocket.until(16)
    assert speed.inner_text() == before
    look.picture("lost")
    look.wire.join()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=60_000)
    look.is_cut = False
    expect(speed).to_have_text(f"{LARGE + 1 + 20 + 100 + 1_000:,}")
    assert page.evaluate("window.loadedOnce"), "it was loaded again"


def it_fits_a_phone(look, rocket):
    look.page.set_viewport_size(PHONE)
    for name, state in [("fleet", ""), ("rocket", f"#rocket={rocket.id}"), ("gaps", "#view=gaps"), ("dead-letters", "#view=dead-letters")]:
        look.open(state)
        look.page.wait_for_timeout(500)
        assert look.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], f"{name} is wider than a phone"
        look.axe(f"phone-{name}")
    look.open()
    look.rows().first.click()
    expect(look.page.locator("#rocket h2")).to_be_visible()
    expect(look.page.locator("#fleet")).to_be_hidden()


def the_theme_stays(look):
    page = look.page
    page.set_viewport_size(DESKTOP)
    look.open()
    page.get_by_role("radio", name="Dark").check(force=True)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.get_by_role("radio", name="Light").check(force=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def the_api_can_be_tried(look):
    """The description for people shows each operation, and what one answers."""
    page = look.page
    page.goto(f"{look.wire.url}/docs")
    expect(page.locator(".opblock-summary", has_text="/rockets/live")).to_be_visible()
    stats = page.locator(".opblock", has_text="/stats")
    stats.locator(".opblock-summary").click()
    stats.get_by_role("button", name="Try it out").click()
    stats.get_by_role("button", name="Execute").click()
    expect(stats.locator(".live-responses-table")).to_contain_text("by_mission")
    look.picture("docs")


def run(look):
    some_trouble(look.service)
    the_fleet_moves(look)
    # Names that no run before has used.
    run_name = uuid.uuid4().hex[:6]
    rocket = Rocket(look.service, f"Test-{run_name}", mission="ELSEWHERE")
    rocket.faster(2, 120)
    rocket.say(3, "RocketMissionChanged", newMission=MARKUP)
    rocket.faster(4, LARGE - 620)
    rocket.until(4)
    other = Rocket(look.service, f"Other-{run_name}", mission="ELSEWHERE")
    steps = [
        it_sorts, rows_stay_under_the_pointer, lambda look: it_filters(look, other), it_has_keys,
        lambda look: a_rocket_opens(look, rocket), lambda look: it_travels_in_time(look, rocket),
        lambda look: a_gap_is_skipped(look, rocket), lambda look: a_dead_letter_is_mended(look, rocket),
        lambda look: many_are_replayed(look, rocket), lambda look: the_server_is_lost_and_found(look, rocket),
        lambda look: it_fits_a_phone(look, rocket), the_theme_stays, the_api_can_be_tried,
    ]
    for step in steps:
        step(look)
        look.all_is_well()


def main(url, program, screenshots, seed="444"):
    screenshots = Path(screenshots)
    screenshots.mkdir(parents=True, exist_ok=True)
    service = Service(url, program)
    host = urlsplit(url)
    wire = Wire((host.hostname, host.port))
    launcher = service.launch("--seed", seed, "--message-delay", "60ms", "--lost", "0.001")
    expect.set_options(timeout=30_000)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            look = Look(browser, wire, service, screenshots)
            try:
                run(look)
            except BaseException:
                look.picture("failed")
                print("\n".join(look.noticed), file=sys.stderr)
                raise
            browser.close()
    finally:
        launcher.terminate()
        launcher.wait(20)
    print("all seen")


if __name__ == "__main__":
    main(*sys.argv[1:])
