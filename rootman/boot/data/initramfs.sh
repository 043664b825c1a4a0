# shellcheck shell=sh disable=SC2034,SC2154  # what choose.sh reads, and sets
#
# From the filesystem of the store to the root of the system that boots (spec/50-boot.md), in
# POSIX sh for an initramfs. Source it after choose.sh, then:
#
#   rootman_options "$(cat /proc/cmdline)"     what the kernel command line wants
#   mount ... "$rootman_disk"                  the filesystem with the store, for writing
#   rootman_bring_up NEWROOT                   or rootman_problem says why not
#
# Besides the shell it takes cat, chmod, chroot, dd, mkdir, modprobe, mv, readlink, rm, umount, uname and
# a mount that binds, moves and remounts, such as busybox has them.

rootman_run=/run/rootman
rootman_disk=$rootman_run/disk
# Where the system that boots has its store.
rootman_home=/rootfs

rootman_say() {
    echo "rootman: $*"
}

# The options of a kernel command line, of one that is there twice the last.
rootman_options() {
    rootman_asked=
    rootman_version=
    rootman_counts=
    rootman_count=
    rootman_mode=guard
    rootman_folder=/rootfs
    rootman_device=
    rootman_step=
    rootman_debug=
    for rootman_word in $1; do
        case $rootman_word in
        rootman.tree=*) rootman_asked=${rootman_word#*=} ;;
        rootman.version=*) rootman_version=${rootman_word#*=} ;;
        rootman.count) rootman_counts=1 ;;
        rootman.bootcount=*) rootman_count=${rootman_word#*=} ;;
        rootman.mode=*) rootman_mode=${rootman_word#*=} ;;
        rootman.store=*)
            rootman_folder=${rootman_word#*=}
            rootman_folder=/${rootman_folder#/}
            rootman_folder=${rootman_folder%/}
            ;;
        rootman.state=*) rootman_device=${rootman_word#*=} ;;
        rootman.step) rootman_step=1 ;;
        rootman.debug) rootman_debug=1 ;;
        esac
    done
    rootman_is_number "$rootman_count" || rootman_count=
    [ -z "$rootman_debug" ] || set -x
}

# Take a tree and put it at $1, in its mode (BT-40, BT-42).
rootman_bring_up() {
    rootman_problem=
    # Nobody but root is to reach the programs of other versions from here.
    mkdir -p "$rootman_run" && chmod 700 "$rootman_run"
    rootman_stage "take a tree; its store is $rootman_disk$rootman_folder"
    rootman_take "$rootman_disk$rootman_folder" || return 1
    rootman_stage "have the state of $rootman_tree"
    rootman_have_states
    rootman_stage "bring up $rootman_tree as $rootman_mode"
    rootman_mount "$1" || return 1
    rootman_guard_config "$1"
    rootman_bind_states "$1"
    rootman_show_store "$1"
    rootman_say "$rootman_tree ($rootman_why), $rootman_mode"
    rootman_warn "$1"
    printf '%s\n' "$rootman_tree" "$rootman_why" "$rootman_mode" >"$rootman_run/booted"
    rootman_note_ran
    rootman_stage "leave for $1"
}

# With rootman.step, wait until somebody has looked at what is there.
rootman_stage() {
    [ -n "$rootman_step" ] || return 0
    while true; do
        rootman_say "next: $1"
        printf 'rootman: Enter to go on, s and Enter for a shell first: '
        read -r rootman_answer || return 0
        [ -n "$rootman_answer" ] || return 0
        sh
    done
}

# Take a tree of the store $1: by hand, by name, of a version, or by the boot state (BT-40).
rootman_take() {
    if [ ! -d "$1/.rootman" ]; then
        rootman_problem="there is no store at $1"
        return 1
    fi
    rootman_store=$1
    rootman_only=
    rootman_os_name
    if [ -s "$rootman_run/take" ]; then
        read -r rootman_tree <"$rootman_run/take"
        rootman_why='by hand'
    else
        rootman_tree=$rootman_asked
        rootman_why='of the loader'
        if [ -n "$rootman_counts" ] && rootman_is_candidate "$rootman_tree" &&
            ! rootman_count_here "$1" "$rootman_tree"; then
            rootman_say "$rootman_tree is bad; another is taken"
            rootman_tree=
        fi
    fi
    ! rootman_is_candidate "$rootman_tree" || return 0
    [ -z "$rootman_tree" ] || rootman_say "there is no complete $rootman_tree; another is taken"
    if [ -n "$rootman_version" ]; then
        ! rootman_choose "$1" "$rootman_version" || return 0
        rootman_say "there is no complete tree of $rootman_version; another is taken"
    fi
    ! rootman_choose "$1" || return 0
    rootman_problem="there is no complete tree in $1"
    return 1
}

# Mount the tree at $1 in the mode that is wanted, or read-only where that fails (BT-42).
rootman_mount() {
    rootman_root=$rootman_run/tree
    mkdir -p "$rootman_root"
    if ! mount -o bind "$rootman_store/$rootman_tree" "$rootman_root"; then
        rootman_problem="$rootman_tree cannot be mounted"
        return 1
    fi
    rootman_wanted_mode=$rootman_mode
    case $rootman_mode in
    rw) mount -o bind "$rootman_root" "$1" && return 0 ;;
    overlay) rootman_mount_overlay "$1" && return 0 ;;
    guard) rootman_mount_guard "$1" && return 0 ;;
    ro) ;;
    *) rootman_say "there is no mode $rootman_mode; ro, rw, overlay and guard are" ;;
    esac
    [ "$rootman_mode" = ro ] || rootman_say "$rootman_tree does not come up as $rootman_mode"
    rootman_mode=ro
    # What is bound from there is read-only, too.
    mount -o remount,bind,ro "$rootman_root" && mount -o bind "$rootman_root" "$1" && return 0
    umount "$rootman_root"
    rootman_problem="$rootman_tree cannot be mounted read-only"
    return 1
}

# What is changed in the tree goes to a directory of its own (BT-43).
rootman_mount_overlay() {
    rootman_layers=$rootman_store/.rootman/overlay
    rootman_forget_overlays
    rootman_layer=$rootman_layers/${rootman_tree#*.}
    if [ ! -f "$rootman_layer/seal.json" ]; then
        mkdir -p "$rootman_layer/upper" "$rootman_layer/work" || return 1
        chmod 755 "$rootman_layer/upper"
        cat "$rootman_store/.rootman/trees/${rootman_tree#*.}/seal.json" >"$rootman_layer/new" &&
            mv "$rootman_layer/new" "$rootman_layer/seal.json" || return 1
    fi
    mount -o remount,bind,ro "$rootman_root" && mount -t overlay -o \
        "lowerdir=$rootman_root,upperdir=$rootman_layer/upper,workdir=$rootman_layer/work" \
        overlay "$1"
}

# Remove the changes of trees that are gone, or that were sealed anew under the same name.
rootman_forget_overlays() {
    for rootman_path in "$rootman_layers"/*; do
        [ -d "$rootman_path" ] || continue
        rootman_record=$rootman_store/.rootman/trees/${rootman_path##*/}
        if [ -f "$rootman_path/seal.json" ] && [ -f "$rootman_record/seal.json" ] &&
            [ "$(cat "$rootman_path/seal.json")" = "$(cat "$rootman_record/seal.json")" ]; then
            continue
        fi
        # First what says whose they are: what a power cut leaves is removed by the next boot.
        rm -f "$rootman_path/seal.json"
        rm -rf "$rootman_path"
    done
}

# The guard runs from the tree, which is its root, with what it needs to see there. It keeps
# that for itself: here it is unmounted again, or the system would do so at shutdown (BT-44).
# The tree stays: by it the system makes the filesystem read-only then, after all else.
rootman_mount_guard() {
    mkdir -p "$rootman_run/guarded"
    if [ ! -d "$rootman_root$rootman_home" ]; then
        rootman_say "the guard needs an empty directory $rootman_home in $rootman_tree"
        return 1
    fi
    mount -o remount,bind,ro "$rootman_root" && rootman_furnish "$rootman_root" &&
        rootman_start_guard "$rootman_root" &&
        mount -o move "$rootman_root$rootman_run/guarded" "$1"
    rootman_code=$?
    for rootman_path in dev proc run sys "${rootman_home#/}"; do
        umount -l "$rootman_root/$rootman_path" 2>/dev/null
    done
    return "$rootman_code"
}

# Read-only, but for the configuration that its release names: that is seen through the guard.
rootman_guard_config() {
    rootman_config=$rootman_store/.rootman/trees/${rootman_tree#*.}/config.paths
    [ "$rootman_wanted_mode" = ro ] && [ -s "$rootman_config" ] || return 0
    mkdir -p "$rootman_run/whole"
    if ! rootman_mount_guard "$rootman_run/whole"; then
        rootman_say "the configuration of $rootman_tree cannot be changed"
        return
    fi
    while IFS= read -r rootman_path; do
        rootman_bind "$rootman_run/whole$rootman_path" "$1" "$rootman_path" ||
            rootman_say "$rootman_path cannot be changed"
    done <"$rootman_config"
}

rootman_is_mounted() {
    while read -r rootman_source rootman_path rootman_word; do
        [ "$rootman_path" != "$1" ] || return 0
    done </proc/mounts
    return 1
}

rootman_furnish() {
    [ -e /dev/fuse ] || modprobe fuse
    for rootman_path in dev proc run sys; do
        mount -o bind "/$rootman_path" "$1/$rootman_path" || return 1
    done
    mount -o bind "$rootman_store" "$1$rootman_home"
}

rootman_start_guard() (
    rootman_run_of_tree "$1" mount --storage-daemon "${rootman_tree#*.}" \
        "$rootman_run/guarded" >/dev/null
)

# Become the rootman of a tree that is furnished, at $1.
rootman_run_of_tree() {
    rootman_room=$1
    shift
    PATH=/usr/local/sbin:/usr/local/bin:$PATH
    export PATH
    exec chroot "$rootman_room" rootman --rootfs "$rootman_home" "$@"
}

# Have the state paths of the tree in $rootman_states, made where they never were (BT-70).
rootman_have_states() {
    : >"$rootman_run/lacks"
    rootman_place=
    rootman_states=
    rootman_record=$rootman_store/.rootman/trees/${rootman_tree#*.}/state.paths
    rootman_generation=1
    [ ! -f "$rootman_record" ] || read -r rootman_generation <"$rootman_record"
    if [ -n "$rootman_device" ]; then
        # Nothing takes the place of what is there: it would be another /var.
        rootman_mount_place || return 0
        rootman_place=$rootman_run/state/rootman-state
    fi
    rootman_states=${rootman_place:-$rootman_store/.rootman/state}/$rootman_generation
    rootman_lacking >/dev/null || rootman_make_states || rootman_say 'the state was not made'
    rootman_lacking >>"$rootman_run/lacks" || rootman_tell_lacks
}

rootman_mount_place() {
    mkdir -p "$rootman_run/state"
    if ! rootman_is_mounted "$rootman_run/state" &&
        ! rootman_mount_device "$rootman_device" "$rootman_run/state"; then
        echo "$rootman_device" >>"$rootman_run/lacks"
        rootman_say "the state is on $rootman_device, which cannot be mounted"
        return 1
    fi
    mkdir -p "$rootman_run/state/rootman-state" && chmod 700 "$rootman_run/state/rootman-state"
}

# What makes the initramfs may know better how a device is found.
rootman_mount_device() {
    mount -w "$1" "$2"
}

# Say the names of the state paths that the tree wants and that are not there.
rootman_lacking() {
    [ -f "$rootman_record" ] || return 0
    {
        rootman_code=0
        read -r rootman_word
        while IFS= read -r rootman_name; do
            rootman_has_state "$rootman_name" && continue
            echo "$rootman_name"
            rootman_code=1
        done
        return "$rootman_code"
    } <"$rootman_record"
}

# It is there, or what it is in.
rootman_has_state() {
    rootman_word=$1
    while [ ! -d "$rootman_states/$rootman_word" ]; do
        case $rootman_word in
        *:*) rootman_word=${rootman_word%:*} ;;
        *) return 1 ;;
        esac
    done
}

rootman_tell_lacks() {
    while IFS= read -r rootman_name; do
        rootman_say "no state $rootman_name: what is written there stays in $rootman_tree"
    done <"$rootman_run/lacks"
}

# The tree's own rootman makes them, of what the tree left that ran last. It sees that tree, and
# the store; nothing can be changed in its own.
rootman_make_states() {
    rootman_room=$rootman_run/room
    mkdir -p "$rootman_room" "$rootman_run/left" "$rootman_run/state"
    if [ ! -d "$rootman_store/$rootman_tree$rootman_home" ]; then
        rootman_say "to make the state takes an empty directory $rootman_home in $rootman_tree"
        return 1
    fi
    mount -o bind "$rootman_store/$rootman_tree" "$rootman_room" || return 1
    mount -o remount,bind,ro "$rootman_room" && rootman_furnish "$rootman_room" &&
        rootman_show_left "$rootman_room$rootman_run/left" &&
        if [ -n "$rootman_place" ]; then
            mount -o bind "$rootman_run/state" "$rootman_room$rootman_run/state"
        fi && rootman_start_maker "$rootman_room"
    rootman_code=$?
    umount -l "$rootman_room"
    return "$rootman_code"
}

# What ran last is noted by its boot; in an older store it is what current led to before.
rootman_show_left() {
    rootman_left=
    rootman_how=
    rootman_ran=$rootman_store/.rootman/boot/ran
    [ ! -f "$rootman_ran" ] || { read -r rootman_left && read -r rootman_how; } <"$rootman_ran"
    rootman_is_candidate "$rootman_left" || rootman_left=$(readlink "$rootman_store/previous")
    rootman_is_candidate "$rootman_left" || rootman_left=$rootman_tree
    rootman_layer=$rootman_store/.rootman/overlay/${rootman_left#*.}
    if [ "$rootman_how" = overlay ] && [ -f "$rootman_layer/seal.json" ]; then
        mount -t overlay -o "ro,lowerdir=$rootman_layer/upper:$rootman_store/$rootman_left" \
            overlay "$1"
    else
        mount -o bind "$rootman_store/$rootman_left" "$1"
    fi
}

rootman_start_maker() (
    rootman_run_of_tree "$1" boot make-state "${rootman_tree#*.}" \
        --from "$rootman_run/left" ${rootman_place:+--place "$rootman_place"}
)

# What is there once for all versions is bound over what this one has there (BT-71).
rootman_bind_states() {
    [ -n "$rootman_states" ] || return 0
    # By their names those come first that others are in.
    for rootman_path in "$rootman_states"/*; do
        [ -d "$rootman_path" ] || continue
        rootman_name=${rootman_path##*/}
        rootman_path_of "$rootman_name"
        rootman_bind "$rootman_path" "$1" "$rootman_word" && continue
        rootman_say "no directory for the state $rootman_name in $rootman_tree"
        echo "$rootman_name" >>"$rootman_run/lacks"
    done
}

# The path with a name: var:lib is /var/lib.
rootman_path_of() {
    rootman_word=
    rootman_rest=$1:
    while [ -n "$rootman_rest" ]; do
        rootman_word=$rootman_word/${rootman_rest%%:*}
        rootman_rest=${rootman_rest#*:}
    done
}

# Bind $1 over the path $3 of the system at $2. No symlink is followed: it might lead anywhere.
rootman_bind() {
    rootman_target=$2
    rootman_rest=${3#/}/
    while [ -n "$rootman_rest" ]; do
        rootman_target=$rootman_target/${rootman_rest%%/*}
        rootman_rest=${rootman_rest#*/}
        [ -e "$rootman_target" ] && [ ! -L "$rootman_target" ] || return 1
    done
    mount -o bind "$1" "$rootman_target"
}

rootman_note_ran() {
    rootman_ran=$rootman_store/.rootman/boot/ran
    [ "$(cat "$rootman_ran" 2>/dev/null)" = "$(printf '%s\n' "$rootman_tree" "$rootman_mode")" ] ||
        { printf '%s\n' "$rootman_tree" "$rootman_mode" >"$rootman_ran.new" &&
            mv "$rootman_ran.new" "$rootman_ran"; }
}

# The system finds the store where it looks for it, but no user a program in it that is setuid.
rootman_show_store() {
    if [ -d "$1$rootman_home" ]; then
        mount -o bind "$rootman_store" "$1$rootman_home" &&
            mount -o remount,bind,nosuid,nodev "$1$rootman_home"
    else
        rootman_say "$rootman_tree has no directory $rootman_home; its store is $rootman_store"
    fi
}

rootman_warn() {
    [ "$rootman_mode" != rw ] ||
        rootman_say 'rw: a change of a file that versions share is one of all of them'
    rootman_kernel=$(uname -r)
    [ ! -d "$1/lib/modules" ] || [ -d "$1/lib/modules/$rootman_kernel" ] ||
        rootman_say "$rootman_tree has no modules of the kernel that runs, $rootman_kernel"
}

rootman_help() {
    cat <<END

rootman: nothing boots: $rootman_problem
This is a shell of the initramfs. When it ends, booting is tried again.
    $rootman_disk    the filesystem that root= names, if it is mounted
    $rootman_store    the store: its trees, and .rootman with their records
    echo olpc.7 >$rootman_run/take    take this tree, whatever the boot state says
    cat $rootman_store/.rootman/boot/grubenv    the boot state
    reboot -f

END
}
