"""Training with Accelerate: loop, model, checkpoint, evaluation, metrics."""

import logging


def _is_of_use(record: logging.LogRecord) -> bool:
    """All but a line on a kernel for 4-bit layers that bitsandbytes looks for on some CPUs while it is imported, which
    peft does for every adapter: the kernel is for repacked layers, which are never made (model/quantize.py)."""
    return "gemm_4bit_forward" not in record.getMessage()


logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_of_use)
