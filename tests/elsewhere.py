"""Hides what only Linux, or only POSIX systems, have. Scripts import it first."""

import multiprocessing.resource_tracker as resource_tracker
import os
import select
import shutil
import signal
import sys

MODULES = ("fcntl", "termios", "tty", "pty", "resource", "grp", "pwd")
FUNCTIONS = {
    os: ("sched_getaffinity", "register_at_fork", "fork", "openpty", "killpg", "O_DIRECTORY"),
    signal: ("pthread_sigmask", "SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGQUIT", "setitimer"),
    select: ("poll", "epoll"),
}


def _refuse_folders(opened):
    def open_file(path, flags, *arguments, **options):
        if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return opened(path, flags, *arguments, **options)

    return open_file


def _no_tracker():
    raise ImportError("No module named '_posixsubprocess'")


for module in MODULES:
    sys.modules[module] = None
for module, names in FUNCTIONS.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
os.open = _refuse_folders(os.open)
resource_tracker.ensure_running = _no_tracker
shutil._use_fd_functions = False  # else it opens folders
