"""The judgement of a soak finds leaks and no others."""

import random

import pytest

from app.errors import RunStopped
from reliability.soak_result import Sample, figure, judge
from reliability.usage import Usage, children_of, usage_of


def samples(leak_bytes=0.0, handle_every=0, thread_every=0, lives=12, helper_threads=lambda life: 15):
    """An hour of two runs at 20 steps per second; what leaks does so at every step, or every so many steps."""
    chance, found = random.Random(0), []
    for name, life_s in (("one process", 3600), ("resumed", 3600 // lives)):
        for time_s in range(0, 3600, 5):
            age_s = time_s % life_s
            step = 20 * time_s
            leaked = 20 * (time_s if name == "one process" else age_s)
            rss_mib = 600 * min(1, age_s / 60) + chance.gauss(0, 1) + leaked * leak_bytes / 2**20
            handles = chance.randint(20, 50) + (leaked // handle_every if handle_every else 0)
            threads = 7 + (leaked // thread_every if thread_every else 0)
            trainer, life = Usage(rss_mib, handles, threads), 1 + time_s // life_s
            found.append(Sample(time_s, name, life, age_s, step, trainer, Usage(800, 60, helper_threads(life))))
    return found


def grown(found):
    return {finding.what for finding in judge(found) if finding.run == "one process" and finding.growth > finding.bound}


@pytest.mark.parametrize(
    ("leak", "what"),
    [
        ({}, set()),
        ({"leak_bytes": 300}, {"memory, MiB"}),
        ({"handle_every": 2000}, {"file handles"}),
        ({"thread_every": 20000}, {"threads"}),
    ],
)
def test_leaks_are_found(leak, what):
    assert grown(samples(**leak)) == what
    assert all(finding.row()[-1] == "no" for finding in judge(samples(**leak)) if finding.run == "resumed") or leak


def test_what_each_process_draws_anew_is_no_leak_but_a_rise_from_life_to_life_is():
    def resumed(helper_threads):
        findings = judge(samples(helper_threads=helper_threads))
        return {finding.what for finding in findings if finding.run == "resumed" and finding.growth > finding.bound}

    assert resumed(lambda life: 13 if life == 2 else 14) == set()
    assert resumed(lambda life: 13 + life // 2) == {"threads of its helpers"}


def test_samples_survive_a_table():
    (sample, *_) = samples()
    again = Sample.from_row(dict(zip(Sample.columns(), map(str, sample.as_row()), strict=True)))
    assert (again.run, again.step, again.others) == (sample.run, sample.step, sample.others)


def test_too_short_a_soak_says_so():
    with pytest.raises(RunStopped, match="more --minutes"):
        judge(samples()[:2])


def test_the_figure_shows_both_runs(tmp_path):
    figure(samples()).savefig(tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 10_000


def test_this_process_can_be_looked_at():
    import os
    import subprocess

    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid in children_of(os.getpid())
        assert usage_of(child.pid).threads == 1
        child.kill()
    assert usage_of(os.getpid()).rss_mib > 10
    assert usage_of(child.pid) is None
