"""The loop: resuming is exact at every step, sick steps move nothing, what is watched changes nothing."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ssl_seg.engine import metric_logger
from ssl_seg.engine.device import Device
from ssl_seg.engine.loop import fit
from ssl_seg.engine.metric_logger import MetricLogger
from ssl_seg.engine.monitors import CollapseMonitor
from ssl_seg.engine.optim import build_optimizer, build_param_groups, lr_at_step
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.errors import HealthError, ResourceError, Stopped
from ssl_seg.weights import checkpoint

TOTAL, PER_EPOCH = 8, 4
TIMES = ("seconds", "images_per_second", "energy_wh")


class Toy(nn.Module):
    """Channels-last convolutions, BatchNorm, dropout and a moving average: all that has to be kept."""

    def __init__(self, *, dropout: float = 0.3, norm: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(8, 8, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(8, 4)
        self.register_buffer("average", torch.zeros(4, 8))
        self.after: Callable[[int], None] = lambda step: None

    def forward(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, targets = batch
        logits = self.head(self.features(images))
        hits = (logits.argmax(1) == targets).float().mean()
        return {"loss": F.cross_entropy(logits, targets), "hits": hits, "embedding": logits}

    def after_step(self, progress: float) -> None:
        self.average.lerp_(self.head.weight.detach(), 0.1)
        self.after(round(progress * TOTAL))


def batch_of(step: int, parts: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(8, 3, 9, 9, generator=generator)
    targets = torch.randint(0, 4, (8,), generator=generator)
    return list(zip(images.chunk(parts), targets.chunk(parts), strict=True))


@dataclass
class Trial:
    """One run; `go` may be called again and again, as a user would type the command again."""

    folder: Path
    optimizer: str = "adamw"
    parts: int = 1
    clip: float = 0.0
    lr: float = 0.05
    save_every: int = 0
    save_seconds: float = 300.0
    toy: dict[str, Any] = field(default_factory=dict)
    feed: Callable[[int], Any] | None = None
    alarm: CollapseMonitor | None = None

    def go(
        self,
        *,
        stop_after: int | None = None,
        on_epoch: Callable[[int], dict[str, float]] = lambda epoch: {},
        stop: SignalHandler | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        resume = (self.folder / "run.toml").exists()
        # a resumed run begins with other weights and another generator: only the checkpoint is right
        torch.manual_seed(99 if resume else 0)
        module, stop = Toy(**self.toy), stop or SignalHandler()
        if stop_after is not None:
            module.after = lambda step: setattr(stop, "signal", 15 if step == stop_after else stop.signal)
        self.module = module
        optimizer = build_optimizer(self.optimizer, build_param_groups(module, 1e-3), self.lr)
        plan = Schedule(
            TOTAL,
            PER_EPOCH,
            8,
            lambda step: lr_at_step(step, TOTAL, self.lr, 2),
            self.clip,
            self.save_every,
            self.save_seconds,
        )
        feed = self.feed or (lambda step: batch_of(step, self.parts))
        with Run(self.folder, resume=resume) as run:
            run.write_config({})
            fit(
                module,
                feed,
                optimizer,
                plan,
                device=Device("fp32", cpu=True),
                run=run,
                signals=stop,
                on_epoch_end=on_epoch,
                monitor=self.alarm,
            )
        return dict(module.state_dict()), optimizer.state_dict()["state"]

    def scores(self) -> list[dict[str, float]]:
        lines = (self.folder / "scores.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]

    def saved(self) -> list[int]:
        return [int(path.name[5:]) for path in checkpoint.list_checkpoints(self.folder / "checkpoints")]


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, tuple):
        return all(same(a, b) for a, b in zip(one, two, strict=True))
    if torch.is_tensor(one):
        return torch.equal(one, two)
    return bool(one == two)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "lars", "accumulated", "clipped"])
def test_a_stop_after_any_step_changes_nothing(kind, tmp_path):
    given = {"accumulated": {"parts": 2}, "clipped": {"clip": 0.5}}.get(kind, {"optimizer": kind})
    whole = Trial(tmp_path / "whole", **given)
    expected = whole.go()
    assert len(whole.scores()) == TOTAL // PER_EPOCH
    for step in range(1, TOTAL):
        trial = Trial(tmp_path / f"stopped-{step}", **given)
        with pytest.raises(Stopped) as caught:
            trial.go(stop_after=step)
        assert caught.value.code == 128 + 15
        assert trial.saved()[-1] == step, "a step that was done is lost"
        assert same(trial.go(), expected), f"stopped after step {step}"
        assert trial.scores() == whole.scores()


def test_three_stops_change_nothing(tmp_path):
    whole, trial = Trial(tmp_path / "whole"), Trial(tmp_path / "often")
    expected = whole.go()
    for step in (2, 3, 7):
        with pytest.raises(Stopped):
            trial.go(stop_after=step)
    assert same(trial.go(), expected)
    assert trial.scores() == whole.scores()


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_stop_while_an_epoch_is_evaluated(epoch, tmp_path):
    """An evaluation that was cut short tells nothing; the resumed run does it again, once."""
    whole = Trial(tmp_path / "whole")
    expected = whole.go(on_epoch=lambda epoch: {"val": epoch + 0.5})
    trial, stop = Trial(tmp_path / "stopped"), SignalHandler()

    def cut_short(now: int) -> dict[str, float]:
        if now == epoch:
            stop.signal = 15
        return {} if stop.signal else {"val": now + 0.5}

    for _ in range(2):  # it is stopped in the same evaluation twice
        with pytest.raises(Stopped):
            trial.go(on_epoch=cut_short, stop=stop)
        stop.signal = 0
    result = trial.go(on_epoch=lambda epoch: {"val": epoch + 0.5})
    assert same(result, expected)
    assert trial.scores() == whole.scores()


def test_a_kill_right_after_the_repeated_evaluation_does_not_double_a_row(tmp_path):
    whole = Trial(tmp_path / "whole")
    whole.go()
    trial, stop = Trial(tmp_path / "killed"), SignalHandler()

    def cut_short(epoch: int) -> dict[str, float]:
        stop.signal = 15
        return {}

    with pytest.raises(Stopped):
        trial.go(on_epoch=cut_short, stop=stop)

    def dies(step: int) -> Any:
        raise SystemError

    trial.feed = dies
    with pytest.raises(SystemError):
        trial.go()
    assert len(trial.scores()) == 1
    trial.feed = None
    trial.go()
    assert trial.scores() == whole.scores()


def test_a_crash_repeats_the_steps_since_the_last_checkpoint(tmp_path):
    whole, trial = Trial(tmp_path / "whole", save_every=3), Trial(tmp_path / "crashed", save_every=3)
    expected = whole.go()

    def dies(step: int) -> Any:
        if step == 6:
            raise SystemError
        return batch_of(step)

    trial.feed = dies
    with pytest.raises(SystemError):
        trial.go()
    assert trial.saved() == [0, 3]
    assert len(trial.scores()) == 1, "the first epoch is told before the crash"
    trial.feed = None
    assert same(trial.go(), expected)
    assert trial.scores() == whole.scores()


@pytest.mark.parametrize("piece", ["generators", "optimizer", "meter", "strikes"])
def test_control_every_piece_of_a_checkpoint_matters(piece, tmp_path, monkeypatch):
    """Without a piece, the comparison that the other tests make fails."""
    low = {"every_n_steps": 1, "min_std": 9.0, "patience": 10}
    whole, trial = Trial(tmp_path / "whole", alarm=CollapseMonitor(**low)), Trial(tmp_path / "lame")
    expected = whole.go()
    trial.alarm = CollapseMonitor(**low)
    with pytest.raises(Stopped):
        trial.go(stop_after=3)
    trial.alarm = CollapseMonitor(**low)
    if piece == "generators":
        monkeypatch.setattr(checkpoint, "set_rng_state", lambda tensors: None)
    if piece == "optimizer":
        monkeypatch.setattr(checkpoint, "load_optimizer_state", lambda *_: None)
    if piece == "meter":
        monkeypatch.setattr(MetricLogger, "load_state_dict", lambda self, state: None)
    result = trial.go()
    if piece == "strikes":
        assert trial.alarm.num_alerts == whole.alarm.num_alerts == TOTAL
    elif piece == "meter":
        assert same(result, expected)
        assert trial.scores() != whole.scores()
    else:
        assert not same(result, expected)


def test_two_runs_are_equal_whatever_is_watched(tmp_path):
    expected = Trial(tmp_path / "plain").go()

    def evaluate(epoch: int) -> dict[str, float]:
        trial.module.eval()
        with torch.no_grad():
            score = trial.module(batch_of(100)[0])["loss"].item()
        trial.module.train()
        return {"val": score}

    for name, given in {"again": {}, "each": {"save_every": 1}, "seventh": {"save_every": 7}}.items():
        trial = Trial(tmp_path / name, **given)
        assert same(trial.go(on_epoch=evaluate), expected), name
    trial = Trial(tmp_path / "by the clock, in a folder 名", save_seconds=0.0)
    assert same(trial.go(), expected)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"save_every": 3}, [0, 3, 6, 8]),
        ({"save_every": 1}, list(range(9))),
        ({}, [0, 8]),
        ({"save_seconds": 0.0}, list(range(9))),
    ],
)
def test_when_checkpoints_are_written(given, steps, tmp_path, monkeypatch):
    written = []
    real = checkpoint.write_checkpoint

    def noted(folder: Path, snapshot: Any) -> Path:
        written.append(snapshot.step)
        return real(folder, snapshot)

    monkeypatch.setattr("ssl_seg.engine.checkpoint_manager.write_checkpoint", noted)
    trial = Trial(tmp_path / "run", **given)
    trial.go()
    assert written == steps
    assert trial.saved() == steps[-2:]


def _write_slowly(monkeypatch: pytest.MonkeyPatch, fails: int = -1) -> list[int]:
    """Writing ends when training has gone on by a step; of one checkpoint it fails. Returns the steps that ended."""
    started, ended, real = list[int](), list[int](), checkpoint.write_checkpoint

    def write(folder: Path, snapshot: Any) -> Path:
        started.append(snapshot.step)
        if threading.current_thread() is not threading.main_thread() and 0 < snapshot.step < TOTAL:
            deadline = time.monotonic() + 60
            while steps and steps[-1] <= snapshot.step and time.monotonic() < deadline:
                time.sleep(0.001)
        if snapshot.step == fails:
            raise ResourceError("cannot write a checkpoint: no space", kept="the one before")
        ended.append(snapshot.step)
        return real(folder, snapshot)

    steps, forward = list[int](), Toy.forward

    def counted(self: Toy, batch: Any) -> dict[str, Tensor]:
        steps.append(len(steps) + 1)
        return forward(self, batch)

    monkeypatch.setattr(Toy, "forward", counted)
    monkeypatch.setattr("ssl_seg.engine.checkpoint_manager.write_checkpoint", write)
    return ended


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    whole = Trial(tmp_path / "whole", save_every=3)
    expected = whole.go()
    ended = _write_slowly(monkeypatch)
    trial = Trial(tmp_path / "slow", save_every=3)
    assert same(trial.go(), expected)
    assert (ended, trial.saved()) == ([0, 3, 6, 8], [6, 8])
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, two = (load_file(each.folder / "checkpoints/step-000006" / name) for each in (whole, trial))
        assert same(one, two)


def test_what_the_thread_could_not_write_ends_the_run_and_keeps_the_one_before(tmp_path, monkeypatch):
    expected = Trial(tmp_path / "whole", save_every=3).go()
    trial = Trial(tmp_path / "full", save_every=3)
    with monkeypatch.context() as patch:
        _write_slowly(patch, fails=6)
        with pytest.raises(ResourceError, match="no space") as caught:
            trial.go()
    assert caught.value.code == 6
    assert trial.saved() == [0, 3]
    status = json.loads((trial.folder / "status.json").read_text())
    assert (status["step"], status["checkpoint"]) == (3, "step-000003")
    assert same(trial.go(), expected)


def test_a_finished_run_stays_as_it_is(tmp_path):
    trial = Trial(tmp_path / "run")
    expected, before = trial.go(), trial.scores()
    assert same(trial.go(), expected)
    assert trial.scores() == before


def test_resuming_clears_what_a_kill_left(tmp_path):
    trial = Trial(tmp_path / "run", save_every=1)
    trial.go()
    folder = tmp_path / "run" / "checkpoints"
    for name in (".step-000009.tmp-1", ".trash-step-000001"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
    # a kill between a save and the removal of the oldest leaves three
    real = min(folder.glob("step-*"))
    (folder / "step-000002").mkdir()
    for file in real.iterdir():
        (folder / "step-000002" / file.name).write_bytes(file.read_bytes())
    trial.go()
    assert sorted(path.name for path in folder.iterdir()) == ["step-000007", "step-000008"]


class _Poison(torch.autograd.Function):
    """A finite value with an infinite gradient."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * torch.inf


def _sick(kind: str, sick_step: int) -> Callable[[int], Any]:
    def feed(step: int) -> Any:
        parts = batch_of(step, 2)
        if step == sick_step:
            images, targets = parts[0]
            factor = {"nan": torch.nan, "inf": torch.inf}[kind]
            parts[0] = (images * factor, targets)
        return parts

    return feed


def _check_stopped(trial: Trial, caught: Any, expected: dict[str, Tensor], step: int) -> None:
    assert caught.value.code == 5
    assert f"step {step + 1}," in caught.value.where
    assert "lr 0.0" in caught.value.where
    weights = {name for name, _ in trial.module.named_parameters()}
    state = trial.module.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in weights), "a weight has moved"
    assert Path(caught.value.kept) == trial.folder / "checkpoints" / f"step-{step:06d}"
    assert checkpoint.verify(Path(caught.value.kept)) == ""
    for path in trial.folder.glob("checkpoints/*/*.safetensors"):
        assert all(t.isfinite().all() for t in load_file(path).values())


@pytest.mark.parametrize("kind", ["nan", "inf"])
@pytest.mark.parametrize("step", [1, 5])
def test_a_loss_that_is_not_finite_moves_nothing(kind, step, tmp_path):
    healthy = Trial(tmp_path / "healthy", parts=2)
    with pytest.raises(Stopped):
        healthy.go(stop_after=step)
    trial = Trial(tmp_path / "sick", feed=_sick(kind, step), save_every=1)
    with pytest.raises(HealthError, match="loss is nan") as caught:
        trial.go()
    _check_stopped(trial, caught, healthy.module.state_dict(), step)


@pytest.mark.parametrize("step", [1, 5])
def test_a_gradient_that_is_not_finite_moves_nothing(step, tmp_path, monkeypatch):
    healthy = Trial(tmp_path / "healthy")
    with pytest.raises(Stopped):
        healthy.go(stop_after=step)
    count, real = [0], Toy.forward

    def forward(self: Toy, batch: Any) -> dict[str, Tensor]:
        out = real(self, batch)
        count[0] += 1
        return out | {"loss": _Poison.apply(out["loss"])} if count[0] == step + 1 else out

    monkeypatch.setattr(Toy, "forward", forward)
    trial = Trial(tmp_path / "sick", save_every=1)
    with pytest.raises(HealthError, match="gradient norm is (inf|nan)") as caught:
        trial.go()
    _check_stopped(trial, caught, healthy.module.state_dict(), step)


def test_an_infinite_loss_of_an_earlier_part_counts(tmp_path, monkeypatch):
    """Its gradients may be finite, and the last part's loss may be too."""
    count, real = [0], Toy.forward

    def forward(self: Toy, batch: Any) -> dict[str, Tensor]:
        out = real(self, batch)
        count[0] += 1
        return out | {"loss": out["loss"] + torch.inf} if count[0] == 3 else out

    monkeypatch.setattr(Toy, "forward", forward)
    with pytest.raises(HealthError, match="loss is inf") as caught:
        Trial(tmp_path / "run", parts=2).go()
    assert caught.value.where.startswith("step 2,")


@pytest.mark.parametrize("name", ["head.weight", "average", "features.1.running_mean"])
def test_weights_that_overflow_do_not_replace_a_good_checkpoint(name, tmp_path, monkeypatch):
    def overflow(self: Toy, progress: float) -> None:
        if round(progress * TOTAL) == 3:
            self.state_dict()[name].view(-1)[0] = torch.nan

    monkeypatch.setattr(Toy, "after_step", overflow)
    trial = Trial(tmp_path / "run", save_every=1)
    with pytest.raises(HealthError, match=f"{name} contains NaN or infinity") as caught:
        trial.go()
    assert caught.value.where == "step 3"
    assert Path(caught.value.kept).name == "step-000002"
    assert trial.saved() == [1, 2]
    assert all(checkpoint.verify(path) == "" for path in trial.folder.glob("checkpoints/*"))


def test_a_collapse_keeps_the_newest_checkpoint(tmp_path):
    alarm = CollapseMonitor(every_n_steps=1, min_std=9.0, patience=3)
    trial = Trial(tmp_path / "run", alarm=alarm, save_every=1)
    with pytest.raises(HealthError, match="collapsed") as caught:
        trial.go()
    assert Path(caught.value.kept).name == "step-000002"


def test_a_method_without_embedding_is_told_of_once(tmp_path, monkeypatch, caplog):
    forward = Toy.forward
    monkeypatch.setattr(Toy, "forward", lambda self, views: {"loss": forward(self, views)["loss"]})
    trial = Trial(tmp_path / "run", alarm=CollapseMonitor(every_n_steps=1))
    trial.go()
    log = (trial.folder / "run.log").read_text()
    assert log.count("collapse detection is off") == 1


def test_clipping_is_torchs(tmp_path):
    trial = Trial(tmp_path / "run", optimizer="sgd", clip=0.05)
    ours, _ = trial.go()
    torch.manual_seed(0)
    module = Toy()
    optimizer = build_optimizer("sgd", build_param_groups(module, 1e-3), trial.lr)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    module.to(memory_format=torch.channels_last)
    norms = []
    for step in range(TOTAL):
        for group in optimizer.param_groups:
            group["lr"] = lr_at_step(step, TOTAL, trial.lr, 2)
        module(batch_of(step)[0])["loss"].backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 0.05))
        optimizer.step()
        optimizer.zero_grad()
        module.after_step((step + 1) / TOTAL)
    assert min(norms) > 0.05, "nothing was clipped"
    assert same(ours, dict(module.state_dict()))


def test_an_accumulated_gradient_is_that_of_the_whole_batch(tmp_path, monkeypatch):
    gradients: dict[int, list[Tensor]] = {}
    for parts in (1, 2, 4):
        trial = Trial(tmp_path / str(parts), parts=parts, toy={"dropout": 0.0, "norm": False})
        real = torch.optim.AdamW.step

        def step(self: Any, *args: Any, parts: int = parts, real: Any = real) -> Any:
            seen = [p.grad.clone() for group in self.param_groups for p in group["params"]]
            gradients.setdefault(parts, seen)
            return real(self, *args)

        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        trial.go()
        monkeypatch.setattr(torch.optim.AdamW, "step", real)
    assert max(float(gradient.abs().max()) for gradient in gradients[1]) > 1e-3
    for parts in (2, 4):
        for one, two in zip(gradients[1], gradients[parts], strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_scores_that_cannot_be_written_are_a_lack_of_room(tmp_path, monkeypatch):
    trial = Trial(tmp_path / "run")
    real = Path.open

    def full(self: Path, *args: Any, **named: Any) -> Any:
        if self.name == "scores.jsonl":
            raise OSError(28, "No space left on device", str(self))
        return real(self, *args, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResourceError, match="No space left"):
        trial.go()
    assert checkpoint.verify(tmp_path / "run/checkpoints/step-000000") == ""


def test_the_speed_of_an_epoch_counts_all_its_processes(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(metric_logger, "perf_counter", lambda: float(next(clock)))
    trial, stop = Trial(tmp_path / "run"), SignalHandler()

    def cut_short(epoch: int) -> dict[str, float]:
        stop.signal = 15
        return {}

    with pytest.raises(Stopped):
        trial.go(on_epoch=cut_short, stop=stop)
    trial.go()
    with Run(trial.folder, resume=True) as run:
        for row in run.scores():
            assert row["images_per_second"] >= 8 * PER_EPOCH / row["seconds"]  # `seconds` is of all epochs
