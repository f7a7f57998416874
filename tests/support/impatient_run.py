"""``train.py`` that waits so long for the other processes of its run: ``impatient_run.py SECONDS [key=value …]``."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import train
    from app.errors import run_command
    from app.training import processes

    processes.MEETING_S, processes.WORD_S = float(sys.argv.pop(1)), 0.0
    sys.argv[0] = str(ROOT / "train.py")
    run_command(train.main)
