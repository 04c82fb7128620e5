from __future__ import annotations

import pytest
from torch import nn

from deixis.nn.modes import evaluating


def test_each_module_gets_back_its_own_mode_also_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    module[1].eval()
    before = [each.training for each in module.modules()]
    assert before == [True, True, False, False]

    def fail() -> None:
        with evaluating(module):
            assert not any(each.training for each in module.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [each.training for each in module.modules()] == before
