"""Networks. timm brings half a million objects, which stay: meanwhile Python's collector need not look at them."""

import gc

collects = gc.isenabled()
gc.disable()
import timm  # noqa: E402, F401

if collects:
    gc.enable()
del collects
