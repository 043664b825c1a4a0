#!/bin/sh
# The store is there, can be read, and a version is current.
rootman --rootfs "$ROOTMAN_ROOTFS" boot status >/dev/null || exit 1
[ -d "$ROOTMAN_ROOTFS/current" ] && exit 0
echo 'no version is current'
exit 1
