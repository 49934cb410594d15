"""Triton's kernels on a CPU: its interpreter, with what liger-kernel's kernels ask of it and it lacks.

Compiled, a float argument is a tensor, and libdevice has tanh and rsqrt. The interpreter passes floats on as they
are, and has no libdevice; both are put in here, in the process that asks.
"""

from typing import Any

import numpy as np


def mend_interpreter() -> None:
    """Before the first kernel, with TRITON_INTERPRET=1 in the environment."""
    import triton.language as tl
    from liger_kernel.ops import geglu, rms_norm
    from triton.runtime import interpreter

    plain = interpreter._implicit_cvt

    def convert(argument: Any) -> Any:
        if isinstance(argument, float):
            return tl.tensor(interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)
        return plain(argument)

    interpreter._implicit_cvt = convert
    rms_norm.rsqrt = lambda rows: tl.rsqrt(rows)
    geglu.tanh = lambda rows: 2 * tl.sigmoid(2 * rows) - 1
