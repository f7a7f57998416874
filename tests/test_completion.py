"""Completion by real shells."""

import os
import pty
import re
import select
import shutil
import subprocess

import pytest

from app import cli, completion
from app.config import CONFIGS
from app.config.schema import keys
from app.errors import UserError
from app.rules import RULES


@pytest.fixture(scope="module")
def words():
    return completion.words()


@pytest.fixture(scope="module")
def script(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "antlr-snn.bash"
    path.write_text(completion.bash(words))
    return path


def completed(script, line, cwd=None, breaks=True):
    """What bash's own programmable completion offers for a line."""
    code = f"""
    {"" if breaks else "COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}"}
    source {script}
    COMP_LINE=$1 COMP_POINT=${{#1}}
    _antlr_snn
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code, "bash", line], capture_output=True, text=True, check=True, cwd=cwd)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("antlr-snn tr", ["train"]),
        ("antlr-snn train optim.l", ["optim.lr="]),
        ("antlr-snn train seed=1 rule=e", ["eventprop"]),
        ("antlr-snn train neuron.beta_auto=t", ["true"]),
        ("antlr-snn sweep tri", ["trials="]),
        ("antlr-snn sweep --dry", ["--dry-run"]),
        ("antlr-snn sweep launcher=s", ["slurm"]),
        ("antlr-snn sweep launcher.part", ["launcher.partition="]),
        ("antlr-snn costs mac", ["mac_pj="]),
        ("antlr-snn train --help", ["--help", "--help-all"]),
        ("antlr-snn evaluate --unt", ["--until-decision"]),
        ("antlr-snn predict ful", ["full_intensity="]),
        ("antlr-snn plot what=t", ["traces"]),
        ("antlr-snn plot format=", ["png", "svg", "pdf"]),
        ("antlr-snn export discretisation=ex", ["exponential"]),
        ("antlr-snn sweep search=", ["random", "tpe"]),
        ("antlr-snn --help-", ["--help-all"]),
        ("antlr-snn completion z", ["zsh"]),
        ("antlr-snn train config=mnist_be", ["mnist_best"]),
        ("antlr-snn predict ck", ["ckpt="]),
        ("antlr-snn report tit", ["title="]),
        ("antlr-snn train nonsense", []),
    ],
)
def test_bash_completes(script, line, offered, tmp_path):
    assert completed(script, line, tmp_path) == offered


def test_bash_completes_every_command_key_rule_and_configuration(script, tmp_path):
    assert set(completed(script, "antlr-snn ", tmp_path)) == {*cli.COMMANDS, "--help", "--help-all", "--version"}
    assert {f"{key}=" for key in keys()} < set(completed(script, "antlr-snn train ", tmp_path))
    assert completed(script, "antlr-snn train rule=", tmp_path) == list(RULES)
    assert set(completed(script, "antlr-snn train config=", tmp_path)) == {p.stem for p in CONFIGS.glob("*.yaml")}


def test_bash_completes_files_and_words_that_equals_signs_do_not_divide(script, tmp_path):
    (tmp_path / "digit 7.png").touch()
    (tmp_path / "runs").mkdir()
    assert completed(script, "antlr-snn predict ckpt=ru", tmp_path) == ["runs"]
    assert " ".join(completed(script, "antlr-snn predict ckpt=runs dig", tmp_path)) == "digit 7.png"
    assert completed(script, "antlr-snn train rule=tim", tmp_path, breaks=False) == ["rule=timing"]


def test_bash_completes_at_a_terminal(script, tmp_path):
    """Keys pressed in an interactive shell, tab and all."""
    rc = tmp_path / "rc"
    rc.write_text(f"source {script}\nantlr-snn() {{ echo \"called:$*:\"; }}\nPS1='ready> '\n")
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(rc), "-i"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "dumb", "HISTFILE": ""},
        start_new_session=True,
    )
    os.close(follower)
    try:
        _until(leader, "ready> ")
        os.write(leader, b"antlr-snn tr\t rule=even\t task=yiny\t\n")
        assert "called:train rule=eventprop task=yinyang:" in _until(leader, "called:.*:")
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)


def _until(terminal, pattern):
    """What the terminal shows until a pattern has come; a minute without anything new is too long."""
    shown = ""
    while not re.search(pattern, shown):
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 4096).decode()
    return shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_the_shell_s_language(shell, words):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    text = completion.SHELLS[shell](words)
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "exponential" in text


def test_fish_completes(words, tmp_path):
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    (tmp_path / "antlr.fish").write_text(completion.fish(words))
    command = f"source {tmp_path}/antlr.fish; complete -C 'antlr-snn train rule=even'"
    done = subprocess.run(["fish", "--no-config", "-c", command], capture_output=True, text=True, check=True)
    assert "rule=eventprop" in done.stdout.split()


def test_every_command_that_reads_keys_says_which(words):
    for name in set(cli.COMMANDS) - {"completion"}:
        assert words.keys[name], name


def test_other_shells_are_refused(capsys):
    with pytest.raises(UserError, match=r"antlr-snn completion bash\|zsh\|fish"):
        cli.main(["completion", "csh"])
    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out.startswith("# antlr-snn completion bash\n")
