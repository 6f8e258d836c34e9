# Compiled dependencies that outlive a clone: below the state folder, a folder for each
# lock file and compiler, the newest two. Sourced after lib.sh. Only crates of a registry
# are kept, for cargo takes those for fresh wherever a clone lies. What is the project's
# own is not: two clones make files of the same names from it, which is also why they
# cannot share a target folder. Files are copied and not linked, since cargo writes into
# them. Whether one may be used is cargo's decision.
# shellcheck shell=bash

REPO=$(dirname "$IMAGES_DIR")

# use_crates NAME TARGET PROFILE...: before cargo; profiles are folders below the target
# folder. Fills those in which nothing was compiled yet.
use_crates() {
    CRATES=$STATE_DIR/crates/$(cd "$REPO" && key Cargo.lock rust-toolchain.toml "$(rustc -Vv)")/$1
    CRATES_TARGET=$2
    shift 2
    CRATES_PROFILES=("$@")
    mkdir -p "$CRATES"
    CRATES_SINCE=$(mktemp "$STATE_DIR/work/crates.XXXXXX")
    touch "${CRATES%/*}"
    (lock crates; fill_target; forget_crates)
    touch "$CRATES_SINCE"
}

# What cannot be copied costs time and no more: it is dropped, here and there.
fill_target() {
    local profile from to
    for profile in "${CRATES_PROFILES[@]}"; do
        from=$CRATES/$profile
        to=$CRATES_TARGET/$profile
        if [ ! -d "$from/.fingerprint" ] || [ -e "$to/.fingerprint" ]; then continue; fi
        say "  compiled dependencies for $profile from $STATE_DIR/crates"
        # A cache without a build script has no `build`.
        # Fingerprints last, for it is by these that cargo knows the rest.
        if mkdir -p "$to" "$from/deps" "$from/build" && copy "$from" "$to" deps build && copy "$from" "$to" .fingerprint; then
            continue
        fi
        say "  not used: $from could not be copied; it is removed"
        rm -rf "$from" "$to/deps" "$to/build" "$to/.fingerprint"
    done
}

# copy FROM TO FILE...: with the times to the nanosecond, for cargo compares them.
copy() {
    local from=$1 to=$2
    shift 2
    tar -C "$from" --format=pax -cf - "$@" | tar -C "$to" -xpf -
}

forget_crates() {
    local old
    # shellcheck disable=SC2012  # names are hashes
    ls -td "$STATE_DIR"/crates/*/ | tail -n +3 | while read -r old; do rm -rf "$old"; done
}

# A copy is a convenience: it must not take the space that images need.
CRATES_WANT_GB=8

# keep_crates: after cargo; keeps what it has compiled since use_crates.
keep_crates() {
    local profile
    if [ "$(free_gb "$STATE_DIR")" -lt "$CRATES_WANT_GB" ]; then
        say "  compiled dependencies are not kept: less than $CRATES_WANT_GB GB of disk are free"
        rm -f "$CRATES_SINCE"
        return
    fi
    for profile in "${CRATES_PROFILES[@]}"; do
        if [ -d "$CRATES_TARGET/$profile/.fingerprint" ]; then (lock crates; keep_or_drop "$profile"); fi
    done
    rm -f "$CRATES_SINCE"
}

keep_or_drop() {
    if keep_profile "$1"; then return; fi
    say "  compiled dependencies for $1 could not be kept; $CRATES/$1 is removed"
    rm -rf "${CRATES:?}/$1"
}

keep_profile() {
    local from=$CRATES_TARGET/$1 to=$CRATES/$1 units=$CRATES_SINCE.units files=$CRATES_SINCE.files own code=0
    # Packages without a source are the workspace's.
    own=$(awk -F'"' '/^\[\[package/ {name = ""; registry = 0} /^name = / {name = $2} /^source = / {registry = 1}
        /^$/ && name != "" {if (!registry) print name; name = ""}' "$REPO/Cargo.lock" | tr '\n' ' ')
    # A unit is PACKAGE-HASH; the hash is also in the names of its files. It is finished once its description is there:
    # cargo may have been stopped, or another be at work in the same folder.
    (cd "$from/.fingerprint" && find . -name '*.json' -newer "$CRATES_SINCE" | cut -d/ -f2 | sort -u) |
        awk -v own=" $own" '{package = $0; sub(/-[^-]*$/, "", package)} !index(own, " " package " ")' >"$units"
    if [ -s "$units" ]; then
        (cd "$from" && ls deps build) | awk '
            NR == FNR {unit[$0]; hash = $0; sub(/.*-/, "", hash); of[hash]; next}
            /:$/ {folder = substr($0, 1, length($0) - 1); next}
            folder == "build" && $0 in unit {print "build/" $0}
            folder == "deps" {hash = $0; sub(/\..*/, "", hash); sub(/.*-/, "", hash); if (hash in of) print "deps/" $0}
        ' "$units" - >"$files"
        # Each with `&&`: errexit does not hold below an `if`.
        mkdir -p "$to/.fingerprint" &&
            (cd "$to/.fingerprint" && xargs rm -rf <"$units") &&
            copy "$from" "$to" -T "$files" &&
            sed 's#^#.fingerprint/#' "$units" >"$files" &&
            copy "$from" "$to" -T "$files" || code=1
    fi
    rm -f "$units" "$files"
    return $code
}
