"""The page of `selfsight browse` with many points, in headless Chromium: how soon it is seen, how smoothly it moves.

    python benchmarks/browse.py [--points 200000] [--rounds 3] [--json FILE]

The vectors are clouds, the pictures a few made ones under many names. Measured from the page's own clock: from the
start of the navigation until the map is painted (the server's map exists by then), and the longest task of the main
thread while the map is dragged, zoomed and lassoed, from Chromium's trace. Once as plain pixels, which is what the page
chooses where there is no graphics card, and once with WebGL, which is then computed by the processor.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "browse.json"
CHROMIUM = "/usr/bin/chromium"
PAINT, TASK = 2000.0, 50.0  # ms: the most that is allowed
WIDTH, CLOUDS, FILES = 64, 40, 200
SIDES = {"plain pixels, the choice without a graphics card": "", "WebGL on the processor": "#webgl"}


def prepared(points: int, folder: Path) -> Path:
    """An index of clouds, as `embed` would have written it."""
    import cv2
    import numpy as np

    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import Pictures
    from selfsight.data.ranges import PixelFormat
    from selfsight.embedding import store

    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    files = [str(folder / f"{number}.png") for number in range(FILES)]
    for file in files:
        cv2.imwrite(file, cv2.resize(generator.integers(0, 255, (4, 4, 3), np.uint8), (64, 64)))
    own = generator.integers(0, CLOUDS, points)
    zeros, ones = np.zeros(points, np.int64), np.full(points, 64)
    manifest = Manifest(
        paths=tuple(files[number % FILES] for number in range(points)),
        names=tuple(f"cloud-{cloud:02d}/{number:06d}.png" for number, cloud in enumerate(own)),
        digests=("",) * points, labels=own, groups=np.arange(points), test=zeros.astype(bool), widths=ones,
        heights=ones, channels=zeros + 3, dtypes=("uint8",) * points,
        classes=tuple(f"cloud-{cloud:02d}" for cloud in range(CLOUDS)),
    )  # fmt: skip
    centres = 2 * generator.standard_normal((CLOUDS, WIDTH), np.float32)

    def parts() -> Iterator[tuple[Any, Any]]:
        for start in range(0, points, 4096):
            rows = np.arange(start, min(start + 4096, points))
            yield centres[own[rows]] + generator.standard_normal((len(rows), WIDTH), np.float32), rows

    facts = {"encoder": "none", "run": str(folder / "none"), "size": 64, "kind": "pictures", "patches": False}
    store.write(folder / "index", parts(), Pictures(manifest, PixelFormat()), facts)
    return folder / "index"


def longest(page: Any, act: Callable[[], None]) -> float:
    """The longest task of the page's main thread while something is done, ms."""
    session = page.context.new_cdp_session(page)
    events: list[dict[str, Any]] = []
    session.on("Tracing.dataCollected", lambda told: events.extend(told["value"]))
    done: list[bool] = []
    session.on("Tracing.tracingComplete", lambda told: done.append(True))
    session.send("Tracing.start", {"categories": "toplevel,blink.user_timing", "transferMode": "ReportEvents"})
    page.evaluate("performance.mark('begin-acting')")
    act()
    page.wait_for_timeout(300)
    session.send("Tracing.end")
    while not done:
        page.wait_for_timeout(20)
    session.detach()
    own = next((one["pid"], one["tid"]) for one in events if one["name"] == "begin-acting")
    tasks = [one["dur"] for one in events if one.get("ph") == "X" and (one["pid"], one["tid"]) == own]
    return max(tasks, default=0) / 1000


def looked(chromium: Any, address: str) -> dict[str, float]:
    """First paint, and the longest tasks of what hands do."""
    browser = chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    while not (painted := page.evaluate("performance.getEntriesByName('painted')[0]?.startTime")):
        page.wait_for_timeout(20)
    page.wait_for_timeout(1500)
    box = page.locator(".paper").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        for step in range(60):
            page.mouse.move(x + 4 * (step % 30), y + 3 * (step % 20))
        page.mouse.up()

    def zoom() -> None:
        for step in range(30):
            page.mouse.wheel(0, -120 if step < 15 else 120)

    def lasso() -> None:
        page.keyboard.press("l")
        page.mouse.move(x - 200, y - 200)
        page.mouse.down()
        for left, top in ((200, -200), (200, 200), (-200, 200), (-200, -190)):
            page.mouse.move(x + left, y + top, steps=10)
        page.mouse.up()
        page.keyboard.press("l")

    found = {"paint": painted, **{act.__name__: longest(page, act) for act in (drag, zoom, lasso)}}
    browser.close()
    return found


def measure(points: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """The figures of each side, round by round."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home:
        index = prepared(points, Path(home) / "made")
        words = [sys.executable, "-m", "selfsight", "browse", str(index), "--port", "0"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            told = next(line for line in server.stdout if "http://" in line)
            address = told[told.index("http://") :].split()[0]
            with sync_playwright() as driver:
                return {
                    name: [looked(driver.chromium, address + place) for _ in range(rounds)]
                    for name, place in SIDES.items()
                }
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{results['points']:,} points; medians of {results['rounds']} rounds, and the worst.\n",
        "| drawn by | first paint, ms | at most | longest task: dragging, ms | zooming | at most | lasso | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in results["sides"].items():
        columns = {key: [one[key] for one in rounds] for key in rounds[0]}
        cells = {key: f"{median(values):.0f} ({max(values):.0f})" for key, values in columns.items()}
        good = median(columns["paint"]) <= PAINT and max(median(columns["drag"]), median(columns["zoom"])) <= TASK
        lines.append(
            f"| {name} | {cells['paint']} | {PAINT:.0f} | {cells['drag']} | {cells['zoom']} | {TASK:.0f} | "
            f"{cells['lasso']} | {'yes' if good else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, keep, print a table."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = machine.answered(parser)
    if asked.table:
        results = json.loads(asked.json.read_text(encoding="utf-8"))
    else:
        sides = measure(asked.points, asked.rounds)
        results = {"points": asked.points, "rounds": asked.rounds, "sides": sides}
        machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
