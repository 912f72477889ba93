"""Pre-training a backbone on images without labels."""

from typing import Any

from ssl_seg.errors import counted
from ssl_seg.workflows.session import Training


class Pretraining(Training):
    """From settings to a trained backbone, in the order in which a person would think of it."""

    command = "train"

    def go(self) -> None:
        """Train, and leave the run's folder complete."""
        from ssl_seg.base import SSLMethod
        from ssl_seg.data.label_checks import check_labels
        from ssl_seg.data.loader import Batches
        from ssl_seg.engine.monitors import CollapseAlarm
        from ssl_seg.engine.recipe import resolve
        from ssl_seg.workflows.overlap import shared_with
        from ssl_seg.workflows.run_config import plan_of, record, warn_of_parts

        given, device = self.given, self.device
        method: SSLMethod = self.build("ssl", given["ssl"], self.new_backbone(), part="ssl")
        suits = resolve(given, method.recipe, f"ssl method {given['ssl']}")
        stores = {"data": self.store(self.dataset("data"))}
        if given["probe"]:
            probed = self.dataset("probe", parts=(), split="train", labelled=True)
            stores["probe"] = self.store(probed)
            check_labels(stores["probe"], probed, given["probe"])
        store, size, seed = stores["data"], given["batch_size"], given["seed"]
        batches = Batches(store, size, seed, device.device, rank=device.rank, ranks=device.ranks)
        plan, optimizer = plan_of(given, method, suits, batches.per_epoch, self.run)
        warn_of_parts(given, method, given["ssl"])
        probe = self.make_probe(stores["probe"]) if given["probe"] else None
        self.resolved.add_views(method.views)
        record(self.run, given, stores, method, batches.per_epoch, device, self.resolved)
        self.console.say(
            f"{given['ssl']} on {given['backbone']}: {len(store)} images, {counted(given['epochs'], 'epoch')} of "
            f"{counted(batches.per_epoch, 'step')}, {device.describe()}",
            f"run: {self.run.folder}",
        )
        if probe and not self.run.resume:
            device.move(method)
            shared = int(shared_with(store, stores["probe"]).sum())
            trained = f"; {shared} of them are trained on, without labels" if shared else ""
            self.console.say(f"probe: {probe.about()}{trained}")
            for name, value in probe(method.backbone).items():
                self.console.say(f"untrained: {name} {value:.3f}")
        first = batches.at(0)
        self.draw_views(first.images, self.views(method.views, first))

        def feed(step: int) -> list[Any]:
            return self.parts(self.views(method.views, batches.at(step)))

        def on_epoch(epoch: int) -> dict[str, float]:
            due = probe and (epoch % given["probe_every"] == 0 or epoch == given["epochs"])
            scores = probe(method.backbone) if probe and due else {}
            for name, value in scores.items():
                self.console.say(f"epoch {epoch}: {name} {value:.3f}")
            return scores

        alarm = CollapseAlarm() if given["on_collapse"] == "stop" else None
        self.fit(method, feed, optimizer, plan, on_epoch, alarm)
        if device.is_main:
            self.save_backbone(method.backbone, trained_by=given["ssl"])
        self.finish(plan.total)
        if not device.is_main:
            return
        last = (self.run.scores() or [{}])[-1]  # of a finished run of 0.1.0 they may be lost
        scores = ", ".join(f"{name} {last[name]:.3f}" for name in last if name.startswith(("loss", "probe")))
        self.console.say(f"finished: {scores}", f"weights: {self.run.folder / 'backbone.safetensors'}")

    def make_probe(self, store: Any) -> Any:
        """The k-NN probe on labelled images."""
        from ssl_seg.workflows.knn_probe import Probe

        metric = self.build("metrics", "knn", store.classes, part="probe")
        return Probe(metric, store, self.device, size=self.size, stop=self.stop)
