"""The processes of a run: which one this is, by one answer for all; how they meet; how they end together.

Launchers (torchrun, srun, Lightning's own) tell a process its rank by environment variables, and every library reads
others of them. Here the trainer's answer counts: a variable that was left in a shell changes nothing, and where a
launcher and the configuration disagree the run is refused.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from ..errors import RunStopped, UserError

if TYPE_CHECKING:
    import lightning as L

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
NUMBERS = (*RANKS, "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_PORT")
MEETING_S = 180.0
"""So long waits a process for the others at the start."""
CONNECT_S = 30.0
"""So long may it take to connect with a process that is there."""
WORD_S = 15.0
"""After so long it says what it waits for."""
EXCHANGE_S = 1800.0
"""So long may one of them be busy while the others wait for it in the middle of a run (PyTorch's own default)."""
FAREWELL_S = 10.0
"""So long may a process that this one has started go on when this one ends."""


def check_variables() -> None:
    """Refuse rank variables that are no numbers, at which libraries would stumble when they are imported.

    Raises:
        UserError: names the variable.
    """
    for name in NUMBERS:
        value = os.environ.get(name, "0")
        if not (value.isascii() and value.isdigit()):
            raise UserError(f"the environment variable {name}={value!r} is no whole number; unset it")


def settle_rank(trainer: L.Trainer) -> None:
    """Make the trainer's answer everybody's: who is the first process writes files, warns and keeps the tracker.

    Raises:
        UserError: what a launcher says does not fit ``trainer.devices`` and ``trainer.num_nodes``.
    """
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    environment = _environment(trainer)
    wanted = trainer.num_nodes * trainer.num_devices
    started = _started(environment)
    keys = f"trainer.devices={trainer.num_devices} and trainer.num_nodes={trainer.num_nodes}"
    if started is not None and started != wanted:
        raise UserError(
            f"{_launcher(environment)} has started {started} process{'es' if started > 1 else ''}, but {keys} make "
            f"{wanted}; set them to match, with trainer.strategy=ddp, or start this one alone without {_variables()}"
        )
    if trainer.world_size > 1 and launched(trainer) and _is_lightnings(environment) and "MASTER_PORT" not in os.environ:
        raise UserError(
            f"LOCAL_RANK={os.environ['LOCAL_RANK']} says that a launcher has started this process, but no MASTER_PORT "
            "where to meet the others; unset LOCAL_RANK, or set MASTER_ADDR and MASTER_PORT for all of them"
        )
    if trainer.num_nodes > 1 and _is_lightnings(environment) and "MASTER_PORT" not in os.environ:
        raise UserError(
            f"trainer.num_nodes={trainer.num_nodes} needs a place to meet; start the processes with torchrun or srun, "
            "or set MASTER_ADDR, MASTER_PORT and NODE_RANK on every machine"
        )
    if trainer.global_rank >= trainer.world_size or trainer.local_rank >= trainer.num_devices:
        raise UserError(
            f"this process is number {max(trainer.global_rank, trainer.local_rank)}, counted from 0, but {keys} make "
            f"{wanted}; raise them or unset {_variables()}"
        )
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]  # a function


def launched(trainer: L.Trainer) -> bool:
    """Whether a launcher has started every process, so that this one starts none."""
    return trainer.world_size > 1 and _environment(trainer).creates_processes_externally


def have_one_parent(trainer: L.Trainer) -> bool:
    """Whether the first process starts all others, and can tell them which folder it took."""
    return trainer.num_nodes == 1 and not launched(trainer)


def _environment(trainer: L.Trainer) -> Any:
    """Lightning's cluster environment; a strategy with one process does not show the one that was found."""
    return trainer._accelerator_connector.cluster_environment


def _is_lightnings(environment: Any) -> bool:
    from lightning.fabric.plugins.environments import LightningEnvironment

    return isinstance(environment, LightningEnvironment)


def _started(environment: Any) -> int | None:
    """How many processes a launcher says that it has started; None without one."""
    if not _is_lightnings(environment):
        return int(environment.world_size())
    by_hand = "WORLD_SIZE" in os.environ and any(name in os.environ for name in RANKS)
    return int(os.environ["WORLD_SIZE"]) if by_hand else None


def _launcher(environment: Any) -> str:
    name = type(environment).__name__.removesuffix("Environment")
    return {"TorchElastic": "torchrun", "Lightning": "a launcher (WORLD_SIZE)"}.get(name, name)


def _variables() -> str:
    known = (*RANKS, "WORLD_SIZE", "SLURM_NTASKS")
    return ", ".join(name for name in known if name in os.environ) or "its variables"


def meet(trainer: L.Trainer) -> None:
    """Wait for the other processes of a run, for :data:`MEETING_S` at most, and connect with them.

    Raises:
        NobodyCame: one of them does not come.
        UserError: the place to meet does not exist, or its port is in use.
    """
    if trainer.world_size == 1 or dist.is_initialized():
        return
    strategy: Any = trainer.strategy
    environment = _environment(trainer)
    host, port = environment.main_address, environment.main_port
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = host, str(port)
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:
        raise UserError(f"MASTER_ADDR={host} is no machine that this one can find ({error}); correct it") from None
    store = _meeting_place(trainer.global_rank, trainer.world_size, host, port)
    device = strategy.root_device
    store.set_timeout(timedelta(seconds=EXCHANGE_S))
    dist.init_process_group(
        strategy._get_process_group_backend(),
        store=store,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        timeout=timedelta(seconds=EXCHANGE_S),
        device_id=None if device.type == "cpu" else device,
    )


def meet_when_started(trainer: L.Trainer) -> None:
    """Let Lightning's processes meet by :func:`meet`, whose waiting has a limit and gives way to signals."""
    strategy: Any = trainer.strategy
    if trainer.world_size == 1:
        return
    connect = strategy.setup_distributed

    def setup_distributed() -> None:
        meet(trainer)
        connect()

    strategy.setup_distributed = setup_distributed


class NobodyCame(RunStopped):
    """A run that never began, since its processes did not find one another."""


def _meeting_place(rank: int, world_size: int, host: str, port: int) -> dist.TCPStore:
    """The store by which the processes find one another, when all of them have come."""
    began_s, said = time.monotonic(), False
    store: dist.TCPStore | None = None
    keys = [f"here{other}" for other in range(world_size)]
    while store is None or not store.check(keys):
        if store is None and (store := _connect(rank, host, port)):
            store.set(keys[rank], "")
            continue
        waited_s = time.monotonic() - began_s
        if waited_s > MEETING_S:
            raise NobodyCame(
                f"process {rank} of {world_size} has waited {MEETING_S:.0f} s at {host}:{port}, and not all others "
                "have come; start all of them, with the same MASTER_ADDR and MASTER_PORT"
            )
        if waited_s > WORD_S and not said:
            said, limit = True, f"for {MEETING_S:.0f} s at most"
            who = f"process {rank} of {world_size}"
            print(f"{who}: waiting for the others at {host}:{port}, {limit}", file=sys.stderr, flush=True)
        time.sleep(0.05)
    return store


def _connect(rank: int, host: str, port: int) -> dist.TCPStore | None:
    """The first process, or torchrun, opens the place; the others find it closed until then."""
    opens = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        if not opens:  # PyTorch would wait in there, deaf to signals
            socket.create_connection((host, port), 1.0).close()
        limit = timedelta(seconds=CONNECT_S)
        return dist.TCPStore(host, port, None, opens, limit, wait_for_workers=False, multi_tenant=True)
    except (OSError, RuntimeError) as error:
        if opens and "EADDRINUSE" in str(error):
            raise UserError(f"MASTER_PORT={port} is in use on this machine; set another one, or unset it") from None
        return None


@contextmanager
def ending_together(trainer: L.Trainer) -> Iterator[None]:
    """End the processes that this one has started when it ends, and this one when the one that started it is gone."""
    if trainer.world_size > 1 and not trainer.is_global_zero and have_one_parent(trainer):
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True, name="follow the first process").start()
    try:
        yield
    except BaseException as error:
        never_began = isinstance(error, UserError | NobodyCame)  # they have nothing to save or to say
        _end_children(trainer, 0.0 if never_began else FAREWELL_S)
        raise


def _end_children(trainer: L.Trainer, patience_s: float) -> None:
    children = getattr(trainer.strategy.launcher, "procs", [])
    until_s = time.monotonic() + patience_s
    while any(child.poll() is None for child in children) and time.monotonic() < until_s:
        time.sleep(0.05)
    for child in children:
        with suppress(ProcessLookupError):
            child.kill()
            child.wait()


def _follow(parent: int) -> None:
    """Leave when the parent has gone; PyTorch's calls may wait for it without end and take no signals."""
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(FAREWELL_S)  # what is to be said about it is said elsewhere
    os._exit(1)
