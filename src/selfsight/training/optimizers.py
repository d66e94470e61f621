"""SGD, LARS and AdamW over a method's groups; biases, gains of norms, tokens and positions never decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from selfsight.errors import RecipeError, unknown
from selfsight.methods.base import Group, Training
from selfsight.training.schedule import cosine

__all__ = ["LARS", "OPTIMIZERS", "SLOTS", "build", "clip", "let_wait", "set_rate"]

SLOTS = {"sgd": 1, "lars": 1, "adamw": 2}  # tensors of a parameter's size that each keeps of it, at most
OPTIMIZERS = tuple(SLOTS)

Options = list[dict[str, Any]]


class LARS(Optimizer):
    """Momentum SGD whose step for a tensor is scaled to the tensor's own length (You et al. 2017).

    The form of the code of Zbontar et al. 2021 and Bardes et al. 2022: the trust ratio eta * |p| / |g + decay * p| goes
    into the momentum, the rate stays outside. Tensors with one axis take plain momentum SGD without decay.
    """

    def __init__(
        self,
        params: Options,
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,  # trust coefficient, both codes
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            self._move([p for p in trained if p.ndim > 1], group, scaled=True)
            self._move([p for p in trained if p.ndim <= 1], group, scaled=False)
        return loss

    def _move(self, parameters: list[Tensor], group: dict[str, Any], *, scaled: bool) -> None:
        if not parameters:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        if scaled:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            torch._foreach_mul_(gradients, _trust(parameters, gradients, group["eta"]))
        moments = [self._moment(p) for p in parameters]
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_add_(moments, gradients)
        torch._foreach_add_(parameters, moments, alpha=-group["lr"])

    def _moment(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        moment: Tensor = state["momentum"]
        return moment


class OnePass(SGD):
    """torch's momentum SGD, each tensor in one pass over memory: a fifth of the time of its several (`foreach`).

    The fused kernel needs a moment for every tensor or for none; one that it has not met, or was told to forget, starts
    from zero, which is the same.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                known = "momentum_buffer" in self.state[parameter]
                if group["momentum"] and parameter.grad is not None and not known:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        done: float | None = super().step(closure)
        return done


def _trust(parameters: list[Tensor], gradients: list[Tensor], eta: float) -> list[Tensor]:
    """eta * |p| / |g|, or 1 where either is zero; stays on the device."""
    p, g = torch.stack(torch._foreach_norm(parameters)), torch.stack(torch._foreach_norm(gradients))
    return list(torch.where((p > 0) & (g > 0), eta * p / g, torch.ones_like(p)).unbind())


def build(groups: Sequence[Group], training: Training, lr: float) -> Optimizer:
    """The optimizer that `training` names, over `groups`, at the rate `lr` (already scaled to the batch).

    Each parameter group keeps `lr_scale`, `start`, `constant` and `decays` (from, to), which `set_rate` applies.
    RecipeError for an unknown name.
    """
    options = [part for group in groups for part in _parts(group, training, lr)]
    if training.optimizer == "sgd":
        return OnePass(options, lr=lr, momentum=training.momentum, fused=True)
    if training.optimizer == "lars":
        return LARS(options, lr=lr, momentum=training.momentum)
    if training.optimizer == "adamw":
        return AdamW(options, lr=lr, betas=(training.momentum, training.beta2), fused=True)
    raise RecipeError(unknown("optimizer", training.optimizer, OPTIMIZERS))


def _parts(group: Group, training: Training, lr: float) -> Options:
    decaying = [p for p in group.parameters if _decays(p)]
    steady = [p for p in group.parameters if not _decays(p)]
    shared: dict[str, Any] = {"lr": lr * group.lr, "lr_scale": group.lr, "start": group.start}
    shared["constant"] = lr * group.lr if group.constant else None
    if group.momentum is not None:  # betas: what AdamW calls it
        shared |= {"momentum": group.momentum, "betas": (group.momentum, training.beta2)}
    parts = [(decaying, training.weight_decay * group.decay), (steady, 0.0)]
    return [
        {"params": params, "weight_decay": decay, "decays": (decay, decay * training.decay_growth), **shared}
        for params, decay in parts
        if params
    ]


def _decays(parameter: Tensor) -> bool:
    """Not what has one axis, nor a transformer's tokens and positions (1, L, D)."""
    return parameter.ndim > 1 and not (parameter.ndim == 3 and len(parameter) == 1)


def clip(parameters: Iterable[Tensor], most: float, norm: Tensor, *, each: bool) -> None:
    """Scale the gradient, whose norm is `norm`, to a norm of at most `most`; or `each` tensor's by its own norm."""
    if not each:
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
        return
    gradients = [one.grad for one in parameters if one.grad is not None]
    norms = torch._foreach_norm(gradients)
    torch._foreach_mul_(gradients, [(most / (own + 1e-6)).clamp(max=1.0) for own in norms])


def set_rate(optimizer: Optimizer, lr: float, progress: float) -> None:
    """Give every group its share of `lr`, or its own constant rate; one whose `start` lies ahead gets 0 and waits.

    Weight decay that grows is given what it has come to.
    """
    for group in optimizer.param_groups:
        first, last = group["decays"]
        group["weight_decay"] = first if first == last else cosine(progress, first, last)
        own = lr * group["lr_scale"] if group["constant"] is None else group["constant"]
        group["lr"] = own if progress >= group["start"] else 0.0


def let_wait(optimizer: Optimizer, progress: float) -> None:
    """Drop the gradients of groups whose `start` lies ahead: a step leaves neither them nor their moments changed."""
    for group in optimizer.param_groups:
        if progress < group["start"]:
            for parameter in group["params"]:
                parameter.grad = None
