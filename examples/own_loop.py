"""BYOL on a folder of images, with the parts of the library alone: no command line, no configuration."""

from pathlib import Path

import torch

import ssl_seg
from ssl_seg.augment.views import augment
from ssl_seg.datasets.flat_folder import flat_folder

EPOCHS, BATCH, SIZE, RATE = 2, 8, 32, 1e-3

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
images = ssl_seg.open_image_cache(flat_folder("photos", split=""), canvas=2 * SIZE, cache=Path("cache"))
batches = ssl_seg.Loader(images, BATCH, seed=0, device=device)
method = ssl_seg.BYOL(ssl_seg.TimmBackbone("resnet10t"), hidden=256).to(device)
optimizer = ssl_seg.build_optimizer("adamw", ssl_seg.build_param_groups(method, weight_decay=1e-4), RATE)

total = EPOCHS * batches.steps_per_epoch
for step in range(total):
    batch = batches.batch_at(step)
    views = augment(
        batch.images, method.views, batch.sizes, batch.samples, seed=0, epoch=batch.epoch, size=SIZE
    )
    loss = method(views)["loss"]
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = ssl_seg.lr_at_step(step, total, RATE, warmup=total // 20)
    optimizer.step()
    optimizer.zero_grad()
    method.after_step((step + 1) / total)  # the target network moves here, and nowhere else
    print(f"epoch {batch.epoch + 1}, step {step + 1}: loss {loss.item():.3f}")

torch.save(method.backbone.state_dict(), "backbone.pt")  # timm's own names
