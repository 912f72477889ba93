"""Alarms: numbers that are not finite, and a representation that collapses."""

import math
from collections.abc import Container, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg.errors import HealthError


def embedding_std(embedding: Tensor) -> Tensor:
    """How far L2-normalised embeddings spread: 1 on a sphere, 0 when they are all the same.

    The root mean square, over dimensions, of the standard deviation over images, times sqrt(D)
    (after Chen and He 2021, figure 2).

    Args:
        embedding: (B, D).
    """
    unit = F.normalize(embedding.float(), dim=1)
    return unit.var(dim=0, unbiased=False).sum().sqrt()


def effective_rank(embedding: Tensor) -> Tensor:
    """The exponential of the entropy of the singular values of the centred embeddings.

    Roughly how many dimensions are in use, from 1 to min(B - 1, D) (Roy and Vetterli 2007;
    RankMe, Garrido et al. 2023).

    Args:
        embedding: (B, D).
    """
    unit = F.normalize(embedding.float(), dim=1)
    values = torch.linalg.svdvals(unit - unit.mean(dim=0))
    share = values / values.sum().clamp(min=1e-12)
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum())


class CollapseMonitor:
    """Looks at the embeddings now and then, and stops a run whose images all look the same to it.

    Args:
        every_n_steps: steps between looks.
        min_std: alarm below this `embedding_std`.
        min_rank: alarm below this `effective_rank`, or below half of the rank that so few images
            or dimensions can have at most: B images span B - 1.
        patience: how many checks in a row must alarm.
    """

    def __init__(
        self, every_n_steps: int = 50, *, min_std: float = 0.05, min_rank: float = 2.0, patience: int = 3
    ) -> None:
        self.every_n_steps, self.patience = every_n_steps, patience
        self.min_std, self.min_rank = min_std, min_rank
        self.num_alerts = 0

    def should_check(self, step: int) -> bool:
        """Whether to look after this step (counted from 0)."""
        return (step + 1) % self.every_n_steps == 0

    def update(self, embedding: Tensor, step: int) -> dict[str, float]:
        """Measure the (B, D) embeddings of a step.

        Raises:
            HealthError: they have been collapsed for `patience` looks.
        """
        std, rank = embedding_std(embedding).item(), effective_rank(embedding).item()
        images, dimensions = embedding.shape
        min_rank = min(self.min_rank, min(images - 1, dimensions) / 2)
        self.num_alerts = self.num_alerts + 1 if std < self.min_std or rank < min_rank else 0
        if self.num_alerts >= self.patience:
            raise HealthError(
                f"the representation has collapsed: embedding std {std:.4f} (threshold "
                f"{self.min_std}), effective rank {rank:.1f} (threshold {min_rank})",
                where=f"step {step + 1}, {self.num_alerts} checks in a row",
                next="change --lr or a method option; --on-collapse ignore disables this check",
            )
        return {"spread": std, "rank": rank}


class FiniteCheck:
    """Asks the device whether loss and gradients are finite, and reads the answer later.

    Between asking and reading, the next batch can be prepared: the device stays busy, and still
    no weight moves before the answer is known.
    """

    def launch(self, loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """Start the check; returns the norm of all gradients, a scalar on the device."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        answer = torch.stack([loss.detach().float(), norm.float()])
        if answer.is_cuda:
            self._answer = torch.empty(2, pin_memory=True)
            self._answer.copy_(answer, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._answer = answer
        return norm

    def wait(self, where: str) -> None:
        """Wait for the answer.

        Raises:
            HealthError: the loss or a gradient is NaN or infinite.
        """
        if hasattr(self, "_event"):
            self._event.synchronize()
        loss, norm = self._answer.tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            part = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
            raise HealthError(
                f"{part}; weights were not updated",
                where=where,
                next="reduce --lr, increase --warmup, or use --clip 1.0 or --precision fp32",
            )


def assert_finite_state(
    tensors: Mapping[str, Tensor], parameters: Container[str], where: str, kept: str | None = None
) -> None:
    """What is about to be saved must be worth it: finite parameters, and no NaN in any buffer.

    Args:
        tensors: the state of a module.
        parameters: names of its parameters.

    Raises:
        HealthError: it is not; with the first name.
    """
    sound = {
        name: tensor.isfinite().all() if name in parameters else ~tensor.isnan().any()
        for name, tensor in tensors.items()
    }
    if sound and not torch.stack(list(sound.values())).all():
        name = next(name for name, answer in sound.items() if not answer)
        raise HealthError(
            f"{name} contains NaN or infinity; no checkpoint was written",
            where=where,
            kept=kept,
            next="reduce --lr, increase --warmup, or use --clip 1.0 or --precision fp32",
        )
