# SPDX-License-Identifier: Apache-2.0
"""A parent that keeps a daemon's descriptors, as systemd does for a service with a descriptor store."""

import array
import fcntl
import os
import signal
import socket
import threading

import fixture
from fixture import until

KEPT_MAX = 1024


class Process:
    """What subprocess.Popen would be, for a child that was forked by hand: Popen gives out no descriptors 3, 4, ..."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.returncode = -1
        return self.returncode

    def wait(self, _timeout=None):
        """Its status as Popen has it."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class KeptDaemon(fixture.Daemon):
    """A daemon that can die and be started again with what it had stored."""

    def __init__(self, folder, name, **words):
        self.store = []  # (name, descriptor)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = str(folder / f"{name}.notify")
        self.notify.bind(self.address)
        self.marks = 0
        threading.Thread(target=self.listen, daemon=True).start()
        super().__init__(folder, name, **words)

    # ---- the parent's side of sd_notify(3)

    def listen(self):
        while True:
            try:
                data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
            except OSError:
                return
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
            lines = dict(line.split("=", 1) for line in data.decode().split("\n") if "=" in line)
            if "FDSTORE" in lines and len(self.store) < KEPT_MAX:
                self.store += [(lines["FDNAME"], fd) for fd in fds]
                continue
            for fd in fds:
                os.close(fd)
            if "FDSTOREREMOVE" in lines:
                self.drop(lines["FDNAME"])
            self.marks += "TEST_MARK" in lines

    def drop(self, name=None):
        """Closes what is kept under a name, or all."""
        for row in list(self.store):
            if name in (None, row[0]):
                self.store.remove(row)
                os.close(row[1])

    def settle(self):
        """Everything that was said until now has been heard."""
        marks = self.marks
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"TEST_MARK=1", self.address)
        until("the parent to hear", lambda: self.marks > marks)

    # ---- the daemon's life

    def launch(self):
        kept = list(self.store)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        # Sent before the daemon is there, a signal waits for it: this program's own handler must not swallow it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                self.exec(kept, log)
            finally:
                os._exit(127)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(log)
        return Process(pid)

    def exec(self, kept, log):
        env = dict(os.environ, NOTIFY_SOCKET=self.address, FDSTORE=str(KEPT_MAX))
        # Out of the way first: the numbers from 3 on may be in use by one another.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 2048) for _, fd in kept]
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for number, fd in enumerate(high):
            os.dup2(fd, 3 + number)
        os.closerange(3 + len(high), 4096)
        if kept:
            env.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(kept)),
                       LISTEN_FDNAMES=":".join(name for name, _ in kept))
        os.execve(self.argv[0], self.argv, env)

    def end(self, number=signal.SIGKILL):
        """Ends the supervisor alone; its worker goes with it."""
        self.process.send_signal(number)
        status = self.process.wait()
        self.settle()
        return status

    def begin(self):
        self.process = self.launch()
        self.pid = self.process.pid

    def restart(self, number=signal.SIGKILL):
        status = self.end(number)
        self.begin()
        return status

    def stop(self, signal_number=signal.SIGINT):
        ended = super().stop(signal_number)
        self.settle()
        self.notify.close()
        return ended

    # ---- what it keeps

    def boxes(self):
        """The pairs of sockets with a record in them: (to write, to read)."""
        names = {}
        for name, fd in self.store:
            if name.startswith("vaccel-conn-"):
                names.setdefault(name, []).append(fd)
        return list(names.values())

    def change_records(self, change):
        """Replaces every record, while no daemon runs, by what change() makes of its bytes."""
        n = 0
        for write, read in self.boxes():
            ends = [socket.socket(fileno=os.dup(fd)) for fd in (write, read)]
            with ends[0], ends[1]:
                while True:
                    try:
                        data, fds, _, _ = socket.recv_fds(ends[1], 65536, 253, socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        break
                    if n < 0:
                        break
                    socket.send_fds(ends[0], [change(data)], fds)
                    for fd in fds:
                        os.close(fd)
                    n += 1
                    break
        return n
