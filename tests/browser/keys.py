"""The page at a service that asks for keys.

    keys.py SERVICE_URL READ_KEY INGEST_KEY

Prints `all seen` at the end. The only errors that the console may have are the refusals themselves.
"""

import sys

from playwright.sync_api import expect, sync_playwright

from check import CHROMIUM, DESKTOP


def enter(page, key):
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use it").click()


def run(page, url, read, ingest, noticed):
    page.goto(url)
    dialog, connection = page.get_by_role("dialog"), page.locator("#connection")
    expect(dialog).to_contain_text("A key is needed")
    # Whoever has none sees that one is needed, and is not asked again and again.
    page.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    expect(connection).to_have_attribute("data-state", "locked")
    connection.click()
    enter(page, "rkt_wrong_0123456789")
    expect(dialog).to_contain_text("another key")
    enter(page, read)
    expect(dialog).to_have_count(0)
    expect(connection).to_have_attribute("data-state", "live")
    page.locator('[data-view="dead-letters"]').click()
    expect(page.locator("#view-dead-letters")).to_be_visible()
    # It is in no address and in nothing that outlives the tab.
    kept = page.evaluate("JSON.stringify([location.href, {...localStorage}, {...sessionStorage}, document.cookie])")
    assert read not in kept, kept
    page.get_by_role("button", name="Key", exact=True).click()
    enter(page, ingest)
    page.reload()
    expect(dialog).to_contain_text("A key is needed")
    unexpected = [it for it in noticed if "401" not in it and "403" not in it]
    assert not unexpected, unexpected


def main(url, read, ingest):
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, noticed = browser.new_page(viewport=DESKTOP), []
        page.on("console", lambda message: message.type in ("error", "warning") and noticed.append(message.text))
        page.on("pageerror", lambda error: noticed.append(f"page error: {error}"))
        try:
            run(page, url, read, ingest, noticed)
        except BaseException:
            print("\n".join(noticed), file=sys.stderr)
            raise
        browser.close()
    print("all seen")


if __name__ == "__main__":
    main(*sys.argv[1:])
