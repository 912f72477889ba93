"""The page of the Python API: signatures and docstrings of the public names."""

import ast
import inspect
from importlib import import_module
from typing import Any

from docstrings import markdown, methods, signature

# names that pages of these docs import from the defining module, in addition to the public names
MORE = {
    "augment.views": ("augment", "augment_with_masks", "normalize_images"),
    "datasets.flat_folder": ("flat_folder",),
    "datasets.image_folder": ("image_folder",),
    "datasets.csv_labels": ("csv_labels",),
    "datasets.mask_pairs": ("mask_pairs",),
    "datasets.demo": ("demo",),
    "heads.fcn32s": ("FCN32s",),
    "heads.deeplabv3": ("DeepLabV3",),
    "metrics.mean_iou": ("MeanIoU",),
    "testing": (
        "check_method",
        "check_backbone",
        "check_head",
        "check_dataset",
        "check_metric",
        "TinyBackbone",
    ),
    "errors": (
        "UsageError",
        "DataError",
        "WeightsError",
        "HealthError",
        "ResourceError",
        "PluginError",
        "DistributedError",
        "OutputInUseError",
        "Stopped",
    ),
}


_TOP = """# Python API

Sections *in* list names that are imported from `ssl_seg`; each is loaded on first use. Sections *from* list names that are
imported from their module, for example `from ssl_seg.testing import check_method`. Functions take modules, tensors and numbers;
they neither print nor end the process.
"""


def api_page() -> str:
    """Signatures and docstrings of the public names, by the file that defines them."""
    import ssl_seg

    parts = [_TOP]
    for title, modules in (("in", ssl_seg._HOME), ("from", MORE)):
        for module, names in modules.items():
            parts.append(f"## {title} ssl_seg.{module}\n")
            parts += [_name(import_module(f"ssl_seg.{module}"), name) for name in names]
    return "\n".join(parts)


def _name(module: Any, name: str) -> str:
    thing = getattr(module, name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return f"### {name}\n\n```py\n{_assigned(module, name)}\n```\n"
    parts = [f"### {name}\n\n```py\n{signature(thing, name)}\n```\n", f"{markdown(thing)}\n"]
    if inspect.isclass(thing):
        for method, function in methods(thing):
            parts.append(f"#### {name}.{method}\n\n```py\n{signature(function, method)}\n```\n")
            parts.append(f"{markdown(function)}\n")
    return "\n".join(parts)


def _assigned(module: Any, name: str) -> str:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            return ast.unparse(node)
    return f"{name} = {getattr(module, name)!r}"
