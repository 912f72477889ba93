"""Where and how tensors are computed: device, precision, processes, compilation."""

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ssl_seg.augment import stateless_rng
from ssl_seg.distributed.agreement import first_difference, from_main
from ssl_seg.distributed.collectives import GradientSync, start_all_reduce_max, wrap_in_ddp
from ssl_seg.distributed.connection import accept_all, connect_to_main, listen
from ssl_seg.distributed.failure_monitor import FailureMonitor
from ssl_seg.distributed.launcher import world_size_from_env
from ssl_seg.engine.device_names import find_device, has_bf16
from ssl_seg.engine.process_group import join_processes, node_group, timeout
from ssl_seg.engine.recorded_step import CudaRecorder, Recorder
from ssl_seg.errors import UsageError, pluralize
from ssl_seg.nn.small_maps import pad_small_maps
from ssl_seg.nn.sync_batch_norm import average_running_stats, convert_sync_batchnorm
from ssl_seg.utils.log import log

Precision = Literal["auto", "bf16", "fp32"]
SyncBatchNorm = Literal["all", "node", "off"]


class Device:
    """The device of this process.

    Args:
        precision: `bf16` computes matrix products in bfloat16 and keeps weights in float32;
            `auto` is bf16 where the device has the units for it.
        compile: run the model through `torch.compile`.
        cpu: the same as `name="cpu"`.
        name: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; auto: a GPU where there is one.
        sync_batchnorm: whose images a BatchNorm normalises by: of all processes, of those on this machine, or
            of each process alone.
        cuda_graph: record forward and backward pass as a CUDA graph, on a GPU in a single process.

    Raises:
        UsageError: no such device here.
    """

    def __init__(
        self,
        precision: Precision = "auto",
        *,
        compile: bool = False,
        cpu: bool = False,
        name: str = "auto",
        sync_batchnorm: SyncBatchNorm = "all",
        cuda_graph: bool = False,
    ) -> None:
        name = "cpu" if cpu else name
        chosen = find_device(name, world_size_from_env())
        # False where the caller has initialized it
        self._owns_process_group = world_size_from_env() > 1 and not dist.is_initialized()
        state = join_processes(name == "cpu")
        self.device = state.device if chosen is None else chosen
        self.rank, self.world_size = state.process_index, state.num_processes
        self.precision = precision if precision != "auto" else ("bf16" if has_bf16(self.device) else "fp32")
        self.recorder: Recorder | None = None
        self._compile, self._sync_batchnorm = compile, sync_batchnorm
        self._local_rank = state.local_process_index
        self.failure_monitor: FailureMonitor | None = None
        self._seed, self.gradient_sync = 0, GradientSync()
        # numbers on the CPU have a group of their own, so that exchanging one does not wait for a GPU
        aside = self.world_size > 1 and self.device.type == "cuda"
        self._group: Any = dist.new_group(backend="gloo", timeout=timeout()) if aside else None
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # what names no device is made there
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        if cuda_graph and self.device.type == "cuda" and self.world_size == 1:
            self.recorder = CudaRecorder()
        elif cuda_graph:
            log.warning("--cuda-graph has an effect on a GPU in a single process alone")

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return bool(self.rank == 0)

    def to_device(self, module: nn.Module) -> None:
        """Move a module to the device, in channels-last layout."""
        module.to(self.device)
        module.to(memory_format=torch.channels_last)
        if self.device.type == "cpu" and self.precision == "bf16":
            pad_small_maps(module)

    def prepare(self, module: nn.Module) -> Any:
        """Move a module to the device; with several processes, synchronize it with the others' copies.

        Then its BatchNorms use the statistics that `sync_batchnorm` says, and its gradients are averaged.

        Returns:
            What to call; the parameters stay those of `module`.
        """
        self.to_device(module)
        wrapped: Any = module
        if self.world_size > 1:
            self._seed = torch.initial_seed() % 2**31
            self._synchronize_batchnorm(module)
            if self.device.type == "cpu":
                _plain_strides(module)
            if any(parameter.requires_grad for parameter in module.parameters()):
                wrapped = wrap_in_ddp(module)
                self.gradient_sync = GradientSync(wrapped)
        return torch.compile(wrapped) if self._compile else wrapped

    def _synchronize_batchnorm(self, module: nn.Module) -> None:
        if self._sync_batchnorm != "off":
            is_node = self._sync_batchnorm == "node"
            convert_sync_batchnorm(module, node_group(self._local_rank, self._group) if is_node else None)
        if self._sync_batchnorm != "all":
            module.register_forward_hook(lambda *_: average_running_stats(module))

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        half = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to the parameters'."""
        loss.backward()

    def all_reduce_max(self, *numbers: float) -> list[float]:
        """The largest of each number in all processes."""
        return self.start_all_reduce_max(*numbers)()

    def start_all_reduce_max(self, *numbers: float) -> Callable[[], list[float]]:
        """`all_reduce_max` that goes on meanwhile; call the result for the answer."""
        if self.world_size == 1:
            return lambda: list(numbers)
        return start_all_reduce_max(numbers, self._group, timeout())

    def all_reduce_mean(self, *numbers: float) -> list[float]:
        """The mean of each number over all processes."""
        if self.world_size == 1:
            return list(numbers)
        shared = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(shared, group=self._group)
        return [float(number) for number in shared / self.world_size]

    def assert_equal_across_ranks(self, number: int, what: str) -> None:
        """Check that all processes have the same number, below 2 ** 53.

        Raises:
            UsageError: they differ.
        """
        most, least = self.all_reduce_max(number, -number)
        if most != -least:
            raise UsageError(
                f"{what} differs between the {self.world_size} processes",
                where=f"process {self.rank}: {number}, others: {int(-least)} to {int(most)}",
                next="start all processes with the same command, on storage shared by all machines",
            )

    def assert_same_config(self, values: Mapping[str, Any]) -> None:
        """Check that all processes have the same values, nested ones too.

        Raises:
            UsageError: they differ; with the first difference.
        """
        if self.world_size == 1:
            return
        if differing := first_difference(values, self._group):
            name, rank, one, other = differing
            raise UsageError(
                f"{name} differs between the {self.world_size} processes",
                where=f"process 0: {one!r}, process {rank}: {other!r}",
                next="start all processes with the same command, on storage shared by all machines",
            )

    def start_failure_monitor(self) -> None:
        """Connect the processes, so that each learns when another one ends; see `FailureMonitor`."""
        server = listen() if self.is_main else None
        port, token = (server.getsockname()[1], secrets.randbits(60)) if server else (0, 0)
        address = torch.tensor([port, token])
        dist.broadcast(address, 0, group=self._group)
        port, token = address.tolist()
        if server:
            connections = accept_all(server, self.world_size, str(token))
        else:
            host = os.environ.get("MASTER_ADDR", "127.0.0.1")
            main = connect_to_main((host, port), self.rank, str(token))
            connections = {0: (main, f"the main process, on {host}")}
        self.failure_monitor = FailureMonitor(self.rank, self.world_size, connections)

    def barrier(self) -> None:
        """Wait until all processes have arrived, however long one of them takes.

        Raises:
            DistributedError: another process is gone.
        """
        if self.failure_monitor:
            self.failure_monitor.barrier()
        elif self.world_size > 1:
            dist.barrier(group=self._group)

    def from_main(self, make: Callable[[], bytes]) -> bytes:
        """What the main process makes; the others wait as long as it takes."""
        return make() if self.world_size == 1 else from_main(make, self.barrier, self._group)

    def seed_rank_rng(self, step: int) -> None:
        """Seed torch for a step so that each of several processes draws its own random numbers (dropout).

        It depends on torch's seed at `prepare`, the step and the rank alone: a resumed run draws the same numbers.
        """
        if self.world_size == 1:
            return
        ids = torch.tensor([self.rank])
        torch.manual_seed(int(stateless_rng.uniform(self._seed, step, 0, ids, 1)[0, 0].double() * 2**24))

    def destroy_process_group(self) -> None:
        """Leave the process group; no collective may follow."""
        if self._owns_process_group:
            dist.destroy_process_group()

    def peak_memory(self) -> int:
        """Most bytes allocated on a GPU so far; 0 on the CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def memory(self) -> int:
        """Bytes of memory of a GPU; 0 elsewhere."""
        is_cuda = self.device.type == "cuda"
        return torch.cuda.get_device_properties(self.device).total_memory if is_cuda else 0

    def describe(self) -> str:
        """The device by name, for people."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"CPU, {pluralize(torch.get_num_threads(), 'thread')}"
        many = f", {self.world_size} processes" if self.world_size > 1 else ""
        return f"{name}{many}, {self.precision}"


def _plain_strides(module: nn.Module) -> None:
    """Give kernels of one pixel, whose layouts are the same in memory, the strides that their gradients have on a CPU.

    DDP copies gradients with other strides than their parameters' into its buckets, and warns.
    """
    for parameter in module.parameters():
        if parameter.shape[2:] == (1, 1):
            parameter.data = parameter.data.flatten(1)[:, :, None, None]
