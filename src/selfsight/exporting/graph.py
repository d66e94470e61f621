"""The encoder as an ONNX graph, and ONNX Runtime to answer with it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from selfsight.embedding.embed import vectors_of
from selfsight.errors import ExportError
from selfsight.exporting.parity import Answers
from selfsight.nn import patches as patching
from selfsight.nn.encoder import Encoder

__all__ = ["INPUT", "by_runtime", "by_torch", "fed", "write"]

INPUT = "pixels"
TRACED = 2  # pictures that the graph is traced with: with one, the batch would stay one
ONE_FILE = 2**31 - 2**24  # bytes: more does not go into a protobuf, so weights lie beside it in model.onnx.data


class Graph(nn.Module):
    """Pictures to the named outputs, as a tuple. With `preprocess` they are integers, channels last."""

    def __init__(self, encoder: Encoder, outputs: Sequence[str], preprocess: bool) -> None:
        super().__init__()
        self.encoder, self.outputs, self.preprocess = encoder, tuple(outputs), preprocess

    def forward(self, pixels: Shaped[Tensor, "B ..."]) -> tuple[Tensor, ...]:
        """One pass through the network, whatever is asked of it."""
        backbone = self.encoder.backbone
        features = backbone.forward_features(self.encoder.normalised(pixels) if self.preprocess else pixels)
        found = {"embedding": lambda: self.whitened(backbone.forward_head(features))}
        found["patches"] = lambda: patching.vectors(features, self.encoder.maps, self.encoder.prefix)
        return tuple(found[output]() for output in self.outputs)

    def whitened(self, embeddings: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """As `embed` gives them."""
        white = self.encoder.whitening
        if white is None:
            return embeddings
        return (embeddings - torch.from_numpy(white.mean)) @ torch.from_numpy(white.matrix)


def write(
    encoder: Encoder,
    file: Path,
    views: Shaped[Tensor, "N h w C"],
    outputs: Sequence[str],
    *,
    preprocess: bool,
    facts: Mapping[str, Any],
) -> None:
    """Trace the network with pictures and keep it; `facts` go into the file. ExportError when it has no ONNX form."""
    shown = views[torch.arange(TRACED) % len(views)]
    example = shown if preprocess else encoder.normalised(shown)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter to its own authors
            program = torch.onnx.export(
                Graph(encoder, outputs, preprocess).eval(),
                (example,),
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(
            f"{encoder.name!r} cannot be written as ONNX ({type(error).__name__}: {str(error).splitlines()[0][:120]}); "
            "--format timm works without it"
        ) from error
    assert program is not None
    program.model.metadata_props["selfsight"] = json.dumps(facts)
    weights = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    program.save(str(file), external_data=weights > ONE_FILE)


def fed(encoder: Encoder, views: Shaped[Tensor, "B h w C"], preprocess: bool) -> dict[str, np.ndarray]:
    """What the graph takes."""
    return {INPUT: (views if preprocess else encoder.normalised(views)).numpy()}


def by_runtime(file: Path, encoder: Encoder, *, preprocess: bool) -> Answers:
    """The graph in ONNX Runtime, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: what it could not fold is no news
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def answer(views: Tensor) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, fed(encoder, views, preprocess)), strict=True))

    return answer


def by_torch(encoder: Encoder, outputs: Sequence[str], *, plain: bool = False) -> Answers:
    """The encoder itself; with `plain` its embeddings before they are whitened."""

    def answer(views: Tensor) -> dict[str, np.ndarray]:
        return {output: vectors_of(encoder, views, patches=output == "patches", plain=plain) for output in outputs}

    return answer
