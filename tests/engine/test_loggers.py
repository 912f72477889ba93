"""Trackers: the numbers of `scores.jsonl`, and nothing else, wherever they go."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from accelerate import tracking as theirs
from safetensors.torch import load_file

from ssl_seg.engine.device import Device
from ssl_seg.engine.loggers import ExperimentLogger, parse_loggers
from ssl_seg.engine.run_dir import Run
from ssl_seg.errors import UsageError

LINES = [{"epoch": n, "step": 4 * n, "loss": 1.0 / n, "val_top1": 0.1 * n} for n in (1, 2, 3, 4)]
TINY = ["-o", "ssl.hidden=8", "-o", "ssl.dimensions=4", "--batch-size", 4, "--image-size", 32, "--cpu"]


@pytest.fixture
def run(tmp_path):
    Device(cpu=True)  # Accelerate's trackers ask which process they are in
    with Run(tmp_path / "run") as run:
        run.write_config({"lr": 0.1, "o": {"ssl": {"decay": "0.9"}}, "record": {"versions": {"torch": "2"}}})
        yield run


class Fake(theirs.GeneralTracker):
    """Remembers what it is told; fails when it is told to."""

    name, requires_logging_directory, tracker = (
        "fake",
        False,
        SimpleNamespace(info=SimpleNamespace(run_id="r1")),
    )

    def __init__(self, project, **how):
        super().__init__()
        self.project, self.how = project, how
        self.started, self.lines, self.config, self.finished, self.fail_at = False, [], None, False, None

    def start(self):
        self.started = True

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None):
        if step == self.fail_at:
            raise ConnectionError("no route to host")
        self.lines.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture
def fakes(monkeypatch):
    """Fake trackers in the place of wandb's and MLflow's: `fakes["wandb"]` is a list of those that were made."""
    made = {"wandb": [], "mlflow": []}

    def maker(name):
        def make(*given, **how):
            made[name].append(Fake(*given, **how))
            return made[name][-1]

        return make

    monkeypatch.setattr(theirs, "WandBTracker", maker("wandb"))
    monkeypatch.setattr(theirs, "MLflowTracker", maker("mlflow"))
    uris = []
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(set_tracking_uri=uris.append))
    monkeypatch.setattr("ssl_seg.utils.extras.find_spec", lambda name: True)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return {**made, "uris": uris}


def events(folder):
    """Tag -> [(step, value)] as TensorBoard reads them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def as_events(lines):
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    one = lambda value: torch.tensor(value, dtype=torch.float32).item()
    return {n: [(line["step"], one(line[n])) for line in lines if n in line] for n in names}


def test_names():
    assert parse_loggers("") == []
    with pytest.raises(UsageError, match=r"no tracker 'tensorbord'; did you mean 'tensorboard'"):
        parse_loggers("tensorbord")


def test_a_missing_package_is_told_before_anything_is_done(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_seg.utils.extras.find_spec", lambda name: None)
    code, _, err = cli("train", "demo:8", "--track", "wandb", "--out", tmp_path / "run")
    assert code == 2 and "--track wandb requires wandb (not installed)" in err and "pip install wandb" in err
    code, _, err = cli("train", "demo:8", "--track", "tensorboard", "--out", tmp_path / "run")
    assert code == 2 and "pip install 'ssl-seg[tensorboard]'" in err
    assert not (tmp_path / "run").exists()


def test_tensorboard_has_the_numbers_of_the_run_and_training_is_the_same_bit_for_bit(cli, tmp_path):
    pytest.importorskip("tensorboard")
    words = ("train", "demo:8", "--backbone", "test_resnet", "--probe", "demo:16", "--epochs", 3, *TINY)
    for name, more in (("plain", ()), ("tracked", ("--track", "tensorboard"))):
        code, _, err = cli(*words, *more, "--out", tmp_path / name)
        assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "tracked" / "scores.jsonl").read_text().splitlines()]
    found = events(tmp_path / "tracked")
    assert {"loss", "probe_knn", "epoch", "seconds"} <= found.keys() and found == as_events(lines)
    one, two = (load_file(tmp_path / name / "backbone.safetensors") for name in ("plain", "tracked"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (tmp_path / "plain" / "tensorboard").exists(), "off by default"


def test_a_resumed_run_replaces_what_it_measures_again(run):
    pytest.importorskip("tensorboard")
    with ExperimentLogger(["tensorboard"], run) as tracking:
        for line in LINES[:3]:
            tracking.log(line)
    again = [{**line, "loss": line["loss"] + 0.5} for line in LINES[1:]]
    with ExperimentLogger(["tensorboard"], run) as tracking:
        for line in again:
            tracking.log(line)
    assert events(run.folder) == as_events([LINES[0], *again])


def test_others_get_the_same_numbers_and_stay_on_the_machine(run, fakes):
    with ExperimentLogger(["wandb", "mlflow"], run) as tracking:
        assert not fakes["wandb"], "nothing is started before there is something to tell"
        for line in LINES:
            tracking.log(line)
    (wandb,), (mlflow,) = fakes["wandb"], fakes["mlflow"]
    told = [(line["step"], {name: line[name] for name in ("epoch", "loss", "val_top1")}) for line in LINES]
    for one in (wandb, mlflow):
        assert one.started and one.finished and one.project == "ssl-seg" and one.lines == told
        assert one.config == {"lr": 0.1, "o.ssl.decay": "0.9", "record.versions.torch": "2"}
    assert wandb.how["mode"] == "offline" and wandb.how["dir"] == str(run.folder)
    assert fakes["uris"] == [f"sqlite:///{run.folder}/mlflow.db"]


def test_the_environment_may_ask_for_more(run, fakes, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    with ExperimentLogger(["wandb", "mlflow"], run) as tracking:
        tracking.log(LINES[0])
    assert fakes["wandb"][0].how["mode"] == "online" and fakes["uris"] == []


def test_a_resumed_run_goes_on_under_its_number(run, fakes):
    for resumed in (False, True):
        with ExperimentLogger(["wandb", "mlflow"], run) as tracking:
            tracking.log(LINES[resumed])
    first, second = fakes["wandb"]
    assert first.how["id"] == second.how["id"] and second.how["resume"] == "allow"
    assert [one.how["run_id"] for one in fakes["mlflow"]] == [None, "r1"]
    assert second.config is None, "its settings are there already"


@pytest.mark.parametrize("moment", ["start", "log", "finish"])
def test_a_tracker_that_fails_warns_once_and_harms_nobody(run, fakes, monkeypatch, moment):
    def fail(self, *_):
        raise SystemExit(3)

    if moment == "log":
        monkeypatch.setattr(Fake, "__init__", lambda self, project, **how: _init(self, project, how))
    else:
        monkeypatch.setattr(Fake, moment, fail)
    with ExperimentLogger(["wandb", "tensorboard"], run) as tracking:
        for line in LINES:
            tracking.log(line)
    (warning,) = [line for line in (run.folder / "run.log").read_text().splitlines() if "WARNING" in line]
    assert "--track wandb" in warning
    assert len(events(run.folder)["loss"]) == 4, "the other tracker goes on"


def _init(self, project, how):
    self.project, self.how, self.started = project, how, False
    self.lines, self.config, self.finished, self.fail_at = [], None, False, LINES[1]["step"]
