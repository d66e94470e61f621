"""The graph in 8-bit integers, and what that costs: nearest neighbours of both on the same pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.evaluation import intervals, knn
from selfsight.evaluation.task import pose
from selfsight.exporting.wanted import OUTPUTS
from selfsight.neighbours import nearest

__all__ = ["cost", "write"]

NEIGHBOURS = 10  # of which so many are still found


def write(graph: Path, file: Path, batches: list[dict[str, np.ndarray]]) -> str:
    """Write the graph anew in 8-bit integers; what was made so.

    Where convolutions do the work (networks of them), weights and activations, whose range `batches` of pictures show;
    else (transformers) the products with weights, each with the range that it meets.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = file.with_name(f"{file.name}.ready")
    quant_pre_process(graph, ready, skip_symbolic_shape=True)
    nodes = onnx.load(ready, load_external_data=False).graph.node
    kinds = Counter(node.op_type for node in nodes)
    convolutional = kinds["Conv"] > kinds["MatMul"] + kinds["Gemm"]
    last = [node.name for node in nodes if OUTPUTS[0] in node.output]  # a whitening: its numbers lie too far apart
    common = {"per_channel": True, "weight_type": QuantType.QInt8, "nodes_to_exclude": last}
    if convolutional:
        quantize_static(ready, file, Shown(batches), quant_format=QuantFormat.QDQ, **common)
    else:
        quantize_dynamic(ready, file, op_types_to_quantize=["MatMul", "Gemm"], **common)
    ready.unlink()
    return "weights and activations" if convolutional else "products with weights"


class Shown:
    """Pictures whose activations show the range of each layer, in the shape that ONNX Runtime asks for."""

    def __init__(self, batches: list[dict[str, np.ndarray]]) -> None:
        self.left: Iterator[dict[str, np.ndarray]] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch."""
        return next(self.left, None)


def cost(
    whole: Float[np.ndarray, "N D"],
    small: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    test: Bool[np.ndarray, "N"],
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """kNN accuracy by both, the paired difference with its 95 % interval, and the share of neighbours that stay."""
    k = min(NEIGHBOURS, len(whole) - 1)
    kept = None
    if k > 0:
        own, other = (nearest(rows, rows, k, exclude_self=True)[1] for rows in (whole, small))
        kept = float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(own, other, strict=True)]))
    found: dict[str, Any] = {"pictures": len(whole), "neighbours_kept": kept, "knn": None}
    task = pose(labels, groups, test, classes)
    if isinstance(task, str):
        return found | {"sentence": f"{task} So the loss of kNN accuracy is not known; {_stay(kept, k)}"}
    near, temperature = knn.choose(whole[task.train], task.train_labels, task.train_groups)
    right = [
        knn.predict(rows[task.train], task.train_labels, rows[task.test], k=near, temperature=temperature)
        == task.test_labels
        for rows in (whole, small)
    ]
    low, high = intervals.of_difference(right[1], right[0], task.test_groups)
    before, after = (float(one.mean()) for one in right)
    found["knn"] = {"fp32": before, "int8": after, "difference": after - before, "interval": [low, high]}
    said = (
        f"On {len(task.test)} test pictures int8 has a kNN accuracy of {after:.3f}, fp32 of {before:.3f}, "
        f"difference {after - before:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}; {_stay(kept, k)}"
    )
    return found | {"sentence": " ".join([said, *task.notes])}


def _stay(kept: float | None, k: int) -> str:
    return f"of the {k} nearest pictures {100 * kept:.1f} % stay." if kept is not None else "there is one picture."
