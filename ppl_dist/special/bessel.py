"""The modified Bessel functions of order 0 and 1, scaled, with the digits that their ratio loses for large arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from .elementary import horner

# log(sqrt(2 pi k) I0(k) e^-k) in powers of 1/k, from DLMF 10.40.1
_LOG_I0 = (0.0, 1 / 8, 1 / 16, 25 / 384, 13 / 128, 1073 / 5120, 103 / 192)
_LARGE = 30.0
