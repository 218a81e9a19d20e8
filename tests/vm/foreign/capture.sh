# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The capture kernel's life: the truth goes to three disks. vda: a tar of what is small; vdb:
# /proc/vmcore; vdc: what makedumpfile makes of it, one dump a slot.
for module in /modules/*; do
    insmod "$module"
done

report() {
    tar -cf /dev/vda -C /out .
    sync
}

mkdir /out
cd /out || exit
cat /proc/cmdline >cmdline
cat /proc/iomem >iomem
cat /proc/sys/kernel/osrelease >release
cp /proc/device-tree/chosen/linux,elfcorehdr elfcorehdr 2>/dev/null
stat -c %s /proc/vmcore >size
dd if=/proc/vmcore of=head bs=64k count=1 2>head.said
report
/tools/ld.so --library-path /tools /tools/vmcore-dmesg /proc/vmcore >vmcore-dmesg 2>vmcore-dmesg.said
report
# shellcheck disable=SC2154 # from /settings
eval "$copy"
report
if [ -d /oracle ]; then
    makedumpfile() {
        /oracle/ld.so --library-path /oracle /oracle/makedumpfile "$@"
    }
    makedumpfile -v >version 2>&1
    source=/proc/vmcore
    # shellcheck disable=SC2154 # from /settings
    eval "$mend"
    makedumpfile --dump-dmesg "$source" makedumpfile-dmesg >makedumpfile-dmesg.said 2>&1
    slot=0
    # shellcheck disable=SC2154 # from /settings
    for level in $levels; do
        makedumpfile -F -c -d "$level" "$source" 2>"makedumpfile-$level.said" |
            dd of=/dev/vdc bs=1M seek=$((slot * slot_mib)) conv=notrunc iflag=fullblock 2>dd.said
        slot=$((slot + 1))
        report
    done
    # shellcheck disable=SC2154 # from /settings
    eval "$restore"
fi
echo end >end
report
poweroff -f
