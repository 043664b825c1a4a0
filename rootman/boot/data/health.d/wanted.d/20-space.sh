#!/bin/sh
# An upgrade would find room: a twentieth of the filesystem of the store is free.
used=$(df -P "$ROOTMAN_ROOTFS" | awk 'NR == 2 { sub("%", "", $5); print $5 }')
[ -n "$used" ] || exit 1
[ "$used" -gt 95 ] || exit 0
echo "the filesystem of the store is $used% full"
exit 1
