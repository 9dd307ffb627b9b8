#!/bin/busybox sh
# First program of a VM, in the initramfs: modules, the three read-only disks as one tree with a tmpfs on top, then stage.sh in it.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
fail() {
	echo "BUG: weir init: $1"
	$b poweroff -f
}
while read -r module; do $b insmod "/modules/$module" || fail "insmod $module"; done </modules/order
tries=0
while [ ! -b /dev/vdc ]; do
	[ $tries -lt 100 ] || fail 'the disks did not come'
	tries=$((tries + 1))
	$b sleep 0.1
done
for disk in vda vdb vdc; do $b mkdir -p /layer/$disk && $b mount -t ext4 -o ro /dev/$disk /layer/$disk || fail "mount $disk"; done
$b mount -t tmpfs tmpfs /upper
$b mkdir /upper/rows /upper/work /upper/root
root=/upper/root
$b mount -t overlay -o lowerdir=/layer/vdc:/layer/vdb:/layer/vda,upperdir=/upper/rows,workdir=/upper/work overlay $root || fail overlay
for folder in proc sys dev; do $b mount --move /$folder $root/$folder; done
exec $b switch_root $root /bin/sh /vm/stage.sh
