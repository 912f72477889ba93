"""The same training step by other libraries, used as their own documentation shows.

Each class has `run(steps)`, which does that many steps and gives the seconds they took; batches
come from the peer's own loader. `backbone` is what it trains.
"""

import random
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2


class Files(Dataset):
    """Images by path, in the way that `torchvision.datasets.ImageFolder` reads them."""

    def __init__(self, paths: list[Path], transform: Callable) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), 0, self.paths[index].name


class LightlyBYOL:
    """lightly's BYOL example: its transform, heads, momentum update, loss, schedule and SGD."""

    def __init__(
        self, paths: list[Path], model: str, size: int, batch: int, *, epochs: int, bf16: bool
    ) -> None:
        import copy

        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
        from lightly.models.utils import deactivate_requires_grad
        from lightly.transforms.byol_transform import (
            BYOLTransform,
            BYOLView1Transform,
            BYOLView2Transform,
        )

        self.backbone, width = _headless(model)
        self.projection = BYOLProjectionHead(width, 1024, 256)
        self.prediction = BYOLPredictionHead(256, 1024, 256)
        self.target = copy.deepcopy(self.backbone)
        self.target_projection = copy.deepcopy(self.projection)
        deactivate_requires_grad(self.target)
        deactivate_requires_grad(self.target_projection)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for module in self._modules():
            module.to(self.device)
        transform = BYOLTransform(
            view_1_transform=BYOLView1Transform(input_size=size, gaussian_blur=0.0),
            view_2_transform=BYOLView2Transform(input_size=size, gaussian_blur=0.0),
        )
        self.loader = _loader(Files(paths, transform), batch)
        self.loss = NegativeCosineSimilarity()
        parameters = [p for module in self._modules() for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=0.06)
        self.bf16, self.epochs = bf16, epochs
        self.batches = _endless(self.loader)
        self.epoch = 0

    def _modules(self) -> list[nn.Module]:
        return [self.backbone, self.projection, self.prediction, self.target, self.target_projection]

    def step(self, views: list[Tensor], momentum: float) -> None:
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.target, m=momentum)
        update_momentum(self.projection, self.target_projection, m=momentum)
        one, two = (view.to(self.device) for view in views)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            p0, p1 = (self.prediction(self.projection(self.backbone(v).flatten(1))) for v in (one, two))
            with torch.no_grad():
                z0, z1 = (self.target_projection(self.target(v).flatten(1)) for v in (one, two))
            loss = 0.5 * (self.loss(p0, z1) + self.loss(p1, z0))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def run(self, steps: int) -> float:
        started = perf_counter()
        for _ in range(steps):
            self.step(next(self.batches)[0], 0.996)
        _wait(self.device)
        return perf_counter() - started

    def train_epoch(self) -> None:
        """One epoch, with the example's momentum schedule over all epochs."""
        from lightly.utils.scheduler import cosine_schedule

        for module in self._modules():
            module.train()
        momentum = cosine_schedule(self.epoch, self.epochs, 0.996, 1)
        for batch in self.loader:
            self.step(batch[0], momentum)
        self.epoch += 1


class LightlySimCLR:
    """lightly's SimCLR example: its transform, head, loss and SGD."""

    def __init__(
        self, paths: list[Path], model: str, size: int, batch: int, *, epochs: int, bf16: bool
    ) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead
        from lightly.transforms.simclr_transform import SimCLRTransform

        self.backbone, width = _headless(model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = nn.Sequential(self.backbone, nn.Flatten(), SimCLRProjectionHead(width, 512, 128))
        self.net.to(self.device)
        self.loader = _loader(Files(paths, SimCLRTransform(input_size=size, gaussian_blur=0.0)), batch)
        self.loss, self.bf16 = NTXentLoss(), bf16
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.06)

    def train_epoch(self) -> None:
        """One epoch."""
        self.net.train()
        for views, *_ in self.loader:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.loss(*(self.net(view.to(self.device)) for view in views))
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


class BYOLPytorch:
    """byol-pytorch's example: it wraps a ResNet and augments the batch itself; Adam 3e-4."""

    def __init__(self, paths: list[Path], model: str, size: int, batch: int) -> None:
        from byol_pytorch import BYOL

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        resnet = getattr(torchvision.models, model)().to(self.device)
        self.learner = BYOL(resnet, image_size=size, hidden_layer="avgpool").to(self.device)
        self.optimizer = torch.optim.Adam(self.learner.parameters(), lr=3e-4)
        resize = [v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        self.batches = _endless(_loader(Files(paths, v2.Compose(resize)), batch))

    def run(self, steps: int) -> float:
        started = perf_counter()
        for _ in range(steps):
            loss = self.learner(next(self.batches)[0].to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.learner.update_moving_average()
        _wait(self.device)
        return perf_counter() - started


class SoloLearnBYOL:
    """The step of solo-learn's BYOL for ImageNet-100: its transforms, heads, online classifier, momentum update and LARS.

    solo-learn is no package that can be installed; this is its loop without Lightning, DALI and logging.
    """

    def __init__(self, paths: list[Path], model: str, size: int, batch: int) -> None:
        import copy

        from lightly.utils.lars import LARS

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone, width = _headless(model)
        self.online = nn.Sequential(self.backbone, nn.Flatten()).to(self.device)
        self.projector = _mlp(width, 4096, 256).to(self.device)
        self.predictor = _mlp(256, 8192, 256).to(self.device)
        self.classifier = nn.Linear(width, 100).to(self.device)
        self.momentum = copy.deepcopy(nn.Sequential(self.online, self.projector)).requires_grad_(False)
        trained = nn.ModuleList([self.online, self.projector, self.predictor, self.classifier])
        self.optimizer = LARS(trained.parameters(), lr=0.5, weight_decay=1e-6, trust_coefficient=0.02)
        views = [_solo_learn_view(size, blur, solarize) for blur, solarize in ((1.0, 0.0), (0.1, 0.2))]
        self.batches = _endless(_loader(Files(paths, lambda image: [view(image) for view in views]), batch))

    def run(self, steps: int) -> float:
        started = perf_counter()
        for _ in range(steps):
            self._step([view.to(self.device) for view in next(self.batches)[0]])
        _wait(self.device)
        return perf_counter() - started

    def _step(self, views: list[Tensor]) -> None:
        features = [self.online(view) for view in views]
        predictions = [self.predictor(self.projector(each)) for each in features]
        with torch.no_grad():
            targets = [self.momentum(view) for view in views]
        pairs = zip(predictions, reversed(targets), strict=True)
        loss = torch.stack([2 - 2 * F.cosine_similarity(p, z).mean() for p, z in pairs]).sum()
        labels = torch.zeros(len(views[0]), dtype=torch.long, device=self.device)
        guesses = [self.classifier(each.detach()) for each in features]
        loss = loss + torch.stack([F.cross_entropy(guess, labels) for guess in guesses]).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            own = chain(self.online.parameters(), self.projector.parameters())
            for kept, new in zip(self.momentum.parameters(), own, strict=True):
                kept.mul_(0.99).add_(new, alpha=0.01)


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))


def _solo_learn_view(size: int, blur: float, solarize: float) -> Callable:
    """On PIL images; Pillow blurs, with a radius of 0.1 to 2."""
    return v1.Compose(
        [
            v1.RandomResizedCrop(size, (0.08, 1.0), interpolation=v1.InterpolationMode.BICUBIC),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            v1.RandomGrayscale(0.2),
            v1.RandomApply(
                [lambda image: image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))], p=blur
            ),
            v1.RandomSolarize(128, solarize),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            v1.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )


def _headless(model: str) -> tuple[nn.Module, int]:
    """A torchvision ResNet that ends in its pooled features, and their width."""
    resnet = getattr(torchvision.models, model)()
    return nn.Sequential(*list(resnet.children())[:-1]), resnet.fc.in_features


def _loader(dataset: Dataset, batch: int) -> DataLoader:
    workers = torch.get_num_threads() if not torch.cuda.is_available() else 8
    return DataLoader(
        dataset, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )


def _endless(loader: DataLoader) -> Iterator:
    return chain.from_iterable(repeat(loader))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
