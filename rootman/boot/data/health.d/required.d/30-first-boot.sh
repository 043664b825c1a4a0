#!/bin/sh
# On the first boot of a device, what runs is what was installed; afterwards there is nothing to say.
status=$(rootman --rootfs "$ROOTMAN_ROOTFS" boot status --json) || exit 1
case $status in
*'"first_boot": "due"'*) ;;
*) exit 0 ;;
esac
# Who changes a version in place has no use for what it was.
[ "$(sed -n 3p /run/rootman/booted)" != rw ] || exit 0
number=$(echo "$status" | sed -n 's/^ *"booted": "[^."]*\.\([0-9.]*\)".*/\1/p')
said=$(rootman --rootfs "$ROOTMAN_ROOTFS" verify --quick "$number")
code=$?
# 10: what runs has changed files of its own by now.
[ $code -ne 0 ] && [ $code -ne 10 ] || exit 0
echo "$said" | tail -n 1
exit 1
