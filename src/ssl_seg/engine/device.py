"""Where and how tensors are computed: device, precision, processes, compilation.

With `tracking.py` the only file that knows Accelerate, which finds the device and joins the processes that
`accelerate launch`, `torchrun` or `srun` have started.
"""

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from accelerate.state import PartialState
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Precision = Literal["auto", "bf16", "fp32"]


class Device:
    """The device of this process.

    Args:
        precision: `bf16` computes matrix products in bfloat16 and keeps weights in float32;
            `auto` is bf16 where the device has the units for it.
        compile: run the model through `torch.compile`.
        cpu: use the CPU even where there is a GPU.
    """

    def __init__(self, precision: Precision = "auto", *, compile: bool = False, cpu: bool = False) -> None:
        state = PartialState(cpu=cpu)
        self.device = torch.device("cpu") if cpu else state.device
        self.rank, self.ranks = state.process_index, state.num_processes
        self.precision = precision if precision != "auto" else ("bf16" if has_bf16(self.device) else "fp32")
        self._compile = compile
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return bool(self.rank == 0)

    def place(self, module: nn.Module) -> Any:
        """Move a module here in channels-last layout; wrap it for several processes.

        Returns:
            What to call; the parameters stay those of `module`.
        """
        module.to(self.device)
        module.to(memory_format=torch.channels_last)
        if self.ranks > 1:
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module) if self.device.type == "cuda" else module
            # two BatchNorm passes before one backward forbid copying buffers between processes
            known = inspect.signature(DistributedDataParallel).parameters
            name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
            options: dict[str, Any] = {name: False}
            wrapped: Any = DistributedDataParallel(module, **options)
        else:
            wrapped = module
        return torch.compile(wrapped) if self._compile else wrapped

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to the parameters'."""
        loss.backward()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.ranks == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return bool(shared.item())

    def peak_memory(self) -> int:
        """Most bytes allocated on a GPU so far; 0 on the CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def describe(self) -> str:
        """The device by name, for people."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"CPU, {torch.get_num_threads()} threads"
        many = f", {self.ranks} processes" if self.ranks > 1 else ""
        return f"{name}{many}, {self.precision}"


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast here: tensor cores of a GPU, or a CPU's AMX tiles."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(device.type == "cpu" and tiles is not None and tiles())
