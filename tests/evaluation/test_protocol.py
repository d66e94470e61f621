"""The table and its verdict: helped, not shown, and nothing to say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from selfsight.evaluation import few, knn, linear, protocol
from selfsight.nn.whitening import Whitening

COUNT, CLASSES = 600, 4
LABELS = np.arange(COUNT) % CLASSES
GROUPS = np.arange(COUNT) // 4
TEST = GROUPS % 5 == 0
NAMES = ("ant", "bee", "cow", "dog")


def features(signal: float, seed: int = 0) -> np.ndarray:
    """Classes along axes, drowned in noise unless the signal is strong."""
    generator = np.random.default_rng(seed)
    return (signal * np.eye(8)[LABELS] + generator.normal(size=(COUNT, 8))).astype(np.float32)


def table(encoder: float, **others: float) -> dict:
    rows = {"encoder": features(encoder)} | {n: features(s, 1 + i) for i, (n, s) in enumerate(others.items())}
    return protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES)


def test_the_issues_shape() -> None:
    found = table(4, untrained=1, raw_pixels=1, simple_statistics=2, pretrained=6)
    json.dumps(found, allow_nan=False)
    shared = {"knn", "linear", "few", "label_free", "retrieval", "clustering"}
    assert set(found) == shared | {"baselines", "task", "verdict", "notes", "classes", "hard"}
    assert set(found["baselines"]) == {"untrained", "raw_pixels", "simple_statistics", "pretrained"}
    for row in (found, *found["baselines"].values()):
        for kind in ("knn", "linear"):
            low, high = row[kind]["interval"]
            assert low <= row[kind]["accuracy"] <= high
        assert {"k", "temperature", "whitened", "papers"} <= set(row["knn"])
        assert {"decay", "converged"} <= set(row["linear"])
        assert set(row["few"]) == {"1", "5", "10"}
        assert row["label_free"]["width"] == 8
        assert shared <= set(row)
        for kind in ("retrieval", "clustering"):
            for one in (score for score in row[kind].values() if isinstance(score, dict)):
                assert one["interval"][0] <= one["value"] <= one["interval"][1]
    assert found["task"]["majority"] == pytest.approx(0.25)


def test_helped_against_the_best_of_three() -> None:
    verdict = table(4, untrained=1, raw_pixels=1, simple_statistics=2, pretrained=8)["verdict"]
    assert verdict["helped"] is True
    assert verdict["against"] == "simple_statistics"  # pretrained is no rival: it is another encoder, not no training
    assert verdict["interval"][0] > 0
    assert verdict["sentence"].startswith("Training helped: kNN accuracy")
    assert verdict["few"]["5"]["difference"] > 0
    assert verdict["linear"]["helped"] is True
    assert verdict["linear"]["sentence"].startswith("Training helped: linear probe accuracy")


@pytest.mark.parametrize("rival", ["untrained", "raw_pixels", "simple_statistics"])
def test_not_shown_when_any_of_three_is_as_good(rival: str) -> None:
    others = {"untrained": 0.5, "raw_pixels": 0.5, "simple_statistics": 0.5} | {rival: 3.0}
    verdict = table(3, **others)["verdict"]
    assert verdict["helped"] is False
    assert verdict["against"] == rival
    assert verdict["sentence"].startswith("Training is not shown to help on these pictures")


def test_an_encoder_against_itself_did_not_help() -> None:
    rows = {"encoder": features(3), "untrained": features(3)}
    verdict = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES)["verdict"]
    assert verdict["helped"] is False
    assert verdict["difference"] == 0
    low, high = verdict["interval"]
    assert -0.15 < low < 0 < high < 0.15  # 30 groups that are all alike


def loud(signal: float, seed: int = 0) -> np.ndarray:
    """Features beside eight others that say nothing, and much louder."""
    noise = 9 * np.random.default_rng(50 + seed).normal(size=(COUNT, 8))
    return np.hstack([features(signal, seed), noise]).astype(np.float32)


def test_the_encoder_is_compared_as_it_is_used_and_a_baseline_in_its_better_space() -> None:
    rows = {"encoder": loud(4), "untrained": loud(4), "raw_pixels": features(4)}
    white = {name: Whitening.fit(values[~TEST], 0.1) for name, values in rows.items()}
    assert all(white.values())
    views = {name: (values[:99], values[:99] + 0.1) for name, values in rows.items()}

    def share(found: dict, name: str) -> float:
        return (found if name == "encoder" else found["baselines"][name])["knn"]["accuracy"]

    plain = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES, views=views)
    both = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES, white=white, views=views)
    assert share(both, "encoder") == share(both, "untrained") > share(plain, "encoder") + 0.2
    assert (both["knn"]["whitened"], plain["knn"]["whitened"]) == (True, False)
    assert both["knn"]["papers"] == plain["knn"]["papers"]  # those are of plain vectors, as in papers
    for name, row in both["baselines"].items():
        assert row["knn"]["papers"] == plain["baselines"][name]["knn"]["papers"]
        assert row["knn"]["whitened"] or row["knn"] == plain["baselines"][name]["knn"]
    assert share(both, "raw_pixels") >= share(plain, "raw_pixels")
    assert both["linear"] == plain["linear"]  # a linear map changes nothing there
    assert both["label_free"]["rankme"] == plain["label_free"]["rankme"]  # nor does it mend a collapse
    unused = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES, white=white | {"encoder": None}, views=views)
    assert share(unused, "encoder") == share(plain, "encoder") < share(unused, "untrained")


def test_without_labels() -> None:
    rows = {"encoder": features(3), "untrained": features(0)}
    views = {name: (values[:50], values[:50] + 0.01) for name, values in rows.items()}
    found = protocol.evaluate(rows, np.full(COUNT, -1), GROUPS, TEST, (), views=views)
    json.dumps(found, allow_nan=False)
    assert set(found) == {"label_free", "baselines", "verdict", "notes"}
    assert found["label_free"]["two_views"]["r_at_1"] == 1
    assert found["label_free"]["alignment"] < 0.01
    verdict = found["verdict"]
    assert verdict["helped"] is False
    assert verdict["measure"] == "two_views"
    assert verdict["sentence"].startswith("The pictures have no labels. Training is not shown to help")


def test_without_labels_help_is_telling_pictures_apart() -> None:
    rows = {"encoder": features(3), "untrained": features(0)}
    scrambled = (rows["untrained"][:50], rows["untrained"][50:100])
    views = {"encoder": (rows["encoder"][:50], rows["encoder"][:50] + 0.01), "untrained": scrambled}
    verdict = protocol.evaluate(rows, np.full(COUNT, -1), GROUPS, TEST, (), views=views)["verdict"]
    assert verdict["helped"] is True
    assert "finding a picture by another view of it (R@1) 1.000" in verdict["sentence"]
    beside = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES, views=views)["verdict"]["retrieval"]
    assert beside["interval"] == verdict["interval"]


def test_unlabelled_rows_change_no_number() -> None:
    rows = {"encoder": features(2), "untrained": features(1, 1)}
    some = LABELS.copy()
    some[1::3] = -1
    kept = some >= 0
    found = protocol.evaluate(rows, some, GROUPS, TEST, NAMES)
    alone = {name: values[kept] for name, values in rows.items()}
    expected = protocol.evaluate(alone, LABELS[kept], GROUPS[kept], TEST[kept], NAMES)
    assert found["knn"] == expected["knn"]
    assert found["linear"] == expected["linear"]
    assert "200 of 600" in found["notes"][0]


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="encoder"):
        protocol.evaluate({"untrained": features(1)}, LABELS, GROUPS, TEST, NAMES)
    with pytest.raises(ValueError, match="600 labels"):
        protocol.evaluate({"encoder": features(1)[:9]}, LABELS, GROUPS, TEST, NAMES)


def test_nothing_beside_the_encoder() -> None:
    verdict = protocol.evaluate({"encoder": features(1)}, LABELS, GROUPS, TEST, NAMES)["verdict"]
    assert verdict["helped"] is None


def test_every_row_beside_is_compared_in_pairs() -> None:
    verdict = table(4, untrained=1, raw_pixels=3, simple_statistics=3.5, pretrained=6)["verdict"]
    for told in (verdict, verdict["linear"]):
        assert set(told["pairs"]) == {"untrained", "raw_pixels", "simple_statistics"}  # pretrained is no rival
        best = told["pairs"][told["against"]]
        assert (best["difference"], best["difference_interval"]) == (told["difference"], told["interval"])
        assert told["difference"] == min(pair["difference"] for pair in told["pairs"].values())
    assert verdict["pairs"]["untrained"]["difference_interval"][0] > 0


def test_the_start_is_a_rival_where_weights_were_given() -> None:
    rows = {"encoder": features(4), "untrained": features(1, 1), "pretrained": features(6, 2)}
    given = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES, rivals=(*protocol.RIVALS, protocol.START))["verdict"]
    assert given["against"] == "pretrained"
    assert given["helped"] is False
    assert given["few"]["1"]["against"] == "pretrained"
    assert protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES)["verdict"]["helped"] is True


@pytest.mark.parametrize("groups", [2, 5, 6])
def test_too_few_test_groups_say_nothing(groups: int) -> None:
    right = {"encoder": np.ones(groups, dtype=bool), "untrained": np.zeros(groups, dtype=bool)}
    said = protocol.judge("kNN accuracy", right, np.arange(groups))
    assert said["difference"] == 1
    assert said["helped"] is (None if groups < 6 else True)
    assert ("too few test groups to say" in said["sentence"]) is (groups < 6)


def test_a_table_is_probed_one_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One row that is wide enough for the quick probe makes all rows take it."""
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))  # what is said here is no answer for others
    seen: list[bool] = []

    def measured(*known: object, large: bool, **rest: object) -> object:
        seen.append(large)
        return protocol.linear.Linear(np.zeros(1, dtype=int), TEST[TEST], 1.0, True)

    monkeypatch.setattr(protocol.linear, "measure", measured)
    monkeypatch.setattr(protocol.linear, "LARGE", 100)
    wide = np.tile(features(1), 4)
    protocol.evaluate({"encoder": features(1), "raw_pixels": wide}, LABELS, GROUPS, TEST, NAMES)
    assert seen == [True, True]
    protocol.evaluate({"encoder": features(1), "raw_pixels": features(2)}, LABELS, GROUPS, TEST, NAMES)
    assert seen == [True, True, False, False]


def test_the_luck_of_drawn_labels_is_in_their_intervals() -> None:
    """Of a row and of its lead: wider than the test pictures alone make them."""
    rows = {"encoder": features(2), "untrained": features(1, 1)}
    found = protocol.evaluate(rows, LABELS, GROUPS, TEST, NAMES)
    train = np.flatnonzero(~TEST)
    parts = {name: (its[train], LABELS[train], GROUPS[train], its[TEST], LABELS[TEST]) for name, its in rows.items()}
    own, other = (few.measure(*parts[name], shots=1) for name in rows)
    assert found["few"]["1"]["accuracy"] == own.accuracy
    alone = protocol.intervals.of_share(own.right, GROUPS[TEST])
    assert np.ptp(found["few"]["1"]["interval"]) > np.ptp(alone)
    pictures = protocol.intervals.of_difference(own.right, other.right, GROUPS[TEST])
    assert np.ptp(found["verdict"]["few"]["1"]["interval"]) > np.ptp(pictures)


def test_every_conclusion_is_found() -> None:
    one, two, three = ({"sentence": word} for word in "abc")
    verdict = {"sentence": "", "linear": one, "few": {}}
    assert protocol.conclusions({"verdict": verdict}) == [verdict, one]
    assert protocol.conclusions({"verdict": verdict, "finetune": two, "dense": three}) == [verdict, one, two, three]


def test_the_page_says_how_numbers_are_made() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if line.startswith("| ")}

    def numbers(row: str, before: str) -> list[float]:
        return [float(one) for one in re.findall(r"[\d.]+\d|\d", rows[row].split(before)[1].split(")")[0])]

    assert numbers("kNN", " k (")[: len(knn.NEIGHBOURS)] == list(knn.NEIGHBOURS)
    assert numbers("kNN", " T (") == list(knn.TEMPERATURES)
    assert all(f"k = {k}, T = {t}" in rows["kNN, `papers` in the JSON"] for k, t in knn.PAPERS)
    assert (knn.HELD_OUT, knn.HOLD_OUTS, f"{knn.ASKED:,}" in rows["kNN"]) == (0.2, 5, True), "five fifths"
    assert (linear.HELD_OUT, linear.HOLD_OUTS) == (0.1, 3), "three tenths"
    for number in (linear.AXES, linear.LARGE, linear.FEWER, linear.ITERATIONS):
        assert f"{number:,}" in rows["linear probe"]
    assert (linear.DECAYS[:2], linear.DECAYS[-2:]) == ((10, 1), (1e-6, 0))
    assert (len(linear.REDUCED), linear.REDUCED[-1]) == (5, 1e-3)
    assert f"n = {', '.join(map(str, protocol.SHOTS))} training" in rows["n labels a class"]
    assert f"drawn {few.DRAWS} times" in rows["n labels a class"]
