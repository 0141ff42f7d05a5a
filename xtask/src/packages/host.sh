#!/bin/sh
# A machine inside this one, for as long as a script runs on it: the same files, none of them changed, and a systemd of
# its own that starts nothing by itself. `unshare` has made the namespaces.
#
#   host.sh DIRECTORY SCRIPT   DIRECTORY is /mnt in there; SCRIPT lies in it, and what it says goes to SCRIPT.log.
set -eu
directory=$1
script=$2

mount --make-rprivate /
# What is written is forgotten with the namespace.
mount -t tmpfs -o mode=0755 tmpfs "$directory/host"
cd "$directory/host"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
mount --bind "$directory" root/mnt
cd root

mount -t proc proc proc
# Read-only, the kernel's settings tell systemd that they are not its own.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup sys/fs/cgroup
else
    mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t mqueue mqueue dev/mqueue

# What this machine starts, mounts and forbids is not wanted in there.
rm -rf etc/systemd/system/*.wants usr/lib/systemd/system/*.wants usr/lib/systemd/system-generators/*
rm -f etc/fstab usr/sbin/policy-rc.d
cat > run/script.service <<END
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
SuccessAction=exit-force
FailureAction=exit-force
FailureActionExitStatus=1
[Service]
Type=oneshot
ExecStart=/bin/sh /mnt/$script
StandardOutput=truncate:/mnt/$script.log
StandardError=inherit
TimeoutStartSec=3min
END
mkdir -p etc/systemd/system
cp run/script.service etc/systemd/system/

mkdir machine
pivot_root . machine
umount -l /machine
export container=logflow
exec /lib/systemd/systemd --system --unit=script.service --show-status=no --log-target=null
