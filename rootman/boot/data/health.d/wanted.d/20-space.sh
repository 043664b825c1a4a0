#!/bin/sh
# An upgrade would find room: more than a twentieth of the filesystem of the store is free.
used=$(df -P "${ROOTMAN_ROOTFS:-/rootfs}" | awk 'NR == 2 { sub("%", "", $5); print $5 }')
[ "$used" -gt 95 ] || exit 0
echo "the filesystem of the store is $used% full"
exit 1
