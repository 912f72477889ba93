"""Weight files that would run code, if they were unpickled: every way we know, in every wrapping.

Each touches the file `marker` in the folder it is read from.
"""

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import torch

_TOUCH = "open('marker', 'w').close()"


class _Calls:
    """Pickles to a call of `module.name(*given)`."""

    def __init__(self, place: str, *given: Any) -> None:
        self.place, self.given = place, given

    def __reduce__(self) -> tuple[Any, ...]:
        return _Global(self.place), self.given  # type: ignore[return-value]


class _Global:
    """Pickles to a name, whether it can be imported here or not."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __call__(self) -> None:
        """Only what can be called may stand first in `__reduce__`."""


class _Sets:
    """Pickles to an object whose state is set by code."""

    def __init__(self, place: str, state: Any) -> None:
        self.place, self.state = place, state


class _Pickler(pickle._Pickler):
    """Writes globals by name, without looking whether there is such a thing."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            module, _, name = obj.place.rpartition(".")
            self.write(b"c" + f"{module}\n{name}\n".encode())
        elif isinstance(obj, _Sets):
            self.save(_Global(obj.place))
            self.write(b")\x81")  # EMPTY_TUPLE NEWOBJ
            self.save(obj.state)
            self.write(b"b")  # BUILD
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        return None


PAYLOADS: dict[str, Any] = {
    "os.system": _Calls("os.system", "touch marker"),
    "posix.system": _Calls("posix.system", "touch marker"),
    "builtins.exec": _Calls("builtins.exec", _TOUCH),
    "builtins.eval": _Calls("builtins.eval", _TOUCH),
    "builtins.open": _Calls("builtins.open", "marker", "w"),
    "__builtin__.eval": _Calls("__builtin__.eval", _TOUCH),
    "subprocess.Popen": _Calls("subprocess.Popen", ["touch", "marker"]),
    "subprocess.check_output": _Calls("subprocess.check_output", ["touch", "marker"]),
    "pathlib.Path.touch": _Calls("pathlib.Path.touch", _Calls("pathlib.PosixPath", "marker")),
    "shutil.copy": _Calls("shutil.copy", "/etc/hostname", "marker"),
    "runpy.run_path": _Calls("runpy.run_path", "evil.py"),
    "importlib.import_module": _Calls("importlib.import_module", "evil"),
    "evil.run": _Calls("evil.run"),
    "timeit.timeit": _Calls("timeit.timeit", _TOUCH, "pass"),
    "torch.load": _Calls("torch.load", "inner.pt", None, None),
    "torch.hub._exec": _Calls("torch.hub.load", ".", "entry"),
    "functools.partial": _Calls("functools.partial", _Global("os.system"), "touch marker"),
    "operator.methodcaller": _Calls("operator.methodcaller", "touch"),
    "numpy runstring": _Calls("numpy.testing._private.utils.runstring", _TOUCH, {}),
    "pydoc.pipepager": _Calls("pydoc.pipepager", "x", "touch marker; cat"),
    "getattr": _Calls("builtins.getattr", _Global("os"), "system"),
    "nested": {"state_dict": {"a.weight": [_Calls("os.system", "touch marker")]}},
    "as a key": {("a", _Calls("os.system", "touch marker")): 1},
    "__setstate__": _Sets("evil.Sets", {"x": 1}),
    "evil.Model": _Calls("evil.Model"),
    "_rebuild_tensor": _Calls(
        "torch._utils._rebuild_tensor_v2", _Calls("os.system", "touch marker"), 0, (1,), (1,), False
    ),
    "ssl_seg itself": _Calls("ssl_seg.utils.code_names.load_named", "evil.py:run"),
    "collections.OrderedDict": _Calls(
        "collections.OrderedDict", [("a", _Calls("os.system", "touch marker"))]
    ),
}
EVIL = f"""{_TOUCH}

def run(*given):
    {_TOUCH}

class Sets:
    def __setstate__(self, state):
        {_TOUCH}

class Model(dict):
    def __init__(self, *given):
        {_TOUCH}

Net = entry = run
"""


def _pickled(payload: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol).dump(payload)
    return file.getvalue()


def _zip(payload: Any, *, name: str = "archive", more: dict[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(f"{name}/data.pkl", _pickled(payload))
        made.writestr(f"{name}/version", "3\n")
        made.writestr(f"{name}/byteorder", "little")
        for inner, data in (more or {}).items():
            made.writestr(f"{name}/{inner}", data)
    return file.getvalue()


def _beside_tensors(payload: Any) -> bytes:
    """A file of torch.save whose pickle is exchanged for one with a payload beside the tensors."""
    file = io.BytesIO()
    torch.save({"state_dict": {"one.0.weight": torch.zeros(2)}}, file)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file.getvalue())) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("data.pkl"):  # payload and POP, before all the rest
                data = data[:2] + _pickled(payload)[2:-1] + b"0" + data[2:]
            new.writestr(info.filename, data)
    return out.getvalue()


def _legacy(payload: Any) -> bytes:
    """As torch.save wrote before 1.6."""
    parts = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)]
    parts.append(pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2))
    return b"".join([*parts, _pickled(payload), pickle.dumps([], 2)])


def _tar(payload: Any) -> bytes:
    """As torch.save wrote before 0.1.10."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, data in (
            ("sys_info", pickle.dumps({}, 2)),
            ("pickle", _pickled(payload)),
            ("storages", b""),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _script(payload: Any) -> bytes:
    """A TorchScript archive."""
    return _zip(
        payload, more={"constants.pkl": _pickled(payload), "code/__torch__.py": b"op_version_set = 1"}
    )


def _in_safetensors(payload: Any) -> bytes:
    """A pickle that begins as a safetensors file does."""
    data = _pickled(payload)
    return struct.pack("<Q", len(data) + 2) + b"{}" + data


WRAPPINGS: dict[str, Callable[[Any], bytes]] = {
    "zip": _zip,
    "beside tensors": _beside_tensors,
    "legacy": _legacy,
    "tar": _tar,
    "pickle 0": lambda payload: _pickled(payload, 0),
    "pickle 2": _pickled,
    "pickle 4": lambda payload: _pickled(payload, 4),
    "TorchScript": _script,
    "in safetensors": _in_safetensors,
}
