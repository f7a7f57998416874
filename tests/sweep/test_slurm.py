"""launcher=slurm: on submitit's executor for one machine; with ANTLR_SNN_SLURM=1 on the SLURM that is there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.errors import UserError, run_command
from app.sweep import __main__ as sweep
from app.sweep import job, run, slurm
from app.sweep.launchers import launcher_of
from tests.support import ROOT

STAND_IN = f"""
import json, os, signal, sys, time
from pathlib import Path
given = dict(a.split("=", 1) for a in sys.argv[1:])
out = Path(given["out"])
out.mkdir(parents=True, exist_ok=True)
again = given.pop("ckpt", None) == "last"
with (out / "calls").open("a") as file:
    strange = [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_"))]
    file.write(f"{{'again' if again else 'anew'}} {{os.environ['OMP_NUM_THREADS']}} {{strange}}\\n")
if not again:
    sys.path.insert(0, {str(ROOT)!r})
    from app.config import load_config, to_yaml
    (out / "config.yaml").write_text(to_yaml(load_config([a for a in sys.argv[1:] if a != "ckpt=last"])))
if given.get("tracking.notes") == "patient" and not again:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (out / "ready").touch()
    time.sleep(60)
if given.get("tracking.notes") == "bad":
    sys.exit(3)
value = 0.9 - float(given["optim.lr"]) + int(given["seed"]) / 100
(out / "metrics.csv").write_text(f"step,epoch,val/accuracy_first\\n9,0,{{value}}\\n")
(out / "summary.json").write_text(json.dumps({{"test/accuracy_first": value - 0.1}}))
"""
GRID = ["optim.lr=1e-2,1e-3", "tracking.mode=disabled"]


@pytest.fixture(autouse=True)
def _stand_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(run, "TRAIN", script)


@pytest.fixture
def here(monkeypatch):
    """Jobs run on this machine, as many at once as there are; a job's number is that of a process."""
    pytest.importorskip("submitit", reason="submitit is not installed; see requirements-dev.txt")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "POLL_S", 0.05)
    monkeypatch.setattr(slurm, "in_queue", lambda: {path.name for path in Path("/proc").glob("[0-9]*")})
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def exit_of(argv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweep", *argv])
    with pytest.raises(SystemExit) as leaving:
        run_command(sweep.main)
    return leaving.value.code, *capsys.readouterr()


def calls(folder):
    return Path(folder, "calls").read_text().splitlines()


def test_runs_are_jobs_and_their_results_those_of_this_machine(here, monkeypatch, capsys):
    code, printed, said = exit_of([*GRID, "launcher=slurm", "launcher.cpus=3", "out=s"], monkeypatch, capsys)
    assert (code, said) == (0, "")
    assert "s: 2 options x 1 trials = 2 runs, jobs of SLURM\n" in printed
    assert "[2/2]" in printed
    assert calls("s/lr=1e-2-s0") == ["anew 3 []"]
    assert len(json.loads(Path("s/slurm/jobs.json").read_text())) == 2
    assert exit_of([*GRID, "jobs=1", "out=t"], monkeypatch, capsys)[0] == 0
    assert Path("s/results.json").read_text() == Path("t/results.json").read_text().replace("t/lr", "s/lr")
    again = exit_of([*GRID, "launcher=slurm", "out=s"], monkeypatch, capsys)[1]
    assert "2 are finished already" in again
    assert calls("s/lr=1e-2-s0") == ["anew 3 []"]


def test_a_job_that_is_in_the_queue_already_is_waited_for_and_not_submitted_again(here, monkeypatch, capsys):
    argv = ["optim.lr=1e-2", "tracking.mode=disabled", "launcher=slurm", "out=s"]
    assert exit_of(argv, monkeypatch, capsys)[0] == 0
    Path("s/trial-s0/summary.json").unlink()
    monkeypatch.setattr(slurm, "_submit", lambda *_: pytest.fail("submitted again"))
    jobs = json.loads(Path("s/slurm/jobs.json").read_text())
    looks = iter([{jobs["trial-s0"]}, {jobs["trial-s0"]}])

    def in_queue():
        if (found := next(looks, None)) is None:
            Path("s/trial-s0/summary.json").write_text('{"test/accuracy_first": 0.5}')
        return found or set()

    monkeypatch.setattr(slurm, "in_queue", in_queue)
    Path("s/slurm", f"{jobs['trial-s0']}_0_result.pkl").unlink()
    code, printed, _ = exit_of(argv, monkeypatch, capsys)
    assert code == 0
    assert "0 are finished already, 1 go on" in printed
    assert len(calls("s/trial-s0")) == 1


def test_failures_keep_their_exit_code_and_a_killed_job_is_named(here, monkeypatch, capsys):
    argv = ["tracking.notes=bad", "optim.lr=1", "launcher=slurm", "tracking.mode=disabled", "out=s"]
    code, printed, _ = exit_of(argv, monkeypatch, capsys)
    assert code == 1
    assert "failed with exit code 3, see s/logs/trial-s0.log" in printed
    monkeypatch.setattr(slurm, "GONE_S", 0.0)
    monkeypatch.setattr(slurm, "in_queue", set)
    monkeypatch.setattr(slurm._Submitted, "has_result", False)
    code, printed, _ = exit_of(argv, monkeypatch, capsys)
    assert code == 1
    assert "was ended by SLURM, see s/slurm/" in printed


def test_a_run_that_is_to_queue_again_saves_stops_and_goes_on(monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed; see requirements-dev.txt")
    monkeypatch.setattr(job, "KILLED_S", 0.0)
    line = [sys.executable, str(run.TRAIN), "out=o", "seed=0", "optim.lr=1", "tracking.notes=patient"]
    training, again = job.Training(line, "o/config.yaml", "log", 1), []

    def interrupt():
        deadline = time.monotonic() + 60
        while not Path("o/ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        training._process.send_signal(signal.SIGUSR2)  # SLURM tells all processes
        again.append(training.checkpoint())

    other = threading.Thread(target=interrupt)
    other.start()
    code = training()
    other.join()
    assert code == 143
    assert again[0].result() == 0
    assert [call.split()[0] for call in calls("o")] == ["anew", "again"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["launcher=slrm"], "launcher 'slrm' is unknown, did you mean 'slurm'?"),
        (["launcher=slurm", "launcher.gpu=1"], "launcher.gpu is no setting of launcher=slurm, which has launcher.part"),
        (["launcher=slurm", "launcher.gpus=x"], "launcher.gpus expects integer, got 'x'"),
        (["launcher=slurm", "launcher.gpus=-1"], "launcher.gpus=-1 is out of range: it must be at least 0"),
        (["launcher=slurm", "launcher.time_min=1,2"], "launcher.time_min takes one value, got 1,2"),
        (["launcher=slurm", "launcher.options=[a100]"], "launcher.options holds 'a100': write name=value"),
        (["launcher.gpus=1"], "launcher.gpus is no setting of launcher=local, which has none"),
        (["launcher=slurm", "wandb_sweep=f"], "launcher has no meaning with wandb_sweep"),
    ],
)
def test_bad_settings_are_one_sentence(argv, said, monkeypatch, capsys):
    code, _, message = exit_of([*argv, "out=s"], monkeypatch, capsys)
    assert (code, message.count("\n")) == (2, 1)
    assert said in message
    assert not Path("s").exists()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="pip install submitit=="):
        slurm.Slurm().check(None)
    monkeypatch.undo()
    pytest.importorskip("submitit", reason="submitit is not installed; see requirements-dev.txt")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no srun"):
        slurm.Slurm().check(None)
    assert slurm.in_queue() is None


def test_settings_are_typed_and_reach_sbatch(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed; see requirements-dev.txt")
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    given = {"launcher.gpus": "2", "launcher.memory_gb": "7.5", "launcher.partition": "a", "launcher.time_min": "90"}
    given |= {"launcher.options": "[constraint=a100]", "launcher.setup": "[module load cuda]", "launcher.cpus": "8"}
    text = (
        launcher_of({"launcher": "slurm", **given})._executor(tmp_path, 4)._make_submission_file_text("python x", "1")
    )
    for line in ("--gpus-per-node=2", "--mem=7680MB", "--partition=a", "--time=90", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in text
    assert "#SBATCH --constraint=a100\n" in text
    assert "#SBATCH --signal=USR2@60\n" in text
    assert "\nmodule load cuda\n" in text


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("ANTLR_SNN_SLURM"), reason="ANTLR_SNN_SLURM=1 allows jobs on this cluster")
def test_a_sweep_on_a_real_cluster_with_a_job_that_queues_again(monkeypatch, capsys):
    assert shutil.which("sbatch")
    monkeypatch.setattr(slurm, "POLL_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    argv = ["optim.lr=1e-2,1e-3", "launcher=slurm", "launcher.time_min=5", "tracking.mode=disabled", "out=s"]

    def interrupt():
        while not Path("s/lr=1e-2-s0/ready").exists():
            time.sleep(0.1)
        number = json.loads(Path("s/slurm/jobs.json").read_text())["lr=1e-2-s0"]
        subprocess.run(["scancel", "--signal=USR2", number], check=True)
        while calls("s/lr=1e-2-s0")[1:] == []:  # SLURM lets a job that is requeued wait for two minutes
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=False, capture_output=True)
            time.sleep(1)

    other = threading.Thread(target=interrupt, daemon=True)
    other.start()
    code, _, said = exit_of([*argv, "tracking.notes=patient"], monkeypatch, capsys)
    assert (code, said) == (0, "")
    assert [call.split()[0] for call in calls("s/lr=1e-2-s0")] == ["anew", "again"]
