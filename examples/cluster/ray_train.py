"""Pre-training as a job of Ray Train. When a worker dies, Ray starts all of them again, and the run resumes by itself.

python examples/cluster/ray_train.py 4 shards:/shared/packed --backbone resnet50 --out /shared/runs/first
"""

import sys
from pathlib import Path
from typing import Any


def work(config: dict[str, Any]) -> None:
    """What each worker does. Ray has connected them."""
    from ssl_seg.cli import app

    app(["train", "--auto-resume", *config["words"]], standalone_mode=False)


if __name__ == "__main__":
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    words = sys.argv[2:]
    out = Path(words[words.index("--out") + 1]).absolute()
    words[words.index("--out") + 1] = str(out)
    TorchTrainer(
        work,
        train_loop_config={"words": words},
        scaling_config=ScalingConfig(num_workers=int(sys.argv[1]), use_gpu="--cpu" not in words),
        run_config=RunConfig(
            storage_path=str(out.parent / "ray"), name=out.name, failure_config=FailureConfig(max_failures=3)
        ),
    ).fit()
