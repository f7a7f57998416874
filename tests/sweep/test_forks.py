"""Runs that are forked from a warmed process: what they are told, print and leave is what a new process would."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from app import train
from app.sweep import forks, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux alone")
TELL = """
import os, sys
print("to stdout", sys.argv, __name__, __spec__, os.getsid(0) == os.getpid(), os.environ["GIVEN"], os.getcwd())
print("input", repr(sys.stdin.read()), sys.stdout.line_buffering, sys.stdout.encoding, sys.path[0], file=sys.stderr)
os.fstat(HANDLE)
import atexit, signal, threading
print([signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)])
atexit.register(print, "the end")
thread = threading.Thread(target=lambda: print("a thread"))
thread.start()
thread.join()
"""
ENDS = ["", "sys.exit(3)", "sys.exit('error: no')", "1 / 0", "os.kill(os.getpid(), 9)", "os._exit(5)"]


@pytest.fixture(autouse=True)
def _nothing_to_import(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "READY", "json")
    monkeypatch.chdir(tmp_path)


def test_a_forked_run_is_told_prints_and_leaves_what_a_new_process_does(tmp_path):
    environment = os.environ | {"GIVEN": "to all"}
    with open(tmp_path / "lock", "w") as lock:
        handle = lock.fileno()
        one = forks.Forks(environment, [handle])
        try:
            for count, end in enumerate(ENDS):
                script = tmp_path / f"script{count}.py"
                script.write_text(f"{TELL.replace('HANDLE', str(handle))}\n{end}\n")
                line = [sys.executable, str(script), "a=1", "b=ü ,x"]
                with open(f"new{count}", "w") as log:
                    options = {"stdout": log, "stderr": log, "pass_fds": [handle], "start_new_session": True}
                    code = subprocess.run(
                        line, stdin=subprocess.DEVNULL, env=environment, check=False, **options
                    ).returncode
                assert one.start(line, Path(f"forked{count}")).wait(30) == code
                new, forked = (_own_lines(f"{kind}{count}") for kind in ("new", "forked"))
                assert forked == [
                    text.replace(str(tmp_path), str(forks.ROOT)) if "input" in text else text for text in new
                ]
        finally:
            one.close()


def _own_lines(name):
    """Without the frames of who ran the script, and of Python's own files."""
    return [
        text for text in Path(name).read_text().splitlines() if 'File "' not in text and not text.startswith("    ")
    ]


def test_a_module_runs_as_python_m_would_run_it(tmp_path):
    Path("told.py").write_text("import sys; print(sys.argv[1:], __name__, sys.modules['__main__'].__spec__.name)")
    one = forks.Forks(os.environ | {"PYTHONPATH": str(tmp_path)})
    try:
        assert one.start([sys.executable, "-m", "told", "a=1"], Path("log")).wait(30) == 0
    finally:
        one.close()
    assert Path("log").read_text() == "['a=1'] __main__ told\n"


def test_runs_outlive_the_process_that_forked_them_and_others_start_without_it(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text("import sys, time; time.sleep(float(sys.argv[1]))")
    monkeypatch.setattr(run, "TRAIN", script)
    trials = [
        SimpleNamespace(out=tmp_path / "s" / name, arguments=[time_s]) for name, time_s in (("a", "60"), ("b", "0"))
    ]
    with run.sole(tmp_path / "s") as lock, run.starting(1, 2, lock) as start:
        first = start(trials[0])
        assert isinstance(first, forks.Forked)
        os.kill(first._forks._process.pid, 9)
        first._forks._process.wait()
        assert first.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0)
        second = start(trials[1])
        assert isinstance(second, subprocess.Popen)
        assert second.wait(30) == 0
        first.kill()
        assert first.wait(30) == 1


def test_a_run_whose_start_nobody_waited_for_is_ended_with_the_others():
    one = forks.Forks(os.environ)
    Path("script.py").write_text("import time; open('begun', 'w'); time.sleep(60)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forks.json, "loads", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.start([sys.executable, "script.py"], Path("log"))
    number = one.ask("poll", one.start([sys.executable, "-c", ""], Path("log")).pid)  # its own answer, not a late one
    assert number is None
    until = time.monotonic() + 30
    while not Path("begun").exists() and time.monotonic() < until:
        time.sleep(0.02)
    children = Path(f"/proc/{one._process.pid}/task/{one._process.pid}/children").read_text().split()
    one.close()
    while any(map(forks._lives, map(int, children))) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(forks._lives, map(int, children)))


def _interrupted(text):
    raise KeyboardInterrupt


def test_what_cannot_be_imported_is_said_and_runs_start_without_it(monkeypatch, capfd):
    monkeypatch.setattr(forks, "READY", "no_such_module")
    with pytest.raises(forks.Gone):
        forks.Forks(os.environ)
    assert "no_such_module" in capfd.readouterr().err


WATCHED = """
import glob, os, pathlib, tempfile, torch
calls = []
for name in ("_lazy_init", "device_count", "is_available"):
    setattr(torch.cuda, name, lambda *given, name=name, then=getattr(torch.cuda, name): (calls.append(name), then())[1])
from app.sweep.ready import renew
files = glob.glob("tmp*", root_dir=tempfile.gettempdir())
touched = f"{len(os.listdir('/proc/self/task'))} threads, CUDA: {calls}, files: {files}"
pathlib.Path("touched").write_text(touched)
"""
SHORT = ["task=digits", "network=[64,fc10]", "time_steps=30", "trainer.max_epochs=1", "trainer.limit_train_batches=3"]
SHORT += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "trainer.enable_progress_bar=false"]


@pytest.mark.slow
def test_forked_training_has_the_numbers_of_any_other_and_nothing_has_run_before_the_fork(tmp_path, monkeypatch):
    Path("watched.py").write_text(WATCHED)
    monkeypatch.setattr(forks, "READY", "watched")
    settings, temporary = [*SHORT, "probes.raster=false", "tracking.mode=disabled"], tmp_path / "temporary"
    temporary.mkdir()
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    one = forks.Forks(os.environ | one_thread | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(temporary)})
    try:
        assert Path("touched").read_text() == "1 threads, CUDA: [], files: []"
        for seed in (3, 4):
            line = [sys.executable, str(forks.ROOT / "train.py"), *settings, f"seed={seed}", f"out=forked{seed}"]
            assert one.start(line, Path("log")).wait(120) == 0, Path("log").read_text()
        assert not list(temporary.glob("tmp*"))
    finally:
        one.close()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert train.main([*settings, "seed=4", "out=here"]) == 0
    finally:
        torch.set_num_threads(threads)
    there, here = (torch.load(f"{out}/checkpoints/last.ckpt")["state_dict"] for out in ("forked4", "here"))
    assert all(torch.equal(there[name], here[name]) for name in here)
    assert Path("forked4/metrics.csv").read_text() == Path("here/metrics.csv").read_text()
    assert Path("forked3/metrics.csv").read_text() != Path("here/metrics.csv").read_text()


@pytest.mark.slow
def test_every_forked_run_is_tracked_to_its_end(tmp_path, monkeypatch):
    """W&B's folder of tables and pictures, made on import, once went with the first run that ended."""
    monkeypatch.setattr(forks, "READY", "app.sweep.ready")
    one = forks.Forks(os.environ)
    try:
        for seed in (3, 4):
            line = [sys.executable, str(forks.ROOT / "train.py"), *SHORT, f"seed={seed}", f"out=o{seed}"]
            assert one.start(line, Path(f"log{seed}")).wait(120) == 0, Path(f"log{seed}").read_text()
            assert "W&B failed" not in Path(f"log{seed}").read_text()
            (session,) = Path(f"o{seed}/wandb").glob("offline-run-*")
            assert list(session.rglob("*.html"))
            assert list(session.rglob("*.png"))
    finally:
        one.close()
