# Helpers of the scripts beside this file. Sourced, not run.

set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
# Everything that is built or fetched once, outside the repository, so that a clean clone starts warm.
cache=${ROOMCAST_CACHE:-$HOME/.cache/roomcast}
mkdir -p "$cache/bin"
cache=$(cd "$cache" && pwd)
# The servers, the loops of the test card and the programs find it by the same name.
export ROOMCAST_CACHE="$cache"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"

# To build Roomcast.
build_packages="build-essential cmake pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
libgstreamer-plugins-bad1.0-dev libyuv-dev"
# To record.
record_packages="libyuv0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
gstreamer1.0-libav gstreamer1.0-nice fontconfig fonts-dejavu-core"
# What a container has not, and a machine has: authorities, time zones, and fonts for names in any script.
image_packages="ca-certificates tzdata fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji"
# To build Roomcast, to record, and to read the film back.
packages="$build_packages $record_packages"
# What the tests use beside these, beside Rust, Go, a JDK with Maven, and Node.
test_packages="ffmpeg fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji chromium"

say() { printf '%s\n' "$*"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# need COMMAND SENTENCE: ends with the sentence when the command is not there.
need() {
    command -v "$1" >/dev/null 2>&1 || fail "$2"
}

# phase NAME COMMAND...: runs the command and says how long it took; ends with one line that names the phase when it fails.
phase() {
    phase_name=$1
    shift
    say "== $phase_name"
    phase_begin=$(date +%s)
    phase_status=0
    # In a process of its own and not as a condition, so that `set -e` holds inside.
    set +e
    (
        set -e
        "$@"
    )
    phase_status=$?
    set -e
    phase_seconds=$(($(date +%s) - phase_begin))
    [ "$phase_status" = 0 ] || fail "== FAILED: $phase_name, after $phase_seconds s, status $phase_status"
    say "== $phase_name: $phase_seconds s"
}

# debian_packages NAME...: installs those that are missing, as root or with sudo; otherwise says which they are.
debian_packages() {
    command -v dpkg-query >/dev/null 2>&1 || {
        say "This is not Debian. What these packages hold must be there: $*"
        return 0
    }
    missing=
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "Install these Debian packages as root, then run this again: apt-get install$missing"
        root=sudo
    fi
    say "Installing Debian packages:$missing"
    $root apt-get update -qq
    # shellcheck disable=SC2086
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# sum_of FILE...: one sum of what the files hold.
sum_of() { cat "$@" | sha256sum | cut -d ' ' -f 1; }
