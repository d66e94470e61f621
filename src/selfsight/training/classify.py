"""Stage 2 on a finished run: fit a classifier to labels, or take the one that knows them, and name pictures with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.data.pictures import pictures_of
from selfsight.embedding import progress, store
from selfsight.evaluation import classifier, labelled, predictions
from selfsight.evaluation.classifier import Classifier
from selfsight.evaluation.unseen import trained_on
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Named
from selfsight.runs import RunFolder
from selfsight.training import session
from selfsight.training.build import rivals
from selfsight.training.labels import labels_seen
from selfsight.training.lineage import lineage

__all__ = ["classify"]


def classify(
    run: RunFolder, encoder: Encoder, data: list[str], labels: list[str] | None, named: Named, out: Path
) -> dict[str, Any]:
    """Write the CSV, and the classifier beside the encoder if it is new; what there is to say of both."""
    file, folder, recipe = predictions.target(out), run.folder / "classifier", run.recipe
    owner = store.digest(run.encoder_folder())
    saved = classifier.kept(folder, owner)
    runs = lineage(run.folder)
    known = session.manifest_for(run.folder, recipe, labels, *named.over(recipe.columns))
    listing = source.find(data)
    manifest = scan(listing)

    def teach(those: Manifest) -> Classifier:
        seen = trained_on(those, *(pictures for _, pictures in runs))
        encoders = {"encoder": encoder, **rivals(recipe, run.folder)}
        return labelled.learn(encoders, pictures_of(recipe, those), those, seen, size=recipe.size)

    model, reused = labelled.obtained(saved, known, labels is None, owner, teach)
    if not reused:
        with session.room_in(run.folder):
            model.save(folder)
    with progress.line("classifying", len(manifest)) as tell:
        pictures = pictures_of(recipe, manifest)
        lines = predictions.predict(model, encoder, pictures, size=recipe.size, tell=tell)
    written = predictions.write(file, lines, listing)
    notes = [*(model.facts.get("notes") or []), *labels_seen(runs)]
    return {**written, "classifier": str(folder), "reused": reused, **model.facts, "notes": notes}
