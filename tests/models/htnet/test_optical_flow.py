"""The Hub copy of the flow code."""

from pathlib import Path

import mer_hf.face.flow
import mer_hf.models.htnet.optical_flow


def test_the_copy_is_byte_equal_to_the_package_module():
    copy, module = mer_hf.models.htnet.optical_flow.__file__, mer_hf.face.flow.__file__
    assert Path(copy).read_bytes() == Path(module).read_bytes()
