/* SPDX-License-Identifier: MIT */
/* process.c: system calls of the daemon that Python's standard library lacks. */
#include "internal.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/prctl.h>

int om_mount(const char *source, const char *target, const char *options)
{
    unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return mount(source, target, "fuse.oldmemfs", flags, options) == 0 ? 0 : -errno;
}

int om_umount(const char *target)
{
    return umount2(target, MNT_DETACH) == 0 ? 0 : -errno;
}

int om_hide_process(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
