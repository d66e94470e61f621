"""Context: its windows, its loss, a sequence that can be foretold and one that cannot."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight import methods
from selfsight.data import text
from selfsight.errors import RecipeError
from selfsight.methods.base import Batch
from selfsight.methods.context import UNKNOWN, Context, Windows
from selfsight.nn.words import Words

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["text_context"]


def written(words: list[str]) -> np.ndarray:
    return np.frombuffer(" ".join(words).encode(), np.uint8).reshape(-1, 1, 1)


def made(documents: list[np.ndarray], name: str = "words32", **settings: object) -> Context:
    torch.manual_seed(0)
    method = Context(Words(name), **{"dropout": 0.0, **settings})
    method.encoder.learn(documents)
    return method


def batch_of(method: Context, documents: list[np.ndarray], seed: int) -> Batch:
    drawn = [method.views(32)(one, np.random.default_rng((seed, row))) for row, one in enumerate(documents)]
    return {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}


def trained(method: Context, documents: list[np.ndarray], steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(method.parameters(), 1e-3, weight_decay=0.01)
    losses = []
    for step in range(steps):
        batch = batch_of(method, documents, step)
        loss = method.loss(method.project(batch), batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_windows_are_the_check_values() -> None:
    sequence, size = CHECK["inputs"]["sequence"], CHECK["inputs"]["context"]
    document = written([f"w{number}" for number in sequence])
    keys = text.keys(document).tolist()
    drawn = Windows(len(sequence) - size, 1, 0.0)(document, np.random.default_rng(0))["windows"]
    found = sorted([keys.index(key) for key in row] for row in drawn.tolist())
    assert found == [[*seen, target] for seen, target in CHECK["expected"]["pairs"]]
    assert len(found) == len(sequence) - size  # "len - context", each once


def test_the_second_relation_is_the_first_one_shifted() -> None:
    document = written([f"w{number}" for number in range(9)])
    method = made([document, document], horizon=2, windows=5)
    batch = batch_of(method, [document], 0)
    assert batch["windows"].shape == (1, 5, 5)
    both = method.project(batch)["next"]
    for relation in (0, 1):
        alone = method.encoder.logits(batch["windows"][..., relation : relation + 3].contiguous())
        torch.testing.assert_close(both[:, :, relation], alone)


def test_a_short_document_gives_a_window_again_and_a_long_one_does_not() -> None:
    drawn = Windows(6, 2, 0.0)(written(list("abcde")), np.random.default_rng(0))["windows"]
    assert (drawn == drawn[0]).all()
    many = Windows(16, 1, 0.0)(written([f"w{n}" for n in range(19)]), np.random.default_rng(0))["windows"]
    assert len(np.unique(many, axis=0)) == 16


def test_dropped_words_are_unknown_and_what_is_asked_is_not_dropped() -> None:
    document = written([f"w{n}" for n in range(500)])
    views = Windows(400, 1, 0.1)
    assert len(pickle.dumps(views)) < 1000
    drawn = views(document, np.random.default_rng(0))
    dropped = drawn["seen"] == UNKNOWN
    assert 0.08 < dropped.mean() < 0.12
    assert (drawn["seen"] == drawn["windows"])[~dropped].all()
    assert not (drawn["windows"] == UNKNOWN).any()


@pytest.mark.parametrize("horizon", [1, 2])
def test_loss_beside_a_slow_twin(horizon: int) -> None:
    documents = [written(list("abcdefabcgha")), written(list("hgfedcbaabcd"))]
    method = made(documents, horizon=horizon, windows=3)
    batch = batch_of(method, documents, 0)
    projections = method.project(batch)
    assert projections["next"].shape == (2, 3, horizon, 32)
    total, unigram, count = 0.0, 0.0, 0
    known = len(method.encoder.vocabulary)
    for (row, window, relation), _ in np.ndenumerate(np.zeros((2, 3, horizon))):
        logits = projections["next"][row, window, relation].detach().double().numpy()[:known]
        target = int(method.encoder.row(batch["windows"][row, window, 3 + relation]))
        total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target]
        unigram -= np.log(float(method.encoder.frequency[target]))
        count += 1
    terms = method.loss(projections, batch)
    assert float(terms["loss"].detach()) == pytest.approx(total / count, rel=1e-5)
    assert float(terms["perplexity"].detach()) == pytest.approx(np.exp(total / count), rel=1e-5)
    assert float(terms["unigram"].detach()) == pytest.approx(np.exp(unigram / count), rel=1e-5)


def test_chance_is_the_check_value() -> None:
    document = written([f"w{number % 99}" for number in range(198)])
    method = made([document], "words128")
    assert len(method.encoder.vocabulary) == 100
    method.encoder.frequency[:100] = 0.01
    assert method.chance(8) == pytest.approx(CHECK["expected"]["chance_ce_V100"])
    batch = batch_of(method, [document], 0)
    blind = {"next": torch.zeros(1, 16, 1, 128, dtype=torch.float64)}
    assert float(method.loss(blind, batch)["loss"]) == pytest.approx(CHECK["expected"]["chance_ce_V100"])


def test_the_gradient_of_the_loss_is_right() -> None:
    document = written(list("abcabdabc"))
    method = made([document], windows=2)
    batch = batch_of(method, [document], 0)
    logits = torch.randn(1, 2, 1, 32, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: method.loss({"next": one}, batch)["loss"], logits)


@pytest.mark.parametrize("settings", [{}, {"tied": True}, {"horizon": 2}], ids=str)
def test_a_cycle_is_foretold(settings: dict[str, object]) -> None:
    cycle = written([f"w{number % 10}" for number in range(80)])
    losses = trained(made([cycle], **settings), [cycle] * 4, 150)
    assert losses[-1] < 0.02


def test_what_cannot_be_foretold_stays_at_the_entropy_of_the_words() -> None:
    """Words drawn one by one: no network does better than their frequencies on what it has not seen."""
    generator = np.random.default_rng(0)
    share = np.array([0.4, 0.3, 0.2, 0.1])
    drawn = [written([f"w{n}" for n in generator.choice(4, 400, p=share)]) for _ in range(48)]
    known, unseen = drawn[:32], drawn[32:]
    method = made(known)
    trained(method, known, 40)
    costs = np.stack([method.encoder.costs(one) for one in unseen]).mean(axis=0)
    entropy = -float((share * np.log(share)).sum())
    assert costs[1] == pytest.approx(entropy, abs=0.03)
    assert entropy - 0.03 < costs[0] < entropy + 0.08


@pytest.mark.parametrize(
    "settings", [{"horizon": 3}, {"horizon": 0}, {"windows": 0}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Context(Words("words32"), **settings)


def test_every_parameter_learns_tied_or_not() -> None:
    document = written([f"w{number % 10}" for number in range(80)])
    for tied in (False, True):
        method = made([document], tied=tied)
        batch = batch_of(method, [document], 0)
        method.loss(method.project(batch), batch)["loss"].backward()
        assert all(p.grad is not None and p.grad.norm() > 0 for p in method.parameters())


def test_is_in_the_registry_and_learns_from_documents() -> None:
    assert methods.get("context") is Context
    assert Context.kind == "documents"
    assert Context.defaults(512).batch * Context(Words("words32")).windows == 1024
    shares = np.array([0.2, 0.4, 0.4])  # of <unk>, a and b
    assert made([written(list("abab"))]).chance(4) == pytest.approx(-(shares * np.log(shares)).sum())
