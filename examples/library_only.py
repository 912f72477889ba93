"""The parts in a loop of one's own: no command line, no registry, no configuration.

python examples/library_only.py
"""

from pathlib import Path

import torch

from ssl_seg import BYOL, Batches, Device, TimmBackbone, embed, knn_votes, open_store, save_backbone
from ssl_seg.augment.views import augment
from ssl_seg.datasets.demo import Demo


def main(images=400, epochs=2, size=64, network="resnet10t", folder=Path("runs/library_only")):
    device = Device()
    store = open_store(Demo("train", images), canvas=size, cache=folder / "cache")  # decoded once
    batches = Batches(store, 32, seed=0, device=device.device)
    method = BYOL(TimmBackbone(network), hidden=256, dimensions=64)
    forward = device.place(method)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)

    total = epochs * batches.per_epoch
    for step in range(total):
        batch = batches.at(step)
        chance = {"seed": 0, "epoch": batch.epoch, "size": size}  # with the samples it fixes every draw
        views = augment(batch.images, batch.sizes, batch.samples, method.views, **chance)
        with device.autocast():
            loss = forward(views)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step((step + 1) / total)  # the target network moves here, and only here
        print(f"step {step + 1}/{total}  loss {loss.item():.3f}")

    features, labels = embed(method.backbone, store, device, size=size)
    half = len(labels) // 2
    votes = knn_votes(features[:half], labels[:half], features[half:], 8, k=5, temperature=0.1)
    print(f"k-NN accuracy {(votes.argmax(dim=1) == labels[half:]).float().mean():.3f}, by chance 0.125")
    about = {"backbone": network, "options": {}, "image_size": size}
    save_backbone(folder / "backbone.safetensors", method.backbone, about)


if __name__ == "__main__":
    main()
