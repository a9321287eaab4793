"""The control server's page in a real browser: real apps are launched, fed, followed and die."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.acceptance.browser import browser as chromium
from tests.acceptance.browser import page as new_page
from tests.acceptance.control_site import FAST, ControlSite, played
from tests.cameras import film

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]

CONTROL, VIEW = "command-0123456789", "look-0123456789"
UNAUTHORIZED = "401 (Unauthorized)"
REFUSED = (UNAUTHORIZED, "403 (Forbidden)", "404 (Not Found)", "ERR_CONNECTION_REFUSED")
"""What the browser itself notes of refusals, and of a server that is away."""
AWAY = ("ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
APPS, SLOTS, REQUESTS = 20, 8, 500
MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=MS)
    with chromium() as running:
        yield running


def card(page: Page, instance: str) -> Locator:
    return page.get_by_role("article", name=instance)


def tile(page: Page, label: str) -> Locator:
    return page.locator(".tile").filter(has_text=label)


def wide(page: Page) -> bool:
    """Whether the page is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def log_in(page: Page, token: str) -> None:
    page.get_by_label("This control server asks for a token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_an_app_is_launched_fed_and_followed_until_it_is_killed(browser: Browser, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a.mp4", "b.mp4"):
        film(videos / name, 24)
    (videos / "c.mp4").write_bytes(b"no film")
    settings = {**FAST, "SIWAT_CONTROL__RESTARTS": "0", "SIWAT_CONTROL__ADDITIONAL_ARGS": '["--verbose"]'}
    with ControlSite(tmp_path, settings) as site, new_page(browser) as (page, complaints):
        page.goto(site.page)
        expect(page.get_by_text("No app yet")).to_be_visible()
        expect(page.get_by_text("Launch an app first")).to_be_visible()
        assert complaints == []
        page.evaluate("window.unloaded = false")

        launch(page, site)
        expect(card(page, "gate").get_by_text("running", exact=True)).to_be_visible()
        expect(card(page, "gate").get_by_text("Idle")).to_have_count(2)
        start_analysis(page, videos, tmp_path / "results")
        expect(card(page, "gate").get_by_role("progressbar").first).to_be_visible()
        page.get_by_role("button", name="Ended 1").click()
        row = page.get_by_role("row").filter(has_text="Gate")
        expect(row).to_contain_text("2 of 3 done, 1 failed")
        row.get_by_role("button", name="Gate").click()
        files = page.get_by_role("dialog", name="Gate")
        expect(files.get_by_role("row")).to_have_count(4)
        expect(files.get_by_role("row").filter(has_text="c.mp4")).to_contain_text("failed")
        assert (tmp_path / "results" / "a.jsonl").is_file()
        page.keyboard.press("Escape")

        card(page, "gate").get_by_role("button", name="Logs of gate").click()
        expect(page.get_by_role("dialog", name="Log of gate")).to_contain_text("2 slots are ready")
        page.keyboard.press("Escape")

        os.kill(site.get("/processes/by-instance/gate")["host_pid"], signal.SIGKILL)
        expect(card(page, "gate").get_by_text("crashed", exact=True)).to_be_visible()
        expect(card(page, "gate")).to_contain_text("SIGKILL")
        expect(page.locator("#heard")).to_contain_text("App gate is crashed")
        expect(card(page, "gate").get_by_role("button", name="Launch again: gate")).to_be_visible()
        again(page)

        site.kill()
        expect(page.get_by_role("alert")).to_contain_text("The connection to the control server is lost")
        site.start()
        expect(page.get_by_text("The connection is there again")).to_be_visible()
        expect(card(page, "gate").get_by_text("crashed", exact=True)).to_be_visible()
        assert page.evaluate("window.unloaded") is False
        assert [text for text in complaints if not any(known in text for known in REFUSED + AWAY)] == []


def again(page: Page) -> None:
    """The form begins with all that it was launched with."""
    card(page, "gate").get_by_role("button", name="Launch again: gate").click()
    form = page.get_by_role("dialog", name="Launch an app")
    expect(form.get_by_label("Slots")).to_have_value("2")
    expect(form.get_by_label("Additional arguments")).to_have_value("--verbose")
    page.keyboard.press("Escape")


def launch(page: Page, site: ControlSite) -> None:
    """By the form: what is wrong is told beside it, and what was typed stays."""
    page.get_by_role("button", name="Launch an app").click()
    form = page.get_by_role("dialog", name="Launch an app")
    form.get_by_label("Config").fill("/etc/passwd")
    form.get_by_label("Slots").fill("2")
    form.get_by_label("Instance id").fill("gate")
    form.get_by_label("Additional arguments").fill("--verbose")
    form.get_by_role("button", name="Launch", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("control.config_folders")
    expect(form.get_by_label("Config")).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("Config")).to_have_value("/etc/passwd")
    expect(form.get_by_label("Slots")).not_to_have_attribute("aria-invalid", "true")
    form.get_by_label("Config").fill(str(site.config))
    form.get_by_role("button", name="Launch", exact=True).click()
    expect(form).to_have_count(0)


def start_analysis(page: Page, videos: Path, results: Path) -> None:
    page.get_by_role("button", name="Start an analysis").click()
    form = page.get_by_role("dialog", name="Start an analysis")
    form.get_by_label("Folder", exact=True).fill(str(videos / "none"))
    form.get_by_role("button", name="Start", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("is not there")
    form.get_by_label("Folder", exact=True).fill(str(videos))
    form.get_by_label("Name").fill("Gate")
    form.get_by_label("Results").fill(str(results))
    form.get_by_role("button", name="Start", exact=True).click()
    expect(form).to_have_count(0)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlSite]:
    """A server with tokens, 20 connected apps of 8 slots, all busy, and hundreds of requests that wait."""
    folder = tmp_path_factory.mktemp("busy")
    settings = {
        "SIWAT_CONTROL_TOKEN": CONTROL,
        "SIWAT_VIEW_TOKEN": VIEW,
        "SIWAT_CONTROL__TEST_ROUTES": "true",
        "SIWAT_CONTROL__SAMPLE_DATA": str(played(folder, APPS, SLOTS)),
    }
    with ControlSite(folder, settings, CONTROL) as site:
        for number in range(APPS):
            site.post(f"/test/simulate-handshake/played-{number:02}")
        site.post("/test/simulate-metrics/played-00")
        for number in range(REQUESTS):
            file = {"file_id": 1, "file_path": f"/videos/{number}.mp4", "file_name": f"{number}.mp4"}
            body = {"camera_id": number, "type": "fileset", "path": "/videos", "name": f"Camera {number}"}
            site.post("/analysis/start", {**body, "request_id": f"r{number}", "files": [file]})
        yield site


def test_gpus_of_one_number_on_several_machines_are_several(browser: Browser, busy: ControlSite) -> None:
    script = """async ([apps]) => {
        const { Known } = await import("./assets/known.js");
        const known = new Known();
        known.snapshot({ apps, slots: [], requests: [] });
        const found = [...known.totals().gpus.values()];
        return found.map(({ gpu, host, gpu_percent }) => [gpu, host ?? null, gpu_percent]);
    }"""
    gpus = [
        {"gpu": 0, "uuid": "GPU-a", "host": "box", "gpu_percent": 10},
        {"gpu": 0, "uuid": "GPU-b", "host": "far", "gpu_percent": 20},
        {"gpu": 0, "uuid": "GPU-b", "host": "container", "gpu_percent": 30},
        {"gpu": 0, "gpu_percent": 40},
    ]
    apps = [
        {"instance_id": f"a{at}", "ws_status": "connected", "metrics": {"timestamp": f"{at}", "gpus": [gpu]}}
        for at, gpu in enumerate(gpus)
    ]
    with new_page(browser) as (page, _):
        page.goto(busy.page)
        assert page.evaluate(script, [apps]) == [[0, "box", 10], [0, "container", 30], [0, None, 40]]


def test_tokens_are_asked_for_and_looking_is_not_commanding(browser: Browser, busy: ControlSite) -> None:
    with new_page(browser) as (page, complaints):
        page.goto(busy.page)
        log_in(page, "guess")
        expect(page.get_by_role("alert")).to_contain_text("no such token")
        assert page.get_by_role("article").count() == 0
        log_in(page, VIEW)
        expect(card(page, "played-00")).to_be_visible()
        card(page, "played-00").get_by_role("button", name="Terminate played-00").click()
        page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
        expect(page.get_by_role("alert")).to_contain_text("this needs the control token")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("This control server asks for a token")).to_be_visible()
        assert [text for text in complaints if not any(known in text for known in REFUSED)] == []


def test_twenty_apps_and_their_queues_are_drawn_in_part_and_can_be_commanded(
    browser: Browser, busy: ControlSite
) -> None:
    with new_page(browser) as (page, complaints):
        page.goto(busy.page)
        log_in(page, CONTROL)
        waiting = REQUESTS - APPS * SLOTS
        expect(page.get_by_role("button", name=f"Waiting {waiting:,}")).to_be_visible()
        expect(page.get_by_role("article")).to_have_count(APPS)
        expect(page.locator(".gpu")).to_have_count(2)
        assert page.locator(".gpu meter").first.get_attribute("value") == "40"
        page.get_by_role("button", name=f"Waiting {waiting:,}").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_role("button", name=f"Show 50 more of {waiting - 50:,}").click()
        expect(page.locator("tbody tr")).to_have_count(100)
        assert page.locator("*").count() < 8000

        expect(page.locator("tbody tr").first).to_contain_text("1. for played-00 / 0")
        second = page.locator("tbody tr").nth(1).get_by_role("button").first.inner_text()
        page.get_by_role("button", name=f"Put {second} first").click()
        expect(page.locator("tbody tr").first).to_contain_text(second)
        page.get_by_role("button", name=f"Cancel {second}", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
        expect(page.get_by_role("button", name=f"Waiting {waiting - 1:,}")).to_be_visible()
        busy.post(
            "/test/simulate-file-processing/played-00", {"camera_id": 0, "file_id": 1, "action": "start"}
        )
        expect(card(page, "played-00").get_by_role("progressbar", name="Progress of 0.mp4")).to_be_visible()

        page.get_by_role("button", name=f"Running {APPS * SLOTS}").click()
        page.get_by_role("button", name="Interrupt Camera 0", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Interrupt").click()
        page.get_by_role("button", name="Ended 2").click()
        expect(page.get_by_role("row").filter(has_text="camera 0 ")).to_contain_text("interrupted")
        assert [text for text in complaints if UNAUTHORIZED not in text] == []


def test_a_request_whose_files_change_together_is_listed_anew(browser: Browser, busy: ControlSite) -> None:
    script = """async () => {
        const [{ html, render }, { Known }, { RequestFiles }] = await Promise.all(
            ["preact", "known", "files"].map((name) => import(`./assets/${name}.js`)));
        const known = new Known(), request = { request_id: "r0", files: { total: 1 }, name: "Looked at" };
        let asked = 0;
        const fetched = window.fetch;
        window.fetch = (address, ...rest) => {
            asked += String(address).includes("requests/r0");
            return fetched(address, ...rest);
        };
        const drawn = async (wanted) => {
            const shown = html`<${RequestFiles} known=${known} request=${request} onClose=${() => {}} />`;
            render(shown, document.body);
            for (let at = 0; at < 200 && (at < 5 || asked < wanted); at++)
                await new Promise((done) => setTimeout(done, 50));
            return asked;
        };
        const times = [await drawn(1), await drawn(1)];
        known.change({ kind: "files", key: "r1", value: { request_id: "r1", changed: 600 } });
        times.push(await drawn(1));
        known.change({ kind: "files", key: "r0", value: { request_id: "r0", changed: 600 } });
        return [...times, await drawn(2)];
    }"""
    with new_page(browser) as (page, _):
        page.goto(busy.page)
        assert page.evaluate(script) == [1, 1, 1, 2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all_without_scrolling_sideways(
    browser: Browser, busy: ControlSite, scheme: str
) -> None:
    with new_page(browser) as (page, _):
        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.goto(busy.page)
        assert not wide(page)
        log_in(page, VIEW)
        expect(card(page, "played-19")).to_be_visible()
        assert not wide(page)
        red, green, blue = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (max(red, green, blue) < 60) == (scheme == "dark")
        for button in ("Launch an app", "Start an analysis"):
            page.get_by_role("button", name=button).click()
            box = page.get_by_role("dialog").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
            page.keyboard.press("Escape")


def test_it_says_that_the_server_is_away_and_asks_again_for_the_token(
    browser: Browser, busy: ControlSite
) -> None:
    """Logins end with the server; what it knew does not."""
    with new_page(browser) as (page, complaints):
        page.goto(busy.page)
        log_in(page, VIEW)
        expect(card(page, "played-00")).to_be_visible()
        busy.kill()
        expect(page.get_by_role("alert")).to_contain_text("The connection to the control server is lost")
        assert card(page, "played-00").count() == 1
        busy.start()
        log_in(page, VIEW)
        expect(card(page, "played-00")).to_be_visible()
        assert [text for text in complaints if not any(known in text for known in REFUSED + AWAY)] == []
