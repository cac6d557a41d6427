"""All studies at once: their runs share one pool of commands, then each writes its results.

python experiments/studies --gpus 4 --jobs 20
"""

import runpy
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from studies.study import Study, arguments, conclude
from studies.work import carry_out, chosen

EXPERIMENTS = Path(__file__).parents[1]


def every_study() -> list[Study]:
    """Those of all folders."""
    scripts = sorted(EXPERIMENTS.glob("0*/study.py"))
    return [runpy.run_path(str(script), run_name="study")["STUDY"] for script in scripts]


def main() -> int:
    """Returns 0 where all studies are whole and written."""
    options = arguments(__doc__ or "")
    if options.repeat is not None or options.out is not None:
        raise SystemExit("--repeat and --out are of one study: type  bash experiments/010_compression/run.sh")
    studies = every_study()
    members = chosen([member for study in studies for member in study.members(options.base)], options)
    whole = carry_out(members, options.base, options)
    statuses = []
    for study in studies:
        print(f"\n{study.here.name}")
        own = [member for member in study.members(options.base) if member in members]
        statuses.append(conclude(study, own, options, whole))
    return max(statuses)


if __name__ == "__main__":
    raise SystemExit(main())
