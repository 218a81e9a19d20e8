# SPDX-License-Identifier: MIT
"""The causes of kernel crashes: for each a sentence, its panic message and its log lines.

One table, for the messages of kernels 2.6 to 7.x on all architectures; where a message changed,
each form has a pattern. The order of the rows matters: the first row that fits a line is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Grade(Enum):
    """Which lines before a panic count as the beginning of the crash."""

    OOPS = 1  # the kernel is damaged from then on: the first oops in the log is the beginning
    REPORT = 2  # a machine can continue after it: a beginning only if the panic has this cause
    HARDWARE = 3  # as REPORT; an earlier oops is not the beginning of such a panic


class Sign(NamedTuple):
    """A kind of log line that shows a cause.

    Each such line contains ``words``; they are searched first, because that is faster than the
    pattern. The pattern may have the groups cpu, pid and comm: the CPU and the task to blame.
    """

    words: bytes
    pattern: re.Pattern[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Cause:
    """One cause of crashes. It is compared by identity, so it can be a key of dictionaries."""

    sentence: str
    grade: Grade
    panic: re.Pattern[bytes] | None = None  # what follows "Kernel panic - not syncing: "
    signs: tuple[Sign, ...] = ()
    details: re.Pattern[bytes] | None = None  # for the lines after the sign: the same groups
    newest: bool = False  # of several signs before the panic the last one counts, not the first
    vague: bool = False  # the panic message does not say what happened, only the signs do


_NAME = rb"(?P<comm>.{1,64}?)"  # a comm has at most 15 bytes; kernel workers are printed with more
_NUMBER = rb"\d{1,9}"
_CPU, _PID = rb"(?P<cpu>" + _NUMBER + rb")", rb"(?P<pid>" + _NUMBER + rb")"


def _row(
    sentence: str, grade: Grade, panic: bytes | None, *signs: bytes | tuple[bytes, bytes],
    details: bytes | None = None, newest: bool = False, vague: bool = False,
) -> Cause:  # fmt: skip
    """Make a row; a sign given as words only has these words as its pattern."""
    pairs = [(s, re.escape(s)) if isinstance(s, bytes) else s for s in signs]
    return Cause(
        sentence,
        grade,
        re.compile(panic) if panic is not None else None,
        tuple(Sign(words, re.compile(pattern)) for words, pattern in pairs),
        re.compile(details) if details is not None else None,
        newest,
        vague,
    )


CAUSES = (
    # --- requested
    _row(
        "the crash was requested (sysrq-c)", Grade.OOPS, rb"sysrq triggered crash",
        (b"Trigger a crash", rb"[Ss]ys[Rr]q ?: .{0,16}Trigger a crash|[Ss]ys[Rr]q ?: Trigger"),
    ),
    # --- hardware
    _row(
        "the processor reported a hardware error (machine check)", Grade.HARDWARE,
        rb"(?i)machine check|\bMCE\b|memory error in|uncorrected hardware memory error"
        rb"|broadcast exception handler|CPU context corrupt|^Unable to continue",
        (b"Machine Check Exception", rb"CPU " + _CPU + rb": Machine Check Exception"),
        (b": machine check (", rb"MCE: CPU" + _CPU + rb": machine check \((?!Harmless|Warning)"),
        (b"Oops: Machine check", rb"Oops: Machine check"), newest=True,
    ),
    _row(
        "the firmware reported a fatal hardware error (APEI)", Grade.HARDWARE,
        rb"Fatal hardware error", b"Hardware error from APEI", newest=True,
    ),
    _row(
        "memory had an error that could not be corrected (EDAC)", Grade.HARDWARE,
        rb"^UE |\bEDAC\b|^MC\d+: UE|: UE instance|PCI Parity Error",
        (b"EDAC ", rb"EDAC \S{1,32}: .{0,32}\bUE\b"), newest=True,
    ),
    _row(
        "the hardware reported an asynchronous error (SError)", Grade.HARDWARE,
        rb"SError", (b"SError", rb"SError Interrupt on CPU" + _CPU),
        (b"-- SError", rb"detected on CPU" + _CPU + rb",.* -- SError"), newest=True,
    ),
    _row(
        "the chipset raised an NMI: a device or memory reported an error", Grade.HARDWARE,
        rb"NMI IOCK error|NMI: Not continuing",
        (b"NMI: ", rb"NMI: (?:PCI system error|IOCK error|memory parity).* on CPU " + _CPU),
        newest=True,
    ),
    _row(
        "an NMI that no driver knows, from hardware, a hypervisor or an operator",
        Grade.HARDWARE, rb"NMI: Not continuing|NMI received for unknown reason",
        (b"NMI received for unknown reason", rb"unknown reason \w+ on CPU " + _CPU),
        (b"NMI received for unknown reason", rb"unknown reason"), newest=True,
    ),
    _row(
        "the machine's management processor or watchdog raised an NMI", Grade.HARDWARE,
        rb"An NMI occurred", newest=True,
    ),
    _row(
        "a watchdog timer was not reset in time", Grade.HARDWARE,
        rb"(?i)watchdog pre-?timeout|software watchdog timer expired|watchdog timer expired",
    ),
    # --- lockups and stalls
    _row(
        "a CPU hung with interrupts off (hard lockup)", Grade.REPORT,
        rb"(?i)hard lockup|NMI Watchdog|Non maskable interrupt",
        (b"LOCKUP on ", rb"LOCKUP on (?:cpu |CPU|other CPUs )" + _CPU),
        (b" LOCKUP", rb"CPU[ :]" + _CPU + rb" (?:self-detected hard|Hard) LOCKUP"),
    ),
    _row(
        "a CPU did not schedule for long (soft lockup)", Grade.REPORT, rb"(?i)soft ?lockup",
        (b"soft lockup - ", rb"soft lockup - CPU#" + _CPU
         + rb" stuck for .{1,24}?\[(?P<comm>.{1,64}):" + _PID + rb"\]"),
        (b"soft lockup ", rb"soft lockup (?:- |detected on )CPU#" + _CPU),
    ),
    _row(
        "a CPU or task kept RCU waiting too long (RCU stall)", Grade.REPORT, rb"RCU Stall",
        (b" stall on CPU", rb"detected stall on CPU \{? ?" + _CPU),
        (b" stalls on CPU", rb"detected (?:expedited )?stalls on CPUs/tasks: \{ ?" + _CPU),
        (b" stalls on ", rb"detected (?:expedited )?stalls on (?:CPUs/)?tasks"),
        (b"-detected stall", rb"self-detected stall"),
        (b"RCU detected CPU", rb"RCU detected CPU " + _CPU + rb" stall"),
        details=rb"^(?:rcu:)?[ \t]*" + _CPU + rb"(?:-[^:]{1,12})?: \("
        rb"|rcu_node \(CPUs [^)]{1,32}\): P" + _PID,
    ),
    _row(
        "a task waited too long (hung task)", Grade.REPORT, rb"hung_task",
        (b"INFO: task ", rb"INFO: task " + _NAME + rb":" + _PID + rb" blocked .{0,16}for more"),
    ),
    _row(
        "a workqueue made no progress (workqueue lockup)", Grade.REPORT, rb"(?i)workqueue",
        b"BUG: workqueue lockup",
    ),
    # --- memory, init, the root file system
    _row(
        "out of memory (OOM)", Grade.REPORT, rb"(?i)out of memory|deadlocked on memory",
        (b" invoked oom-killer", rb"^" + _NAME + rb" invoked oom-killer"),
    ),
    _row("init, the first process, ended or was killed", Grade.REPORT, rb"Attempted to kill init"),
    _row(
        "no program could be started as init", Grade.REPORT,
        rb"No (?:working )?init found|Requested init",
    ),
    _row(
        "the root file system could not be mounted", Grade.REPORT,
        rb"VFS: Unable to mount root|Unable to mount root fs",
        b"VFS: Cannot open root device", b"VFS: Unable to mount root",
    ),
    _row(
        "a file system met an error and is set to panic on errors", Grade.REPORT,
        rb"(?i)(?:ext[234]-fs|ocfs2|jfs|btrfs|gfs2|nilfs|f2fs|ubifs|xfs|affs|fat-fs)\b",
        (b"-fs error", rb"(?i)(?:ext[234]|f2fs|fat)-fs error"), (b"BTRFS", rb"BTRFS critical"),
        (b"ocfs2", rb"ocfs2.{0,200}ERROR"),
    ),
    _row(
        "the data of a verified disk was corrupted (verity)", Grade.REPORT,
        rb"dm-verity|fs-verity", b"verity",
    ),
    _row("the audit system could not record an event", Grade.REPORT, rb"^audit: "),
    # --- hypervisors and firmware
    _row(
        "the hypervisor, or an operator through it, requested a system reset",
        Grade.HARDWARE, None, (b"System Reset", rb"Oops: System Reset|System Reset in kernel"),
    ),
    _row(
        "the hypervisor or the firmware reported an error or broke its protocol", Grade.HARDWARE,
        rb"TDX|\bSEV\b|SEV-|#VC|#VE|VMGEXIT|GHCB|\b[Xx]en\b|Hyper-?V|hv_|\bRTAS\b|\brtas\b"
        rb"|EPOW|\bOPAL\b|(?i:hypervisor)|(?i:fatal firmware)",
        b"unhandled #VC exception", b"Unexpected #VE", b"Hypervisor Maintenance", newest=True,
    ),
    # --- the kernel's own checks
    _row(
        "the kernel's stack was corrupted (stack protector)", Grade.OOPS, rb"stack-protector",
    ),
    _row(
        "the kernel's stack overflowed", Grade.OOPS,
        rb"(?i)stack overflow|stack guard|corrupt kernel stack|corrupted stack end|overran stack",
        b"stack guard page was hit", b"Insufficient stack space", b"ernel stack overflow",
        b"Thread overran stack", b"stack guard page: ", b"Bad kernel stack pointer",
    ),
    _row(
        "an exception inside an exception (double fault), often a stack overflow", Grade.OOPS,
        rb"(?i)machine halted|double fault", b"PANIC: double fault",
        (b"double fault", rb"double fault(?:, gdt|: )"),
    ),
    _row(
        "KASAN found a bad memory access", Grade.OOPS, rb"KASAN|kasan", b"BUG: KASAN: ",
        details=rb"by task " + _NAME + rb"/" + _PID + rb"\s*$",
    ),
    _row("KFENCE found a bad memory access", Grade.OOPS, rb"KFENCE|kfence", b"BUG: KFENCE: "),
    _row("KMSAN found a use of uninitialised memory", Grade.OOPS, rb"KMSAN|kmsan", b"BUG: KMSAN: "),
    _row("KCSAN found a data race", Grade.REPORT, rb"KCSAN|kcsan", b"BUG: KCSAN: "),
    _row(
        "UBSAN found undefined behaviour", Grade.REPORT, rb"UBSAN",
        (b"UBSAN: ", rb"(?<!error: )UBSAN: "),
    ),
    _row("an indirect call had a wrong target (CFI)", Grade.OOPS, rb"CFI failure", b"CFI failure"),
    _row(
        "the kernel scheduled in atomic context (scheduling while atomic)", Grade.REPORT,
        rb"scheduling while atomic", (b"scheduling while atomic", rb"BUG: scheduling while atomic: "
        + _NAME + rb"/" + _PID + rb"/0x"),
    ),
    _row(
        "a list in the kernel's memory was corrupted", Grade.OOPS, rb"list_(?:add|del) corruption",
        (b" corruption", rb"list_(?:add|del).{0,8} corruption"),
    ),
    _row(
        "memory of the slab allocator was corrupted", Grade.OOPS, None,
        (b"BUG ", rb"^BUG \S{1,64} \(.{1,64}?\): "),
    ),
    _row("a struct page was corrupted (bad page)", Grade.OOPS, None, b"BUG: Bad page "),
    _row(
        "lock debugging found a possible deadlock", Grade.REPORT, rb"lockdep",
        b" locking dependency detected", b"possible recursive locking", b"inconsistent lock state",
        b"lock order detected", b"bad unlock balance", b"INFO: possible circular",
    ),
    # --- oops: the specific ones first
    _row("a check of the kernel found a wrong state (BUG)", Grade.OOPS, None,
         (b"ernel BUG", rb"[Kk]ernel BUG(?: at |! | \[#)")),
    _row(
        "the kernel used a NULL pointer (oops)", Grade.OOPS, None,
        (b"NULL pointer dereference", rb"(?i)(?:BUG: |unable to handle ).{0,64}NULL pointer"),
    ),
    _row(
        "the kernel used an address that is not mapped for that access (oops)", Grade.OOPS, None,
        (b"nable to handle ", rb"[Uu]nable to handle (?:kernel|page|instruction) ?"),
        (b"ernel tried to execute", rb"kernel tried to execute"),
        b"unable to execute userspace code",
    ),
    _row(
        "the kernel used an invalid address (general protection fault)", Grade.OOPS, None,
        (b"general protection fault", rb"general protection fault[,:] "),
    ),
    _row(
        "the kernel ran an invalid instruction, often a BUG() (invalid opcode)", Grade.OOPS,
        None, (b"opcode: ", rb"invalid opcode: .{0,16}\[#"),
        (b"illegal operation: ", rb"illegal operation: .{0,16}\[#"),
    ),
    _row("the kernel divided by zero", Grade.OOPS, None, (b"divide error: ", rb"divide error: ")),
    _row(
        "an exception that the kernel does not handle (oops)", Grade.OOPS,
        rb"(?i)fatal exception|^Aiee|idle task|oopsed too often|unhandled exception|bad mode"
        rb"|unrecoverable|panic_on_oops|^Oops|asynchronous abort|killing interrupt",
        (b"Oops", rb"\bOops(?: ?\[| - |: )"), b"Internal error: ", (b"[#", rb"\[#\d{1,5}\]"),
        (b"Bad mode in ", rb"Bad mode in .{1,64} detected on CPU" + _CPU),
        (b"exception on CPU", rb"Unhandled .{1,64} exception on CPU" + _CPU), vague=True,
    ),
    # --- warnings
    _row(
        "the kernel warned and is set to panic on warnings (panic_on_warn)", Grade.REPORT,
        rb"panic_on_warn|warned too often",
        (b"WARNING: ", rb"WARNING: .{1,180}, CPU#" + _CPU + rb": (?P<comm>.{1,64})/" + _PID),
        (b"WARNING: ", rb"WARNING: CPU: " + _CPU + rb" PID: " + _PID + rb" at "),
        (b"WARNING: ", rb"WARNING: "), vague=True,
    ),
    _row(
        "the kernel reported a bug in itself (BUG:)", Grade.REPORT, None, (b"BUG: ", rb"\bBUG: ")
    ),
)  # fmt: skip
