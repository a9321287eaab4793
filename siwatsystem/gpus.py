"""The machine's NVIDIA GPUs, as the driver counts them."""


def count() -> int:
    """How many there are; 0 without a driver that answers."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
