"""A network of words: it tells the next word from the three before, and a document by the words it holds.

The words that it knows, how often each occurs and their spelling are learnt from training documents (`learn`); row 0 is
<unk>, all other words. A document's embedding is the mean of its words' rows, a word of frequency p weighing
a / (a + p): without that, "the" and "," are most of every document (Arora, Liang & Ma 2017, ICLR, smooth inverse
frequency).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from selfsight import checkpoints, distributed
from selfsight.data import text
from selfsight.errors import DataError, MissingError, RecipeError, brief
from selfsight.nn.embedder import Drawn, Embedder
from selfsight.nn.heads import mlp
from selfsight.nn.tensors import tensors_of

__all__ = ["SEEN", "Words", "known"]

SEEN = 3  # words that are seen
WIDTH, HIDDEN = 128, 512  # of a word and of the layers above
COMMON = 1e-3  # a of the weights; Arora et al. 1e-3 to 1e-4; here kNN 0.70 against 0.65 unweighted and 0.62 at 1e-4
LEAST = 2  # occurrences: what the training documents show once is <unk>, so that <unk> is trained too
SPELLED = 32  # bytes of a word that are kept, for people
ASKED = 128  # words of a document that are asked for, evenly spaced
EMPTY = 2**63 - 1  # the key of a row that is not used
NAME = re.compile(r"words(?:[2-9]|[1-9]\d{1,5})")


def known(name: str) -> bool:
    """Whether this is the name of a network of words: words4096 has 4,096 rows."""
    return NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Halves:
    """The first and the second half of a document, each as a view of `size` words."""

    size: int

    def __call__(self, sample: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`{"views": (2, size)}` keys; nothing is drawn."""
        found = text.keys(sample)
        return {"views": np.stack([fitted(half, self.size) for half in np.array_split(found, 2)])}


def fitted(keys: Int[np.ndarray, "T"], size: int) -> Int[np.ndarray, "size"]:
    """The first `size` keys, filled up with NO_WORD."""
    return np.pad(keys[:size], (0, max(0, size - len(keys))), constant_values=text.NO_WORD)


@final
class Words(Embedder):
    """Keys of words (B, T), as `data.text` gives them, to embeddings (B, 128) or to the logits of the next word."""

    kind = "documents"
    whitens = False  # its words are weighted already
    keys: Tensor
    frequency: Tensor
    spelling: Tensor

    def __init__(self, name: str = "words4096", *, tied: bool = False) -> None:
        super().__init__()
        if not known(name):
            raise RecipeError(f"there is no network of words {name!r}; write words4096 for one of 4,096 words")
        self.name, self.width, self.rows, self.tied = name, WIDTH, int(name.removeprefix("words")), False
        self.register_buffer("keys", torch.full((self.rows - 1,), EMPTY))  # ascending; of rows 1, 2, ...
        self.register_buffer("frequency", torch.eye(1, self.rows)[0])  # mean share in the training documents
        self.register_buffer("spelling", torch.zeros(self.rows - 1, SPELLED, dtype=torch.uint8))
        self.embedding = nn.Embedding(self.rows, WIDTH)
        self.trunk = mlp([SEEN * WIDTH, HIDDEN, HIDDEN], norm=False).append(nn.ReLU())
        self.output = nn.Linear(HIDDEN, self.rows)
        if tied:
            self.tie()

    def tie(self) -> None:
        """Let a word's row be its output's weights too, behind a layer down to its width."""
        self.tied, self.output = True, nn.Linear(HIDDEN, WIDTH)

    def learn(self, documents: Iterable[np.ndarray]) -> int:
        """Take the most frequent words of these documents, each document weighing the same; how many there are.

        Those of rank 0 on every rank. Raises DataError when there are fewer than two.
        """
        shares, total, count = defaultdict[str, float](float), Counter[str](), 0
        for document in documents:
            own = Counter(text.words(document))
            length, count = own.total(), count + 1
            total.update(own)
            for word, times in own.items():
                shares[word] += times / length
        often = sorted((word for word in shares if total[word] >= LEAST), key=lambda word: (-shares[word], word))
        kept = sorted(often[: self.rows - 1], key=text.key)
        if len(kept) + (len(kept) < len(shares)) < 2:
            say = "repeat no word" if len(shares) > 1 else "say one word only"
            raise DataError(f"the training documents {say}: give other or longer ones to predict, and another --out")
        share = np.array([shares[word] for word in kept]) / count
        rest = max(1 - share.sum(), 1 / total.total())  # what nobody has seen has been seen less than once
        self.keys[: len(kept)] = torch.tensor([text.key(word) for word in kept])
        self.keys[len(kept) :] = EMPTY
        frequency = np.concatenate([[rest], share]) / (rest + share.sum())
        self.frequency.zero_()[: len(frequency)] = torch.from_numpy(frequency)
        for row, word in enumerate(kept):
            spelt = word.encode()[:SPELLED]
            self.spelling[row, : len(spelt)] = torch.frombuffer(bytearray(spelt), dtype=torch.uint8)
        for buffer in (self.keys, self.frequency, self.spelling):  # one rank may have read another document
            distributed.copy_first(buffer)
        return int(self.used.sum())

    @property
    def used(self) -> Bool[Tensor, "V"]:
        """Which rows stand for a word, or for all that have none."""
        return self.frequency > 0

    @property
    def vocabulary(self) -> list[str]:
        """The words of the rows, <unk> first; long ones are cut."""
        kept = self.spelling[: int(self.used.sum()) - 1].cpu().numpy()
        return ["<unk>", *(row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in kept)]

    def row(self, keys: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """The row of each key; 0 where the word is not known."""
        place = torch.searchsorted(self.keys, keys.contiguous()).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == keys, place + 1, 0)

    def forward(self, keys: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Embeddings of documents: the weighted mean over their words, NO_WORD left out."""
        rows = self.row(keys)
        weight = COMMON / (COMMON + self.frequency[rows]) * (keys != text.NO_WORD)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)  # an empty half stays zeros
        return torch.bmm(weight[:, None], self.embedding(rows))[:, 0]

    def logits(self, seen: Int[Tensor, "*B 3"]) -> Float[Tensor, "*B V"]:
        """How much each row is expected to follow three words, given as keys. Rows without a word are for nobody."""
        hidden = self.trunk(self.embedding(self.row(seen)).flatten(-2))
        out: Tensor = self.output(hidden)
        return linear(out, self.embedding.weight) if self.tied else out

    def surprise(self, rows: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """Nats that each word costs who knows how frequent words are and nothing else."""
        return -self.frequency.log()[rows]

    @torch.no_grad()
    def costs(self, document: np.ndarray) -> Float[np.ndarray, "2"]:
        """Nats a word of a document costs: this network, and who knows frequencies alone. Of at most ASKED words."""
        found = torch.from_numpy(text.keys(document)).to(self.device)
        places = torch.linspace(SEEN, len(found) - 1, min(ASKED, len(found) - SEEN)).round().long()
        seen = found.unfold(0, SEEN, 1)[places - SEEN]
        rows, logits = self.row(found[places]), self.logits(seen).float().masked_fill(~self.used, float("-inf"))
        own = cross_entropy(logits, rows)
        return torch.stack([own, self.surprise(rows).mean()]).cpu().numpy()

    def view(self, sample: np.ndarray, size: int) -> Int[np.ndarray, "size"]:
        """The first `size` words."""
        return fitted(text.keys(sample), size)

    def pair(self, recipe: str, size: int) -> Drawn:
        """Does the first half of a document find the second? The recipe is for pictures."""
        return Halves(size)

    def save(self, folder: Path, facts: Mapping[str, Any] | None = None) -> Path:
        """config.json, model.safetensors, preprocess.json, and for people vocabulary.txt: the word of each row."""
        config = {"architecture": self.name, "num_classes": 0, "num_features": self.width}
        config |= {"model_args": {"tied": self.tied}}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        told = {
            "kind": self.kind,
            "words": (text.__doc__ or "\n\n").split("\n\n")[1].replace("\n", " "),
            **(facts or {}),
        }
        return checkpoints.seal(
            folder,
            {
                "model.safetensors": save(weights),
                "vocabulary.txt": "\n".join(self.vocabulary).encode(),
                "preprocess.json": json.dumps(told, indent=1).encode(),
                **self.extra(),
                "config.json": json.dumps(config, indent=1).encode(),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Words:
        """What `save` wrote; MissingError when it cannot be read, or is damaged."""
        try:
            checkpoints.intact(folder)
            config = checkpoints.entries(folder / "config.json")
            words = cls(config["architecture"], tied=bool(config["model_args"]["tied"]))
            words.load_state_dict(tensors_of(folder / "model.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise MissingError(
                f"{str(folder)!r} holds no network of words that can be read ({brief(error)})"
            ) from error
        return words
