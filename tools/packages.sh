# shellcheck shell=bash
# Sourced by the other scripts: messages, what must be installed, and the Meson build.
#
# In: TOOLS_LOGS, a folder for logs. Out: the functions below; MESON, once `require` has found one.
# A requirement is met when its probe succeeds, wherever the thing came from; only what is missing
# is installed, so a second run installs nothing and needs neither root nor the network.

export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

: "${TOOLS_LOGS:?}"
TOOLS_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mha-cl-tools
MESON=meson

say() { printf '%s\n' "$*"; }
note() { printf '      %s\n' "$*"; }
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Runs a command with its output in a log; on failure shows what matters and where the rest is.
quietly() {
    local log=$TOOLS_LOGS/$1.log code=0
    shift
    mkdir -p "$TOOLS_LOGS"
    "$@" >"$log" 2>&1 </dev/null || code=$?
    if [ "$code" != 0 ]; then
        say "Failed (exit $code): $*" >&2
        # A compiler's first error says more than what follows from it.
        if grep -qi 'error:' "$log"; then
            say "From $log, the first error on:" >&2
            grep -i -m 1 -n 'error:' "$log" | cut -d : -f 1 |
                (read -r line && tail -n "+$line" "$log" | head -n 20) | sed 's/^/    | /' >&2
        else
            say "The last lines of $log:" >&2
            tail -n 30 "$log" | sed 's/^/    | /' >&2
        fi
    fi
    return "$code"
}

# ---- Requirements ------------------------------------------------------------------------------

# name | Debian, Ubuntu | Fedora | Arch | Alpine | openSUSE
requirement_table() {
    cat <<'EOF'
compiler | gcc libc6-dev | gcc glibc-devel | gcc | gcc musl-dev | gcc glibc-devel
cxx | g++ | gcc-c++ | gcc | g++ | gcc-c++
pkg-config | pkg-config | pkgconf-pkg-config | pkgconf | pkgconf | pkg-config
meson | meson | meson | meson | meson | meson
ninja | ninja-build | ninja-build | ninja | samurai | ninja
opencl-headers | opencl-headers | opencl-headers | opencl-headers | opencl-headers | opencl-headers
opencl-loader | ocl-icd-opencl-dev | ocl-icd-devel | ocl-icd | opencl-icd-loader-dev | ocl-icd-devel
clinfo | clinfo | clinfo | clinfo | clinfo | clinfo
opencl-device | pocl-opencl-icd | pocl | pocl | pocl | pocl
pocl | pocl-opencl-icd | pocl | pocl | pocl | pocl
jansson | libjansson-dev | jansson-devel | jansson | jansson-dev | libjansson-devel
zlib | zlib1g-dev | zlib-devel | zlib | zlib-dev | zlib-devel
cairo | libcairo2-dev | cairo-devel | cairo | cairo-dev | cairo-devel
glib | libglib2.0-dev | glib2-devel | glib2 | glib-dev | glib2-devel
libjpeg | libjpeg-dev | libjpeg-turbo-devel | libjpeg-turbo | libjpeg-turbo-dev | libjpeg8-devel
fonts | fonts-dejavu-core | dejavu-sans-fonts | ttf-dejavu | font-dejavu | dejavu-fonts
criterion | libcriterion-dev | libcriterion-devel | criterion | criterion-dev | criterion-devel
clang | clang | clang | clang | clang | clang
clang-tidy | clang-tidy-14 | clang-tools-extra | clang | clang-extra-tools | clang-tools
clang-format | clang-format-14 | clang-tools-extra | clang | clang-extra-tools | clang-tools
python-venv | python3-venv | python3 | python | python3 | python3
pytorch | python3-torch | python3-torch | python-pytorch | py3-pytorch | python3-torch
llvmpipe | mesa-opencl-icd | mesa-libOpenCL | opencl-mesa | mesa-rusticl | Mesa-libRusticlOpenCL
cmake | cmake | cmake | cmake | cmake | cmake
oclgrind | oclgrind | oclgrind | oclgrind | oclgrind | oclgrind
EOF
}

has() { command -v "$1" >/dev/null 2>&1; }
has_module() { has pkg-config && pkg-config --exists "$1"; }
has_header() { has cc && printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1; }

# OpenCL devices this machine has, one name a line. A driver that crashes or hangs counts as none.
opencl_devices() {
    timeout 60 clinfo -l 2>/dev/null </dev/null | sed -n 's/^.*Device #[0-9]*: //p' || true
}

met() {
    case $1 in
    compiler) has cc && has_header stdio.h ;;
    cxx) has c++ ;;
    meson) find_meson ;;
    ninja) has ninja || has samu ;;
    opencl-headers) has_header CL/cl.h ;;
    opencl-loader) has_module OpenCL ;;
    opencl-device) has clinfo && [ -n "$(opencl_devices)" ] ;;
    pocl) [ -n "$(icd_file pocl)" ] ;;
    llvmpipe) [ -n "$(icd_file rusticl)" ] ;;
    fonts) [ -n "$(find /usr/share/fonts -name "*.[to]tf" -print -quit 2>/dev/null)" ] ;;
    jansson | zlib | cairo | libjpeg | criterion) has_module "$1" ;;
    glib) has_module glib-2.0 ;;
    clang-format | clang-tidy) has "$1-14" || has "$1" ;;
    python-venv) has python3 && python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    pytorch) /usr/bin/python3 -c 'import torch' 2>/dev/null ;;
    *) has "$1" ;;
    esac
}

# Where the ICD file of a runtime is: `icd_file pocl`.
icd_file() {
    local folder file
    for folder in /etc/OpenCL/vendors /usr/share/OpenCL/vendors; do
        for file in "$folder"/*"$1"*.icd; do
            [ -f "$file" ] && printf '%s\n' "$file" && return
        done
    done
    return 0
}

os_release() { sed -n "s/^$1=//p" /etc/os-release 2>/dev/null | tr -d '"' || true; }

distribution() {
    local id
    for id in $(os_release ID) $(os_release ID_LIKE); do
        case $id in
        debian | ubuntu) printf debian && return ;;
        fedora | rhel | centos) printf fedora && return ;;
        arch) printf arch && return ;;
        alpine) printf alpine && return ;;
        opensuse* | suse | sles) printf suse && return ;;
        esac
    done
    printf unknown
}

# The packages of some requirements: `packages_of debian meson ninja`.
packages_of() {
    local column name
    case $1 in
    debian) column=2 ;; fedora) column=3 ;; arch) column=4 ;; alpine) column=5 ;; suse) column=6 ;;
    esac
    shift
    for name in "$@"; do
        requirement_table |
            awk -F ' *[|] *' -v c="$column" -v n="$name" '$1 == n { print $c }'
    done | tr ' ' '\n' | awk 'NF && !seen[$0]++' | paste -sd ' '
}

# The same for a system these scripts do not install on: what to type there.
advise() {
    local system
    case $(distribution) in
    debian) say "Install them as root: apt-get install $(packages_of debian "$@")" ;;
    fedora) say "On this system: dnf install $(packages_of fedora "$@")" ;;
    arch) say "On this system: pacman -S --needed $(packages_of arch "$@")" ;;
    alpine) say "On this system: apk add $(packages_of alpine "$@")" ;;
    suse) say "On this system: zypper install $(packages_of suse "$@")" ;;
    *)
        say "Their packages are called:"
        for system in debian fedora arch alpine suse; do
            printf '    %-8s %s\n' "$system" "$(packages_of "$system" "$@")"
        done
        ;;
    esac
}

# Prints what of the named requirements is missing.
missing_of() {
    local name
    for name in "$@"; do
        met "$name" || printf '%s ' "$name"
    done
}

INSTALLED_SOMETHING=0

# Installs what is missing of the named requirements. Returns 1, with a word on what to do, where
# that can't be done here.
require() {
    local missing packages
    missing=$(missing_of "$@")
    if [ -z "$missing" ]; then
        find_meson || true
        return 0
    fi
    # shellcheck disable=SC2086
    set -- $missing
    if [ "$(distribution)" != debian ] || ! has apt-get; then
        say "Missing: $*. This script installs packages on Debian and Ubuntu only."
        advise "$@"
        return 1
    fi
    packages=$(packages_of debian "$@")
    local -a root=()
    if [ "$(id -u)" != 0 ]; then
        if ! has sudo || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            say "Missing: $*. Installing needs root, and sudo is not to be had here."
            advise "$@"
            return 1
        fi
        sudo true || {
            advise "$@"
            return 1
        }
        root=(sudo --preserve-env=DEBIAN_FRONTEND)
    fi
    note "installing $packages"
    quietly apt-update "${root[@]}" apt-get update ||
        note "apt-get update failed; trying with the package lists that are here"
    # shellcheck disable=SC2086
    quietly apt-install "${root[@]}" apt-get install -y --no-install-recommends $packages || {
        say "On Ubuntu some of these come from its part \"universe\": add-apt-repository universe"
        return 1
    }
    INSTALLED_SOMETHING=1
    hash -r
    missing=$(missing_of "$@")
    case "$missing" in
    '') find_meson || true ;;
    'meson ') newer_meson ;;
    *)
        say "Installed, but still not usable: $missing"
        [[ $missing != *opencl-device* ]] || (timeout 60 clinfo -l) 2>&1 | sed 's/^/      clinfo: /' || true
        return 1
        ;;
    esac
}

# ---- The Intel runtime --------------------------------------------------------------------------

# The Intel runtime is no package of Debian's, but of the Python package index. It goes into a
# virtual environment of its own: there nothing counts as installed already, so no part is left out.
# Its libraries find one another by their run path, so LD_LIBRARY_PATH (which would also replace the
# OpenCL loader by theirs) is not needed.
intel_library() {
    local venv=$TOOLS_CACHE/intel library
    library=$venv/lib/libintelocl.so
    local -a parts=(libintelocl.so libcommon_clang.so libtbb.so.12 libsvml.so libimf.so
        libintlc.so.5 libocl_svml_l9.so clbltfnshared.rtl)
    local part complete=1
    for part in "${parts[@]}"; do
        [ -e "$venv/lib/$part" ] || complete=0
    done
    if [ "$complete" = 0 ]; then
        rm -rf "$venv"
        quietly intel-venv python3 -m venv "$venv" &&
            quietly intel-pip "$venv/bin/pip" install --no-cache-dir --progress-bar off \
                intel-opencl-rt intel-cmplr-lib-rt || return 1
        for part in "${parts[@]}"; do
            [ -e "$venv/lib/$part" ] || {
                say "the Intel runtime was installed without $part" >&2
                return 1
            }
        done
    fi
    printf '%s\n' "$library"
}

# ---- Meson -------------------------------------------------------------------------------------

# Sets MESON to one that is new enough for meson.build.
find_meson() {
    local candidate version
    for candidate in meson "$TOOLS_CACHE/meson/bin/meson"; do
        version=$("$candidate" --version 2>/dev/null) || continue
        if [ "${version%%.*}" -ge 1 ]; then
            MESON=$candidate
            return 0
        fi
    done
    return 1
}

# Older distributions: a newer Meson into the tools' own folder.
newer_meson() {
    note "this system's Meson is older than 1.0: getting a newer one"
    require python-venv || return 1
    quietly meson-venv python3 -m venv "$TOOLS_CACHE/meson" &&
        quietly meson-pip "$TOOLS_CACHE/meson/bin/pip" install --quiet 'meson>=1.0,<2' &&
        find_meson
}

# A folder $1 with the only .icd file that a process shall see; $2 is that file or the library.
one_vendor() {
    mkdir -p "$1"
    case $2 in
    *.icd) cp "$2" "$1/" ;;
    *) printf '%s\n' "$2" >"$1/only.icd" ;;
    esac
}

# The library for speed, in $1, and programs of tools/ with it.
build_released() {
    local dir=$1
    shift
    require compiler meson ninja pkg-config opencl-headers opencl-loader jansson python-venv &&
        build_in "$dir" --buildtype=release -Dtests=disabled -Dexamples=disabled -Dtune=disabled &&
        quietly "$(basename "$dir")-programs" "$MESON" compile -C "$dir" "$@"
}

# A Python environment in $1 that has numpy and matplotlib.
plotting_python() {
    "$1/bin/python" -c 'import numpy, matplotlib' 2>/dev/null && return
    quietly python-venv python3 -m venv "$1" &&
        quietly python-pip "$1/bin/pip" install --no-cache-dir --progress-bar off numpy matplotlib
}

# build_in DIR OPTION...: configures where needed, then builds. Warnings of the project's own code
# are shown also when the build succeeds.
build_in() {
    local dir=$1 name stamp wanted
    shift
    name=$(basename "$dir")
    stamp=$dir/.tools-options
    wanted="$PWD $*"
    if [ ! -f "$dir/build.ninja" ]; then
        # A folder left by an interrupted set-up is started anew.
        local -a anew=()
        [ ! -f "$dir/meson-private/coredata.dat" ] || anew=(--wipe)
        quietly "$name-setup" "$MESON" setup "${anew[@]}" "$dir" "$@" || return 1
    elif [ "$INSTALLED_SOMETHING" = 1 ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        # An optional feature's library may have come since the folder was configured.
        quietly "$name-setup" "$MESON" setup --reconfigure "$dir" "$@" 2>/dev/null ||
            quietly "$name-setup" "$MESON" setup --wipe "$dir" "$@" || return 1
    fi
    printf '%s' "$wanted" >"$stamp"
    quietly "$name-compile" "$MESON" compile -C "$dir" || return 1
    grep -E 'warning:' "$TOOLS_LOGS/$name-compile.log" | sed 's/^/      /' || true
}
