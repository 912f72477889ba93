"""Self-supervised pre-training of vision backbones: whole runs in one call, and parts that stand alone.

    run = ssl_seg.train("photos", backbone="resnet50", epochs=100, out="runs/first")
    from ssl_seg import BYOL, TimmBackbone, View

A name is loaded when it is first used, so `import ssl_seg` costs nothing. Inside the library every
module imports from the file that defines a name, never from here. `__init__.pyi` tells type
checkers and editors the same.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "commands.train": ("train",),
    "commands.classify": ("classify",),
    "commands.segment": ("segment",),
    "commands.evaluate": ("evaluate",),
    "commands.predict": ("predict",),
    "commands.pseudo_label": ("pseudo_label",),
    "commands.embed": ("embed",),
    "commands.pack": ("pack",),
    "commands.export": ("export",),
    "commands.report": ("report",),
    "workflows.from_objects": ("finetune", "pretrain"),
    "workflows.config": ("ClassificationConfig", "PretrainConfig", "SegmentationConfig"),
    "workflows.run_result": ("RunResult",),
    "base": ("Backbone", "Dataset", "Head", "Metric", "Model", "SSLMethod"),
    "hooks": ("hookimpl",),
    "nn.composed": ("ComposedMethod",),
    "nn.layers": ("global_pool", "make_ema_copy", "mlp", "pooled_crops", "update_ema"),
    "nn.queue": ("Queue",),
    "nn.sinkhorn": ("sinkhorn",),
    "nn.token_backbone": ("TokenBackbone",),
    "nn.split_norm": ("split_norm",),
    "distributed.collectives": ("all_gather", "all_reduce_sum", "local_shard"),
    "augment.view_list": ("Views",),
    "augment.views": ("eval_view",),
    "augment.recipes": ("BYOL_VIEWS", "TRAIN_VIEWS", "View", "multi_crop"),
    "augment.geometry": ("crop_resize",),
    "methods.byol": ("BYOL", "byol_loss"),
    "methods.simclr": ("SimCLR", "nt_xent"),
    "methods.simsiam": ("SimSiam", "simsiam_loss"),
    "methods.fastsiam": ("FastSiam",),
    "methods.moco_v2": ("MoCoV2",),
    "methods.moco_v3": ("MoCoV3",),
    "methods.nnclr": ("NNCLR",),
    "methods.swav": ("SwAV",),
    "methods.barlow_twins": ("BarlowTwins",),
    "methods.vicreg": ("VICReg",),
    "methods.vicregl": ("VICRegL",),
    "methods.visreg": ("VISReg",),
    "methods.spark": ("SparK",),
    "methods.densecl": ("DenseCL",),
    "methods.dino": ("DINO",),
    "methods.distill": ("Distill",),
    "methods.mae": ("MAE",),
    "methods.simmim": ("SimMIM",),
    "methods.pixpro": ("PixPro",),
    "methods.supcon": ("SupCon",),
    "backbones.timm": ("TimmBackbone",),
    "heads.linear": ("Linear",),
    "heads.mlp": ("MLP",),
    "heads.fcn32s": ("FCN32s",),
    "heads.deeplabv3": ("DeepLabV3",),
    "metrics.accuracy": ("Accuracy",),
    "metrics.mean_iou": ("MeanIoU",),
    "metrics.knn": ("KNN", "knn_predict"),
    "data.arrays": ("Arrays",),
    "data.image_cache": ("ImageCache", "open_image_cache"),
    "data.loader": ("Loader",),
    "engine.device": ("Device",),
    "engine.inference": ("extract_features",),
    "engine.loop": ("fit",),
    "engine.schedule": ("Schedule",),
    "engine.linear_probe": ("linear_probe",),
    "tasks.classification": ("ClassificationTask", "Supervised", "mixup"),
    "tasks.segmentation": ("SegmentationTask",),
    "engine.monitors": ("CollapseMonitor", "effective_rank", "embedding_std"),
    "engine.optim": ("build_optimizer", "build_param_groups", "lr_at_step"),
    "engine.signals": ("SignalHandler",),
    "weights.backbone_file": ("load_backbone", "save_backbone"),
    "engine.run_dir": ("Run",),
    "weights.load": ("load",),
    "errors": ("SslSegError",),
    "utils.training_recipe": ("PaperRecipe", "ParamGroup"),
    "utils.autocast": ("full_precision",),
}
# names of version 0.1.0, for plugins: they work for one more release, with a warning
_RENAMED = {
    "Batches": "Loader",
    "CollapseAlarm": "CollapseMonitor",
    "Plan": "Schedule",
    "Stop": "SignalHandler",
    "Store": "ImageCache",
    "TimmTransformer": "TimmBackbone",
    "evaluation_view": "eval_view",
    "frozen_copy": "make_ema_copy",
    "knn_votes": "knn_predict",
    "logistic_probe": "linear_probe",
    "move_average": "update_ema",
    "open_store": "open_image_cache",
    "parameter_groups": "build_param_groups",
    "pool": "global_pool",
    "rate_at": "lr_at_step",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]  # noqa: PLE0604  all of them are text


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ssl-seg")
    if name in _RENAMED:
        from warnings import warn

        warn(f"ssl_seg.{name} is now ssl_seg.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(__name__), _RENAMED[name])
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"ssl_seg.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
