"""Processes that tests begin, signal and kill.

They are forks of one that has imported residua and Lightning, which takes seconds, and has done nothing
else. The command line as a process from its first import on: test_cli.py, test_claims.py, `make demo`.
"""

import multiprocessing
import os
import signal
import sys

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["residua.cli", "residua.run_training", "lightning.pytorch"])


def forked(function, *arguments):
    """Call a function of a module in a process of its own."""
    process = _FORKS.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def begun(*arguments):
    """Begin the command line; what it prints goes into the file "said"."""
    return forked(_residua, [str(a) for a in arguments])


def ended(process, seconds=120):
    """Return the exit status, negative by a signal, once there is one."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"it went on after {seconds} seconds")
    return process.exitcode


def _residua(arguments):
    _say_into_a_file()
    from residua import cli

    # A shell that runs the tests in the background has its children ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["residua", *arguments]
    cli.main()


def _say_into_a_file():
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(said, stream)
