"""Build hook: each bundled checkpoint gets its architecture's code, so that its folder works alone."""

import json
import shutil
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CodeOfCheckpoints(BuildHookInterface):
    """Copies the code files; git ignores them there."""

    def initialize(self, version, build_data):
        """Copy before anything is built, an editable installation included."""
        package = Path(self.root, "mer_hf")
        for settings in package.glob("checkpoints/*/config.json"):
            code = package / "models" / json.loads(settings.read_text())["model_type"]
            for file in code.glob("*.py"):
                if not file.name.startswith(("convert_", "__init__")):
                    shutil.copyfile(file, settings.with_name(file.name))
