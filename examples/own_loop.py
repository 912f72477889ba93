"""BYOL on a folder of images, with the parts of the library alone: no command line, no configuration."""

from pathlib import Path

import torch

from ssl_seg import (
    BYOL,
    Loader,
    TimmBackbone,
    build_optimizer,
    build_param_groups,
    lr_at_step,
    open_image_cache,
)
from ssl_seg.augment.views import augment
from ssl_seg.datasets.flat_folder import flat_folder

EPOCHS, BATCH, SIZE, RATE = 2, 8, 32, 1e-3

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
image_cache = open_image_cache(flat_folder("photos", split=""), canvas=2 * SIZE, cache=Path("cache"))
batches = Loader(image_cache, BATCH, seed=0, device=device)
method = BYOL(TimmBackbone("resnet10t"), hidden=256).to(device)
optimizer = build_optimizer("adamw", build_param_groups(method, weight_decay=1e-4), RATE)

total = EPOCHS * batches.steps_per_epoch
for step in range(total):
    batch = batches.batch_at(step)
    views = augment(
        batch.images, method.views, batch.sizes, batch.samples, seed=0, epoch=batch.epoch, size=SIZE
    )
    loss = method(views)["loss"]
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = lr_at_step(step, total, RATE, warmup=total // 20)
    optimizer.step()
    optimizer.zero_grad()
    method.after_step((step + 1) / total)  # the target network moves here, and nowhere else
    print(f"epoch {batch.epoch + 1}, step {step + 1}: loss {loss.item():.3f}")

torch.save(method.backbone.state_dict(), "backbone.pt")  # timm's own names
