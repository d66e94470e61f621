#!/usr/bin/env python3
"""A stand-in training for testing killsweep.py itself.  toy_train.py good|overwrite|globalrng|unlinkfirst|trustlast
good        sibling temp + fsync + rename + fsync(dir), digest, counter-based randomness
overwrite   writes last.npz in place (most example scripts)
globalrng   atomic save, but the random state is not restored (most trainers)
unlinkfirst removes the old file before the rename (timm CheckpointSaver)
"""

import hashlib, io, os, sys, time
import numpy as np

kind, steps = sys.argv[1], 40
w = np.zeros(60000, np.float64)
start = 0
g = np.random.default_rng(0)


def load():
    b = open("last.bin", "rb").read()
    if hashlib.sha256(b[32:]).digest() != b[:32]:
        raise SystemExit("last.bin is corrupt")
    z = np.load(io.BytesIO(b[32:]))
    return z["w"], int(z["step"])


if len(sys.argv) > 2:  # check mode
    if os.path.exists("last.bin"):
        load()
    elif kind == "unlinkfirst" and os.path.exists("started"):
        raise SystemExit("no checkpoint any more")
    sys.exit(0)
if os.path.exists("last.bin"):
    w, start = load()
for s in range(start, steps):
    r = np.random.default_rng([7, s]) if kind != "globalrng" else g
    w = w * 0.999 + r.standard_normal(w.shape) * 1e-3
    time.sleep(0.005)
    if s % 4 == 3:
        f = io.BytesIO()
        np.savez(f, w=w, step=s + 1)
        b = f.getvalue()
        b = hashlib.sha256(b).digest() + b
        if kind == "overwrite":
            with open("last.bin", "wb") as h:
                for k in range(0, len(b), 65536):
                    h.write(b[k : k + 65536])
                    h.flush()
        else:
            with open("last.bin.tmp", "wb") as h:
                for k in range(0, len(b), 65536):
                    h.write(b[k : k + 65536])
                h.flush()
                os.fsync(h.fileno())
            if kind == "unlinkfirst" and os.path.exists("last.bin"):
                os.unlink("last.bin")
                open("started", "w").close()
            os.replace("last.bin.tmp", "last.bin")
            d = os.open(".", os.O_RDONLY)
            os.fsync(d)
            os.close(d)
        open("started", "w").close() if kind == "unlinkfirst" else None
with open("final.bin.tmp", "wb") as h:
    h.write(w.tobytes())
    h.flush()
    os.fsync(h.fileno())
os.replace("final.bin.tmp", "final.bin")
