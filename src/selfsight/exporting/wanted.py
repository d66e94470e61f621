"""What `selfsight export` is asked for; what cannot be is refused before work starts."""

from __future__ import annotations

from dataclasses import dataclass

from selfsight.errors import RecipeError, must_have, unknown

__all__ = ["Wanted", "asked"]

OUTPUTS = ("embedding", "patches")


@dataclass(frozen=True)
class Wanted:
    """A folder for timm and transformers, and with `onnx` a graph beside it."""

    onnx: bool = False
    outputs: tuple[str, ...] = OUTPUTS[:1]  # of the graph
    preprocess: bool = False  # the graph takes pixels as integers, in the set's format
    int8: bool = False  # a second graph, of 8-bit integers


def asked(form: str, outputs: str, preprocess: bool, int8: bool) -> Wanted:
    """Raises RecipeError for what does not go together, MissingError when a library is not there."""
    names = tuple(dict.fromkeys(name.strip() for name in outputs.split(",")))
    for name in names:
        if name not in OUTPUTS:
            raise RecipeError(f"--outputs: {unknown('output', name, OUTPUTS)}")
    if form != "onnx" and (names != OUTPUTS[:1] or preprocess or int8):
        raise RecipeError("--outputs, --preprocess and --int8 are of the ONNX graph; add --format onnx")
    if int8 and OUTPUTS[0] not in names:
        raise RecipeError(f"--int8 is measured on embeddings; add them: --outputs {','.join(OUTPUTS)}")
    if form == "onnx":
        must_have("--format onnx", "export", "onnx", "onnxscript", "onnxruntime")
    return Wanted(form == "onnx", names, preprocess, int8)
