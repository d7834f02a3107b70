"""Open a project with BORIS's own package, check it, move and reclassify an event, and save it as BORIS does.

python in_boris.py PROJECT.boris     # with an interpreter that has boris-behav-obs, and needs no screen
"""

import json
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NEEDED = ("config", "version", "portion", "utilities", "project_functions")
"""Of BORIS's modules: those that read a project and judge it."""


class AnyName(type):
    """A class that has every attribute, each a class again."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyName(name, (), {"__init__": lambda self, *args, **options: None})

    def __contains__(cls, item):
        return True

    def __or__(cls, other):
        return cls


class Stub(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name):
        return getattr(AnyName("Stub", (), {}), name)


class WithoutWindows(MetaPathFinder, Loader):
    """Stand for what draws windows and plays video: opening and checking a project needs none of it."""

    def find_spec(self, name, path=None, target=None):
        """Take over Qt, the player, and BORIS's windows."""
        ours = name in ("boris", *(f"boris.{part}" for part in NEEDED))
        hidden = (name.startswith(("PyQt", "boris")) and not ours) or name == "PIL.ImageQt"
        return ModuleSpec(name, self, is_package=True) if hidden else None

    def create_module(self, spec):
        """Return a module that has every name."""
        return Stub(spec.name)

    def exec_module(self, module):
        """Do nothing."""


def main(path: str) -> None:
    """Check, change and save."""
    sys.meta_path.insert(0, WithoutWindows())
    from boris import config, utilities
    from boris import project_functions as projects

    _, changed, project, message = projects.open_project_json(path)
    assert "error" not in project and not message and not changed, (project, message)
    ((name, observation),) = project["observations"].items()
    fine, problem = projects.check_state_events_obs(name, project["behaviors_conf"], observation, config.S)
    unknown = projects.check_coded_behaviors(project)
    assert fine and not unknown, (problem, unknown)
    running = set()
    for event in observation["events"]:
        if event[config.EVENT_BEHAVIOR_FIELD_IDX] == "micro-expression":
            running ^= {subject := event[config.EVENT_SUBJECT_FIELD_IDX]}
            if subject not in running:  # its end
                event[config.EVENT_TIME_FIELD_IDX] += utilities.dec("0.08")
            event[config.EVENT_MODIFIER_FIELD_IDX] = "surprise"
            event[config.EVENT_COMMENT_FIELD_IDX] = ""
    with open(path, "w") as file:
        file.write(json.dumps(project, default=utilities.decimal_default))
    print(problem)


if __name__ == "__main__":
    main(sys.argv[1])
