"""Feed thousands of malformed inputs to every reader: ``python -m reliability inputs [--examples 2000] [--seed 0]``.

Hypothesis makes settings, network specifications, IDX files, N-MNIST recordings and archives, golden files and
checkpoints, most of them damaged in some way. Each must be refused in one sentence that leaves no file behind, or be
accepted and agree with an independent reading. Exit code 1 if one crashes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import UserError
from reliability.page import Parser, table, write_section

LONGEST_SENTENCE = 1500


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        name: its name.
        strategy: makes inputs (a hypothesis SearchStrategy).
        use: reads one, given a folder for it in which it may write ``input…``; UserError = refused.
        cost: how much slower it is than the others; so many times fewer examples are tried.
    """

    name: str
    strategy: Any
    use: Callable[[Any, Path], None]
    cost: int = 1


@dataclass
class Tally:
    """What became of the inputs of one kind."""

    refused: int = 0
    accepted: int = 0
    crashes: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """All of them."""
        return self.refused + self.accepted + len(self.crashes)

    def attempt(self, kind: Kind, value: Any) -> None:
        """Use one input in an empty folder and count what became of it."""
        folder = Path(tempfile.mkdtemp(prefix="antlr-snn-inputs-"))
        try:
            self._count(kind, value, folder)
        except (Exception, SystemExit) as error:
            self.crashes.append(f"{type(error).__name__}: {error} for {value!r}"[:1000])
        finally:
            shutil.rmtree(folder)

    def _count(self, kind: Kind, value: Any, folder: Path) -> None:
        try:
            kind.use(value, folder)
            self.accepted += 1
        except UserError as refusal:
            left = [path.name for path in folder.iterdir() if not path.name.startswith("input")]
            if left or not 0 < len(str(refusal)) <= LONGEST_SENTENCE:
                raise RuntimeError(f"refused, but {left} is left or this is no sentence: {str(refusal)[:99]}") from None
            self.refused += 1


def try_inputs(kind: Kind, examples: int, seed: int) -> Tally:
    """Make and use examples of one kind; the same ones for the same seed."""
    import hypothesis

    tally = Tally()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=max(1, examples // kind.cost),
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(kind.strategy)
    def attempt(value: Any) -> None:
        tally.attempt(kind, value)

    attempt()
    return tally


def kinds() -> list[Kind]:
    """All kinds of input.

    Raises:
        UserError: hypothesis is not installed.
    """
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise UserError("reliability inputs needs hypothesis: pip install -r requirements-dev.txt") from None
    from reliability import malformed_data as data
    from reliability import malformed_models as models
    from reliability import malformed_settings as settings

    return [
        Kind("arguments", settings.arguments(), settings.use_arguments),
        Kind("configuration files", settings.yaml_files(), settings.use_yaml_file),
        Kind("network specifications", settings.networks(), settings.use_network),
        Kind("IDX files", data.idx_files(), data.use_idx),
        Kind("N-MNIST recordings", data.recordings(), data.use_recording),
        Kind("N-MNIST archives", data.archives(), data.use_archive),
        Kind("golden files", models.golden_files(), models.use_golden_file),
        Kind("checkpoints", models.checkpoints(), models.use_checkpoint, cost=10),
    ]


def main(argv: Sequence[str]) -> int:
    """Try all kinds and print what became of them."""
    parser = Parser("inputs", __doc__)
    parser.add_argument("--examples", type=int, default=2000, help="inputs of each kind (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs")
    options = parser.parse_args(argv)
    if options.examples < 1:
        parser.error(f"--examples={options.examples} must be at least 1")
    print(f"{'kind':24}{'tried':>8}{'refused':>10}{'accepted':>10}{'crashed':>10}")
    rows, crashes = [], []
    for kind in kinds():
        tally = try_inputs(kind, options.examples, options.seed)
        rows.append((kind.name, tally.tried, tally.refused, tally.accepted, len(tally.crashes)))
        print("{:24}{:8}{:10}{:10}{:10}".format(*rows[-1]), flush=True)
        crashes += [f"{kind.name}: {crash}" for crash in tally.crashes]
    print("\n".join(["", *crashes[:20], f"{len(crashes)} crashes"]))
    if options.write:
        body = table(("kind of input", "tried", "refused", "accepted", "crashed"), rows)
        write_section("inputs", f"inputs --examples {options.examples} --seed {options.seed}", body)
    return 1 if crashes else 0
