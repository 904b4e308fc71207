"""Take from this process what decoding never needs: the network, other processes, and every way to write.

A seccomp filter, written here as the kernel wants it, so that no library beyond libc is needed. It refuses calls by
name; what it does not name stays, reading files among it.
"""

import ctypes
import os
import platform
import struct
from dataclasses import dataclass

_EPERM, _ENOSYS = 1, 38
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # with an errno in the lower half
_LOAD, _EQUAL, _HAS_BITS, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16  # offsets in what the kernel shows of a call
_X32 = 0x40000000  # a second table of calls on x86-64
_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # of prctl

# name: number on x86-64 and on AArch64; -1 where the machine has no such call. From the kernel's tables.
_NETWORK = {
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "connect": (42, 203), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
}  # fmt: skip
_PROCESSES = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "setns": (308, 268), "unshare": (272, 97),
    "setrlimit": (160, 164), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "kcmp": (312, 272),
}  # fmt: skip
_FILES = {
    "creat": (85, -1), "truncate": (76, 45), "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276),
    "link": (86, -1), "linkat": (265, 37), "symlink": (88, -1), "symlinkat": (266, 36), "unlink": (87, -1),
    "unlinkat": (263, 35), "rmdir": (84, -1), "mkdir": (83, -1), "mkdirat": (258, 34), "mknod": (133, -1),
    "mknodat": (259, 33), "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1),
    "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "swapon": (167, 224),
    "open_by_handle_at": (304, 265), "mount_setattr": (442, 442), "move_mount": (429, 429), "fsopen": (430, 430),
    "open_tree": (428, 428), "fallocate": (285, 47), "memfd_create": (319, 279), "memfd_secret": (447, 447),
}  # fmt: skip
_KERNEL = {
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "reboot": (169, 142), "settimeofday": (164, 170), "clock_settime": (227, 112), "sethostname": (170, 161),
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "fanotify_init": (300, 262), "personality": (135, 92),
}  # fmt: skip
# libc then asks in the old way
_ABSENT = {"clone3": (435, 435), "openat2": (437, 437), "io_uring_setup": (425, 425)}

TABLES = (_NETWORK, _PROCESSES, _FILES, _KERNEL, _ABSENT)


@dataclass(frozen=True)
class _Machine:
    """One architecture: its tag in what the kernel shows, its column in the tables, and calls whose arguments count."""

    arch: int
    column: int
    has_x32: bool
    open: int
    openat: int
    clone: int
    kill: int
    tgkill: int
    prlimit: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 0, True, 2, 257, 56, 62, 234, 302),
    "aarch64": _Machine(0xC00000B7, 1, False, -1, 56, 220, 129, 131, 261),
}


def confine() -> bool:
    """Have the kernel refuse this process and its threads what `TABLES` name; say whether it does.

    Refused besides: files opened to write, further processes, signals to others, and changes of limits.

    There is no way back. False where the kernel or the machine cannot: not Linux on x86-64 or AArch64, or no seccomp.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None or not os.path.exists("/proc/self/status"):
        return False
    program = _program(machine, os.getpid())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    code = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    return not libc.prctl(_SECCOMP, _FILTER, head, 0, 0)


def _program(machine: _Machine, pid: int) -> bytes:
    """Return the filter: one test after another, each of which ends in a refusal or falls through."""
    parts = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, machine.arch, yes=1),
        _step(_RETURN, _REFUSE | _EPERM),  # calls of another architecture have other numbers
        _step(_LOAD, _NUMBER),
    ]
    if machine.has_x32:
        parts += [_step(_AT_LEAST, _X32, no=1), _step(_RETURN, _REFUSE | _EPERM)]
    for table, error in ((_NETWORK | _PROCESSES | _FILES | _KERNEL, _EPERM), (_ABSENT, _ENOSYS)):
        for numbers in table.values():
            if (number := numbers[machine.column]) >= 0:
                parts += [_step(_EQUAL, number, no=1), _step(_RETURN, _REFUSE | error)]
    parts += _unless(machine.open, 1, _HAS_BITS, _WRITING, refuse_if=True)
    parts += _unless(machine.openat, 2, _HAS_BITS, _WRITING, refuse_if=True)
    parts += _unless(machine.clone, 0, _HAS_BITS, _CLONE_THREAD, refuse_if=False)
    parts += _unless(machine.kill, 0, _EQUAL, pid, refuse_if=False)  # abort() and raise() reach oneself
    parts += _unless(machine.tgkill, 0, _EQUAL, pid, refuse_if=False)
    parts += _unless(machine.prlimit, 2, _EQUAL, 0, refuse_if=False)  # a null pointer asks and sets nothing
    return b"".join([*parts, _step(_RETURN, _ALLOW)])


def _unless(number: int, argument: int, test: int, value: int, *, refuse_if: bool) -> list[bytes]:
    """Return steps that refuse a call where a test of the lower half of one argument comes out as `refuse_if`."""
    if number < 0:
        return []
    refuse, go_on = (0, 1) if refuse_if else (1, 0)
    return [
        _step(_EQUAL, number, no=4),
        _step(_LOAD, _ARGUMENT + 8 * argument),
        _step(test, value, yes=refuse, no=go_on),
        _step(_RETURN, _REFUSE | _EPERM),
        _step(_LOAD, _NUMBER),
    ]


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
