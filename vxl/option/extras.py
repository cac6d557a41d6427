"""Which extra of vxl brings a package that is not installed: `pip install 'vxl[train]'`."""

import re
from importlib.metadata import PackageNotFoundError, requires

_EXTRA = re.compile(r"""([\w.-]+).*extra\s*==\s*["']([\w-]+)["']""")


def what_to_install(error: ModuleNotFoundError) -> str | None:
    """A message for a package that an extra brings; None where no extra does.

    Example:
        >>> print(what_to_install(ModuleNotFoundError(name="lightning.pytorch")))
        lightning is not installed.
          type  pip install 'vxl[train]'
        >>> what_to_install(ModuleNotFoundError(name="vxl.no_such_module"))
    """
    package = (error.name or "").partition(".")[0]
    try:
        wanted = requires("vxl") or []
    except PackageNotFoundError:
        return None
    for requirement in wanted:
        found = _EXTRA.match(requirement)
        if found and found[2] != "dev" and found[1].lower().replace("-", "_") == package.lower():
            return f"{package} is not installed.\n  type  pip install 'vxl[{found[2]}]'"
    return None
