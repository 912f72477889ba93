"""Pre-training as a job of Ray Train: Ray starts the processes and tells them of each other.

python examples/cluster/ray_train.py 4 /shared/photos --backbone resnet50 --out /shared/runs/first
"""

import sys
from typing import Any


def work(config: dict[str, Any]) -> None:
    from ssl_seg.cli import app

    app(["train", *config["words"]], standalone_mode=False)


if __name__ == "__main__":
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    scaling = ScalingConfig(num_workers=int(sys.argv[1]), use_gpu=True)
    TorchTrainer(work, train_loop_config={"words": sys.argv[2:]}, scaling_config=scaling).fit()
