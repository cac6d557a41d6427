"""The code and the configs that a run would use, as a record to compare with later.

A submitted job composes its config when it starts, which may be days later or once again after a requeue. So
what it would find then has to be what was there when it was submitted (P8).
"""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vxl.atomic import write_text
from vxl.errors import ConfigError
from vxl.run import provenance

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Code:
    """Every file of code and config, by its hash."""

    commit: str | None
    """The git commit that is checked out, where there is one."""
    diff: str | None
    """Hash of the changes on top of it."""
    files: dict[str, str]

    @classmethod
    def now(cls, plugins: Sequence[str] = ()) -> "Code":
        """What is on disk.

        Args:
            plugins: Packages of the user's own whose files count, too.
        """
        script = ROOT / "train.py"
        # A wheel carries conf/ and the scripts inside of vxl/.
        beside = [ROOT / "conf"] if script.is_file() else []
        folders = [ROOT / "vxl", *beside, *filter(None, map(_folder_of, plugins))]
        sources = [
            file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".yaml")
        ]
        files = {
            _name(file): _hash(file.read_bytes()) for file in sorted([*sources, *[script] * len(beside)])
        }
        state = provenance.git(ROOT)
        if state is None:
            return cls(None, None, files)
        return cls(state["commit"], _hash(state["diff"].encode()), files)

    def write(self, path: Path, **more: object) -> None:
        """Keeps it, with whatever else belongs to the submission."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {**more, "commit": self.commit, "diff": self.diff, "files": self.files}
        write_text(path, json.dumps(values, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Code":
        """What was kept."""
        try:
            values = json.loads(path.read_text())
            files = {str(name): str(digest) for name, digest in values["files"].items()}
            return cls(values["commit"], values["diff"], files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{path} is damaged: {type(error).__name__}: {str(error)[:200]}\n  submit it again"
            ) from error


def refuse_changed(record: Path, plugins: Sequence[str] = ()) -> None:
    """Compares what is on disk with a record.

    Files count, not commits: to commit what was submitted, or to edit the documentation, changes nothing.

    Raises:
        ConfigError: A file is new, gone or another; with what to do.
    """
    then, now = Code.read(record), Code.now(plugins)
    names = sorted(name for name in then.files | now.files if then.files.get(name) != now.files.get(name))
    if not names:
        return
    here = record.relative_to(Path.cwd()) if record.is_relative_to(Path.cwd()) else record
    lines = [f"code or config changed since this was submitted ({here}):"]
    for name in names[:8]:
        how = "new" if name not in then.files else "gone" if name not in now.files else "edited"
        lines.append(f"  {name}  ({how})")
    if len(names) > 8:
        lines.append(f"  … {len(names) - 8} more")
    commit = then.commit[:10] if then.commit else None
    lines += [
        "  with the code of now:   submit it again (the same command; it resumes)",
        *(
            [f"  with that of then:      git worktree add ../then {commit}, and submit it there"]
            if commit
            else []
        ),
        "  no matter which:        cluster.same_code=false",
    ]
    raise ConfigError("\n".join(lines))


def _folder_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent if spec.submodule_search_locations else None


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
