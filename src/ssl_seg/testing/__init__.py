"""Conformance checks of components, to be called in the tests of a plugin.

    from ssl_seg.testing import check_method
    def test_my_method(): check_method(MyMethod)

Each raises `AssertionError` with the violated rule. The built-in components pass the same checks.
"""

from ssl_seg.nn.tiny_backbone import TinyBackbone as TinyBackbone
from ssl_seg.nn.tiny_backbone import TinyTokens as TinyTokens
from ssl_seg.testing.commands import check_command as check_command
from ssl_seg.testing.methods import check_method as check_method
from ssl_seg.testing.observers import check_observer as check_observer
from ssl_seg.testing.parts import check_backbone as check_backbone
from ssl_seg.testing.parts import check_dataset as check_dataset
from ssl_seg.testing.parts import check_head as check_head
from ssl_seg.testing.parts import check_metric as check_metric

__all__ = [
    "TinyBackbone",
    "TinyTokens",
    "check_backbone",
    "check_command",
    "check_dataset",
    "check_head",
    "check_method",
    "check_metric",
    "check_observer",
]
