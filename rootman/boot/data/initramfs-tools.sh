# shellcheck shell=sh disable=SC2154  # what initramfs-tools and initramfs.sh set
#
# The boot script of initramfs-tools(7), which is sourced where the kernel command line has an
# option of rootman: mounts the filesystem that root= names, has the tree put at $rootmnt, and
# leaves the rest (moving /dev, /proc, /run and /sys, starting init) to initramfs-tools.

mountroot() {
    rootman_options "$(cat /proc/cmdline)"
    until rootman_mount_disk && rootman_bring_up "${rootmnt:?}"; do
        rootman_help
        panic "rootman: $rootman_problem"
    done
}

rootman_mount_device() {
    local_device_setup "$1" 'state file system'
    rootman_type=$(get_fstype "$DEV")
    checkfs "$DEV" state "$rootman_type"
    mount -w ${rootman_type:+-t "$rootman_type"} "$DEV" "$2"
}

rootman_mount_disk() {
    ! rootman_is_mounted "$rootman_disk" || return 0
    mkdir -p "$rootman_disk"
    local_top
    local_device_setup "${ROOT:-}" 'root file system'
    rootman_type=${ROOTFSTYPE:-auto}
    [ "$rootman_type" != auto ] || rootman_type=$(get_fstype "$DEV")
    local_premount
    checkfs "$DEV" root "$rootman_type"
    # shellcheck disable=SC2086  # options are words
    mount -w ${rootman_type:+-t "$rootman_type"} ${ROOTFLAGS:-} "$DEV" "$rootman_disk" && return 0
    rootman_problem="$DEV cannot be mounted"
    return 1
}
