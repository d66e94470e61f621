"""The model card: what the encoder was made from, how good it is beside baselines, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from selfsight import methods
from selfsight.embedding import store
from selfsight.nn.encoder import Encoder
from selfsight.report.scores import contenders, named
from selfsight.report.words import MEANINGS, NAMES, conclusions, interval, percent
from selfsight.runs import RunFolder

__all__ = ["card", "counted"]

HEAD = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags: [timm, transformers, self-supervised, selfsight]
---
"""


def card(run: RunFolder, encoder: Encoder, exported: Mapping[str, Any]) -> str:
    """The card as Markdown. No path of the machine is in it: cards are made to be given away."""
    parts = [HEAD + f"# {encoder.name} by {run.recipe.method}", *_made(run, encoder)]
    pixels, least = run.recipe.pixels, run.recipe.least_side
    parts += ["## Load it", *_loading(encoder, exported), *counted(pixels), *_halved(least)]
    parts += ["## Quality", *_quality(run), "## Licence", *_licence(run)]
    return "\n\n".join(parts) + "\n"


def _made(run: RunFolder, encoder: Encoder) -> Iterator[str]:
    recipe = run.recipe
    story = str(methods.describe(recipe.method)["story"])
    yield f"An image encoder: a picture of {encoder.size} px becomes a vector of {encoder.width} numbers."
    yield "## Method"
    yield " ".join(story.split("\n\n")[0].split())
    settings = ", ".join(f"{name} {value}" for name, value in recipe.settings.items()) or "none"
    start = "published weights" if recipe.pretrained else "given weights" if recipe.weights else "random weights"
    yield (
        f"Trained for {recipe.steps} steps of {recipe.batch} pictures from {start}; settings: {settings}; "
        f"{recipe.optimizer}, rate {recipe.lr:g}, seed {recipe.seed}.{_kept(run)}"
    )
    yield "## Data"
    held = "the test part was trained on too" if recipe.use_all else "a test part was held out"
    yield (
        f"{recipe.pictures} training pictures ({held}), channels: {encoder.channels}, {recipe.pixels['dtype']}, values "
        f"from {encoder.low:g} to {encoder.high:g}. Digest of the listing: {recipe.listing}."
    )


def _kept(run: RunFolder) -> str:
    """Which step's encoder this is, where another than the last one's may be kept."""
    if run.recipe.keep == "last":
        return ""
    steps = [look["step"] for look in run.metrics.to_pylist() if look.get("kept")] or [run.recipe.steps]
    return f" This is the encoder of step {steps[-1]} (keep: {run.recipe.keep})."


def _loading(encoder: Encoder, exported: Mapping[str, Any]) -> Iterator[str]:
    ways = [
        '# timm\nencoder = timm.create_model("local-dir:FOLDER", pretrained=True)',
        '# transformers\nencoder = transformers.AutoModel.from_pretrained("FOLDER")',
    ]
    if onnx := exported.get("onnx"):
        ways.append('# ONNX Runtime\nsession = onnxruntime.InferenceSession("FOLDER/model.onnx")')
    yield "```python\n" + "\n".join(ways) + "\n```"
    yield (
        f"Pictures are brought to {encoder.size} x {encoder.size} px (short side, antialiased; centre crop). timm and "
        f"transformers take floats (B, {encoder.channels}, {encoder.size}, {encoder.size}): a pixel p becomes ((p - "
        f"{encoder.low:g}) / {encoder.high - encoder.low:g} - mean) / std, with mean {_listed(encoder.mean)} and std "
        f"{_listed(encoder.std)}; `preprocess.json` has the same numbers."
    )
    if encoder.whitening:
        yield (
            "Cosines tell more after whitening, which is no part of the network: with `mean` and `matrix` of "
            "`whitening.safetensors`, (vector - mean) @ matrix." + (" `model.onnx` has it inside." if onnx else "")
        )
    if onnx:
        outputs = ", ".join(f"`{output}`" for output in onnx["outputs"])
        yield f"`model.onnx` takes `{onnx['input']}` and gives {outputs}. {_checked(onnx)}"
    if small := exported.get("int8"):
        yield f"`model.int8.onnx` is the same in 8-bit integers ({small['what']}). {small['sentence']}"


def counted(pixels: Mapping[str, Any]) -> Iterator[str]:
    """What becomes of other numbers before they are such pixels, see `data.ranges.conform`."""
    low, high = pixels["float_low"], pixels["float_high"]
    if pixels["dtype"] == "uint16":
        yield "p counts in 16 bits: of a value v of an 8-bit picture, p = 257 v."
    if high > low:
        yield (
            "Of a value v of a float picture, p = 65535 (v - low) / (high - low), rounded and within 0 to 65535; there "
            f"low is {low!r} and high {high!r}."
        )


def _halved(least: int | None) -> Iterator[str]:
    if least:
        yield (
            f"Larger pictures were halved while decoding, as long as both sides stayed {least} px (`least_side`); that "
            "hardly changes a vector."
        )


def _checked(onnx: Mapping[str, Any]) -> str:
    found = onnx["parity"]
    return (
        f"On {found['pictures']} pictures in batches of {', '.join(map(str, found['batches']))} the lowest cosine with "
        f"the encoder's own vectors was {found['lowest_cosine']:.6f}, and the nearest pictures were the same."
    )


def _quality(run: RunFolder) -> Iterator[str]:
    file = run.folder / "evaluation.json"
    if not file.is_file():
        yield "Not measured yet."
        return
    numbers = json.loads(file.read_text())
    about = numbers.get("about") or {}
    if about.get("encoder") != store.digest(run.encoder_folder()):
        yield "What was measured is of another encoder, or does not say which: `selfsight evaluate` measures this one."
        return
    rows = contenders(numbers)
    tasks = list(dict.fromkeys(task for scores in rows.values() for task in scores))
    lines = [["", *(named(task) for task in tasks)], ["---"] * (len(tasks) + 1)]
    lines += [[NAMES.get(name, name), *(_score(scores.get(task)) for task in tasks)] for name, scores in rows.items()]
    of = "of the data above" if about["own"] else f"of other data (digest of the listing: {about['listing']})"
    which = "held-out pictures" if about.get("unseen", True) else "pictures, not all of them held out (see the notes),"
    yield f"Shares of {which} {of} with 95 % intervals, beside what was not trained on these pictures:"
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    yield "\n".join(f"* {NAMES[name]}: {MEANINGS[name]}" for name in rows if name in MEANINGS and name != "trained")
    yield from (sentence for sentence, _ in conclusions(numbers.get("verdict")))
    leaks = numbers.get("leaks") or {}
    if leaks.get("affected") and not leaks["dropped"]:
        yield leaks["sentence"]
    yield from numbers.get("notes") or []


def _licence(run: RunFolder) -> Iterator[str]:
    yield (
        "Nothing is said here of the licence of these weights: that is for whoever gives them away, and the rights in "
        "the training pictures may bear on it."
    )
    if run.recipe.pretrained or run.recipe.weights:
        yield "They started from other weights, whose licence holds for what is made of them."


def _score(score: Mapping[str, Any] | None) -> str:
    return f"{percent(score['accuracy'])} ({interval(score.get('interval'))})" if score else ""


def _listed(numbers: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{number:g}" for number in numbers) + "]"
