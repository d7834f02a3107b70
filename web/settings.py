"""Write what the page needs to know about an exported network.

python web/settings.py EXPORT_FOLDER SETTINGS_JSON
"""

import json
import sys
from pathlib import Path

from mer_hf import __version__


def main() -> None:
    """Join classes, processor settings and calibration into one file."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    facts, processor, calibration = (
        json.loads((folder / name).read_text())
        for name in ("onnx.json", "preprocessor_config.json", "calibration.json")
    )
    classes = facts["classes"]
    settings = {
        "model": f"htnet-synthetic, mer_hf {__version__}, in the browser",
        "classes": [classes[str(index)] for index in range(len(classes))],
        "processor": processor,
        "calibration": calibration,
    }
    target.write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
