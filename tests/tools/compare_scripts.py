# SPDX-License-Identifier: MIT
"""What ``readers.py`` lets the readers print."""

CRASH = """\
bt -a
ps
log
kmem -i
mod
quit
"""

DRGN = """\
import sys
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg
from drgn.helpers.linux.slab import for_each_slab_cache

print(prog["linux_banner"].string_().decode())
print(prog.crashed_thread().stack_trace())
for task in for_each_task(prog):
    print(task.pid.value_(), task.comm.string_().decode(), task.mm.value_())
    print(prog.stack_trace(task))
for cache in for_each_slab_cache(prog):
    print(cache.name.string_().decode(), cache.size.value_())
print(get_dmesg(prog).decode(errors="backslashreplace"))
"""

GDB = """\
info threads
bt
info registers
x/s linux_banner
print init_uts_ns.name
print init_task.comm
print *(struct list_head *)&init_task.tasks
print ((struct task_struct *)((char *)init_task.tasks.next - (unsigned long)&((struct task_struct *)0)->tasks))->comm
x/64gx &idt_table
x/512gx init_top_pgt
print prb->text_data_ring
"""  # noqa: E501

VOLATILITY = """\
# The pages of vmcore-kern through volatility3's ELF layer, named by what both files have.
import hashlib
import sys
from pathlib import Path
from volatility3.framework import contexts
from volatility3.framework.layers import elf, physical

def layer(path):
    context = contexts.Context()
    context.config["file.location"] = Path(path).as_uri()
    context.add_layer(physical.FileLayer(context, "file", "file"))
    context.config["elf.base_layer"] = "file"
    made = elf.Elf64Layer(context, "elf", "elf")
    context.add_layer(made)
    return made

path = Path(sys.argv[1])
here, kernel = layer(path), layer(path.with_name("vmcore-kern"))
digest, size = hashlib.sha256(), 0
for start, length, *_ in kernel.mapping(0, kernel.maximum_address, ignore_errors=True):
    for at in range(start, start + length, 4096):
        kept = kernel.read(at, 4096)
        data = here.read(at, 4096)
        if any(kept):
            digest.update(data)
            size += 4096
print(size, digest.hexdigest())
"""

# What the speed of reading is measured with (bench_readers.py).
CRASH_TASKS = """\
foreach bt
kmem -i
kmem -s
log
mod
foreach files
quit
"""

DRGN_PAGES = """\
# Every task's stack, then the flags of every struct page: many short reads, far apart and near.
from drgn.helpers.linux.mm import for_each_page
from drgn.helpers.linux.pid import for_each_task
from drgn import FaultError

for task in for_each_task(prog):
    try:
        print(task.pid.value_(), prog.stack_trace(task))
    except (ValueError, FaultError) as error:
        print(task.pid.value_(), error)
flags = 0
for page in for_each_page(prog):
    try:
        flags ^= page.flags.value_()
    except FaultError:
        flags ^= 1
print(flags)
"""
