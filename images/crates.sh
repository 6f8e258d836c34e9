# Compiled dependencies that outlive a clone: below the state folder, a folder for each
# lock file and compiler, the newest two. Sourced after lib.sh. Only crates of a registry
# are kept, for cargo takes those for fresh wherever a clone lies. What is the project's
# own is not: two clones make files of the same names from it, which is also why they
# cannot share a target folder. Files are copied and not linked, since cargo writes into
# them.
#
# Whether one may be used is cargo's decision, by times; that holds within one target
# folder only. The same crate compiled in two has two hashes where it includes a file of
# its build script (serde), and cargo compares no hashes. So the cache has a state, `id`,
# a new one with each addition, and only a target folder that was filled from that very
# state adds to it; `.crates` in the target folder names it.
# shellcheck shell=bash

REPO=$(dirname "$IMAGES_DIR")

# use_crates NAME TARGET PROFILE...: before cargo; profiles are folders below the target
# folder. Fills it where nothing was compiled yet.
use_crates() {
    CRATES=$STATE_DIR/crates/$(cd "$REPO" && key Cargo.lock rust-toolchain.toml "$(rustc -Vv)")/$1
    CRATES_TARGET=$2
    shift 2
    CRATES_PROFILES=("$@")
    mkdir -p "$CRATES" "$CRATES_TARGET"
    touch "${CRATES%/*}"
    (lock crates; fill_target; forget_crates)
}

fill_target() {
    local stamp=$CRATES_TARGET/.crates profile
    if [ ! -s "$CRATES/id" ]; then
        # None, or one whose last addition was interrupted: a new one begins with what this target folder compiles from now on.
        rm -rf "${CRATES:?}"/*
        if [ ! -e "$stamp" ] || [ -s "$stamp" ]; then : >"$stamp"; fi
        return
    fi
    for profile in "${CRATES_PROFILES[@]}"; do
        if [ -e "$CRATES_TARGET/$profile/.fingerprint" ]; then return; fi
    done
    say "  compiled dependencies from $STATE_DIR/crates"
    for profile in "${CRATES_PROFILES[@]}"; do
        if ! fill_profile "$CRATES/$profile" "$CRATES_TARGET/$profile"; then
            say "  not used: $CRATES could not be copied; it is removed"
            for profile in "${CRATES_PROFILES[@]}"; do
                rm -rf "${CRATES_TARGET:?}/$profile"/{deps,build,.fingerprint}
            done
            rm -rf "${CRATES:?}"/*
            : >"$stamp"
            return
        fi
    done
    cp "$CRATES/id" "$stamp"
}

# Fingerprints last, for it is by these that cargo knows the rest. A cache without a build script has no `build`.
fill_profile() {
    local from=$1 to=$2
    [ -d "$from/.fingerprint" ] || return 0
    mkdir -p "$to" "$from/deps" "$from/build" && copy "$from" "$to" deps build && copy "$from" "$to" .fingerprint
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

# keep_crates: after cargo; keeps what this target folder has compiled since it was filled, or kept some the last time.
keep_crates() {
    if [ "$(free_gb "$STATE_DIR")" -lt "$CRATES_WANT_GB" ]; then
        say "  compiled dependencies are not kept: less than $CRATES_WANT_GB GB of disk are free"
        return
    fi
    (lock crates; keep_or_drop)
}

keep_or_drop() {
    local stamp=$CRATES_TARGET/.crates now profile
    if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$(cat "$CRATES/id" 2>/dev/null)" ]; then
        say "  compiled dependencies are not kept: those in $STATE_DIR/crates come from another clone"
        return
    fi
    # The next stamp: what cargo finishes from here on is newer.
    now=$(mktemp "$STATE_DIR/work/crates.XXXXXX")
    basename "$now" >"$now"
    for profile in "${CRATES_PROFILES[@]}"; do
        if ! keep_profile "$profile" "$stamp" "$now"; then
            say "  compiled dependencies for $profile could not be kept; $CRATES is removed"
            rm -rf "${CRATES:?}"/* "$now"
            return
        fi
    done
    if [ -e "$CRATES/id" ]; then
        rm -f "$now"
    else
        cp -p "$now" "$stamp"
        mv "$now" "$CRATES/id"
    fi
}

# keep_profile PROFILE SINCE NOW: copies the units that are newer than the file SINCE. Where there are any, the cache has
# no `id` until all profiles are copied.
keep_profile() {
    local from=$CRATES_TARGET/$1 to=$CRATES/$1 since=$2 units=$3.units files=$3.files own code=0
    [ -d "$from/.fingerprint" ] || return 0
    # Packages without a source are the workspace's.
    own=$(awk -F'"' '/^\[\[package/ {name = ""; registry = 0} /^name = / {name = $2} /^source = / {registry = 1}
        /^$/ && name != "" {if (!registry) print name; name = ""}' "$REPO/Cargo.lock" | tr '\n' ' ')
    # A unit is PACKAGE-HASH; the hash is also in the names of its files. It is finished once its description is there:
    # cargo may have been stopped, or another be at work in the same folder.
    find "$from/.fingerprint" -name '*.json' -newer "$since" | sed 's#/[^/]*$##; s#.*/##' | sort -u |
        awk -v own=" $own" '{package = $0; sub(/-[^-]*$/, "", package)} !index(own, " " package " ")' >"$units"
    if [ -s "$units" ]; then
        (cd "$from" && ls deps build) | awk '
            NR == FNR {unit[$0]; hash = $0; sub(/.*-/, "", hash); of[hash]; next}
            /:$/ {folder = substr($0, 1, length($0) - 1); next}
            folder == "build" && $0 in unit {print "build/" $0}
            folder == "deps" {hash = $0; sub(/\..*/, "", hash); sub(/.*-/, "", hash); if (hash in of) print "deps/" $0}
        ' "$units" - >"$files"
        rm -f "$CRATES/id"
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
