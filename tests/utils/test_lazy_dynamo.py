"""torch's compiler is imported when it is needed, and is then as it always was."""

import os
import subprocess
import sys

import pytest
import torch


def in_a_process(code):
    words = [
        sys.executable,
        "-c",
        "import sys\nfrom ssl_seg.utils.lazy_dynamo import dynamo_on_demand\n" + code,
    ]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr


def test_components_load_without_the_compiler_and_then_it_works():
    in_a_process("""
from ssl_seg.plugins import load_plugins
load_plugins()
assert "timm" in sys.modules and "torchvision" in sys.modules
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
import torch
assert torch.compiler.disable.__module__ == "torch.compiler"
assert not [each for each in sys.meta_path if "ssl_seg" in type(each).__module__]
""")


@pytest.mark.slow
def test_torchvision_is_answered_when_it_asks():
    in_a_process("""
import torch
with dynamo_on_demand():
    import torchvision
assert "torch._dynamo" not in sys.modules
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert asked("meta") is False
real = sys.modules["torch._dynamo.utils"]
assert asked("cpu") == real.is_compile_supported("cpu") and torch._dynamo.utils is real
""")


@pytest.mark.slow
def test_who_imports_it_in_the_meantime_gets_the_real_one():
    in_a_process("""
with dynamo_on_demand():
    import torch
    import torch._dynamo.utils
    from torch._dynamo.utils import counters
    assert torch._dynamo.utils.__spec__ and counters is torch._dynamo.utils.counters
assert torch.compiler.disable.__module__ == "torch.compiler"
""")


@pytest.mark.slow
def test_who_asks_it_for_something_else_gets_the_real_one():
    in_a_process("""
import torch
with dynamo_on_demand():
    from torch._dynamo.utils import is_compile_supported, counters
    @torch.compiler.disable
    def hidden(x):
        return x + 1
assert counters is torch._dynamo.utils.counters and sys.modules["torch._dynamo.utils"].__spec__
assert hidden(1) == 2
""")


@pytest.mark.slow
def test_a_function_that_is_hidden_before_the_compiler_comes_stays_hidden_from_it():
    in_a_process("""
import torch
with dynamo_on_demand():
    @torch.compiler.disable
    def hidden(x):
        return x + torch.compiler.is_compiling()
assert hidden.__name__ == "hidden" and "torch._dynamo" not in sys.modules
def seen(x):
    return x * 2 + torch.compiler.is_compiling()
both = torch.compile(lambda x: hidden(x) + 10 * seen(x), backend="eager")
assert both(torch.ones(1)).item() == 1 + 10 * 3
""")


def test_where_torch_has_no_such_decorator_nothing_changes(monkeypatch):
    from ssl_seg.utils.lazy_dynamo import dynamo_on_demand

    monkeypatch.delattr(torch, "_disable_dynamo")
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    before = torch.compiler.disable, list(sys.meta_path), sys.modules.get("torch._dynamo.utils")
    with pytest.raises(ZeroDivisionError), dynamo_on_demand():
        assert (torch.compiler.disable, list(sys.meta_path), sys.modules.get("torch._dynamo.utils")) == before
        1 / 0  # noqa: B018
