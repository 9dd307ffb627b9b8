#!/bin/sh
# Second program of a VM, on the real tools: the mounts that a machine has, then /vm/command; its lines and its end go out by the second serial port.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=linux NO_COLOR=1
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/netns
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ln -sf /proc/self/fd /dev/fd
ip link set lo up
hostname weir-vm
# Kernels below 5.11 count BPF memory against this limit.
ulimit -l unlimited
if [ -e /vm/shell ]; then
	setsid -c /vm/command </dev/ttyS0 >/dev/ttyS0 2>&1
else
	stty -F /dev/ttyS1 raw
	/vm/command </dev/null >/dev/ttyS1 2>&1
	echo "DONE $?" >/dev/ttyS1
	sleep 0.1
fi
busybox poweroff -f
