#!/usr/bin/env python3
"""Interrupt a training command many times and check what it left behind.

  killsweep.py --train "CMD" --final final.bin [--check "CMD"] [options]

CMD runs in a fresh empty folder (cwd); running the same CMD again must resume.
The files named by --final must be byte-identical to the uninterrupted run's.
--check must exit 0 after every interruption (e.g. "toolkit verify run/": the
newest checkpoint is readable, or there is none yet).

Modes
  --mode time     SIGNAL at a random moment of the run           (default)
  --mode chain    one run, interrupted again and again until it ends
  --mode syscall  SIGKILL at the N-th of openat,write,pwrite64,writev,fsync,
                  fdatasync,rename,renameat2,unlink,link,ftruncate,close...
                  (deterministic; needs strace)
  --mode error    the N-th such call fails with --errno (ENOSPC, EIO, EDQUOT,
                  EINTR, EROFS): CMD may stop, but must not lose the last good
                  checkpoint, and must finish identically when re-run
--signal KILL|TERM|INT|HUP|USR1   --group: to the whole process group (else main pid)
"""

import argparse, hashlib, os, random, re, shlex, shutil, signal, subprocess, sys, tempfile, time

CALLS = "openat,creat,write,pwrite64,writev,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,link,linkat,ftruncate,fallocate,mkdir,mkdirat,rmdir,symlink,symlinkat,copy_file_range,sendfile"


def sh(cmd, cwd, log, **kw):
    return subprocess.Popen(
        cmd if isinstance(cmd, list) else shlex.split(cmd),
        cwd=cwd,
        stdout=log,
        stderr=log,
        start_new_session=True,
        **kw,
    )


def alive(pgid):
    n = 0
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                s = open(f"/proc/{p}/stat").read()
                f = s[s.rindex(")") + 2 :].split()
                n += int(f[2]) == pgid and f[0] != "Z"
            except (OSError, ValueError):
                pass
    return n


def digest(d, names):
    h = hashlib.sha256()
    for n in names:
        try:
            h.update(open(os.path.join(d, n), "rb").read())
        except OSError:
            return f"missing {n}"
    return h.hexdigest()[:16]


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("--train", required=True)
    ap.add_argument("--final", required=True, nargs="+")
    ap.add_argument("--check")
    ap.add_argument("--mode", default="time", choices=["time", "chain", "syscall", "error"])
    ap.add_argument("--signal", default="KILL")
    ap.add_argument("--group", action="store_true")
    ap.add_argument("--points", type=int, default=50)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--errno", default="ENOSPC")
    ap.add_argument("--calls", default=CALLS)
    ap.add_argument(
        "--path-filter",
        help="strace -P: only calls on these paths (repeatable, space separated, relative to the run folder; matched both as given and absolute)",
    )
    ap.add_argument("--grace", type=float, default=30, help="seconds to stop after TERM/INT")
    ap.add_argument("--timeout", type=float, default=600)
    ap.add_argument("--root")
    ap.add_argument("--keep", action="store_true")
    a = ap.parse_args()
    root = a.root or tempfile.mkdtemp(prefix="killsweep_")
    os.makedirs(root, exist_ok=True)
    rnd = random.Random(a.seed)

    def fresh(n):
        d = os.path.join(root, n)
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d)
        return d

    log = open(os.path.join(root, "log.txt"), "ab")
    d = fresh("ref")
    t = time.monotonic()
    rc = sh(a.train, d, log).wait()
    T = time.monotonic() - t
    ref = digest(d, a.final)
    if rc or ref.startswith("missing"):
        sys.exit(f"the uninterrupted run failed: rc {rc}, {ref}; see {root}/log.txt")
    d = fresh("ref2")
    sh(a.train, d, log).wait()
    if digest(d, a.final) != ref:
        print(
            "WARNING: two uninterrupted runs differ: the command is not deterministic, comparisons below mean nothing"
        )
    total = 0
    if a.mode in ("syscall", "error"):
        d = fresh("count")
        out = os.path.join(root, "trace.txt")
        pf = [x for p in (a.path_filter or "").split() for x in ("-P", os.path.join(d, p), "-P", p)]
        sh(["strace", "-f", "-qq", "-o", out, "-e", "trace=" + a.calls, *pf, *shlex.split(a.train)], d, log).wait()
        per = {}
        for line in open(out, errors="replace"):
            m = re.match(r"\d+\s+(\w+)\(", line)
            if m:
                per[m.group(1)] = per.get(m.group(1), 0) + 1
        total = sum(per.values())
        print("matching system calls in one run:", total, per)
        # strace counts `when` per system call, so sweep (call, n) pairs
        pairs = [(c, n) for c, k in per.items() for n in range(1, k + 1)]
        if len(pairs) > a.points:
            pairs = rnd.sample(pairs, a.points)
    print(
        f"reference {ref}, {T:.2f} s; mode {a.mode}, {a.points if a.mode != 'chain' else '-'} points; logs in {root}",
        flush=True,
    )
    bad = dict(check=0, rerun=0, differ=0, orphans=0, slow=0)
    notes = []
    hit = 0
    rcs = {}
    npts = len(pairs) if a.mode in ("syscall", "error") else a.points
    chain_dir = fresh("chain") if a.mode == "chain" else None
    i = 0
    while i < npts:
        d = chain_dir or fresh(f"k{i}")
        if a.mode in ("time", "chain"):
            delay = rnd.uniform(0, T * 1.05) if a.mode == "time" else rnd.uniform(0.1, 0.5) * T
            p = sh(a.train, d, log)
            try:
                p.wait(delay)
                died = False
            except subprocess.TimeoutExpired:
                died = True
                sig = getattr(signal, "SIG" + a.signal)
                (os.killpg if a.group or a.signal == "KILL" else os.kill)(p.pid, sig)
                t = time.monotonic()
                try:
                    p.wait(a.grace)
                except subprocess.TimeoutExpired:
                    bad["slow"] += 1
                    notes.append(f"{i}: still running {a.grace} s after SIG{a.signal}")
                    os.killpg(p.pid, signal.SIGKILL)
                    p.wait()
            hit += died
            what = f"{a.signal} at {delay:.2f} s"
            if a.mode == "chain" and not died:
                break
        else:
            c, n = pairs[i]
            inj = (
                f"inject={c}:signal=SIGKILL:when={n}" if a.mode == "syscall" else f"inject={c}:error={a.errno}:when={n}"
            )
            pf = [x for q in (a.path_filter or "").split() for x in ("-P", os.path.join(d, q), "-P", q)]
            p = sh(
                [
                    "strace",
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    "trace=" + a.calls,
                    "-e",
                    inj,
                    *pf,
                    *shlex.split(a.train),
                ],
                d,
                log,
            )
            try:
                p.wait(a.timeout)
            except subprocess.TimeoutExpired:
                bad["slow"] += 1
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
            hit += p.returncode != 0
            what = f"{c} #{n} {a.errno if a.mode == 'error' else 'SIGKILL'}"
        rcs[p.returncode] = rcs.get(p.returncode, 0) + 1
        for _ in range(40):
            left = alive(p.pid)
            if not left:
                break
            time.sleep(0.05)
        if left:
            bad["orphans"] += 1
            notes.append(f"{i}: {left} processes left 2 s after {what}")
            os.killpg(p.pid, signal.SIGKILL)
        if a.check and sh(a.check, d, log).wait():
            bad["check"] += 1
            notes.append(f"{i}: check failed after {what}: {sorted(os.listdir(d))[:6]}")
        if a.mode != "chain":
            q = sh(a.train, d, log)
            try:
                rc = q.wait(a.timeout)
            except subprocess.TimeoutExpired:
                os.killpg(q.pid, signal.SIGKILL)
                rc = "timeout"
            if rc:
                bad["rerun"] += 1
                notes.append(f"{i}: re-run failed (rc {rc}) after {what}")
            elif digest(d, a.final) != ref:
                bad["differ"] += 1
                notes.append(f"{i}: result differs after {what}")
            if not a.keep:
                shutil.rmtree(d, ignore_errors=True)
        i += 1
    if a.mode == "chain":
        while digest(chain_dir, a.final).startswith("missing"):
            if sh(a.train, chain_dir, log).wait():
                bad["rerun"] += 1
                break
        if digest(chain_dir, a.final) != ref:
            bad["differ"] += 1
    print(f"{hit} interruptions took effect of {i}; exit codes {rcs}")
    print(
        "FAILED: " + ", ".join(f"{k} {v}" for k, v in bad.items() if v)
        if any(bad.values())
        else "PASS: every re-run bit-identical, every check 0"
    )
    for n in notes[:12]:
        print("  ", n)
    sys.exit(1 if any(bad.values()) else 0)


if __name__ == "__main__":
    main()
