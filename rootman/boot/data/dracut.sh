# shellcheck shell=sh disable=SC2034,SC2154  # what dracut and initramfs.sh set, and read
#
# The hook in an initrd of dracut(8): has the tree put at $NEWROOT, and leaves the rest (moving
# /dev, /proc, /run and /sys, starting init) to dracut, and to systemd where that is in the initrd.

# Without systemd the filesystem that root= names is not mounted yet, and is not to be at $NEWROOT.
rootman_mount_disk() {
    ! rootman_is_mounted "$rootman_disk" || return 0
    mkdir -p "$rootman_disk"
    if rootman_is_mounted "$NEWROOT"; then
        mount -o remount,rw "$NEWROOT" && mount -o move "$NEWROOT" "$rootman_disk" && return 0
        rootman_problem="$NEWROOT cannot be mounted for writing"
        return 1
    fi
    rootman_type=$(getarg rootfstype=)
    rootman_flags=$(getarg rootflags=)
    mount -w -t "${rootman_type:-auto}" -o "${rootman_flags:-defaults}" \
        "${root#block:}" "$rootman_disk" && return 0
    rootman_problem="${root#block:} cannot be mounted"
    return 1
}

# With panic= the machine restarts; else somebody may look (BT-45).
rootman_rest() {
    rootman_seconds=$(getarg panic=)
    if [ "${rootman_seconds:-0}" -gt 0 ]; then
        sleep "$rootman_seconds"
        echo b >/proc/sysrq-trigger
    fi
    sh -i
}

case " $(getcmdline) " in
*' rootman.'*)
    # shellcheck disable=SC1091  # made of choose.sh and initramfs.sh
    . /lib/rootman.sh
    {
        rootman_options "$(getcmdline)"
        # Nothing can be moved that others are to see moving.
        mount --make-rprivate /
        until rootman_mount_disk && rootman_bring_up "$NEWROOT"; do
            rootman_help
            rootman_rest
        done
    } </dev/console >/dev/console 2>&1
    ;;
esac
