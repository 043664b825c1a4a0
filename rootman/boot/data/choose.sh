# shellcheck shell=sh disable=SC2034  # rootman_why is for the caller
#
# Which tree boots: the machine of spec/50-boot.md for an initramfs, in POSIX sh. Source it
# (busybox, dash), then:
#
#   rootman_choose STORE            of all trees, where the firmware knows but one kernel
#   rootman_choose STORE VERSION    of the trees of a version, whose kernel was loaded (BT-9)
#
# It sets rootman_tree to the name of the tree and rootman_why to the reason, and fails where
# there is no tree at all. The attempt is counted, on the disk, when it returns (BT-6). Where
# the firmware counts, rootman_count is how far (BT-32).
# Besides the shell it takes dd(1) and readlink(1). The same machine as in
# rootman/boot/choice.py; tests compare them.

rootman_choose() {
    rootman_store=$1
    rootman_only=${2-}
    rootman_tree=
    rootman_why=
    rootman_changed=
    rootman_os_name
    rootman_current=$(readlink "$1/current")
    rootman_previous=$(readlink "$1/previous")
    rootman_read_block
    rootman_settle
    rootman_wanted=$rootman_once
    rootman_once=
    [ -z "$rootman_wanted" ] || rootman_changed=1
    if rootman_is_candidate "$rootman_wanted"; then
        rootman_tree=$rootman_wanted
        rootman_why=once
        rootman_count_no_more
    elif rootman_first_that rootman_is_not_bad; then
        rootman_count_attempt
    elif rootman_first_that true; then
        rootman_why='last resort'
        rootman_count_no_more
    else
        rootman_why=
    fi
    [ -z "$rootman_changed" ] || rootman_write_block
    [ -n "$rootman_tree" ]
}

# The first candidate that the command $1 accepts (BT-5).
rootman_first_that() {
    rootman_why=current
    rootman_tree=$rootman_current
    rootman_is_candidate "$rootman_tree" && "$1" "$rootman_tree" && return 0
    rootman_why=previous
    rootman_tree=$rootman_previous
    rootman_is_candidate "$rootman_tree" && "$1" "$rootman_tree" && return 0
    rootman_why=newest
    rootman_tree=
    for rootman_path in "$rootman_store/$rootman_os".*; do
        rootman_name=${rootman_path##*/}
        if [ "$rootman_name" != "$rootman_rescue" ] && rootman_is_candidate "$rootman_name" &&
            "$1" "$rootman_name" && rootman_is_newer "$rootman_name" "$rootman_tree"; then
            rootman_tree=$rootman_name
        fi
    done
    [ -z "$rootman_tree" ] || return 0
    rootman_why=rescue
    rootman_tree=$rootman_rescue
    rootman_is_candidate "$rootman_tree" && "$1" "$rootman_tree" && return 0
    rootman_tree=
    return 1
}

# Whether $1 is a complete tree (S1), of the version that is asked for.
rootman_is_candidate() {
    case $1 in
    '' | */*) return 1 ;;
    esac
    case $1. in
    "${rootman_only:-$rootman_os}".*) ;;
    *) return 1 ;;
    esac
    [ -d "$rootman_store/$1" ] && [ ! -L "$rootman_store/$1" ] &&
        [ -f "$rootman_store/.rootman/trees/${1#*.}/seal.json" ]
}

rootman_is_not_bad() {
    case " $rootman_bad " in
    *" $1 "*) return 1 ;;
    esac
}

# Whether the tree $1 is newer than the tree $2, or $2 is none.
rootman_is_newer() {
    [ -n "$2" ] || return 0
    rootman_one=${1#*.}.0
    rootman_other=${2#*.}.0
    if [ "${rootman_one%%.*}" -ne "${rootman_other%%.*}" ]; then
        [ "${rootman_one%%.*}" -gt "${rootman_other%%.*}" ]
        return
    fi
    rootman_one=${rootman_one#*.}
    rootman_other=${rootman_other#*.}
    [ "${rootman_one%%.*}" -gt "${rootman_other%%.*}" ]
}

# A pending tree that has no attempt left is bad (BT-7).
rootman_settle() {
    if [ -n "$rootman_pending" ] && { [ "$rootman_tries" -eq 0 ] || rootman_is_used_up; }; then
        ! rootman_is_not_bad "$rootman_pending" ||
            rootman_bad="${rootman_bad:+$rootman_bad }$rootman_pending"
        rootman_pending=
        rootman_changed=1
    fi
}

# Whether the firmware has counted further than it may (BT-32).
rootman_is_used_up() {
    [ -n "$rootman_limit" ] && [ "${rootman_count:-0}" -gt "$rootman_limit" ]
}

# One attempt less for a tree that is pending.
rootman_count_attempt() {
    if [ "$rootman_tree" = "$rootman_pending" ]; then
        rootman_tries=$((rootman_tries - 1))
        rootman_changed=1
    else
        rootman_count_no_more
    fi
}

# From here on what the firmware counts is not of the pending tree alone (BT-32).
rootman_count_no_more() {
    [ -z "$rootman_limit" ] || rootman_changed=1
    rootman_limit=
}

# Whether $1 is a number as it may stand in the block.
rootman_is_number() {
    case $1 in
    '' | 0* | *[!0-9]* | ??????????*) return 1 ;;
    esac
}

# For a loader that does not count: an attempt less for the tree $2 of the store $1, whose kernel
# it has loaded. Fails where that one is bad, or has none left (BT-25).
rootman_count_here() {
    rootman_store=$1
    rootman_tree=$2
    rootman_changed=
    rootman_read_block
    rootman_settle
    rootman_count_attempt
    [ -z "$rootman_changed" ] || rootman_write_block
    rootman_is_not_bad "$rootman_tree"
}

# The name of the OS, which its trees are called by: state.json is one line (ST-13).
rootman_os_name() {
    IFS= read -r rootman_os <"$rootman_store/.rootman/state.json"
    rootman_os=${rootman_os#*\"name\": \"}
    rootman_os=${rootman_os%%\"*}
}

# The variables of the block; none where it is missing, or has not the signature (BT-2).
rootman_read_block() {
    rootman_block=$rootman_store/.rootman/boot/grubenv
    rootman_pending=
    rootman_tries=0
    rootman_bad=
    rootman_once=
    rootman_rescue=
    rootman_limit=
    [ -f "$rootman_block" ] || return 0
    rootman_line=
    {
        IFS= read -r rootman_line
        [ "$rootman_line" = '# GRUB Environment Block' ] || return 0
        while IFS= read -r rootman_line; do
            case $rootman_line in
            rootman_pending=*) rootman_pending=${rootman_line#*=} ;;
            rootman_tries=*) rootman_tries=${rootman_line#*=} ;;
            rootman_bad=*) rootman_bad=${rootman_line#*=} ;;
            rootman_once=*) rootman_once=${rootman_line#*=} ;;
            rootman_rescue=*) rootman_rescue=${rootman_line#*=} ;;
            rootman_limit=*) rootman_limit=${rootman_line#*=} ;;
            esac
        done
    } <"$rootman_block"
    case $rootman_tries in
    [0-9]) ;;
    *) rootman_tries=0 ;;
    esac
    rootman_is_number "$rootman_limit" || rootman_limit=
}

rootman_block_lines() {
    echo '# GRUB Environment Block'
    if [ -n "$rootman_pending" ]; then
        echo "rootman_pending=$rootman_pending"
        echo "rootman_tries=$rootman_tries"
        [ -z "$rootman_limit" ] || echo "rootman_limit=$rootman_limit"
    fi
    [ -z "$rootman_bad" ] || echo "rootman_bad=$rootman_bad"
    [ -z "$rootman_once" ] || echo "rootman_once=$rootman_once"
    [ -z "$rootman_rescue" ] || echo "rootman_rescue=$rootman_rescue"
}

# In place: 1024 bytes over those that are there, and down to the disk (BT-3).
rootman_write_block() {
    rootman_text=$(rootman_block_lines)'
'
    rootman_padding='################################'
    while [ ${#rootman_padding} -lt 1024 ]; do
        rootman_padding=$rootman_padding$rootman_padding
    done
    printf '%.1024s' "$rootman_text$rootman_padding" |
        dd of="$rootman_block" bs=1024 conv=notrunc,fsync 2>/dev/null
}
