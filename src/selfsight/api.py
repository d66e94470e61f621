"""The front door: what `selfsight` on the command line does, as functions. Heavy libraries are imported when needed."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfsight import checkpoints
from selfsight.browsing import browse
from selfsight.comparison import compare
from selfsight.errors import RunError
from selfsight.packing import pack
from selfsight.recipe import Columns, Data, Named, Recipe, given
from selfsight.runs import RunCheck, RunFolder, checked, recipe_in
from selfsight.searching import Query, embed, search

if TYPE_CHECKING:
    from selfsight.data.inspect import Inspection
    from selfsight.nn.embedder import Embedder
    from selfsight.nn.encoder import Encoder

__all__ = ["Run", "RunCheck", "browse", "classify", "compare", "embed", "evaluate", "export", "inspect", "methods"]
__all__ += ["pack", "search", "train"]


class Run(RunFolder):
    """A run's folder, and what can be done with it."""

    def encoder(self) -> Encoder:
        """The trained encoder of pictures; RunError while training has not ended, or when it learned from others."""
        from selfsight.nn.encoder import Encoder

        found = self.embedder()
        if not isinstance(found, Encoder):
            raise RunError(f"{str(self.folder)!r} learned from {found.kind}, and this is for pictures")
        return found

    def embedder(self) -> Embedder:
        """The trained encoder of whatever the run learned from; RunError while training has not ended."""
        from selfsight.nn import families

        return families.load(self.encoder_folder()).eval()

    def evaluate(self, data: Data | None = None, **options: Any) -> dict[str, Any]:
        """See `selfsight.evaluate`."""
        return evaluate(self.folder, data, **options)

    def classify(self, data: Data, *, out: str | Path, **options: Any) -> dict[str, Any]:
        """See `selfsight.classify`."""
        return classify(self.folder, data, out=Path(out), **options)

    def embed(self, data: Data | None = None, **options: Any) -> Path | str:
        """See `selfsight.embed`."""
        return embed(self.folder, data, **options)

    def search(self, query: Query | Sequence[Query] | None = None, **options: Any) -> dict[str, Any]:
        """See `selfsight.search`."""
        return search(self.folder, query, **options)

    def export(self, data: Data | None = None, **options: Any) -> dict[str, Any]:
        """See `selfsight.export`."""
        return export(self.folder, data, **options)


def inspect(
    data: Data,
    *,
    out: Path | None = None,
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    shared_labels: bool = False,
) -> Inspection | RunCheck:
    """Look at pictures (or documents) before training, or see whether a run's newest checkpoint is whole.

    Pictures: counts, files that cannot be read and why, duplicates, sizes, channels, bit depth in use, labels, groups
    and split. Nothing is written unless `out` is given: then a contact sheet and `inspection.json`.
    """
    if isinstance(data, str | Path) and (recipe := recipe_in(Path(data))):
        return checked(Path(data), Recipe.from_yaml(recipe))
    from selfsight.data import inspect as inspecting
    from selfsight.data import source
    from selfsight.data.manifest import scan

    columns = Columns(label_column, group_column, split_column, shared_labels)
    listing = source.find(given(data), **columns.spelled(), kind=source.kind_of(given(data)))
    manifest = scan(listing, anew=True)
    found = inspecting.inspect_data(manifest, listing)
    if out is not None:
        from selfsight.views.sheet import contact_sheet_of

        Path(out).mkdir(parents=True, exist_ok=True)
        if manifest.kind == "pictures":
            contact_sheet_of(manifest.paths, manifest.names, Path(out) / "contact_sheet.png")
        checkpoints.replace_file(Path(out) / "inspection.json", json_format.dumps(found.to_dict(), indent=1).encode())
    return found


def train(
    data: Data | None = None,
    *,
    method: str | None = None,
    encoder: str | None = None,
    weights: Path | None = None,
    pretrained: bool = False,
    views: str | None = None,
    size: int | None = None,
    batch: int | None = None,
    micro_batch: int | None = None,
    length: str | None = None,
    lr: float | None = None,
    seed: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    device: str | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    config: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    save_every: str | None = None,
    keep: Literal["last", "best-rankme"] | None = None,
    on_collapse: Literal["warn", "stop"] | None = None,
    use_all: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    shared_labels: bool = False,
) -> Run:
    """Train an encoder on pictures, with labels or without.

    Only DATA is required: what is not given is decided, and the plan says why. The same command twice goes on where the
    first one stopped. Rows of the test split are never read.
    """
    from selfsight.report import tables
    from selfsight.training import session
    from selfsight.training.request import Request

    if resume is not None and not recipe_in(Path(resume)):
        raise RunError(
            f"--resume {str(resume)!r} is not a run: it has no recipe.yaml; give the folder that `train` wrote"
        )
    if resume is not None and out is not None and Path(out).absolute() != Path(resume).absolute():
        raise RunError(
            f"--resume goes on in {str(resume)!r} itself; leave --out away, or copy the folder and resume the copy"
        )
    if data is None and resume is None:
        raise RunError("there is nothing to train on; give a folder of pictures, or --resume RUN")
    columns = Columns(label_column, group_column, split_column, shared_labels)
    request = Request(
        given(data) if data is not None else [], method, encoder, str(weights) if weights else None, pretrained, views,
        size, batch, micro_batch, length, lr, seed, threads, precision, device, dict(settings or {}),
        str(config) if config else None, use_all, columns, on_collapse=on_collapse, keep=keep,
    )  # fmt: skip
    folder = Path(resume) if resume is not None else session.folder_for(request, out)
    session.train(
        request,
        folder,
        workers=workers,
        save_every=session.seconds(save_every),
        quiet=quiet,
        tensorboard=tensorboard,
        tell=lambda recipe, reasons: None if quiet else tables.plan(session.plan_rows(recipe, reasons)),
    )
    from selfsight import report

    with session.room_in(folder):
        report.write(folder)
    return Run(folder)


def evaluate(
    run: str | Path,
    data: Data | None = None,
    *,
    json: Path | None = None,
    pretrained: str | None = None,
    finetune: bool = False,
    finetune_for: str | None = None,
    dense: Path | None = None,
    drop_leaks: bool = False,
    identity_column: str | None = None,
    across_column: str | None = None,
    at_most: int | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    shared_labels: bool = False,
) -> dict[str, Any]:
    """Measure a run's encoder beside an untrained network, raw pixels and simple statistics, with 95 % intervals.

    "Training helped" is said only when the interval of the paired difference to the best of those three, and of the
    weights that the run started from if it was given some, lies above 0. Test pictures that the run was trained on are
    left out; DataError when no other is left. Those that the training part gives away are counted, and left out with
    `drop_leaks`. Retrieval looks for `identity_column` in place of the label, across values of `across_column`. Of more
    than `at_most` pictures (50,000, fewer of more than three channels) a part is drawn.
    """
    from selfsight import report
    from selfsight.report import files
    from selfsight.training import evaluate as evaluating
    from selfsight.training import session

    its = Run(run)
    kept = its.folder / "evaluation.json"
    files.must_fit(json)
    files.must_fit(kept, "the numbers are kept in the run, so copy its folder to where you may write")
    named = Named(label_column, group_column, split_column, shared_labels)
    columns = identity_column, across_column
    wanted = evaluating.Wanted(pretrained, finetune, finetune_for, dense, drop_leaks, *columns, at_most)
    found, shown = evaluating.evaluate(its, its.embedder(), given(data) if data is not None else None, named, wanted)
    content = json_format.dumps(found, indent=1).encode()
    if json is not None:  # first: the run's disk may be full by now
        files.write(json, content)
    files.write(kept, content)
    for name, pictures in shown.items():
        files.write(its.folder / f"{name}.json", json_format.dumps(pictures).encode())
    with session.room_in(its.folder):
        report.write(its.folder)
    return found


def classify(
    run: str | Path,
    data: Data,
    *,
    labels: Data | None = None,
    out: Path,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    shared_labels: bool = False,
) -> dict[str, Any]:
    """Name the class of pictures: a linear classifier on the run's frozen encoder, and a CSV with a row for each file.

    It learns from the pictures of `labels`, by default the run's own, never from their test part; on that it is
    measured, beside the commonest class and the untrained network. It stays in RUN/classifier and is used again for the
    same labels. RunError when what is there belongs to another encoder, DataError when there are no labels.
    """
    from selfsight.training import classify as classifying

    its = Run(run)
    named = Named(label_column, group_column, split_column, shared_labels)
    known = None if labels is None else given(labels)
    return classifying.classify(its, its.encoder(), given(data), known, named, Path(out))


def export(
    run: str | Path,
    data: Data | None = None,
    *,
    out: Path | None = None,
    format: Literal["timm", "onnx"] = "timm",
    outputs: str = "embedding",
    preprocess: bool = False,
    int8: bool = False,
) -> dict[str, Any]:
    """Write the encoder as a folder that timm, transformers and (`onnx`) ONNX Runtime each load in one line.

    It holds weights, preprocessing and a model card. Before it gets its name, `out` or RUN/export, its answers to
    pictures of the run, or of DATA, are compared with the encoder's. ExportError when they differ.
    """
    from selfsight.exporting import folder, wanted
    from selfsight.training import build, session

    its, asked = Run(run), wanted.asked(format, outputs, preprocess, int8)
    encoder, facts = its.encoder(), build.facts_of(its.recipe)
    columns = Named().over(its.recipe.columns)
    manifest = session.manifest_for(its.folder, its.recipe, None if data is None else given(data), *columns)
    return folder.write(its, encoder, manifest, facts, Path(out or its.folder / "export"), asked)


def methods(name: str | None = None) -> list[dict[str, Any]]:
    """What there is to learn with: idea, paper, settings with types, defaults and sources."""
    from selfsight import methods as registry

    return [registry.describe(one) for one in ([name] if name else registry.names())]
