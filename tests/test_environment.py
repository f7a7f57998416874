"""What surrounds a command must not end it: terminals, readers, disks, variables, systems. Real, small runs."""

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app import output
from app.errors import run_command
from app.files import naming, replacing
from app.kernels import compile as compiling
from reliability.lost_disks import NAMESPACE, namespaces
from tests.support import ROOT

TRAIN = str(ROOT / "train.py")
SMALL = [
    "network=[64,fc10]",
    "time_steps=30",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.enable_progress_bar=false",
    "tracking.mode=disabled",
]
HELP = """
import runpy, sys
for name in ("evaluate", "landscape", "report", "sweep", "verify"):
    print("HELP", name, flush=True)
    sys.argv = [name, "--help"]
    try:
        runpy.run_module(f"app.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        assert not ended.code, (name, ended.code)
"""
ON_A_SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" && cd "$2" || exit 99; shift 2; exec "$@"'


def command(*words: str, prelude: tuple[str, ...] = (), **options) -> subprocess.CompletedProcess:
    """Run Python with this project in its path."""
    variables = options.pop("env", {})
    # the compiler's cache stays where it is when HOME or the working folder change
    own = {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(compiling._folder()), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [*prelude, sys.executable, *words], env={**os.environ, **own, **variables}, timeout=300, **pipes | options
    )


def said(ended: subprocess.CompletedProcess) -> list[str]:
    """What stands on stderr, but for the notice that kernels are compiled."""
    return [line for line in ended.stderr.decode().splitlines() if not line.startswith("compiling the numba kernels")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run, made once."""
    folder = tmp_path_factory.mktemp("trained")
    ended = command(TRAIN, *SMALL, f"out={folder}/o")
    assert ended.returncode == 0, ended.stderr
    return folder / "o"


# --- characters -------------------------------------------------------------------------------------------------------


def test_characters_that_a_terminal_lacks_are_written_otherwise():
    text = "1…2 0.5 ± 0.1 a → b – − λ_act σ ≤ ü 日"
    assert text.encode("ascii", output.LIKENESS) == b"1...2 0.5 +/- 0.1 a -> b - - lambda_act sigma <= \\xfc \\u65e5"
    assert text.encode("utf-8", output.LIKENESS).decode() == text


@pytest.mark.slow
def test_help_is_printed_in_any_encoding():
    """One process for all commands, each run as ``python -m`` runs it."""
    ended = command("-c", HELP, env={"PYTHONIOENCODING": "ascii"})
    assert (ended.returncode, said(ended)) == (0, [])
    texts = dict(part.split(b"\n", 1) for part in ended.stdout.split(b"HELP ")[1:])
    assert list(texts) == [b"evaluate", b"landscape", b"report", b"sweep", b"verify"]
    assert all(len(text) > 100 for text in texts.values())


@pytest.mark.slow
def test_runs_and_tables_are_printed_in_ascii(tmp_path):
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    ended = command(TRAIN, *SMALL, "out=ü", env=ascii_only, cwd=tmp_path)
    assert (ended.returncode, said(ended)) == (0, [])
    assert b"writing to \\xfc" in ended.stdout
    parts = ("--line", "--fidelity", "points=5", "directions=2", "samples=2")
    ended = command("-m", "app.landscape", "ckpt=ü", *parts, env=ascii_only, cwd=tmp_path)
    assert (ended.returncode, said(ended)) == (0, [])
    assert b" +/- " in ended.stdout
    assert " ± " in (tmp_path / "ü/landscape/landscape.md").read_text(encoding="utf-8")
    ended = command("-m", "app.evaluate", "ckpt=nö", env=ascii_only, cwd=tmp_path)
    assert ended.returncode == 2
    assert b"ckpt=n\\xf6" in ended.stderr


@pytest.mark.slow
def test_an_argument_that_the_locale_cannot_read_is_named():
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ended = command(TRAIN, "--help", env=locale)
    assert (ended.returncode, said(ended)) == (0, [])
    ended = command(TRAIN, "out=ü", env=locale)
    assert ended.returncode == 2
    assert said(ended) == ["error: argument 'out=\\udcc3\\udcbc' is no text in ascii; mend it, or set PYTHONUTF8=1"]


def test_text_files_have_one_encoding_whatever_the_locale():
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "app").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _leaves_encoding_to_the_locale(node)
    ]


def _leaves_encoding_to_the_locale(call: ast.Call) -> bool:
    named = {keyword.arg or "encoding" for keyword in call.keywords}  # **options may hold it
    if isinstance(call.func, ast.Name):
        name, owner, mode = call.func.id, "", call.args[1:2]
    elif isinstance(call.func, ast.Attribute):
        name, owner, mode = call.func.attr, getattr(call.func.value, "id", ""), call.args[:1]
    else:
        return False
    if name in ("read_text", "write_text"):
        return "encoding" not in named
    binary = any(isinstance(word, ast.Constant) and "b" in str(word.value) for word in mode)
    nothing_opened = isinstance(call.func, ast.Attribute) and not call.args and not call.keywords
    return (
        name == "open"
        and owner not in ("os", "gzip", "Image")
        and not (binary or nothing_opened or "encoding" in named)
    )


# --- readers ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_outlives_the_reader_of_its_output(tmp_path):
    """As in ``python train.py | head -1``."""
    ours = {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(compiling._folder())}
    words = [*SMALL, "trainer.enable_progress_bar=true", f"out={tmp_path}/o"]
    words.remove("trainer.enable_progress_bar=false")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, TRAIN, *words], env={**os.environ, **ours}, **pipes) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait(300) == 0
    assert (tmp_path / "o/summary.json").exists()
    assert "warning: the reader of standard output has left; what is printed there is dropped from here on" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_full_disk_behind_the_output_is_said_after_the_work(tmp_path):
    with open("/dev/full", "w") as full:
        ended = command(TRAIN, *SMALL, f"out={tmp_path}/o", stdout=full)
        assert ended.returncode == 1
        assert said(ended)[-1] == (
            "error: standard output cannot be written (No space left on device); all other work is done"
        )
        assert (tmp_path / "o/summary.json").exists()
        ended = command(TRAIN, "--help", stdout=full)
        assert (ended.returncode, len(said(ended))) == (1, 1)
        ended = command(TRAIN, *SMALL, f"out={tmp_path}/p", stderr=full)
        assert (ended.returncode, (tmp_path / "p/summary.json").exists()) == (0, True)
        assert command(TRAIN, "out=", stderr=full).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_hindrance(closed, tmp_path):
    line = ("sh", "-c", f'exec "$@" {closed}', "sh")
    ended = command(TRAIN, *SMALL, "probes.raster=false", f"out={tmp_path}/o", prelude=line)
    assert (ended.returncode, said(ended)) == (0, [])
    assert (tmp_path / "o/summary.json").exists()


# --- variables and folders --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "NUMBA_NUM_THREADS": "0",
            "HOME": "/proc/nowhere",
            "XDG_CACHE_HOME": "",
        },
        {"MPLBACKEND": "nonsense", "NUMBA_DISABLE_JIT": "1"},
    ],
    ids=["a notebook's, no home", "no compiler"],
)
def test_odd_variables_and_a_closed_home_are_no_hindrance(variables, tmp_path):
    quiet = [word.replace("disabled", "offline") for word in SMALL]
    ended = command(TRAIN, *quiet, f"out={tmp_path}/o", env=variables)
    assert ended.returncode == 0
    fallback = ["engine=auto falls back to layerwise"] if "NUMBA_DISABLE_JIT" in variables else []
    assert [sentence.removeprefix("warning: ")[:35] for sentence in said(ended)] == fallback
    assert (tmp_path / "o/raster.png").exists()


@pytest.mark.slow
def test_the_compiled_engine_says_that_it_may_not_be_compiled(tmp_path):
    ended = command(
        TRAIN, *SMALL, "engine=event_driven", f"out={tmp_path}/o", env={"NUMBA_DISABLE_JIT": "1"}, cwd=tmp_path
    )
    assert "NUMBA_DISABLE_JIT is set" in ended.stderr.decode()
    assert ended.returncode != 0


def test_a_backend_that_matplotlib_knows_is_kept():
    ended = command(
        "-c",
        "import app, os, matplotlib; print(os.environ['MPLBACKEND'], matplotlib.rcParams['backend'])",
        env={"MPLBACKEND": "svg"},
    )
    assert ended.stdout.split() == [b"svg", b"svg"]


# --- the compiler's cache ---------------------------------------------------------------------------------------------


def _twice(x):
    return x * 2 + 0.5


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder of its own for compiled kernels, with one kernel in it."""
    compiling._folder.cache_clear()
    compiling._warn.cache_clear()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    assert compiling.kernel()(_twice)(1.0) == 2.5
    yield tmp_path / "cache"
    compiling._folder.cache_clear()
    compiling._warn.cache_clear()


DAMAGES = {
    "emptied": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "cut in its checksum": lambda file: file.write_bytes(file.read_bytes()[:20]),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "zeros at the end": lambda file: file.write_bytes(file.read_bytes()[:-4096] + bytes(4096)),
    "one bit": lambda file: file.write_bytes(file.read_bytes()[:-9] + bytes([file.read_bytes()[-9] ^ 1]) + bytes(8)),
    "other bytes": lambda file: file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size)),
    "a true checksum of nonsense": lambda file: file.write_bytes(
        compiling.hashlib.sha256(b"nonsense").hexdigest().encode() + b"\nnonsense"
    ),
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "a loop of links": lambda file: (file.unlink(), file.symlink_to(file.name)),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_built_anew_and_that_is_said_once(damage, cache, capsys):
    (file,) = cache.iterdir()
    damage(file)
    capsys.readouterr()
    assert [compiling.kernel()(_twice)(1.0) for _ in range(2)] == [2.5, 2.5]
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"warning: the cache of compiled kernels in {cache} was damaged (")
    assert [one.name for one in cache.iterdir()] == [file.name]
    again = compiling.kernel()(_twice)
    assert again(1.0) == 2.5
    assert list(again.stats.cache_hits.values()) == [1]


def test_a_folder_in_place_of_a_kernel_is_said(cache, capsys):
    (file,) = cache.iterdir()
    file.unlink()
    file.mkdir()
    assert [compiling.kernel()(_twice)(1.0) for _ in range(2)] == [2.5, 2.5]
    damaged, unkept = capsys.readouterr().err.splitlines()
    assert "was damaged" in damaged
    assert unkept.startswith(f"warning: kernels are compiled in every run, for {cache} cannot be written (")


def test_a_full_disk_keeps_no_kernel_and_says_so_once(cache, capsys):
    (file,) = cache.iterdir()
    file.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert [compiling.kernel()(_twice)(1.0) for _ in range(2)] == [2.5, 2.5]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (told,) = capsys.readouterr().err.splitlines()
    assert told == f"warning: kernels are compiled in every run, for {cache} cannot be written (File too large)"
    assert not list(cache.iterdir())


def test_without_a_folder_kernels_are_compiled_and_that_is_said_once(cache, monkeypatch, capsys):
    compiling._folder.cache_clear()
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    assert [compiling.kernel()(_twice)(1.0) for _ in range(2)] == [2.5, 2.5]
    (told,) = capsys.readouterr().err.splitlines()
    assert "for /proc/nowhere cannot be written; let NUMBA_CACHE_DIR name a folder that can" in told


# --- disks and memory -------------------------------------------------------------------------------------------------


def ended_with(error: BaseException, monkeypatch, capsys) -> tuple[int, str]:
    def main(argv):
        raise error

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as leaving:
        run_command(main)
    return leaving.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(28, "No space left on device", "o/x.png"), "o/x.png: No space left on device"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (OSError("odd"), "odd"),
        (MemoryError(), "data.batch_size"),
        (np._core._exceptions._ArrayMemoryError((10**15,), np.dtype(float)), "data.eval_batch_size"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."), "a smaller network"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "a smaller network"),
        (OSError(12, "Cannot allocate memory"), "a smaller network"),
    ],
    ids=repr,
)
def test_disks_and_memory_are_answered_by_one_sentence(error, words, monkeypatch, capsys):
    code, told = ended_with(error, monkeypatch, capsys)
    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith("error: ")
    assert words in told


def test_other_errors_keep_their_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(RuntimeError, match="shape"):
        run_command(lambda argv: (_ for _ in ()).throw(RuntimeError("shape")))


def test_a_file_is_named_by_errors_that_do_not(tmp_path):
    with pytest.raises(OSError, match="No space left") as one, replacing(tmp_path / "x"):
        raise OSError(28, "No space left on device")
    assert one.value.filename == str(tmp_path / "x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left") as one, naming(tmp_path / "x"):
        raise OSError(28, "No space left on device", "its own")
    assert one.value.filename == "its own"


@pytest.mark.slow
@pytest.mark.skipif(not namespaces(), reason="needs Linux namespaces, to mount a small disk")
def test_full_disks_are_named_in_one_sentence(trained, tmp_path):
    """The first write of a run, the raster at its end, and what evaluate and landscape write."""
    (tmp_path / "small").mkdir()

    def on_disk(size: str, *words: str, code: int = 1) -> str:
        line = (*NAMESPACE, ON_A_SMALL_DISK, "sh", size, str(tmp_path / "small"))
        ended = command(*words, prelude=line, env={"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/tmp"})
        assert ended.returncode == code, ended.stderr
        (told,) = said(ended)
        return told

    fill = ("import os, runpy, sys; open('full', 'wb', 0).write(bytes(4096)); sys.argv = sys.argv[1:]; "
            "sys.path[0] = os.path.dirname(sys.argv[0]); ")  # fmt: skip
    script, module = (
        ("-c", fill + "runpy.run_path(sys.argv[0], run_name='__main__')"),
        (
            "-c",
            fill + "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)",
        ),
    )
    assert on_disk("4k", *script, TRAIN, *SMALL, "out=o", code=2) == (
        "error: out=o cannot be written (No space left on device); choose another out="
    )
    told = on_disk("4k", *module, "app.evaluate", f"ckpt={trained}", "trainer.limit_test_batches=1", "out=.")
    assert told.startswith("error: evaluation.json: No space left on device")
    told = on_disk("4k", *module, "app.landscape", f"ckpt={trained}", "--line", "points=5", "samples=2", "out=.")
    assert told.startswith("error: line.png: No space left on device")


LIMITED = """
import resource, runpy, sys
from pathlib import Path
import app.training.build, app.training.start, app.training.summary
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 10**8,) * 2)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux, to know how much memory is in use")
@pytest.mark.parametrize(
    ("too_large", "engine"),
    [
        (["network=[64,fc4000000,fc10]", "data.batch_size=8"], "layerwise"),
        (["network=[64,fc10000,fc10]", "data.batch_size=1400"], "event_driven"),
    ],
    ids=["network", "batch"],
)
def test_too_little_memory_is_said_with_what_needs_less(too_large, engine, tmp_path):
    small = [word for word in SMALL if not word.startswith(("network=", "time_steps="))]
    words = [*small, *too_large, "time_steps=300", "data.latency_max_steps=200", f"engine={engine}"]
    ended = command("-c", LIMITED, TRAIN, *words, f"out={tmp_path}/o")
    assert ended.returncode == 1
    (told,) = said(ended)
    assert told.startswith("error: there is not enough memory; a smaller network, data.batch_size")


# --- other systems ----------------------------------------------------------------------------------------------------

HIDDEN = """
import builtins, importlib, os, pkgutil, runpy, signal, sys, types

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
NAMES = {
    "os": "register_at_fork fork forkpty getuid geteuid getgid setsid killpg getpgid getpgrp sched_getaffinity uname "
    "mkfifo chown statvfs O_NONBLOCK O_NOFOLLOW O_NOCTTY O_DIRECTORY O_CLOEXEC pread pwrite fchmod sysconf getloadavg "
    "posix_fallocate posix_fadvise wait3 wait4 nice sync sendfile".split(),
    "signal": "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE SIGSTOP SIGCONT SIGQUIT SIGTSTP SIGXFSZ alarm "
    "setitimer pthread_sigmask sigwait pause".split(),
}

def without(module, names):
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update({name: value for name, value in vars(module).items() if name not in names})
    return copy

SEEN = {name: without(sys.modules[name], names) for name, names in NAMES.items()}
SEEN["os"].name = "nt"
SEEN["msvcrt"] = types.SimpleNamespace(locking=lambda *_: None, LK_NBLCK=2, LK_UNLCK=0)
there = builtins.__import__

def imported(name, globals=None, locals=None, fromlist=(), level=0):
    ours = level == 0 and globals and str(globals.get("__name__")).split(".")[0] in ("app", "__main__")
    if ours and name in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}")
    return SEEN[name] if ours and name in SEEN else there(name, globals, locals, fromlist, level)

builtins.__import__ = imported
sys.argv = sys.argv[1:]
import app
for module in pkgutil.walk_packages(app.__path__, "app."):
    if module.name not in {excepted}:
        importlib.import_module(module.name)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEEDS_POSIX = {"app.sweep.run", "app.sweep.slurm", "app.sweep.__main__", "app.sweep.outcome"}


@pytest.mark.slow
def test_everything_is_imported_and_trains_without_what_windows_lacks(tmp_path):
    ended = command("-c", HIDDEN.replace("{excepted}", repr(NEEDS_POSIX)), TRAIN, *SMALL, f"out={tmp_path}/o")
    assert (ended.returncode, said(ended)) == (0, [])
    assert (tmp_path / "o/summary.json").exists()
