# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The first kernel's life: fill memory, load the capture kernel, crash on the last processor.
fail() {
    echo "FAILED: $1"
    poweroff -f
    sleep 60
}

for module in /modules/*; do
    insmod "$module" || fail "insmod $module"
done

mkdir /run
mount -t tmpfs tmpfs /run
yes 'a page of tmpfs' | head -c 9000000 >/run/file
dd if=/dev/vdb of=/dev/null bs=1M count=12 2>/dev/null # a block device's page cache
# Free huge pages, of every size that there is.
for size in /sys/kernel/mm/hugepages/*; do
    echo 2 >"$size/nr_hugepages"
done
# Anonymous memory, huge pages too.
awk 'BEGIN { s = "anonymous memory"; while (length(s) < 12000000) s = s s; system("sleep 3600") }' &
# shellcheck disable=SC2216 # nobody shall read it: tail holds all
yes 'a pipe waits' | head -c 9000000 | tail -c 8000000 | sleep 3600 &
sleep 3 # how far these have come by then is no matter
printf '<12>several\n  lines\nof one record\n' >/dev/kmsg
printf '<13>caf\303\251 \377\001 \033[1m\n' >/dev/kmsg

# shellcheck disable=SC2154 # from /settings
eval "$prepare"
# shellcheck disable=SC2154
/tools/ld.so --library-path /tools /tools/kexec -p "-$loader" /vmlinuz --initrd=/capture.img \
    --append="$capture" || fail "kexec: exit $?"
grep -q 1 /sys/kernel/kexec_crash_loaded || fail "no capture kernel is loaded"
echo 1 >/proc/sys/kernel/sysrq
last=$(grep -c '^processor' /proc/cpuinfo)
# The flags of all pages, twice, as late as can be. Past the page cache, whose pages they would change.
cat >/tmp/crash <<'END'
for at in 0 16; do
    dd if=/proc/kpageflags of=/dev/vdd bs=1M seek="$at" iflag=fullblock oflag=direct conv=notrunc || exit
done
echo c >/proc/sysrq-trigger
END
taskset "$(printf %x $((1 << (last - 1))))" sh /tmp/crash
fail "the kernel did not crash"
