"""The network of words: which words it knows, its embedding beside a slow twin, and what is saved."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight import distributed
from selfsight.data import text
from selfsight.errors import DataError, MissingError, RecipeError
from selfsight.nn import families
from selfsight.nn.encoder import Encoder
from selfsight.nn.words import COMMON, Halves, Words

SAID = ["the cat sat on the mat", "the dog sat, the dog ran", "a cat ran to the dog"]


def written(said: str) -> np.ndarray:
    return np.frombuffer(said.encode(), np.uint8).reshape(-1, 1, 1)


def taught(name: str = "words16", **options: bool) -> Words:
    torch.manual_seed(0)
    words = Words(name, **options)
    words.learn(map(written, SAID))
    return words


def test_the_commonest_words_are_known_and_what_occurs_once_is_not() -> None:
    words = taught()
    assert words.vocabulary[0] == "<unk>"
    assert set(words.vocabulary[1:]) == {"the", "cat", "sat", "dog", "ran"}
    keys = torch.from_numpy(text.keys(written("the mat dog")))
    assert [words.vocabulary[row] for row in words.row(keys)] == ["the", "<unk>", "dog"]
    assert set(taught("words3").vocabulary[1:]) == {"the", "dog"}


def test_each_document_weighs_the_same() -> None:
    words = taught()
    share = Counter[str]()
    for said in SAID:
        own = Counter(text.words(said.encode()))
        for word, count in own.items():
            share[word if word in words.vocabulary else "<unk>"] += count / own.total() / len(SAID)
    expected = [share[word] for word in words.vocabulary]
    assert words.frequency[: len(expected)].tolist() == pytest.approx(expected, rel=1e-6)
    assert float(words.frequency.sum()) == pytest.approx(1)
    assert words.used.tolist() == [True] * 6 + [False] * 10


def test_a_text_without_rare_words_still_leaves_room_for_one() -> None:
    words = Words("words16")
    words.learn([written("a b a b"), written("b a b a")])
    assert float(words.frequency[0]) == pytest.approx((1 / 8) / (1 + 1 / 8))


@pytest.mark.parametrize(
    ("said", "why"),
    [("yes yes yes yes yes", "say one word only"), ("", "say one"), ("y", "say one"), ("a b c d e", "repeat no word")],
)
def test_one_word_is_no_vocabulary(said: str, why: str) -> None:
    with pytest.raises(DataError, match=f"{why}.* another --out"):
        Words("words16").learn([written(said)])


def test_all_ranks_have_the_words_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One may have had another document in the place of an unreadable one."""
    first, other = taught(), Words("words16")
    own = {id(getattr(other, name)): getattr(first, name) for name in ("keys", "frequency", "spelling")}
    monkeypatch.setattr(distributed, "copy_first", lambda buffer: buffer.copy_(own[id(buffer)]))
    assert other.learn([written("another another document document")]) == 6
    assert other.vocabulary == first.vocabulary
    assert torch.equal(other.row(first.keys), first.row(first.keys))
    assert torch.equal(other.frequency, first.frequency)


def test_an_embedding_is_the_weighted_mean_of_its_words() -> None:
    words = taught()
    views = [words.view(written(said), 8) for said in ("the cat flew home", "the the the the the the the the ran")]
    assert [view.shape for view in views] == [(8,), (8,)]
    found = words(torch.from_numpy(np.stack(views))).detach().double().numpy()
    table, frequency = words.embedding.weight.detach().double().numpy(), words.frequency.double().numpy()
    for vector, view in zip(found, views, strict=True):
        total, weight = np.zeros(128), 0.0
        for key in view[view != text.NO_WORD]:
            row = int(words.row(torch.tensor(int(key))))
            total += COMMON / (COMMON + frequency[row]) * table[row]
            weight += COMMON / (COMMON + frequency[row])
        np.testing.assert_allclose(vector, total / weight, rtol=1e-5, atol=1e-7)
    assert not words(torch.full((1, 8), text.NO_WORD)).any()


def test_halves_of_a_document() -> None:
    found = Halves(4)(written("a b c d e"), np.random.default_rng(0))["views"]
    keys = text.keys(written("a b c d e"))
    assert found[0].tolist() == [*keys[:3], text.NO_WORD]
    assert found[1].tolist() == [*keys[3:], text.NO_WORD, text.NO_WORD]


def test_costs_beside_a_slow_twin() -> None:
    words, document = taught().eval(), written("the cat sat on the dog")
    keys = torch.from_numpy(text.keys(document))
    own, unigram = [], []
    for place in range(3, len(keys)):
        logits = words.logits(keys[place - 3 : place]).detach().double().numpy()[: len(words.vocabulary)]
        row = int(words.row(keys[place]))
        own.append(np.log(np.exp(logits).sum()) - logits[row])
        unigram.append(-np.log(float(words.frequency[row])))
    np.testing.assert_allclose(words.costs(document), [np.mean(own), np.mean(unigram)], rtol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_loaded_it_is_the_same(tied: bool, tmp_path: Path) -> None:
    words = taught(tied=tied)
    words.save(tmp_path, {"method": "any"})
    again = families.load(tmp_path)
    assert isinstance(again, Words)
    assert again.vocabulary == words.vocabulary == (tmp_path / "vocabulary.txt").read_text().split("\n")
    assert all(torch.equal(tensor, words.state_dict()[name]) for name, tensor in again.state_dict().items())
    told = json.loads((tmp_path / "preprocess.json").read_text())
    assert told["kind"] == "documents"
    assert told["words"].startswith("A word is")
    seen = torch.from_numpy(text.keys(written("the cat sat")))
    assert torch.equal(again.logits(seen), words.logits(seen))


def test_what_is_no_network_of_words_is_refused(tmp_path: Path) -> None:
    assert families.of("words4096") is Words
    assert families.of("resnet18") is Encoder
    assert not any(map(families.known, ("wordsmany", "words0", "words1", "words")))
    with pytest.raises(RecipeError, match="words4096"):
        Words("wordsmany")
    with pytest.raises(RecipeError, match="no patches"):
        taught().patches(torch.zeros(1, 8, dtype=torch.int64))
    taught().save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(MissingError, match="can be read"):
        families.load(tmp_path)
    with pytest.raises(MissingError):
        families.load(tmp_path / "nowhere")
