"""The page in a real browser: what is painted, what hands and keys do, and that no name is ever run."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing_parts import NASTY, Running, serving
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from selfsight.browsing import static
from selfsight.browsing.collection import gather
from selfsight.browsing.labels import Labels
from selfsight.browsing.payloads import Payloads
from selfsight.browsing.server import Server
from selfsight.data import source
from selfsight.searching.index import Index

CHROMIUM = next((one for one in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(one).exists()), "")
PATIENCE = 60_000  # milliseconds: the machine may be busy
expect.set_options(timeout=PATIENCE)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "these tests need Debian's chromium: apt-get install chromium"
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def two(browsed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two runs side by side, of which only the first has a classifier, and no encoder."""
    home = tmp_path_factory.mktemp("two")
    shutil.copytree(browsed / "embeddings", home / "plain", ignore=shutil.ignore_patterns("browse"))
    plain = Index.open(home / "plain")
    plain.eye.folder = home / "gone"
    with serving(shown(home, Index.open(browsed), plain)) as started:
        yield started


def shown(folder: Path, *indexes: Index) -> Server:
    """A server without an encoder."""
    collection = gather(indexes)
    return Server(Payloads(collection, Labels(collection, folder / "labels.csv"), searchable=False), None)


def bad(said: ConsoleMessage) -> bool:
    """Whether the console complains; that a bad picture is refused, or the page is offline, is told there as well."""
    expected = any(one in said.text for one in ("status of 415", "ERR_INTERNET_DISCONNECTED"))
    return said.type == "error" and not expected


@pytest.fixture
def visit(browser: Browser, running: Running) -> Iterator[Open]:
    """Open the page; afterwards no error was thrown, nothing was refused, and no name was run."""
    pages: list[tuple[Page, list[str]]] = []

    def open_page(address: str = "", before: Callable[[Page], None] = lambda page: None, **options: object) -> Page:
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(PATIENCE)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if bad(said) else None)
        page.on("dialog", lambda dialog: errors.append(f"a name was run: {dialog.message}"))
        pages.append((page, errors))
        before(page)
        page.goto(address or running.address)
        painted(page)
        return page

    yield open_page
    for page, errors in pages:
        assert page.title().endswith("· Selfsight")
        page.context.close()
        assert not errors


def painted(page: Page) -> None:
    """Wait for the map; the page's policy forbids what Playwright's own waiting does."""
    while not page.evaluate("performance.getEntriesByName('painted').length"):
        page.wait_for_timeout(20)


def saved(saving: Any) -> str:
    """What was downloaded."""
    return Path(saving.value.path()).read_bytes().decode()


def pixels(page: Page) -> np.ndarray:
    """The map as it is seen."""
    return np.asarray(Image.open(io.BytesIO(page.locator(".map").first.screenshot())).convert("RGB")).astype(int)


def drawn(page: Page, least: float, most: float) -> float:
    """How much of the map is not paper, once it is between these."""
    for _ in range(int(PATIENCE / 100)):
        seen = pixels(page)
        share = float((np.abs(seen - seen[40, 300]).sum(axis=2) > 60).mean())
        if least < share < most:
            return share
        page.wait_for_timeout(100)
    raise AssertionError(f"{share} of the map is drawn, not between {least} and {most}")


def carded(page: Page, x: float, y: float) -> bool:
    """Whether a card shows with the hand here, two frames later."""
    page.mouse.move(x, y)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator("#card").is_visible() and bool(page.locator("#card-name").inner_text())


def place(page: Page, name: str, side: int = 0) -> tuple[float, float]:
    """Where a picture is on the screen: asked of the card beside the hand."""
    box = page.locator(".paper").nth(side).bounding_box()
    assert box is not None
    for column in range(4, 40):
        for row in range(4, 32):
            x, y = box["x"] + box["width"] * column / 44, box["y"] + box["height"] * row / 36
            if carded(page, x, y) and carded(page, x + 1, y):  # the first may be of the place before
                return x + 1, y
    raise AssertionError(f"no picture was found on the map, not even {name}")


def release(page: Page, held: list[Route], **answer: Any) -> None:
    """Let the request that is held have its answer, or this one, and the page the time to show it."""
    while not held:
        page.wait_for_timeout(20)
    with page.expect_response(held[0].request.url):
        held[0].fulfill(**answer) if answer else held[0].continue_()
    page.wait_for_timeout(200)


def dropped(page: Page, content: bytes) -> None:
    """Drop a picture on the page."""
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "new.png", { type: "image/png" }));
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            const kinds = ["dragenter", "dragover", "drop"].map(kind => new DragEvent(kind, options));
            for (const event of kinds) document.body.dispatchEvent(event);
            if (!kinds.every(event => event.defaultPrevented)) throw new Error("the browser would open it");
        }""",
        list(content),
    )


def test_the_map_is_painted_with_points_and_pictures(visit: Open, running: Running) -> None:
    page = visit()
    expect(page.locator("#count")).to_have_text("64 pictures")
    expect(page.locator("#key button")).to_have_count(2)
    both = drawn(page, 0.02, 1)  # dots and thumbnails
    page.keyboard.press("p")  # without thumbnails there are still dots
    expect(page.locator("#thumbnails")).to_have_attribute("aria-pressed", "false")
    drawn(page, 0.0002, both)
    page.keyboard.press("P")
    drawn(page, 0.9 * both, 1)


def test_hover_and_click_show_a_picture_with_its_neighbours(visit: Open) -> None:
    page = visit()
    x, y = place(page, "any")
    name = page.locator("#card-name").inner_text()
    assert name.endswith(".png")
    page.mouse.click(x, y)
    panel = page.locator("#panel-picture")
    expect(panel.locator(".tile")).to_have_count(12)
    assert panel.locator("h2").inner_text().endswith(name)
    assert panel.locator("dt").all_inner_texts() == ["Label", "Split", "Prediction", "Confidence"]
    natural = panel.locator(".large img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert natural == 40
    first = panel.locator(".tile").first
    title = first.get_attribute("title")
    first.focus()
    page.keyboard.press("Enter")  # a neighbour opens in its turn
    expect(panel.locator("h2")).to_have_text(str(title))
    expect(panel.locator("h2")).to_be_focused()
    page.get_by_role("button", name="Show on the map").click()
    page.locator(".paper").focus()
    expect(page.locator("#card")).to_be_hidden()
    page.keyboard.press("ArrowRight")  # from the picture that is open, which is in the middle now
    page.wait_for_timeout(200)
    if page.locator("#card").is_hidden():  # there is nothing to the right
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(200)
    expect(page.locator("#card")).to_be_visible()
    assert page.locator("#card-name").inner_text() != str(title).rpartition("/")[2]


def test_a_server_that_is_gone_is_told(visit: Open) -> None:
    page = visit()
    x, y = place(page, "any")
    page.context.set_offline(True)
    page.mouse.click(x, y)
    panel = page.locator("#panel-picture")
    expect(panel.locator(".trouble")).to_have_text("The server does not answer; is it still running?")
    page.locator("#tab-clusters").click()
    expect(page.locator("#panel-clusters .trouble")).to_be_visible()
    page.context.set_offline(False)
    page.mouse.click(x, y)
    expect(panel.locator(".tile")).to_have_count(12)
    expect(page.locator(".trouble:visible")).to_have_count(0)


def test_a_thumbnail_that_did_not_come_is_asked_for_again(visit: Open) -> None:
    there, failed = "**/thumbnails/*", list[str]()

    def before(page: Page) -> None:
        page.route(there, lambda route: route.abort("internetdisconnected"))
        page.on("requestfailed", lambda request: failed.append(request.url))

    page = visit(before=before)
    while not failed:
        page.wait_for_timeout(20)
    with page.expect_response(lambda response: response.url == failed[0]):
        page.unroute(there)


def test_lasso_label_and_save(visit: Open, running: Running, browsed: Path, tmp_path: Path) -> None:
    page = visit()
    page.locator("#lasso").click()
    box = page.locator(".paper").bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 4, box["y"] + 4, box["x"] + box["width"] - 80, box["y"] + box["height"] - 4
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top + 10)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    expect(page.locator("#panel-selection h2")).to_contain_text("selected")
    chosen = int(page.locator("#chosen").inner_text())
    assert 32 < chosen <= 64
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as a list").click()
    listed = list(csv.DictReader(io.StringIO(saved(saving))))
    assert len(listed) == chosen
    assert {row["label"] for row in listed} <= {"china", "flower"}
    photos = shutil.copytree(browsed.parent / "photos", tmp_path / "photos")
    (photos / "selection.csv").write_text(saved(saving), "utf-8", newline="")
    found = source.find(photos / "selection.csv")  # as `train` would
    assert len(found.rows) == chosen
    assert all(Path(path).is_file() for path in found.paths)
    collection = running.server.collection
    parts = dict(zip(collection.names, collection.splits, strict=True))
    assert list(found.splits) == [parts[str(Path(path).relative_to(photos))] for path in found.paths]
    page.locator("#panel-selection input").fill("half a wo")
    page.locator("#key button").first.click()
    expect(page.locator("#chosen")).to_have_text("32")
    expect(page.locator("#panel-selection input")).to_have_value("half a wo")
    page.locator("#word").fill("nothing of this name")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("No name holds")
    chosen = int(page.locator("#chosen").inner_text())
    assert chosen == 32
    label = 'odd <b>"label"</b>, yes'
    page.locator("#panel-selection input").fill(label)
    page.get_by_role("button", name="Label", exact=True).click()
    expect(page.locator("#toast")).to_contain_text("labels.csv")
    with open(running.server.payloads.labels.file, newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 64
    assert sum(row["label"] == label for row in rows) == chosen
    expect(page.locator("#key")).to_contain_text(label)
    running.server.payloads.labels.given[:] = running.server.collection.labels


def test_a_dropped_picture_is_searched(visit: Open, running: Running, tmp_path: Path) -> None:
    page = visit()
    picture = Path(running.server.collection.paths[40])
    dropped(page, picture.read_bytes())
    panel = page.locator("#panel-picture")
    expect(panel.locator("h2")).to_have_text("Your picture")
    expect(panel.locator(".tile")).to_have_count(12)
    assert panel.locator(".tile").first.get_attribute("data-id") == "40"
    assert panel.locator(".tile span").first.inner_text() == "1.000"
    page.set_input_files("#file", files=[{"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}])
    expect(panel).to_contain_text("no picture that can be read")
    (tmp_path / "large.png").touch()
    os.truncate(tmp_path / "large.png", (32 << 20) + 1)
    page.set_input_files("#file", tmp_path / "large.png")
    expect(page.locator("#toast")).to_have_text("That is too large: at most 32 MiB are taken.")
    held: list[Route] = []
    page.route("**/api/encode*", lambda route: held.append(route))
    page.set_input_files("#file", picture)
    expect(panel).to_contain_text("Looking for pictures like it")
    page.mouse.click(*place(page, "any"))  # another one is opened meanwhile
    expect(panel.locator(".tile")).to_have_count(12)
    with page.expect_response("**/api/encode*"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(panel.locator("h2")).not_to_have_text("Your picture")


def test_two_runs_side_by_side(visit: Open, two: Running) -> None:
    page = visit(two.address)
    expect(page.locator(".map")).to_have_count(2)
    expect(page.locator("#count")).to_have_text("64 pictures")
    page.locator("#colour").select_option("prediction")
    page.locator("#legend summary").click()  # it covers a part of the first map
    card, runs = page.locator("#card"), page.locator("#runs button")
    for side, said in enumerate((re.compile("china|flower"), "no value")):  # only the first has a classifier
        x, y = place(page, "any", side)
        expect(page.locator("#card-value")).to_have_text(said)
        box = card.bounding_box()
        assert box is not None
        assert min(abs(box["x"] - x), abs(box["x"] + box["width"] - x)) < 90  # beside the hand, not over the other map
        expect(runs.nth(0)).to_have_attribute("aria-pressed", "true")
    page.mouse.click(x, y)
    expect(runs.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#panel-picture .tile")).to_have_count(24)  # near it in both
    page.locator("#legend summary").click()
    expect(page.locator("#key")).to_have_text("no picture has one")
    page.keyboard.press("s")
    expect(page.locator("#chosen")).to_have_text("64")
    dropped(page, b"any")
    expect(page.locator("#toast")).to_contain_text("cannot look for new pictures")


def test_an_index_without_pictures_says_so(visit: Open, browsed: Path, tmp_path: Path) -> None:
    index = Index.open(browsed)
    index.vectors, index.table, index.where = np.asarray(index.vectors[:0]), index.table.slice(0, 0), str(tmp_path)
    with serving(shown(tmp_path, index)) as empty:
        page = visit(empty.address)
        expect(page.locator("#panel-picture .empty")).to_have_text("There is no picture here.")


def test_labels_are_taken_away_by_their_own_button_only(visit: Open, two: Running) -> None:
    page, labels = visit(two.address), two.server.payloads.labels
    page.locator("#tab-selection").click()
    page.keyboard.press("S")  # not only on the map
    panel, toast = page.locator("#panel-selection"), page.locator("#toast")
    expect(panel.locator("h2")).to_have_text("64 pictures selected")
    for text in ("", "  "):
        panel.locator("input").fill(text)
        page.keyboard.press("Enter")
    expect(toast).to_be_empty()
    page.get_by_role("button", name="Remove labels").click()
    expect(toast).to_have_text("64 pictures without a label now. labels.csv holds 0 labels.")
    panel.locator("input").fill("mine")
    page.keyboard.press("Enter")
    expect(toast).to_have_text("64 pictures labelled “mine”. labels.csv holds 64 labels.")
    expect(panel.locator("input")).to_have_value("")
    page.locator("#tab-clusters").click()
    expect(page.locator("#panel-clusters .card p").first).to_have_text("100 % of the labelled are mine")
    labels.values[:] = labels.given[:] = [f"kind {number}" for number in range(64)]
    page = visit(two.address)
    expect(page.locator("#key button")).to_have_count(41)
    page.locator("#key button").last.click()
    expect(page.locator("#key button")).to_have_count(64)
    page.get_by_title("kind 63").click()
    expect(page.locator("#chosen")).to_have_text("1")


def test_the_keyboard_reaches_everything(visit: Open) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("flower/00")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-selection h2")).to_have_text("10 pictures selected")
    page.locator(".paper").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#card")).to_be_visible()
    before = page.locator("#card-name").inner_text()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#card-name")).not_to_have_text(before)
    heard = page.locator("#heard[aria-live=polite]")  # by those who do not see the card
    now = [page.locator(f"#card-{part}").inner_text() for part in ("name", "value")]
    expect(heard).to_have_text(re.compile(f"^(china|flower)/{re.escape(', '.join(now))}$"))
    page.keyboard.press(" ")
    expect(heard).to_have_text(re.compile("^(9|11) pictures selected$"))
    page.mouse.move(*place(page, "any"))
    expect(heard).to_contain_text("selected")  # what the hand is over is not told
    page.locator(".paper").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel-picture h2")).to_contain_text(".png")
    page.keyboard.press("s")
    expect(page.locator("#panel-selection h2")).to_contain_text("64 pictures selected")
    page.locator("#tab-selection").focus()
    for name in ("Clusters", "Duplicates", "Outliers"):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.locator(f"#panel-{name.lower()} .tile").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#chosen")).to_be_empty()
    reached = set()
    page.locator("#colour").focus()
    for _ in range(14):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        page.keyboard.press("Tab")
    assert {"colour", "layout", "word", "ask", "paper", "lasso", "thumbnails", "closer", "farther", "fit"} <= reached


def test_colours_and_maps_can_be_chosen(visit: Open) -> None:
    page = visit()
    first = pixels(page)
    page.locator("#colour").select_option("cluster")
    expect(page.locator("#legend summary")).to_have_text("Cluster")
    page.locator("#colour").select_option("likeness")
    expect(page.locator(".ramp")).to_be_visible()
    page.locator("#layout").select_option("tsne")
    page.wait_for_timeout(300)
    while np.array_equal(pixels(page), first):
        page.wait_for_timeout(200)
    page.locator("#colour").select_option("split")
    page.locator("#key button").first.click()
    expect(page.locator("#panel-selection h2")).to_contain_text("selected")


def test_the_page_works_while_its_colours_are_computed(visit: Open, browsed: Path, tmp_path: Path) -> None:
    index, held = Index.open(browsed), list[Route]()
    index.labels[:] = [None] * 64
    with serving(shown(tmp_path, index)) as unlabelled:
        page = visit(
            unlabelled.address, lambda page: page.route("**/data/column-0-cluster", lambda route: held.append(route))
        )
        expect(page.locator("#toast")).to_contain_text("This colour is being computed")
        drawn(page, 0.02, 1)
        page.mouse.move(*place(page, "any"))
        expect(page.locator("#card-value")).to_be_empty()
        page.keyboard.press("s")
        expect(page.locator("#panel-selection h2")).to_have_text("64 pictures selected")
        page.locator("#tab-outliers").click()
        expect(page.locator("#panel-outliers .tile").first).to_be_visible()
        release(page, held)
        expect(page.locator("#legend summary")).to_have_text("Cluster")
        expect(page.locator("#key button").first).to_be_visible()


def test_the_colour_that_was_chosen_last_stays(visit: Open) -> None:
    held = list[Route]()
    page = visit(before=lambda page: page.route("**/data/column-0-likeness", lambda route: held.append(route)))
    for name in ("likeness", "split"):
        page.locator("#colour").select_option(name)
    expect(page.locator("#legend summary")).to_have_text("Split")
    release(page, held)
    expect(page.locator("#legend summary")).to_have_text("Split")


def test_a_panel_is_of_the_run_that_was_chosen_last(visit: Open, two: Running) -> None:
    held = list[Route]()
    page = visit(two.address, lambda page: page.route("**/data/outliers-0", lambda route: held.append(route)))
    page.locator("#tab-outliers").click()
    page.locator("#runs button").nth(1).click()
    tiles = page.locator("#panel-outliers .tile")
    expect(tiles).to_have_count(60)
    release(page, held, json=[{"id": 7, "score": 0.5}])
    expect(tiles).to_have_count(60)
    page.locator("#runs button").nth(0).click()
    expect(tiles).to_have_count(1)


def test_the_command_is_told_that_compares_very_many(
    visit: Open, browsed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.browsing.payloads.MANY", 63)
    with serving(shown(tmp_path, Index.open(browsed))) as many:
        page = visit(many.address)
        page.locator("#tab-duplicates").click()
        expect(page.locator("#panel-duplicates code")).to_have_text("selfsight search PLACE --duplicates")


def test_the_selection_is_told_as_it_is(visit: Open, two: Running) -> None:
    held = list[Route]()
    page = visit(two.address, lambda page: page.route("**/data/column-0-label", lambda route: held.append(route)))
    page.keyboard.press("s")
    expect(page.locator("#chosen")).to_have_text("64")
    page.keyboard.press("Escape")
    release(page, held)
    expect(page.locator("#panel-selection")).to_contain_text("Nothing is selected.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_no_sideways_scroll(visit: Open, scheme: str) -> None:
    page = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)
    for name in ("picture", "selection", "clusters", "duplicates", "outliers"):
        page.locator(f"#tab-{name}").tap()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        panel = page.locator(f"#panel-{name}")
        assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(251, 250, 247)" if scheme == "light" else "rgb(20, 24, 27)")


def test_names_are_shown_and_never_run(visit: Open) -> None:
    page = visit()
    for name in NASTY:
        start = name.partition("\n")[0][:8]
        page.locator("#word").fill(start)
        page.keyboard.press("Enter")
        expect(page.locator("#panel-selection .tile").first).to_be_visible()
        page.locator("#panel-selection .tile").first.click()
        expect(page.locator("#panel-picture h2")).to_contain_text(start)
    expect(page.locator("#panel-picture img")).to_have_count(13)  # one picture and its neighbours; none from a name


def test_an_export_works_from_a_disk(visit: Open, running: Running, tmp_path: Path) -> None:
    old = running.server.payloads
    payloads = Payloads(old.collection, old.labels, searchable=False)
    payloads.layouts = ["pca"]
    told: list[int] = []
    index = static.write(payloads, tmp_path / "out", told.append)
    assert told[-1] == 64
    page = visit(index.as_uri(), offline=True)
    expect(page.locator("#count")).to_have_text("64 pictures")
    expect(page.locator("#ask")).to_be_hidden()
    x, y = place(page, "any")
    page.mouse.click(x, y)
    panel = page.locator("#panel-picture")
    expect(panel.locator(".tile")).to_have_count(12)
    assert panel.locator(".large img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
    page.locator("#tab-clusters").click()
    expect(page.locator("#panel-clusters .tile").first).to_be_visible()
    page.locator(".paper").focus()
    page.keyboard.press("s")
    page.locator("#panel-selection input").fill("mine")
    page.get_by_role("button", name="Label", exact=True).click()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save labels.csv").click()
    assert saved(saving).count(",mine,") == 64


@pytest.mark.parametrize("webgl", [True, False])
def test_dots_are_drawn_with_webgl_and_without(visit: Open, running: Running, webgl: bool) -> None:
    page = visit(f"{running.address}/#webgl" if webgl else "")
    page.keyboard.press("p")  # dots alone
    drawn(page, 0.0002, 0.05)
    assert page.locator(".points").evaluate("canvas => canvas.getContext('2d') === null") == webgl
