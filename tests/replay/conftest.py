"""Layouts of stores."""

import pytest
from store_tools import LAYOUTS


@pytest.fixture(params=LAYOUTS, scope="module")
def layout(request):
    return LAYOUTS[request.param]
