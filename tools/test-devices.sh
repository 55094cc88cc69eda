# shellcheck shell=bash
# Sourced by run-tests.sh: the test program on each device kind, under Oclgrind and the sanitizers.

# Makes the OpenCL loader see one runtime only: only_icd FILE-OR-LIBRARY.
only_icd() {
    mkdir -p "$SCRATCH/vendors"
    rm -f "$SCRATCH/vendors"/*
    case $1 in
    *.icd) cp "$1" "$SCRATCH/vendors/" ;;
    *) printf '%s\n' "$1" >"$SCRATCH/vendors/only.icd" ;;
    esac
    export OCL_ICD_VENDORS=$SCRATCH/vendors
}

# device_tests DEVICE [reduced]: the whole test program on the device of that name.
device_tests() {
    local found
    [ -x "$TESTS" ] || {
        say "there is no ${TESTS#"$TOP"/}"
        return 1
    }
    found=$(opencl_devices)
    say "device: ${found:-none}"
    [ -n "$found" ] || {
        skip "the runtime is installed, but has no device on this machine"
        return 0
    }
    export MHA_TEST_DEVICE=$1
    if [ "${2:-}" = reduced ] || [ "$QUICK" = 1 ]; then
        export MHA_TEST_REDUCED=1
        criterion "$TESTS"
        return
    fi
    local bad=0
    criterion "$TESTS" || bad=1
    criterion "$FAILURE_TESTS" -j1 || bad=1
    return "$bad"
}

TESTS=$TOP/build/tests/mha-tests
FAILURE_TESTS=$TOP/build/tests/mha-failure-tests
CLBLAST_TESTS=$TOP/build/tests/mha-clblast-tests

only_pocl() {
    local icd
    icd=$(icd_file pocl)
    [ -n "$icd" ] || {
        say "PoCL has no ICD file"
        return 1
    }
    only_icd "$icd"
}

stage_pocl() {
    local bad=0
    if ! require pocl; then
        skip "PoCL can't be installed"
        return 0
    fi
    only_pocl
    device_tests "Portable Computing Language" || bad=1
    # CLBlast's parameters are set on the host, whatever the device; a program of its own takes PoCL
    # seconds to compile, so one device must do.
    if [ "$QUICK" = 0 ] && [ -x "$CLBLAST_TESTS" ]; then
        criterion "$CLBLAST_TESTS" -j1 || bad=1
    fi
    return "$bad"
}

# Makes the Intel runtime the only one. Returns 1 after a skip.
only_intel() {
    local library
    if [ "$(uname -m)" != x86_64 ]; then
        skip "the Intel CPU runtime is for x86-64, this is $(uname -m)"
        return 1
    fi
    require python-venv || {
        skip "no Python with venv to install the Intel runtime with"
        return 1
    }
    if ! library=$(intel_library); then
        skip "the Intel runtime could not be installed"
        return 1
    fi
    only_icd "$library"
}

stage_intel() {
    only_intel || return 0
    device_tests "Intel(R) OpenCL"
}

stage_llvmpipe() {
    local icd
    require llvmpipe || {
        skip "Mesa's OpenCL can't be installed"
        return 0
    }
    icd=$(icd_file rusticl)
    only_icd "$icd"
    export RUSTICL_ENABLE=llvmpipe
    device_tests llvmpipe reduced
}

# The first two run every kernel with every feature, but panel_qkv, which needs a device with vectors,
# and Oclgrind has none. What the other suites add, layers among them, is on the host's side, where
# Oclgrind allows no second thread. Braces mean nothing in Criterion's patterns.
KERNEL_SUITES='@(single|linear|layer)/*'

# Oclgrind comes between the program and the OpenCL loader by LD_PRELOAD, also in the processes
# that Criterion forks. Its exit status says nothing about what it found, so its reports are read
# from the output. -O0, because its check for uninitialised values does not know the instruction
# (freeze) that optimisation puts before a division whose remainder is wanted too.
stage_oclgrind() {
    local code=0
    require oclgrind || {
        skip "Oclgrind can't be installed"
        return 0
    }
    [ -x "$TESTS" ] || {
        say "there is no ${TESTS#"$TOP"/}"
        return 1
    }
    export MHA_TEST_DEVICE=Oclgrind MHA_TEST_REDUCED=1
    LIMIT=3000 criterion oclgrind --build-options -O0 --data-races --uninitialized --check-api \
        --num-threads 1 "$TESTS" --filter '@(single|linear)/*' || code=1
    tools/oclgrind-reports.awk -v suppressions=tools/oclgrind-suppressions.txt "$SCRATCH/out" ||
        code=1
    if [ "$code" = 0 ]; then
        count 1 0 0
    else
        count 0 1 0
    fi
    return "$code"
}

stage_asan() {
    build_in build-asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
        -Dtests=enabled -Dexamples=enabled || return 1
    only_pocl
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    export LSAN_OPTIONS=suppressions=$TOP/tools/lsan-suppressions.txt:print_suppressions=0
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    export MHA_TEST_DEVICE="Portable Computing Language"
    [ "$QUICK" = 0 ] || export MHA_TEST_REDUCED=1
    local bad=0
    # A leak is found after the test has ended, when Criterion no longer looks: the reports tell.
    LSAN_OPTIONS=$LSAN_OPTIONS:exitcode=0 \
        criterion "$TOP/build-asan/tests/mha-tests" --filter "$KERNEL_SUITES" || bad=1
    if ! tools/leak-reports.awk "$SCRATCH/out"; then
        count 0 1 0
        bad=1
    fi
    if get_models; then
        attempt "vit" run_model build-asan "$SCRATCH/vit.log" vit "$PHOTO" \
            --out "$SCRATCH/vit.png" --dump "$SCRATCH/vit.safetensors" || bad=1
        attempt "sentence" run_model build-asan "$SCRATCH/sentence.log" sentence "$SENTENCE" \
            "It was tired" --out "$SCRATCH/sentence.png" --dtype f16 \
            --dump "$SCRATCH/sentence.safetensors" || bad=1
    fi
    return "$bad"
}

# ThreadSanitizer leaves no room in the address space for the arena Criterion forks its tests with,
# so this one is a plain program: exit status 0, nothing reported.
stage_tsan() {
    build_in build-tsan -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false \
        -Dtests=disabled -Dexamples=disabled || return 1
    quietly tsan-compile ninja -C build-tsan tools/mha-threads || return 1
    only_pocl
    export MHA_TEST_DEVICE="Portable Computing Language"
    # PoCL and LLVM are not instrumented: what happens inside them is not seen whole.
    export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66
    timeout 900 build-tsan/tools/mha-threads
}
